//! moto as AWS: keys, roles and web identities are taken as they are; what is told of secrets is what AWS tells.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keelson_model::passphrase::AwsSecret;
use keelson_model::{Chain, Classified};
use keelson_passphrase::SecretText;
use keelson_passphrase::aws::{
    AwsCredentials, AwsEnvironment, AwsError, AwsIdentity, AwsSettings, check_identity, fetch_passphrase,
};
use keelson_testkit::Moto;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: &str = "2026-01-02T15:04:05Z";
const PHRASE: &str = "kept in a double of AWS ";
const CHANGED: &str = "kept there since then";
const ROLE: &str = "arn:aws:iam::123456789012:role/k10-dr";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn settings(server: &Moto, identity: AwsIdentity) -> AwsSettings {
    let endpoint = Some(server.url());
    AwsSettings { identity, environment: AwsEnvironment { endpoint, ..AwsEnvironment::default() } }
}

fn keys(role: Option<&str>) -> AwsIdentity {
    let credentials = AwsCredentials {
        access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret_key: SecretText::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: None,
    };
    AwsIdentity::Keys { credentials: Arc::new(credentials), role: role.map(str::to_owned) }
}

fn named(name: &'static str) -> AwsSecret<'static> {
    AwsSecret { region: "us-east-1", name, json_field: None }
}

async fn check_read(settings: &AwsSettings, secret: AwsSecret<'_>) -> Result<()> {
    let found = fetch_passphrase(settings, secret, now()).await?;
    ensure!(found.as_slice() == PHRASE.as_bytes(), "another passphrase is read");
    Ok(())
}

async fn refusal(settings: &AwsSettings, secret: AwsSecret<'_>) -> AwsError {
    fetch_passphrase(settings, secret, now()).await.unwrap_err()
}

#[tokio::test]
async fn a_secret_is_read_by_its_name_and_what_is_wrong_is_told_apart() -> Result<()> {
    let server = Moto::start(HERE).await?;
    server.put_secret("k10/dr/passphrase", PHRASE)?;
    server.put_secret("one-field", &serde_json::json!({ "phrase": PHRASE }).to_string())?;
    let two = serde_json::json!({ "phrase": PHRASE, "user": "x" }).to_string();
    server.put_secret("two-fields", &two)?;
    server.put_binary_secret("binary", &[0, 1, 2])?;
    let settings = settings(&server, keys(None));
    check_read(&settings, named("k10/dr/passphrase")).await?;
    check_read(&settings, named("one-field")).await?;
    check_read(&settings, AwsSecret { json_field: Some("phrase"), ..named("two-fields") }).await?;
    for (secret, code) in [
        (named("two-fields"), "passphrase.aws.several_fields"),
        (named("binary"), "passphrase.aws.binary"),
        (named("absent"), "passphrase.aws.no_secret"),
        (AwsSecret { json_field: Some("phrase"), ..named("k10/dr/passphrase") }, "passphrase.aws.not_json"),
    ] {
        let error = refusal(&settings, secret).await;
        assert_eq!(error.code(), code, "{}", Chain(&error));
    }
    // Asked anew each time: what stands there now is what counts.
    server.put_secret("k10/dr/passphrase", CHANGED)?;
    let found = fetch_passphrase(&settings, named("k10/dr/passphrase"), now()).await?;
    ensure!(found.as_slice() == CHANGED.as_bytes(), "the passphrase of before is read");
    Ok(())
}

#[tokio::test]
async fn a_role_a_web_identity_and_the_role_of_a_machine_lead_to_it_too() -> Result<()> {
    let server = Moto::start(HERE).await?;
    server.put_secret("k10/dr", PHRASE)?;
    check_read(&settings(&server, keys(Some(ROLE))), named("k10/dr")).await?;
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    // Its claims are those of an account, and nobody has signed it: the double does not look.
    std::fs::write(&token, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJrMTAtazEwIiwiaXNzIjoiaHR0cHM6Ly9rOHMifQ.c2ln")?;
    let mut of_the_pod = settings(&server, AwsIdentity::Surroundings { role: None });
    of_the_pod.environment.web_identity_token_file = Some(token);
    of_the_pod.environment.role_arn = Some(ROLE.to_owned());
    check_read(&of_the_pod, named("k10/dr")).await?;
    for role in [None, Some(ROLE.to_owned())] {
        let mut of_the_machine = settings(&server, AwsIdentity::Surroundings { role });
        of_the_machine.environment.metadata_endpoint = Some(server.url());
        check_read(&of_the_machine, named("k10/dr")).await?;
    }
    let arn = check_identity(&settings(&server, keys(None)), None, now()).await?;
    ensure!(arn.starts_with("arn:aws:"), "{arn}");
    Ok(())
}
