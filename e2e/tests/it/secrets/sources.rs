//! Passphrases that are kept elsewhere, and what signs in there.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{KvVersion, Moto, OpenBao};
use serde_json::{Value, json};

use super::{FURTHER, Overheard, Planted, SECOND};
use crate::stage::{NAMESPACE, Stage, block_on, profile};

const OF_VAULT: &str = "planted passphrase in Vault bC1";
const OF_AWS: &str = "planted passphrase in AWS dF3";
const KEY_OF_AWS: &str = "plantedSecretAccessKeyOfAws0123456789abcd";
const WRONG_TOKEN: &str = "s.plantedTokenThatNobodyKnows";

fn secret(stage: &Stage, name: &str, key: &str, value: &str) -> Result<()> {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": NAMESPACE },
        "stringData": { key: value },
    }))
}

/// The platform takes its passphrase from Vault and then from AWS, gets each of them wrong, and ends with those that it had.
/// The servers answer as long as the platform is listened to.
pub(super) fn keep_elsewhere(overheard: &mut Overheard<'_>, aws: &Moto) -> Result<Vec<Planted>> {
    let server = block_on(OpenBao::start(Ipv4Addr::LOCALHOST.into()))?;
    let token = keep_in_vault(overheard, &server)?;
    keep_in_aws(overheard, aws)?;
    overheard.stage.passphrase(&[("key", SECOND), ("key-further", FURTHER)])?;
    overheard.enable_anew()?;
    let planted = [
        ("the passphrase in Vault", OF_VAULT),
        ("the passphrase in AWS", OF_AWS),
        ("the secret key of AWS", KEY_OF_AWS),
        ("a wrong token of Vault", WRONG_TOKEN),
        ("the token of Vault", token.as_str()),
    ];
    Ok(planted.map(|(what, secret)| Planted::new(what, secret.as_bytes())).into())
}

fn keep_in_vault(overheard: &mut Overheard<'_>, server: &OpenBao) -> Result<String> {
    let stage = overheard.stage;
    server.enable_kv("first", KvVersion::One)?;
    server.put("first", "k10", "passphrase", OF_VAULT)?;
    server.write_policy("k10", "path \"first/k10\" { capabilities = [\"read\"] }")?;
    let token = server.create_token("k10", "1h")?;
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "keelson-vault", "namespace": NAMESPACE },
        "data": { "address": server.url(), "secretName": "vault-creds" },
    }))?;
    let fields = |key| {
        [
            ("source", "vault"),
            ("vault-kv-version", "KVv1"),
            ("vault-mount-path", "first"),
            ("vault-secret-path", "k10"),
            ("key", key),
        ]
    };
    secret(stage, "vault-creds", "vault_token", WRONG_TOKEN)?;
    stage.passphrase(&fields("passphrase"))?;
    overheard.fails(&["dr", "enable", "--profile", "vault"])?;
    secret(stage, "vault-creds", "vault_token", &token)?;
    stage.passphrase(&fields("another"))?;
    overheard.fails(&["dr", "enable", "--profile", "vault"])?;
    stage.passphrase(&fields("passphrase"))?;
    overheard.enable_anew()?;
    // It was in force, and is away from here on.
    let revoked = server.bao().args(["token", "revoke", &token]).output()?;
    ensure!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    stage.kubectl(&["annotate", "secret", "k10-dr-secret", "-n", NAMESPACE, "touched=revoked"], "")?;
    stage.until("the source is told to be away", || {
        let conditions = stage.dr_policy()?["status"]["conditions"].clone();
        let conditions = conditions.as_array().context("conditions")?;
        let is_away = |one: &Value| one["type"] == "PassphraseReadable" && one["status"] == "False";
        Ok(conditions.iter().any(is_away).then_some(()))
    })?;
    Ok(token)
}

fn keep_in_aws(overheard: &mut Overheard<'_>, aws: &Moto) -> Result<()> {
    let stage = overheard.stage;
    aws.put_secret("k10/dr", OF_AWS)?;
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "aws-infra", "namespace": NAMESPACE },
        "stringData": { "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": KEY_OF_AWS },
    }))?;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "name": "aws-infra", "namespace": NAMESPACE });
    let credential = json!({ "secretType": "AwsAccessKey", "secret": secret });
    let infra = json!({ "type": "AWS", "credential": credential });
    stage.apply(&profile("cloud", &json!({ "type": "Infra", "infra": infra })))?;
    stage.wait_valid("profile", "cloud")?;
    let fields = |name| [("source", "aws"), ("aws-region", "us-east-1"), ("key", name)];
    stage.passphrase(&fields("absent"))?;
    overheard.fails(&["dr", "enable", "--profile", "vault"])?;
    stage.passphrase(&fields("k10/dr"))?;
    overheard.enable_anew()?;
    ensure!(stage.status()?["disasterRecovery"]["repository"].is_string(), "it is enabled");
    // The platform that comes back has no double of AWS, and the true one is not asked.
    stage.delete(&["profile", "cloud", "-n", NAMESPACE])
}
