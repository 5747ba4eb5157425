//! Passkeys, as an administrator meets them with `kubectl`: what they open is the platform's own volume.

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Answer, answer};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::metrics::scrape;
use crate::stage::{NAMESPACE, Stage};

const DEFAULT: &str = "keelson-instance";
const PHRASE: &str = "kept by the security office";

fn passkey(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "vault.kio.kasten.io/v1alpha1", "kind": "Passkey",
        "metadata": { "name": name }, "spec": spec,
    })
}

fn of_secret(name: &str) -> Value {
    json!({ "secret": { "name": name, "namespace": NAMESPACE } })
}

/// The rows of the table, without its heading.
fn table(stage: &Stage) -> Result<Vec<Vec<String>>> {
    let printed = stage.kubectl(&["get", "passkeys"], "")?;
    let mut rows = printed
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    if rows.is_empty() {
        return Ok(rows);
    }
    ensure!(rows.remove(0) == ["NAME", "VALID"], "{printed}");
    Ok(rows)
}

fn wait_table(stage: &Stage, expected: &[[&str; 2]]) -> Result<()> {
    stage.until(&format!("the Passkeys are {expected:?}"), || Ok((table(stage)? == expected).then_some(())))
}

fn secret(stage: &Stage, phrase: &str) -> Result<()> {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "office", "namespace": NAMESPACE },
        "stringData": { "passphrase": phrase },
    }))
}

fn create(stage: &Stage, object: &Value) -> Result<Answer> {
    stage.try_kubectl(&["create", "-f", "-"], &object.to_string())
}

#[track_caller]
fn assert_refused(said: &Answer, words: &[&str]) {
    assert_ne!(said.code, 0, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "'{word}' is not in: {}", said.stderr);
    }
}

/// What is no Passkey says why, by the field.
fn get_it_wrong(stage: &Stage) -> Result<()> {
    let mut unknown = of_secret("office");
    unknown["passphrase"] = json!(PHRASE);
    for (spec, words) in [
        (json!({}), &["spec: Required value: names no source"][..]),
        (of_secret("nowhere"), &["spec.secret: Invalid value", "Secret 'kasten-io/nowhere' does not exist"]),
        (of_secret(DEFAULT), &["spec.secret.name", "would lie beside what it seals"]),
        (json!({ "awscmkkeyid": "k" }), &["spec.awscmkkeyid: Forbidden: not supported", "AWS KMS"]),
        (
            json!({ "vaulttransitkeyname": "k", "vaulttransitpath": "transit" }),
            &["spec.vaulttransitkeyname: Forbidden: not supported", "HashiCorp Vault"],
        ),
        (
            json!({ "azurekeyvaultkeyname": "k", "azurekeyvaulturl": "https://v.acme.test" }),
            &["spec.azurekeyvaulturl: Forbidden: not supported", "Azure Key Vault"],
        ),
        (unknown, &["unknown field \"spec.passphrase\""]),
    ] {
        let said = create(stage, &passkey("office", spec))?;
        assert_refused(&said, words);
        assert!(!said.stderr.contains(PHRASE), "{}", said.stderr);
    }
    Ok(())
}

#[test]
fn a_person_replaces_what_opens_the_platform_and_never_loses_the_last_of_it() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    wait_table(&stage, &[[DEFAULT, "true"]])?;
    let last = stage.try_kubectl(&["delete", "passkey", DEFAULT], "")?;
    assert_refused(&last, &["(Conflict)", "no other Passkey is valid"]);
    get_it_wrong(&stage)?;

    secret(&stage, PHRASE)?;
    let office = passkey("office", of_secret("office"));
    stage.kubectl(&["create", "--dry-run=server", "-f", "-"], &office.to_string())?;
    wait_table(&stage, &[[DEFAULT, "true"]])?;
    stage.create(&office)?;
    wait_table(&stage, &[[DEFAULT, "true"], ["office", "true"]])?;
    let kept = stage.get(&["passkey", "office"])?.context("the Passkey")?;
    assert_eq!(kept["status"], json!({ "valid": true, "state": "Added to Catalog" }));
    let again = create(&stage, &office)?;
    assert_refused(&again, &["(AlreadyExists)"]);

    stage.kubectl(&["delete", "passkey", DEFAULT, "--timeout=30s"], "")?;
    wait_table(&stage, &[["office", "true"]])?;
    let last = stage.try_kubectl(&["delete", "passkey", "office"], "")?;
    assert_refused(&last, &["(Conflict)", "no other Passkey is valid"]);
    let data = stage.get(&["secret", DEFAULT, "-n", NAMESPACE])?.context("the Secret")?["data"].clone();
    ensure!(data["instance-key"].is_null(), "the key lies there as it is");
    stage.kill_and_restart()?;
    wait_table(&stage, &[["office", "true"]])?;

    secret(&stage, "set by somebody else")?;
    wait_table(&stage, &[["office", "false"]])?;
    stage.wait_event(&kept, "PasskeyInvalid")?;
    stage.until("the metrics tell of it", || {
        let metrics = scrape(&stage)?;
        let told = ["keelson_passkeys_valid 0", "keelson_passkeys_invalid 1"];
        Ok(told.iter().all(|line| metrics.lines().any(|found| found == *line)).then_some(()))
    })?;
    stage.until("the status tells of it", || {
        let said = stage.keelson(&["dr", "status"])?;
        Ok(said.stdout.contains("no passkey   'office' does not open the volume").then_some(()))
    })?;
    secret(&stage, PHRASE)?;
    wait_table(&stage, &[["office", "true"]])?;
    assert_told(&stage)
}

/// The trail names who made and who deleted one, and what was refused.
fn assert_told(stage: &Stage) -> Result<()> {
    let data = stage.data().display().to_string();
    let said = answer(["tools", "audit", "--data", &data, "--limit", "1000000"])?;
    let events: Vec<Value> = said.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for (verb, name, code) in [("create", "office", 201), ("delete", DEFAULT, 200), ("delete", "office", 409)]
    {
        let is_told = |event: &Value| {
            let object = &event["objectRef"];
            event["verb"] == verb
                && (object["resource"] == "passkeys" && object["name"] == name)
                && event["responseStatus"]["code"] == code
        };
        ensure!(events.iter().any(is_told), "{verb} of {name} with {code} is not in {}", said.stdout);
    }
    Ok(())
}
