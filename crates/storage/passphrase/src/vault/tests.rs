//! Every answer of Vault that matters, from a server that answers by script.

use std::io::Write;

use keelson_hostile::{Bombardment, Target};
use keelson_model::{Chain, Classified, ErrorClass};
use tempfile::NamedTempFile;

use super::*;
use crate::scripted::{Heard, Scripted};

const TOKEN: &str = "s.planted-token";
const GRANTED: &str = "s.planted-granted";
const JWT: &str = "eyJhbGciOi.planted_claims.signature-1";
const FOUND_V1: &str = r#"{"data":{"passphrase":" kept in Vault\n","other":7}}"#;
const FOUND_V2: &str = r#"{"data":{"data":{"passphrase":"kept in versions"},"metadata":{"version":3}}}"#;
const MOUNTS: &str = "GET /v1/sys/internal/ui/mounts/secret";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const LOGIN: &str = "POST /v1/auth/kubernetes/login";
const REVOKE: &str = "POST /v1/auth/token/revoke-self";
const V1: &str = "GET /v1/secret/k10";
const V2: &str = "GET /v1/secret/data/k10";

type Script = &'static [(&'static str, u16, &'static str)];

/// What no line of the script answers is not there.
async fn serve(script: Script) -> Scripted {
    Scripted::start(move |heard: &Heard| {
        let line = heard.line();
        let reply = script.iter().find(|(wanted, ..)| *wanted == line);
        let absent = (404, r#"{"errors":[]}"#.to_owned());
        reply.map_or(absent, |(_, status, body)| (*status, (*body).to_owned()))
    })
    .await
}

fn field(engine: VaultEngine) -> VaultField<'static> {
    VaultField { engine, mount_path: "secret", secret_path: "k10", field: "passphrase" }
}

fn by_token(address: &str) -> VaultSettings {
    VaultSettings {
        address: address.to_owned(),
        namespace: None,
        authority: None,
        kubernetes: None,
        token: Some(SecretText::new(format!("{TOKEN}\n"))),
    }
}

struct Account {
    file: NamedTempFile,
}

impl Account {
    fn with(token: &str) -> Self {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(token.as_bytes()).unwrap();
        Self { file }
    }

    fn settings(&self, address: &str) -> VaultSettings {
        let (role, mount_path) = ("k10".to_owned(), "kubernetes".to_owned());
        let token_path = self.file.path().to_owned();
        let kubernetes = Some(KubernetesAuth { role, mount_path, token_path });
        VaultSettings { kubernetes, token: None, ..by_token(address) }
    }
}

#[tokio::test]
async fn a_token_reads_a_field_of_either_engine() {
    let server = serve(&[(V1, 200, FOUND_V1), (V2, 200, FOUND_V2)]).await;
    let mut settings = by_token(&server.address);
    settings.namespace = Some("team/backup".to_owned());
    let found = fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap();
    assert_eq!(found.as_slice(), b" kept in Vault\n", "nothing is trimmed");
    let found = fetch_passphrase(&settings, field(VaultEngine::V2)).await.unwrap();
    assert_eq!(found.as_slice(), b"kept in versions");
    for heard in server.heard() {
        assert_eq!(heard.headers["x-vault-token"], TOKEN, "{}", heard.line());
        assert_eq!(heard.headers["x-vault-namespace"], "team/backup");
        assert_eq!(heard.headers["x-vault-request"], "true");
    }
}

#[tokio::test]
async fn an_account_signs_in_with_its_token_of_now_and_gives_back_what_it_got() {
    const ANSWER: &str = r#"{"auth":{"client_token":"s.planted-granted","lease_duration":3600}}"#;
    let server = serve(&[(LOGIN, 200, ANSWER), (V2, 200, FOUND_V2), (REVOKE, 204, "")]).await;
    let account = Account::with(JWT);
    let mut settings = account.settings(&server.address);
    // Not asked for anything while the account is enough.
    settings.token = Some(SecretText::new(TOKEN.to_owned()));
    fetch_passphrase(&settings, field(VaultEngine::V2)).await.unwrap();
    std::fs::write(account.file.path(), "e30.replaced.e30").unwrap();
    fetch_passphrase(&settings, field(VaultEngine::V2)).await.unwrap();
    assert_eq!(server.lines(), [LOGIN, V2, REVOKE, LOGIN, V2, REVOKE]);
    let heard = server.heard();
    let said = |index: usize| serde_json::from_str::<serde_json::Value>(&heard[index].body).unwrap();
    assert_eq!(said(0), serde_json::json!({ "role": "k10", "jwt": JWT }));
    assert_eq!(said(3)["jwt"], "e30.replaced.e30");
    assert_eq!(heard[1].headers["x-vault-token"], GRANTED);
}

#[tokio::test]
async fn the_token_helps_where_the_account_does_not() {
    const DENIED: &str = r#"{"errors":["permission denied"]}"#;
    let server = serve(&[(LOGIN, 403, DENIED), (V1, 200, FOUND_V1)]).await;
    let account = Account::with(JWT);
    let mut settings = account.settings(&server.address);
    settings.token = Some(SecretText::new(TOKEN.to_owned()));
    fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap();

    let server = serve(&[(LOGIN, 403, DENIED), (V1, 403, DENIED), (LOOKUP, 403, DENIED)]).await;
    settings.address = server.address.clone();
    let error = fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap_err();
    assert_eq!(error.code(), "passphrase.vault.both_refused");
    let told = Chain(&error).to_string();
    assert!(told.contains("role 'k10'") && told.contains("expired"), "{told}");
}

async fn check(engine: VaultEngine, script: Script, code: &str, words: &[&str]) -> VaultError {
    let server = serve(script).await;
    let error = fetch_passphrase(&by_token(&server.address), field(engine)).await.unwrap_err();
    assert_told(&error, code, words);
    error
}

#[track_caller]
fn assert_told(error: &VaultError, code: &str, words: &[&str]) {
    let told = format!("{}; hint: {:?}", Chain(error), error.hint());
    assert_eq!(error.code(), code, "{told}");
    for word in words {
        assert!(told.contains(word), "'{word}' is not in: {told}");
    }
    for secret in [TOKEN, GRANTED, JWT, "kept in"] {
        assert!(!format!("{told} {error:?}").contains(secret), "{told}");
    }
}

#[tokio::test]
async fn each_refusal_to_read_is_told_apart() {
    use VaultEngine::{V1 as KV1, V2 as KV2};
    const DENIED: &str = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    const SEALED: &str = r#"{"errors":["Vault is sealed"]}"#;
    const NO_ROUTE: &str = r#"{"errors":["no handler for route \"secret/k10\". route entry not found."]}"#;
    const VERSIONED: &str =
        r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine."],"auth":null}"#;
    const DELETED: &str =
        r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-02T15:04:05Z","destroyed":false}}}"#;
    const OF_V1: &str = r#"{"data":{"type":"kv","path":"secret/","options":null}}"#;
    const OF_V2: &str = r#"{"data":{"type":"kv","path":"secret/","options":{"version":"2"}}}"#;
    const ECHO: &str = r#"{"errors":["what is s.planted-token?"]}"#;

    let sealed = check(KV1, &[(V1, 503, SEALED)], "passphrase.vault.sealed", &["unseal"]).await;
    assert_eq!(sealed.class(), ErrorClass::Unavailable { retry_after: None });
    let expired = &[(V1, 403, DENIED), (LOOKUP, 403, DENIED)];
    let expired = check(KV1, expired, "passphrase.vault.token_refused", &["expired", "vault_token"]).await;
    assert_eq!(expired.class(), ErrorClass::Denied);
    let denied = &[(V2, 403, DENIED), (LOOKUP, 200, "{}")];
    check(KV2, denied, "passphrase.vault.forbidden", &["'secret/data/k10'", "capabilities"]).await;
    let other = &[(V1, 403, DENIED), (LOOKUP, 200, "{}"), (MOUNTS, 200, OF_V2)];
    check(KV1, other, "passphrase.vault.engine_version", &["is KVv2, and KVv1"]).await;
    check(KV1, &[(V1, 404, NO_ROUTE)], "passphrase.vault.no_mount", &["'secret'", "vault-mount-path"]).await;
    check(KV1, &[(V1, 404, VERSIONED)], "passphrase.vault.engine_version", &["is KVv2, and KVv1"]).await;
    check(KV2, &[(MOUNTS, 200, OF_V1)], "passphrase.vault.engine_version", &["is KVv1, and KVv2"]).await;
    check(KV2, &[(MOUNTS, 200, OF_V2)], "passphrase.vault.no_secret", &["'secret/data/k10'"]).await;
    check(KV1, &[], "passphrase.vault.no_secret", &["'secret/k10'", "vault-secret-path"]).await;
    check(KV2, &[(V2, 404, DELETED)], "passphrase.vault.deleted", &["undelete"]).await;
    check(KV1, &[(V1, 307, "")], "passphrase.vault.redirected", &["active"]).await;
    check(KV1, &[(V1, 500, ECHO)], "passphrase.vault.refused", &["500", "not quoted"]).await;
    check(KV1, &[(V1, 502, "<html>")], "passphrase.vault.not_vault", &["502"]).await;
}

#[tokio::test]
async fn what_is_read_must_hold_the_field_as_text() {
    use VaultEngine::{V1 as KV1, V2 as KV2};
    const OTHERS: &str = r#"{"data":{"password":"kept in the wrong place","user":"x"}}"#;
    const NUMBER: &str = r#"{"data":{"passphrase":7}}"#;
    const EMPTY: &str = r#"{"data":{"passphrase":""}}"#;
    let keys = &["has no key 'passphrase'", "'password', 'user'"];
    check(KV1, &[(V1, 200, OTHERS)], "passphrase.vault.no_key", keys).await;
    // The path spells out what the second version puts in by itself.
    check(KV1, &[(V1, 200, FOUND_V2)], "passphrase.vault.engine_version", &["without 'data'"]).await;
    check(KV1, &[(V1, 200, NUMBER)], "passphrase.vault.key", &["not text"]).await;
    check(KV1, &[(V1, 200, EMPTY)], "passphrase.vault.key", &["empty"]).await;
    check(KV2, &[(V2, 200, "<html>")], "passphrase.vault.not_vault", &["200"]).await;
    check(KV2, &[(V2, 200, FOUND_V1)], "passphrase.vault.not_vault", &[]).await;

    let long = format!(r#"{{"data":{{"passphrase":"{}"}}}}"#, "x".repeat(PASSPHRASE_BYTES_MAX + 1));
    let server = Scripted::start(move |_| (200, long.clone())).await;
    let error = fetch_passphrase(&by_token(&server.address), field(KV1)).await.unwrap_err();
    assert_told(&error, "passphrase.vault.key", &["longer"]);
    let nested = "[".repeat(500_000);
    let server = Scripted::start(move |_| (200, nested.clone())).await;
    let error = fetch_passphrase(&by_token(&server.address), field(KV1)).await.unwrap_err();
    assert_told(&error, "passphrase.vault.not_vault", &[]);
}

fn is_taken(bytes: &[u8], engine: VaultEngine) -> bool {
    let answer = Answer { status: 200, body: Zeroizing::new(bytes.to_vec()) };
    let picked = pick(&answer, &field(engine));
    picked.is_ok_and(|phrase| {
        assert!(!phrase.is_empty() && phrase.len() <= PASSPHRASE_BYTES_MAX);
        true
    })
}

#[test]
fn whatever_the_bytes_they_are_a_passphrase_or_refused() {
    const TARGETS: &[Target] = &[
        ("without versions", |bytes| is_taken(bytes, VaultEngine::V1)),
        ("with versions", |bytes| is_taken(bytes, VaultEngine::V2)),
    ];
    let samples = vec![
        ("without versions", FOUND_V1.as_bytes().to_vec()),
        ("with versions", FOUND_V2.as_bytes().to_vec()),
    ];
    Bombardment::of(TARGETS, samples).run();
}

#[tokio::test]
async fn each_refusal_to_sign_in_is_told_apart() {
    const NO_ROLE: &str = r#"{"errors":["invalid role name \"k10\""]}"#;
    const UNBOUND: &str = r#"{"errors":["service account name not authorized"]}"#;
    const NO_ROUTE: &str = r#"{"errors":["no handler for route \"auth/kubernetes/login\""]}"#;
    const DENIED: &str = r#"{"errors":["permission denied"]}"#;
    const SEALED: &str = r#"{"errors":["error performing token check: Vault is sealed"]}"#;
    const ECHO: &str = r#"{"errors":["bad token eyJhbGciOi.planted_claims.signature-1"]}"#;
    let account = Account::with(JWT);
    for (status, body, code, word) in [
        (400, NO_ROLE, "passphrase.vault.no_role", "invalid role name"),
        (403, DENIED, "passphrase.vault.role_unbound", "bound_service_account_names"),
        (500, UNBOUND, "passphrase.vault.role_unbound", "k10-k10"),
        (404, NO_ROUTE, "passphrase.vault.no_auth_mount", "vault.mountPath"),
        (503, SEALED, "passphrase.vault.sealed", "unseal"),
        (403, ECHO, "passphrase.vault.role_unbound", "not quoted"),
        (418, DENIED, "passphrase.vault.refused", "418"),
        (200, "{}", "passphrase.vault.not_vault", "200"),
    ] {
        let server = Scripted::start(move |_| (status, body.to_owned())).await;
        let settings = account.settings(&server.address);
        let error = fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap_err();
        assert_told(&error, code, &[word]);
    }
}

#[tokio::test]
async fn only_what_is_the_token_of_an_account_leaves_the_machine() {
    let server = serve(&[]).await;
    for content in ["", "planted of another kind", "a.b", "a.b.c d", "a..c", &"a.b.c".repeat(9000)] {
        let account = Account::with(content);
        let error = fetch_passphrase(&account.settings(&server.address), field(VaultEngine::V1)).await;
        assert_told(&error.unwrap_err(), "passphrase.vault.no_account_token", &["serviceAccountTokenPath"]);
    }
    let mut settings = Account::with(JWT).settings(&server.address);
    let error = fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap_err();
    assert_told(&error, "passphrase.vault.read_account_token", &[]);
    settings.kubernetes = None;
    let error = fetch_passphrase(&settings, field(VaultEngine::V1)).await.unwrap_err();
    assert_told(&error, "passphrase.vault.no_sign_in", &["vault.role", "vault.secretName"]);
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_path_leads_where_it_says() {
    let server = serve(&[("GET /v1/team%20a/kv/dr/k10%3Fx%23", 200, FOUND_V1)]).await;
    let place = |mount_path, secret_path| VaultField {
        engine: VaultEngine::V1,
        mount_path,
        secret_path,
        field: "passphrase",
    };
    let settings = by_token(&server.address);
    fetch_passphrase(&settings, place("/team a/kv/", "dr/k10?x#")).await.unwrap();
    for (mount, secret) in [("secret", "../sys/raw"), ("secret", "a//b"), ("", "k10"), ("secret", "/")] {
        let error = fetch_passphrase(&settings, place(mount, secret)).await.unwrap_err();
        assert_told(&error, "passphrase.vault.path", &[]);
    }
    let error = fetch_passphrase(&by_token("vault:8200"), place("a", "b")).await.unwrap_err();
    assert_told(&error, "passphrase.vault.address", &["http"]);
    let free = by_token("http://127.0.0.1:1");
    let error = fetch_passphrase(&free, place("a", "b")).await.unwrap_err();
    assert_told(&error, "passphrase.vault.reach", &["refused", "vault.address"]);
}
