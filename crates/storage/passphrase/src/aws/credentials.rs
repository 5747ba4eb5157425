//! From an identity to what signs requests: keys as they are, a web identity, the role of the machine, and the role that is
//! taken with any of them.

use std::path::Path;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::error::is_throttling;
use super::service::{Cloud, Said, xml_text};
use super::{AwsCredentials, AwsError, AwsIdentity};
use crate::SecretText;
use crate::transport::Answer;

const TOKEN_BYTES_MAX: u64 = 32 << 10;
/// The shortest that AWS grants; one use takes seconds.
const SECONDS: &str = "900";
const SESSION: &str = "keelson";

pub(super) async fn fetch(
    cloud: &Cloud<'_>,
    identity: &AwsIdentity,
) -> Result<Arc<AwsCredentials>, AwsError> {
    let (base, role) = match identity {
        AwsIdentity::Keys { credentials, role } => (Arc::clone(credentials), role),
        AwsIdentity::Surroundings { role } => (Arc::new(fetch_own(cloud).await?), role),
    };
    match role.as_deref().map(str::trim).filter(|role| !role.is_empty()) {
        None => Ok(base),
        Some(role) => assume(cloud, &base, role).await.map(Arc::new),
    }
}

async fn fetch_own(cloud: &Cloud<'_>) -> Result<AwsCredentials, AwsError> {
    match (&cloud.environment.web_identity_token_file, &cloud.environment.role_arn) {
        (Some(file), Some(role)) => assume_with_web_identity(cloud, file, role).await,
        (None, _) => fetch_of_machine(cloud).await,
        (Some(_), None) => Err(AwsError::NoWebRole),
    }
}

async fn assume(cloud: &Cloud<'_>, base: &AwsCredentials, role: &str) -> Result<AwsCredentials, AwsError> {
    let parameters = [
        ("Action", "AssumeRole"),
        ("RoleArn", role),
        ("RoleSessionName", SESSION),
        ("DurationSeconds", SECONDS),
    ];
    let answer = cloud.ask_sts(Some(base), &parameters).await?;
    if answer.status == 200 {
        return granted(&answer);
    }
    Err(match cloud.explain(&answer, Some(base)) {
        AwsError::Refused { status, code, message } if is_final(status, &code) => {
            AwsError::RoleRefused { role: role.to_owned(), code, message }
        }
        other => other,
    })
}

async fn assume_with_web_identity(
    cloud: &Cloud<'_>,
    file: &Path,
    role: &str,
) -> Result<AwsCredentials, AwsError> {
    let failed = |source| AwsError::ReadToken { path: file.to_owned(), source };
    let opened = tokio::fs::File::open(file).await.map_err(failed)?;
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX as usize));
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut token).await.map_err(failed)?;
    let session = cloud.environment.role_session_name.as_deref().unwrap_or(SESSION);
    let parameters = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("DurationSeconds", SECONDS),
        ("WebIdentityToken", token.trim()),
    ];
    let answer = cloud.ask_sts(None, &parameters).await?;
    if answer.status == 200 {
        return granted(&answer);
    }
    Err(match Said::of(&answer, None) {
        // A message could repeat the identity, of which the credentials to look for are not made yet.
        Some(Said { code, message }) if is_final(answer.status, &code) && !message.contains(token.trim()) => {
            AwsError::WebIdentityRefused { role: role.to_owned(), code, message }
        }
        Some(Said { code, message: _ }) => {
            AwsError::Refused { status: answer.status, code, message: String::new() }
        }
        None => AwsError::NotAws { status: answer.status },
    })
}

/// A refusal that asking again does not change. Whoever asks too often hears that with a status of his own fault.
fn is_final(status: u16, code: &str) -> bool {
    status < 500 && !is_throttling(code)
}

fn granted(answer: &Answer) -> Result<AwsCredentials, AwsError> {
    let read = || {
        let text = std::str::from_utf8(&answer.body).ok()?;
        let secret = |name: &str| xml_text(text, name).map(|value| SecretText::new(value.to_owned()));
        Some(AwsCredentials {
            access_key: xml_text(text, "AccessKeyId")?.to_owned(),
            secret_key: secret("SecretAccessKey")?,
            session_token: Some(secret("SessionToken")?),
        })
    };
    read().ok_or(AwsError::NotAws { status: answer.status })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfMachine {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

/// By the second version of the metadata service, which wants a token first.
async fn fetch_of_machine(cloud: &Cloud<'_>) -> Result<AwsCredentials, AwsError> {
    let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "300");
    let token = told(cloud.ask_metadata(Method::PUT, "api/token", lifetime).await?)?;
    let bearing = ("x-aws-ec2-metadata-token", token.trim());
    let folder = "meta-data/iam/security-credentials/";
    let roles = told(cloud.ask_metadata(Method::GET, folder, bearing).await?)?;
    let role = roles.lines().next().map(str::trim).unwrap_or_default();
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "+=,.@_-".contains(letter);
    if role.is_empty() || !role.chars().all(is_letter) {
        return Err(AwsError::NoInstanceRole { status: 200 });
    }
    let found = told(cloud.ask_metadata(Method::GET, &format!("{folder}{role}"), bearing).await?)?;
    let found: OfMachine =
        serde_json::from_str(&found).map_err(|_| AwsError::NoInstanceRole { status: 200 })?;
    Ok(AwsCredentials {
        access_key: found.access_key_id,
        secret_key: SecretText::new(found.secret_access_key),
        session_token: Some(SecretText::new(found.token)),
    })
}

fn told(answer: Answer) -> Result<Zeroizing<String>, AwsError> {
    let status = answer.status;
    let text = std::str::from_utf8(&answer.body).ok().filter(|_| status == 200);
    let text = text.map(|text| Zeroizing::new(text.to_owned()));
    text.ok_or(AwsError::NoInstanceRole { status })
}
