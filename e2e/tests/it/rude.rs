//! Attackers in the pods' network, straight at our port: what each gets, and what the API server and the machine
//! notice of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{ClientCertificate, FRONT_PROXY, Supervisor, figure, testbed_program};
use serde_json::Value;

use crate::catalog::fill_with_large_actions;
use crate::stage::{NAMESPACE, Stage};

/// Of every process of ours, whatever happens.
const MEMORY_MAX_MIB: u64 = 256;
/// Within this an honest client is answered as a rule. Each is answered at all.
const ANSWERED_WITHIN_MILLISECONDS: u64 = 1_000;
/// And within this ninety-nine times of a hundred, also where the attacker, the server and other tests share two processors.
/// Who waits behind the attackers waits for their patience to end, which is longer.
const ANSWERED_NEARLY_ALWAYS_WITHIN_MILLISECONDS: u64 = 20_000;
/// Places for whoever is not the front proxy.
const STRANGERS_MAX: i64 = 128;
const WATCHES: i64 = 10_000;
/// Of these as many are let in as there are for others than the control plane, but for what twelve users who take all that
/// they get must leave to the next.
const WATCHES_OPEN_MAX: i64 = 1_500;
const WATCHES_OPEN_MIN: i64 = 1_000;
/// Bodies in each flood of them.
const BODIES: i64 = 128;
/// So many of the largest fit into the memory that there is for bodies of others than the control plane.
const LARGEST_BODIES_MAX: i64 = 21;
/// Requests of readers who take nothing, lists and watches in equal parts, for some MiB.
const READERS: i64 = 512;
const LARGE_ACTIONS: usize = 1_000;
const LARGE_ACTION_KIB: usize = 16;

/// What one request or one connection gets. `closed` is an end without an answer.
const ANSWERS: [(&str, &str); 54] = [
    ("the front proxy itself", "200"),
    ("forged headers without a certificate", "401"),
    ("a certificate of another authority", "401"),
    ("a certificate of another authority with the right name", "401"),
    ("a certificate of the right authority with a wrong name", "401"),
    ("a certificate of a user of the cluster", "401"),
    ("the front proxy's certificate without its key", "closed"),
    ("the front proxy's certificate without a user", "401"),
    ("plain HTTP", "closed"),
    ("a path with dots", "404"),
    ("a path with escaped dots", "404"),
    ("a path with an escaped slash", "404"),
    ("a path with an escaped letter", "404"),
    ("a path with two slashes", "404"),
    ("a path with an escaped NUL", "404"),
    ("a path with a NUL", "400"),
    ("a path with a line break", "400"),
    ("a path with a backslash", "404"),
    ("a path without a slash", "404"),
    ("a path of 100 KiB", "431"),
    ("a namespace of dots", "404"),
    ("a name with capitals", "404"),
    ("an option that is given twice", "422"),
    ("a token that is not ours", "400"),
    ("a body of 4 MiB", "413"),
    ("a body of 4 MiB in chunks", "413"),
    ("a body that ends early", "400"),
    ("a body that nests too deep", "400"),
    ("a body that is no UTF-8", "400"),
    ("a body that is a list", "400"),
    ("no body", "400"),
    ("a body in protobuf", "415"),
    ("a body in plain text", "415"),
    ("a body in YAML with an alias bomb", "400"),
    ("a body in YAML that says a long text again and again", "400"),
    ("a body with keys of one name below a long one", "400"),
    ("a body with half a million keys of one name", "413"),
    ("a body with a million empty lists", "413"),
    ("options of a deletion with half a million keys of one name", "413"),
    ("a body that never comes", "504"),
    ("an answer in XML", "406"),
    ("a header of 100 KiB", "431"),
    ("a thousand headers", "431"),
    ("a header with a NUL", "400"),
    ("two lengths", "400"),
    // Read by its chunks alone, as the standard has it: there is no creating over all namespaces.
    ("a length and chunks", "405"),
    ("an encoding that nobody knows", "400"),
    ("a method that nobody knows", "405"),
    ("a change of a list", "405"),
    ("a version of HTTP that nobody knows", "400"),
    ("a connection that says nothing", "closed"),
    ("a handshake that says no more", "closed"),
    ("a handshake that stops in the middle", "closed"),
    ("a head that never ends", "closed"),
];

/// Everything that the attacker said, line by line.
struct Told(Vec<Value>);

impl Told {
    fn under(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |line| line.get(key).is_some())
    }

    fn flood(&self, name: &str) -> Result<&Value> {
        let line = self.under("flood").find(|line| line["flood"] == name);
        line.map(|line| &line["told"]).with_context(|| format!("no flood of {name}"))
    }
}

fn write_pair(directory: &Path, name: &str, pair: &ClientCertificate) -> Result<PathBuf> {
    let base = directory.join(name);
    fs::write(base.with_extension("crt"), &pair.certificate)?;
    fs::write(base.with_extension("key"), &pair.key)?;
    Ok(base)
}

fn attack(stage: &Stage) -> Result<Told> {
    let directory = stage.plane().directory();
    let front_proxy =
        write_pair(directory, "as-front-proxy", &stage.plane().front_proxy_certificate(FRONT_PROXY)?)?;
    let colleague =
        write_pair(directory, "as-colleague", &stage.plane().front_proxy_certificate("a-colleague")?)?;
    let user = stage.plane().client_certificate("admin", Some("system:masters"))?;
    let user = write_pair(directory, "as-user", &user)?;
    let service = ["service", "keelson-api", "-n", NAMESPACE];
    let port = stage.get(&service)?.context("no service")?["spec"]["ports"][0]["port"].to_string();
    let bundle = "jsonpath={.spec.caBundle}";
    let bundle = stage.kubectl(&["get", "apiservice", "v1alpha1.apps.kio.kasten.io", "-o", bundle], "")?;
    let authority = directory.join("extension.crt");
    fs::write(&authority, serde_json::from_value::<k8s_openapi::ByteString>(bundle.into())?.0)?;
    let output = Command::new(testbed_program("clients")?)
        .args(["rude", "--resource", "apps.kio.kasten.io/v1alpha1/restorepoints"])
        .args(["--large", "actions.kio.kasten.io/v1alpha1/backupactions", "--readers", &READERS.to_string()])
        .args(["--server-name", &format!("keelson-api.{NAMESPACE}.svc")])
        .args(["--address", &format!("127.0.0.1:{port}"), "--watches", &WATCHES.to_string()])
        .args([&"--authority".into(), &authority, &"--front-proxy".into(), &front_proxy])
        .args([&"--colleague".into(), &colleague, &"--user".into(), &user])
        .output()
        .context("run the attacker")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {complaints}", output.status);
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    Ok(Told(lines.map(serde_json::from_str).collect::<Result<_, _>>()?))
}

/// The most memory that it ever held.
fn peak_mib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Each body is read and judged, or its sender is told at once to come back.
fn check_bodies(told: &Told) -> Result<()> {
    let large = told.flood("many large bodies at once")?;
    let count = |key: &str| large[key].as_i64().unwrap_or_default();
    assert_eq!(count("judged") + count("refused"), BODIES, "{large}");
    assert!(count("judged") > 0 && count("refused") > 0, "{large}");
    let slow = told.flood("slow bodies")?;
    let count = |key: &str| slow[key].as_i64().unwrap_or_default();
    assert_eq!(count("read") + count("refused"), BODIES, "{slow}");
    assert!((1..=LARGEST_BODIES_MAX).contains(&count("read")), "{slow}");
    Ok(())
}

#[test]
fn whoever_is_rude_is_refused_and_nobody_else_notices() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    fill_with_large_actions(&mut stage, LARGE_ACTIONS, LARGE_ACTION_KIB)?;
    let process = stage.instance.process_id().context("keelson serve has ended")?;
    let before = peak_mib(process)?;
    let told = attack(&stage)?;
    let peak = peak_mib(process)?;
    figure(&format!("keelson serve took {before} MiB, and under attack {peak} MiB at most"));
    for line in told.under("flood").chain(told.under("honest")) {
        println!("{line}");
    }

    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let answers: BTreeMap<String, String> =
        told.under("attack").map(|line| (text(line, "attack"), text(line, "answer"))).collect();
    let expected: BTreeMap<String, String> =
        ANSWERS.iter().map(|(attack, answer)| ((*attack).to_owned(), (*answer).to_owned())).collect();
    let names: BTreeSet<_> = answers.keys().chain(expected.keys()).collect();
    let wrong: Vec<String> = names
        .into_iter()
        .filter(|name| answers.get(*name) != expected.get(*name))
        .map(|name| format!("{name}: {:?}, not {:?}", answers.get(name), expected.get(name)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let silent = told.flood("connections that say nothing")?;
    assert_eq!(silent["kept"], 0, "{silent}");
    let strangers = told.flood("strangers who stay")?;
    let open = strangers["open"].as_i64().context("a number")?;
    assert!((1..=STRANGERS_MAX).contains(&open), "{strangers}");
    let watches = told.flood("idle watches")?;
    let count = |key: &str| watches[key].as_i64().unwrap_or_default();
    assert_eq!(count("opened") + count("refused"), WATCHES, "each is let in or told to come back: {watches}");
    assert!((WATCHES_OPEN_MIN..=WATCHES_OPEN_MAX).contains(&count("opened")), "{watches}");
    assert_eq!(count("newcomer"), 1, "who comes while they are there is let in: {watches}");
    assert_eq!(count("controller"), 1, "and so is the control plane: {watches}");
    assert_eq!(count("openedAgain"), 1, "who comes after them is let in: {watches}");
    let readers = told.flood("readers who take nothing")?;
    let count = |key: &str| readers[key].as_i64().unwrap_or_default();
    assert_eq!(count("lists") + count("watches") + count("refused"), READERS, "{readers}");
    assert!(count("lists") > 0 && count("refused") > 0, "{readers}");
    assert_eq!(count("watches"), READERS / 2, "each is within its share: {readers}");
    check_bodies(&told)?;
    for flood in ["requests that are taken back", "a head without an end"] {
        assert_eq!(told.flood(flood)?["ended"], 1, "{flood}: {}", told.flood(flood)?);
    }

    let honest = told.under("honest").next().context("no honest client")?;
    for client in ["kept", "anew", "writes"] {
        let seen = &honest["honest"][client];
        assert_eq!(seen["failed"], 0, "{client}: {seen}");
        let [usual, longest] = ["median", "milliseconds"].map(|key| seen[key].as_u64().unwrap_or(u64::MAX));
        assert!(usual <= ANSWERED_WITHIN_MILLISECONDS, "{client}: {seen}");
        assert!(longest <= ANSWERED_NEARLY_ALWAYS_WITHIN_MILLISECONDS, "{client}: {seen}");
    }
    assert!(peak <= MEMORY_MAX_MIB, "{peak} MiB");
    // It is the same process, and the API server still reaches it.
    assert_eq!(stage.instance.process_id(), Some(process));
    stage.kubectl(&["get", "restorepoints", "-A"], "").map(drop)
}
