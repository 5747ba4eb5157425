//! Every answer of AWS that matters, from a server that answers by script.

use std::io::Write;

use keelson_hostile::{Bombardment, Target};
use keelson_model::{Chain, Classified, ErrorClass};
use tempfile::NamedTempFile;

use super::*;
use crate::scripted::{Heard, Scripted};

const SECRET_KEY: &str = "planted/secret/key";
const TEMPORARY: &str = "<R><Credentials><AccessKeyId>ASIATEMPORARY</AccessKeyId>\
    <SecretAccessKey>planted/temporary</SecretAccessKey><SessionToken>planted-session==</SessionToken>\
    </Credentials></R>";
const FOUND: &str = r#"{"Name":"k10/dr","SecretString":"kept in AWS "}"#;
const NOW: &str = "2026-01-02T15:04:05Z";

fn keys(role: Option<&str>) -> AwsIdentity {
    let credentials = AwsCredentials {
        access_key: "AKIAEXAMPLE".to_owned(),
        secret_key: SecretText::new(SECRET_KEY.to_owned()),
        session_token: None,
    };
    AwsIdentity::Keys { credentials: Arc::new(credentials), role: role.map(str::to_owned) }
}

fn settings(address: &str, identity: AwsIdentity) -> AwsSettings {
    let metadata_endpoint = Some(address.to_owned());
    let environment =
        AwsEnvironment { endpoint: Some(address.to_owned()), metadata_endpoint, ..AwsEnvironment::default() };
    AwsSettings { identity, environment }
}

fn secret(json_field: Option<&'static str>) -> AwsSecret<'static> {
    AwsSecret { region: "eu-west-3", name: "k10/dr", json_field }
}

async fn fetch(settings: &AwsSettings) -> Result<Zeroizing<Vec<u8>>, AwsError> {
    fetch_passphrase(settings, secret(None), NOW.parse().unwrap()).await
}

fn is_sts(heard: &Heard) -> bool {
    !heard.headers.contains_key("x-amz-target")
}

/// What is signed is the host, the time and the operation, by whose key and for which service.
#[tokio::test]
async fn keys_sign_a_request_for_the_secret() {
    let server = Scripted::start(|_| (200, FOUND.to_owned())).await;
    let found = fetch(&settings(&server.address, keys(None))).await.unwrap();
    assert_eq!(found.as_slice(), b"kept in AWS ", "nothing is trimmed");
    let heard = &server.heard()[0];
    assert_eq!(heard.line(), "POST /");
    assert_eq!(heard.headers["x-amz-target"], "secretsmanager.GetSecretValue");
    assert_eq!(heard.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(heard.headers["x-amz-date"], "20260102T150405Z");
    assert_eq!(heard.body, r#"{"SecretId":"k10/dr"}"#);
    let signed = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260102/eu-west-3/secretsmanager/aws4_request, \
                  SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=";
    assert!(heard.headers["authorization"].starts_with(signed), "{}", heard.headers["authorization"]);
}

#[tokio::test]
async fn a_role_is_taken_before_the_secret_is_asked_for() {
    let script = |heard: &Heard| (200, if is_sts(heard) { TEMPORARY } else { FOUND }.to_owned());
    let server = Scripted::start(script).await;
    fetch(&settings(&server.address, keys(Some("arn:aws:iam::1:role/dr")))).await.unwrap();
    let heard = server.heard();
    assert!(heard[0].body.contains("Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fdr&"));
    assert!(heard[0].headers["authorization"].contains("/sts/aws4_request"));
    assert_eq!(heard[1].headers["x-amz-security-token"], "planted-session==");
    let authorization = &heard[1].headers["authorization"];
    assert!(authorization.contains("Credential=ASIATEMPORARY/"), "{authorization}");
    assert!(authorization.contains("x-amz-security-token;x-amz-target"), "{authorization}");
}

#[tokio::test]
async fn a_web_identity_is_taken_as_its_file_holds_it_now() {
    let script = |heard: &Heard| (200, if is_sts(heard) { TEMPORARY } else { FOUND }.to_owned());
    let server = Scripted::start(script).await;
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"planted.web.identity\n").unwrap();
    let mut settings = settings(&server.address, AwsIdentity::Surroundings { role: None });
    settings.environment.web_identity_token_file = Some(file.path().to_owned());
    assert_eq!(fetch(&settings).await.unwrap_err().code(), "passphrase.aws.no_web_role");
    settings.environment.role_arn = Some("arn:aws:iam::1:role/eks".to_owned());
    fetch(&settings).await.unwrap();
    let heard = server.heard();
    assert!(!heard[0].headers.contains_key("authorization"), "there is nothing to sign with yet");
    assert!(heard[0].body.contains("Action=AssumeRoleWithWebIdentity&"), "{}", heard[0].body);
    assert!(heard[0].body.ends_with("WebIdentityToken=planted%2Eweb%2Eidentity"), "{}", heard[0].body);

    let refusal = "<E><Error><Code>InvalidIdentityToken</Code><Message>no provider</Message></Error></E>";
    let server = Scripted::start(move |_| (400, refusal.to_owned())).await;
    settings.environment.endpoint = Some(server.address.clone());
    let error = fetch(&settings).await.unwrap_err();
    assert_told(&error, "passphrase.aws.web_identity_refused", &["role/eks", "InvalidIdentityToken"]);
    settings.environment.web_identity_token_file = Some("/nowhere/at-all".into());
    assert_eq!(fetch(&settings).await.unwrap_err().code(), "passphrase.aws.read_web_identity");
}

#[tokio::test]
async fn without_either_the_machine_is_asked_for_its_role() {
    let server = Scripted::start(|heard: &Heard| {
        let known = match heard.line().as_str() {
            "PUT /latest/api/token" => "planted-metadata-token",
            "GET /latest/meta-data/iam/security-credentials/" => "backup-node\n",
            "GET /latest/meta-data/iam/security-credentials/backup-node" => {
                r#"{"Code":"Success","AccessKeyId":"ASIAMACHINE","SecretAccessKey":"planted","Token":"planted-t"}"#
            }
            "POST /" => FOUND,
            _ => return (404, String::new()),
        };
        (200, known.to_owned())
    })
    .await;
    fetch(&settings(&server.address, AwsIdentity::Surroundings { role: None })).await.unwrap();
    let heard = server.heard();
    assert_eq!(heard[0].headers["x-aws-ec2-metadata-token-ttl-seconds"], "300");
    assert_eq!(heard[2].headers["x-aws-ec2-metadata-token"], "planted-metadata-token");
    assert_eq!(heard[3].headers["x-amz-security-token"], "planted-t");

    let server = Scripted::start(|_| (404, String::new())).await;
    let error =
        fetch(&settings(&server.address, AwsIdentity::Surroundings { role: None })).await.unwrap_err();
    assert_told(&error, "passphrase.aws.no_instance_role", &["404", "aws_access_key_id"]);
    let mut alone = settings(&server.address, AwsIdentity::Surroundings { role: None });
    alone.environment.metadata_endpoint = Some("http://127.0.0.1:1".to_owned());
    assert_told(&fetch(&alone).await.unwrap_err(), "passphrase.aws.no_instance", &["refused"]);
}

#[track_caller]
fn assert_told(error: &AwsError, code: &str, words: &[&str]) {
    let told = format!("{}; hint: {:?}", Chain(error), error.hint());
    assert_eq!(error.code(), code, "{told}");
    for word in words {
        assert!(told.contains(word), "'{word}' is not in: {told}");
    }
    for secret in [SECRET_KEY, "planted", "kept in"] {
        assert!(!format!("{told} {error:?}").contains(secret), "{told}");
    }
}

#[tokio::test]
async fn each_refusal_is_told_apart() {
    let check = async |status: u16, kind: &str, message: &str, code: &str, class: ErrorClass| {
        let body = format!(r#"{{"__type":"com.amazonaws#{kind}","Message":"{message}"}}"#);
        let server = Scripted::start(move |_| (status, body.clone())).await;
        let error = fetch(&settings(&server.address, keys(None))).await.unwrap_err();
        assert_told(&error, code, &[]);
        assert_eq!(error.class(), class, "{kind}");
    };
    let away = ErrorClass::Unavailable { retry_after: None };
    let (denied, absent, invalid) = (ErrorClass::Denied, ErrorClass::NotFound, ErrorClass::Invalid);
    check(400, "ResourceNotFoundException", "x", "passphrase.aws.no_secret", absent).await;
    check(400, "AccessDeniedException", "user x", "passphrase.aws.denied", denied).await;
    check(400, "InvalidRequestException", "marked deleted", "passphrase.aws.deleted", absent).await;
    check(400, "DecryptionFailure", "no key", "passphrase.aws.undecryptable", denied).await;
    check(400, "UnrecognizedClientException", "x", "passphrase.aws.keys_unknown", denied).await;
    check(400, "InvalidSignatureException", "expired", "passphrase.aws.keys_wrong", denied).await;
    check(400, "ExpiredTokenException", "x", "passphrase.aws.keys_expired", denied).await;
    check(400, "ThrottlingException", "x", "passphrase.aws.refused", away).await;
    check(500, "InternalServiceError", "x", "passphrase.aws.refused", away).await;
    check(400, "ValidationException", "x", "passphrase.aws.refused", invalid).await;
    // One that repeats what signs is not quoted.
    check(400, "ValidationException", SECRET_KEY, "passphrase.aws.refused", invalid).await;
    // Who asks for a role too often may ask again; that was told as if the role was never given.
    let busy = "<E><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></E>";
    let server = Scripted::start(move |_| (400, busy.to_owned())).await;
    let asking = settings(&server.address, keys(Some("arn:aws:iam::1:role/dr")));
    let error = fetch(&asking).await.unwrap_err();
    assert_told(&error, "passphrase.aws.refused", &["Rate exceeded"]);
    assert_eq!(error.class(), away);
    let server = Scripted::start(|_| (200, "<html>".to_owned())).await;
    assert_told(
        &fetch(&settings(&server.address, keys(None))).await.unwrap_err(),
        "passphrase.aws.not_aws",
        &[],
    );
    let free = settings("http://127.0.0.1:1", keys(None));
    assert_told(&fetch(&free).await.unwrap_err(), "passphrase.aws.reach", &["127.0.0.1:1", "refused"]);
    let odd = settings("localhost:5000", keys(None));
    assert_told(&fetch(&odd).await.unwrap_err(), "passphrase.aws.endpoint", &["AWS_ENDPOINT_URL"]);
    let elsewhere = AwsSecret { region: "eu-west-3.evil.test/", ..secret(None) };
    let error = fetch_passphrase(&free, elsewhere, NOW.parse().unwrap()).await.unwrap_err();
    assert_told(&error, "passphrase.aws.region", &["aws-region"]);
}

#[test]
fn a_json_secret_gives_the_field_that_is_meant() {
    let check = |value: &str, field: Option<&'static str>, expected: Result<&str, &str>| {
        let body = serde_json::json!({ "SecretString": value }).to_string();
        let found = pick(body.as_bytes(), secret(field));
        let found = found.as_ref().map(|found| std::str::from_utf8(found).unwrap());
        assert_eq!(found.map_err(|error| error.code().rsplit('.').next().unwrap()), expected, "{value}");
    };
    check("as it is", None, Ok("as it is"));
    check(r#"{"phrase":"the only one"}"#, None, Ok("the only one"));
    check(r#"{"phrase":"this","user":"x"}"#, Some("phrase"), Ok("this"));
    check(r#"{"phrase":"a \"quoted\" one"}"#, Some("phrase"), Ok("a \"quoted\" one"));
    check(r#"["no","object"]"#, None, Ok(r#"["no","object"]"#));
    check(r#"{"phrase": cut"#, None, Ok(r#"{"phrase": cut"#));
    check(r#"{"phrase":"this","user":"x"}"#, None, Err("several_fields"));
    check("{}", None, Err("several_fields"));
    check(r#"{"user":"x"}"#, Some("phrase"), Err("no_field"));
    check("as it is", Some("phrase"), Err("not_json"));
    check(r#"{"phrase":7}"#, None, Err("field"));
    check("", None, Err("value"));
    check(r#"{"phrase":""}"#, None, Err("value"));
    let binary = pick(br#"{"SecretBinary":"AAEC"}"#, secret(None));
    assert_told(&binary.unwrap_err(), "passphrase.aws.binary", &["SecretString"]);
    let several = pick(br#"{"SecretString":"{\"b\":\"kept in\",\"a\":\"x\"}"}"#, secret(None));
    assert_told(&several.unwrap_err(), "passphrase.aws.several_fields", &["'a', 'b'", "aws-secret-key"]);
}

fn is_taken(bytes: &[u8], field: Option<&'static str>) -> bool {
    let picked = pick(bytes, secret(field));
    picked.is_ok_and(|phrase| {
        assert!(!phrase.is_empty() && phrase.len() <= PASSPHRASE_BYTES_MAX);
        true
    })
}

#[test]
fn whatever_the_bytes_they_are_a_passphrase_or_refused() {
    const TARGETS: &[Target] = &[
        ("secret", |bytes| is_taken(bytes, None)),
        ("field of a secret", |bytes| is_taken(bytes, Some("phrase"))),
    ];
    let of_field = serde_json::json!({ "SecretString": r#"{"phrase":"this","user":"x"}"# }).to_string();
    let samples = vec![("secret", FOUND.as_bytes().to_vec()), ("field of a secret", of_field.into_bytes())];
    Bombardment::of(TARGETS, samples).run();
}

async fn identity(settings: &AwsSettings, region: Option<&str>) -> Result<String, AwsError> {
    check_identity(settings, region, NOW.parse().unwrap()).await
}

#[tokio::test]
async fn an_identity_is_looked_at_where_aws_knows_it() {
    let told = "<R><Arn>arn:aws:iam::1:user/k10</Arn><UserId>U</UserId></R>";
    let server = Scripted::start(move |_| (200, told.to_owned())).await;
    let mut settings = settings(&server.address, keys(None));
    assert_eq!(identity(&settings, None).await.unwrap(), "arn:aws:iam::1:user/k10");
    assert!(server.heard()[0].body.contains("Action=GetCallerIdentity"));
    assert!(server.heard()[0].headers["authorization"].contains("/us-east-1/sts/"));
    // Keys of GovCloud are known nowhere else: asked for in the usual region they were never valid.
    identity(&settings, Some("us-gov-west-1")).await.unwrap();
    assert!(server.heard()[1].headers["authorization"].contains("/us-gov-west-1/sts/"));
    settings.environment.region = Some("cn-north-1".to_owned());
    identity(&settings, Some("us-gov-west-1")).await.unwrap();
    assert!(server.heard()[2].headers["authorization"].contains("/cn-north-1/sts/"));
}

#[tokio::test]
async fn a_refused_identity_names_the_region_that_was_asked_and_what_chose_it() {
    let check = async |code: &str, expected: &str, words: &[&str]| {
        let refusal = format!("<E><Error><Code>{code}</Code><Message>It is invalid.</Message></Error></E>");
        let server = Scripted::start(move |_| (403, refusal.clone())).await;
        let error = identity(&settings(&server.address, keys(None)), Some("us-gov-west-1")).await;
        let error = error.unwrap_err();
        let chosen = ["'us-gov-west-1'", "It is invalid.", "AWS_REGION", "aws-region of k10-dr-secret"];
        assert_told(&error, expected, &[&chosen[..], words].concat());
    };
    check("InvalidClientTokenId", "passphrase.aws.keys_unknown", &["aws_access_key_id"]).await;
    check("SignatureDoesNotMatch", "passphrase.aws.keys_wrong", &["aws_secret_access_key"]).await;
    let free = settings("http://127.0.0.1:1", keys(None));
    let error = identity(&free, Some("us-gov-west-1")).await.unwrap_err();
    assert_told(&error, "passphrase.aws.reach", &["127.0.0.1:1", "AWS_REGION", "aws-region"]);
}

#[test]
fn the_environment_is_read_by_its_usual_names() {
    let environment = AwsEnvironment::read(|name| match name {
        "AWS_DEFAULT_REGION" => Some("eu-west-3".to_owned()),
        "AWS_ENDPOINT_URL_STS" => Some("http://localhost:5000".to_owned()),
        "AWS_ROLE_ARN" => Some(" ".to_owned()),
        _ => None,
    });
    let expected = AwsEnvironment {
        region: Some("eu-west-3".to_owned()),
        sts_endpoint: Some("http://localhost:5000".to_owned()),
        ..AwsEnvironment::default()
    };
    assert_eq!(environment, expected);
}
