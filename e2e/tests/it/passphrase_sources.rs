//! The platform protects itself with a passphrase that is kept elsewhere, and comes back with it on another cluster: from
//! OpenBao, which speaks Vault's API and is not Vault, and from moto, which stands for AWS.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_e2e::answer;
use keelson_testkit::{
    ControlPlane, KvVersion, Moto, OpenBao, Role, Supervisor, account_token, eventually, trust_plane,
};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, assert_said, block_on, profile};
use crate::world::{ORIGIN, wait_until_shipped};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PHRASE: &str = "kept by the security office, elsewhere";
const OTHER_PHRASE: &str = "another one of the security office";
const DR_POLICY: &str = "k10-disaster-recovery-policy";

const PAGE: &str = include_str!("../../../docs/operations/passphrase-sources.md");

/// As the documented command makes it.
fn create_secret(stage: &Stage, name: &str, fields: &[&str]) -> Result<()> {
    let literals = fields.iter().flat_map(|field| ["--from-literal", *field]);
    let words = ["create", "secret", "generic", name, "--namespace", NAMESPACE];
    let words: Vec<_> = words.into_iter().chain(literals).collect();
    stage.kubectl(&words, "").map(drop)
}

/// What chart `k10` writes of its values `vault.*`.
fn tell_of_vault(stage: &Stage, values: Value) -> Result<()> {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "keelson-vault", "namespace": NAMESPACE }, "data": values,
    }))
}

/// The platform looks at its policy once the Secret is another.
fn touch_secret(stage: &Stage, word: &str) -> Result<()> {
    let note = format!("keelson.test/touched={word}");
    stage
        .kubectl(&["annotate", "secret", "k10-dr-secret", "-n", NAMESPACE, "--overwrite", &note], "")
        .map(drop)
}

struct Vault {
    server: OpenBao,
}

impl Vault {
    fn start() -> Result<Self> {
        let vault = Self { server: block_on(OpenBao::start(HERE))? };
        for (mount, version, policy, path) in [
            ("first", KvVersion::One, "k10-first", "first/k10"),
            ("second", KvVersion::Two, "k10-second", "second/data/k10"),
        ] {
            vault.server.enable_kv(mount, version)?;
            let rule = format!("path \"{path}\" {{ capabilities = [\"read\"] }}");
            vault.server.write_policy(policy, &rule)?;
        }
        // An engine with versions takes a moment.
        block_on(eventually("the engines take secrets", async || Ok(vault.put(PHRASE).ok())))?;
        Ok(vault)
    }

    fn put(&self, phrase: &str) -> Result<()> {
        self.server.put("first", "k10", "passphrase", phrase)?;
        self.server.put("second", "k10", "passphrase", phrase)
    }

    fn revoke(&self, token: &str) -> Result<()> {
        let said = self.server.bao().args(["token", "revoke", token]).output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        Ok(())
    }

    /// Signs in with a token.
    fn give_token(&self, stage: &Stage, policy: &str) -> Result<String> {
        let token = self.server.create_token(policy, "1h")?;
        create_secret(stage, "vault-creds", &[&format!("vault_token={token}")])?;
        tell_of_vault(stage, json!({ "address": self.server.url(), "secretName": "vault-creds" }))?;
        Ok(token)
    }

    /// Signs in as the platform's account, each cluster at a mount of its own.
    fn give_role(&self, stage: &Stage, mount: &str, policy: &str, folder: &Path) -> Result<()> {
        let plane = stage.plane();
        stage.kubectl(&["create", "serviceaccount", "k10-k10", "-n", NAMESPACE], "")?;
        trust_plane(&self.server, mount, plane)?;
        let role = Role { name: "k10", namespace: NAMESPACE, account: "k10-k10", policy };
        self.server.bind_account(mount, &role)?;
        let token = folder.join(format!("token-of-{mount}"));
        fs::write(&token, account_token(plane, NAMESPACE, "k10-k10")?)?;
        tell_of_vault(
            stage,
            json!({
                "address": self.server.url(), "role": "k10", "mountPath": mount,
                "serviceAccountTokenPath": token,
            }),
        )
    }
}

fn vault_secret(stage: &Stage, version: &str, mount: &str) -> Result<()> {
    create_secret(
        stage,
        "k10-dr-secret",
        &[
            "source=vault",
            &format!("vault-kv-version={version}"),
            &format!("vault-mount-path={mount}"),
            "vault-secret-path=k10",
            "key=passphrase",
        ],
    )
}

fn raise(share: &Path, environment: &[(&str, &str)]) -> Result<Stage> {
    fs::create_dir_all(share.join(ORIGIN))?;
    let stage = Stage::raise_in(block_on(ControlPlane::start())?, share, environment)?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    Ok(stage)
}

fn enable(stage: &Stage) -> Result<()> {
    assert_said(&stage.keelson(&["dr", "enable", "--profile", "vault"])?, 0, &[]);
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);
    wait_until_shipped(stage)
}

/// The repository that the platform ships to.
fn repository(stage: &Stage) -> Result<Option<String>> {
    Ok(stage.status()?["disasterRecovery"]["repository"].as_str().map(str::to_owned))
}

/// The repositories of disaster recovery that a passphrase opens, for somebody who has that in a file and knows of no source.
fn opened_with(share: &Path, phrase: &str) -> Result<BTreeSet<String>> {
    let file = share.join("passphrase");
    fs::write(&file, phrase)?;
    let (folder, file) = (share.join(ORIGIN).display().to_string(), file.display().to_string());
    let place = ["--directory", &folder, "--passphrase-file", &file, "--output", "json"];
    let said = answer([&["tools", "discover"], &place[..]].concat())?;
    ensure!([0, 6].contains(&said.code), "{said:?}");
    let clusters: Vec<Value> = serde_json::from_str(&said.stdout)?;
    let chains = clusters.iter().flat_map(|cluster| cluster["chains"].as_array().into_iter().flatten());
    let opened = chains.filter(|chain| chain["opens"] == true);
    Ok(opened.filter_map(|chain| chain["repository"].as_str().map(str::to_owned)).collect())
}

/// Enables with what `prepare` puts into a cluster, loses that, and comes back on another prepared alike. It is what the
/// source holds that opens the backups: with something else there, which `put` writes, nothing is recovered.
fn protect_and_recover(
    environment: &[(&str, &str)],
    put: impl Fn(&str) -> Result<()>,
    prepare: impl Fn(&Stage, &str) -> Result<()>,
) -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise(share.directory(), environment)?;
    prepare(&source, "source")?;
    enable(&source)?;
    let (id, repository) = (source.cluster_id()?, repository(&source)?.context("nothing is shipped")?);
    source.instance.kill()?;
    drop(source);
    assert_eq!(opened_with(share.directory(), PHRASE)?, BTreeSet::from([repository]));
    assert_eq!(opened_with(share.directory(), OTHER_PHRASE)?, BTreeSet::new());

    let fresh = raise(share.directory(), environment)?;
    prepare(&fresh, "fresh")?;
    let ask = |verb: &str| fresh.keelson(&["dr", verb, "--profile", "vault", "--source-cluster-id", &id]);
    put(OTHER_PHRASE)?;
    assert_said(&ask("review")?, 6, &["opens with this passphrase", &id]);
    put(PHRASE)?;
    for verb in ["review", "restore"] {
        assert_said(&ask(verb)?, 0, &[]);
    }
    fresh.wait_valid("policy", DR_POLICY)
}

#[test]
fn a_passphrase_in_vault_is_read_with_a_token_when_enabling_and_when_recovering() -> Result<()> {
    let vault = Vault::start()?;
    let put = |phrase: &str| vault.put(phrase);
    protect_and_recover(&[], put, |stage, _| {
        vault_secret(stage, "KVv1", "first")?;
        vault.give_token(stage, "k10-first").map(drop)
    })
}

#[test]
fn the_platforms_account_signs_in_to_vault_for_a_secret_without_versions() -> Result<()> {
    let (vault, folder) = (Vault::start()?, tempfile::tempdir()?);
    let put = |phrase: &str| vault.put(phrase);
    protect_and_recover(&[], put, |stage, mount| {
        vault_secret(stage, "KVv1", "first")?;
        vault.give_role(stage, mount, "k10-first", folder.path())
    })
}

#[test]
fn the_platforms_account_signs_in_to_vault_for_a_secret_with_versions() -> Result<()> {
    let (vault, folder) = (Vault::start()?, tempfile::tempdir()?);
    let put = |phrase: &str| vault.put(phrase);
    protect_and_recover(&[], put, |stage, mount| {
        vault_secret(stage, "KVv2", "second")?;
        vault.give_role(stage, mount, "k10-second", folder.path())
    })
}

/// The keys of an infrastructure profile, which AWS knows.
fn give_keys(stage: &Stage) -> Result<()> {
    create_secret(
        stage,
        "aws-infra",
        &[
            "aws_access_key_id=AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE",
        ],
    )?;
    let secret = json!({ "apiVersion": "v1", "kind": "secret", "name": "aws-infra", "namespace": NAMESPACE });
    let credential = json!({ "secretType": "AwsAccessKey", "secret": secret });
    let infra = json!({ "type": "AWS", "aws": { "hasAccessForEBS": true }, "credential": credential });
    stage.apply(&profile("cloud", &json!({ "type": "Infra", "infra": infra })))?;
    stage.wait_valid("profile", "cloud")
}

#[test]
fn a_passphrase_in_aws_is_read_with_the_keys_of_an_infrastructure_profile() -> Result<()> {
    let aws = block_on(Moto::start(HERE))?;
    let put = |phrase: &str| aws.put_secret("k10/dr/passphrase", phrase).map(drop);
    put(PHRASE)?;
    let endpoint = aws.url();
    protect_and_recover(&[("AWS_ENDPOINT_URL", &endpoint)], put, |stage, _| {
        create_secret(
            stage,
            "k10-dr-secret",
            &["source=aws", "aws-region=us-east-1", "key=k10/dr/passphrase"],
        )?;
        let without = stage.keelson(&["dr", "enable", "--profile", "vault"])?;
        assert_said(&without, 3, &["no valid infrastructure profile of type AWS", "GetSecretValue"]);
        give_keys(stage)
    })
}

/// Says to everybody what AWS says to a key that it does not know. It ends with the test's process.
fn refuse_all_keys() -> Result<String> {
    const SAID: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>The \
        security token included in the request is invalid.</Message></Error></ErrorResponse>";
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The request comes in one piece or two; what is said does not depend on it.
            let read = stream.read(&mut [0; 16 << 10]);
            let head = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                SAID.len()
            );
            let said = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(SAID.as_bytes()));
            // Whoever closes a connection with something unread in it takes back what was said there.
            let timed = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let ended = stream.shutdown(Shutdown::Write);
            let rest = io::copy(&mut stream, &mut io::sink());
            drop((read, said, timed, ended, rest));
        }
    });
    Ok(endpoint)
}

#[test]
fn an_infrastructure_profile_whose_keys_aws_does_not_know_is_failed_with_the_reason() -> Result<()> {
    let endpoint = refuse_all_keys()?;
    let share = Supervisor::start("share")?;
    let plane = block_on(ControlPlane::start())?;
    let stage = Stage::raise_in(plane, share.directory(), &[("AWS_ENDPOINT_URL_STS", &endpoint)])?;
    ensure!(give_keys(&stage).is_err(), "the keys are taken");
    let status = stage.validation("profile", "cloud")?;
    assert_eq!(status["validation"], "Failed");
    let told = status["error"].to_string();
    for word in ["does not know the access key", "The security token included", "aws_access_key_id"] {
        ensure!(told.contains(word), "'{word}' is not in: {told}");
    }
    // A Secret that is mended is looked at by itself.
    stage.delete(&["secret", "aws-infra", "-n", NAMESPACE])?;
    stage.until("the missing Secret is told", || {
        let status = stage.validation("profile", "cloud")?;
        Ok(status["error"].to_string().contains("Secret 'kasten-io/aws-infra' does not exist").then_some(()))
    })
}

#[test]
fn a_source_that_gives_nothing_enables_nothing_and_one_that_goes_away_or_changes_is_noticed() -> Result<()> {
    let vault = Vault::start()?;
    let share = Supervisor::start("share")?;
    let stage = raise(share.directory(), &[])?;
    assert_nothing_is_enabled(&vault, &stage).context("a source that gives nothing")?;
    for secret in ["vault-creds", "k10-dr-secret"] {
        stage.delete(&["secret", secret, "-n", NAMESPACE])?;
    }
    let changed = assert_change_is_noticed(&vault, &stage, share.directory());
    changed.context("a source that goes away, and a value that changes")
}

/// What is not reached or not there: nothing is enabled, and the message says what to do. What is right enables in the end.
fn assert_nothing_is_enabled(vault: &Vault, stage: &Stage) -> Result<()> {
    let refused = |fields: &[(&str, &str)], words: &[&str]| -> Result<()> {
        stage.passphrase(fields)?;
        let said = stage.keelson(&["dr", "enable", "--profile", "vault"])?;
        ensure!(said.code != 0, "{said:?}");
        assert_said(&said, said.code, words);
        assert_eq!(stage.get(&["policy", DR_POLICY, "-n", NAMESPACE])?, None);
        Ok(())
    };
    let fields = |version: &'static str, mount, path, key| {
        [
            ("source", "vault"),
            ("vault-kv-version", version),
            ("vault-mount-path", mount),
            ("vault-secret-path", path),
            ("key", key),
        ]
    };
    let right = fields("KVv1", "first", "k10", "passphrase");
    refused(&right, &["ConfigMap 'kasten-io/keelson-vault'", "vault.address"])?;
    refused(&fields("KVv3", "first", "k10", "passphrase"), &["neither 'KVv1' nor 'KVv2'"])?;
    tell_of_vault(stage, json!({ "address": vault.server.url() }))?;
    refused(&right, &["neither a role nor a token", "vault.secretName"])?;
    tell_of_vault(stage, json!({ "address": vault.server.url(), "secretName": "vault-creds" }))?;
    refused(&right, &["Secret 'kasten-io/vault-creds' does not exist", "vault_token"])?;
    vault.give_token(stage, "k10-first")?;
    refused(&fields("KVv2", "first", "k10", "passphrase"), &["KVv2"])?;
    refused(&fields("KVv1", "first", "k10", "password"), &["no key 'password'", "'passphrase'"])?;
    // Flags write the same Secret.
    let flags = ["--vault-mount", "first", "--vault-path", "k10", "--vault-key", "passphrase"];
    let enable = ["dr", "enable", "--profile", "vault", "--vault-kv-version", "KVv1"];
    assert_said(&stage.keelson(&[&enable[..], &flags].concat())?, 0, &[]);
    let secret = stage.get(&["secret", "k10-dr-secret", "-n", NAMESPACE])?.context("the Secret")?;
    let names: Vec<_> = secret["data"].as_object().context("data")?.keys().map(String::as_str).collect();
    assert_eq!(names, ["key", "source", "vault-kv-version", "vault-mount-path", "vault-secret-path"]);
    Ok(())
}

fn readable(stage: &Stage) -> Result<Option<String>> {
    let policy = stage.dr_policy()?;
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let away = conditions.iter().find(|one| one["type"] == "PassphraseReadable" && one["status"] == "False");
    Ok(away.map(|one| one["message"].as_str().unwrap_or_default().to_owned()))
}

/// A source that goes away is told, and a value that changes is taken up.
fn assert_change_is_noticed(vault: &Vault, stage: &Stage, share: &Path) -> Result<()> {
    let token = vault.give_token(stage, "k10-second")?;
    vault_secret(stage, "KVv2", "second")?;
    enable(stage)?;
    let is_readable = || -> Result<Option<()>> { Ok(readable(stage)?.is_none().then_some(())) };
    stage.until("the source is told to be there", is_readable)?;
    let before = repository(stage)?.context("nothing is shipped")?;

    vault.revoke(&token)?;
    touch_secret(stage, "revoked")?;
    let why = stage.until("the source is told to be away", || readable(stage))?;
    ensure!(why.contains("expired"), "{why}");
    let policy = stage.dr_policy()?;
    assert_eq!(policy["status"]["validation"], "Success");
    stage.wait_event(&policy, "PassphraseSourceFailed")?;
    // What is protected stays so.
    stage.profile("later", "later")?;
    stage.wait_valid("profile", "later")?;
    assert_said(&stage.keelson(&["dr", "run"])?, 0, &[]);
    wait_until_shipped(stage)?;

    // A rotated token needs no restart, and the new value gets slots of its own.
    stage.delete(&["secret", "vault-creds", "-n", NAMESPACE])?;
    vault.give_token(stage, "k10-second")?;
    vault.put(OTHER_PHRASE)?;
    touch_secret(stage, "rotated")?;
    stage.until("the source is told to be there again", is_readable)?;
    let renewed = stage.until("there is a repository for the new passphrase", || {
        Ok(repository(stage)?.filter(|renewed| *renewed != before))
    })?;
    wait_until_shipped(stage)?;
    stage.until("the new passphrase opens it", || {
        Ok(opened_with(share, OTHER_PHRASE)?.contains(&renewed).then_some(()))
    })?;
    ensure!(!opened_with(share, PHRASE)?.contains(&renewed), "the old passphrase opens {renewed}");
    Ok(())
}

#[test]
fn the_page_warns_that_a_token_on_the_command_line_stays_in_the_shells_history() -> Result<()> {
    let command = format!(
        "kubectl create secret generic vault-creds --namespace {NAMESPACE} --from-literal vault_token=<token>"
    );
    let (_, behind) = PAGE.split_once(&command).context("the command is not on the page")?;
    let warning = behind.trim_start_matches(['`', '\n']).lines().next().unwrap_or_default();
    assert!(warning.contains("shell's history"), "{warning}");
    assert!(warning.contains("`--from-file vault_token=<file>` does not"), "{warning}");
    Ok(())
}
