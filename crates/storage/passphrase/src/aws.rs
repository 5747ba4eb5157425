//! A secret in AWS Secrets Manager, and whether credentials of AWS are any good.
//!
//! Speaks the two services itself: one operation of the one and three of the other need no SDK. Temporary credentials are
//! fetched for each use and kept nowhere.

mod credentials;
mod environment;
mod error;
mod service;
mod sign;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use keelson_model::passphrase::AwsSecret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

pub use self::environment::AwsEnvironment;
pub use self::error::AwsError;
use self::service::{Cloud, xml_text};
use crate::PASSPHRASE_BYTES_MAX;
use crate::secret::{Fields, SecretText, names, text_of};
use crate::vault::FieldFault;

/// Who asks, and where the services are.
pub struct AwsSettings {
    pub identity: AwsIdentity,
    pub environment: AwsEnvironment,
}

/// Who asks.
pub enum AwsIdentity {
    /// Keys, and a role that is taken with them.
    Keys { credentials: Arc<AwsCredentials>, role: Option<String> },
    /// Whatever the platform runs as: a web identity where the environment names one, else the role of the machine. And
    /// a role that is taken with it.
    Surroundings { role: Option<String> },
}

/// What signs requests.
pub struct AwsCredentials {
    pub access_key: String,
    pub secret_key: SecretText,
    /// Of temporary ones.
    pub session_token: Option<SecretText>,
}

/// Where an identity is looked at when nothing says where.
const USUAL_REGION: &str = "us-east-1";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue<'a> {
    secret_id: &'a str,
}

/// Fetches the passphrase as it stands now.
pub async fn fetch_passphrase(
    settings: &AwsSettings,
    secret: AwsSecret<'_>,
    now: Timestamp,
) -> Result<Zeroizing<Vec<u8>>, AwsError> {
    let cloud = Cloud::new(&settings.environment, secret.region, now)?;
    let credentials = credentials::fetch(&cloud, &settings.identity).await?;
    let wanted = serde_json::to_vec(&GetSecretValue { secret_id: secret.name }).expect("texts are JSON");
    let body = cloud.get_secret_value(&credentials, wanted, secret).await?;
    pick(&body, secret)
}

/// Whose the credentials are, as AWS names it. Asks in the region of the environment, else in `region`: GovCloud, China and
/// a network that reaches one region know nothing of the usual one.
pub async fn check_identity(
    settings: &AwsSettings,
    region: Option<&str>,
    now: Timestamp,
) -> Result<String, AwsError> {
    let region = settings.environment.region.as_deref().or(region).unwrap_or(USUAL_REGION);
    let cloud = Cloud::new(&settings.environment, region, now)?;
    let credentials = credentials::fetch(&cloud, &settings.identity).await?;
    let answer = cloud.ask_sts(Some(&credentials), &[("Action", "GetCallerIdentity")]).await?;
    if answer.status != 200 {
        return Err(cloud.explain(&answer, Some(&credentials)));
    }
    let arn = std::str::from_utf8(&answer.body).ok().and_then(|text| xml_text(text, "Arn"));
    arn.map(str::to_owned).ok_or(AwsError::NotAws { status: answer.status })
}

#[derive(Deserialize)]
struct SecretValue<'a> {
    #[serde(rename = "SecretString", borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(rename = "SecretBinary", borrow, default)]
    binary: Option<&'a RawValue>,
}

fn pick(body: &[u8], secret: AwsSecret<'_>) -> Result<Zeroizing<Vec<u8>>, AwsError> {
    let value: SecretValue<'_> =
        serde_json::from_slice(body).map_err(|_| AwsError::NotAws { status: 200 })?;
    let name = || secret.name.to_owned();
    let text = match (value.text.and_then(text_of), value.binary) {
        (Some(text), _) => text,
        (None, Some(_)) => return Err(AwsError::Binary { name: name() }),
        (None, None) => return Err(AwsError::NotAws { status: 200 }),
    };
    let passphrase = choose(&text, secret)?;
    let fault = |fault| AwsError::Value { name: name(), fault };
    match passphrase.len() {
        0 => Err(fault(FieldFault::Empty)),
        length if length > PASSPHRASE_BYTES_MAX => Err(fault(FieldFault::TooLong)),
        _ => Ok(Zeroizing::new(passphrase.as_bytes().to_vec())),
    }
}

/// The whole text, or a field of it: the one that is asked for, or the only one there is.
fn choose(text: &str, secret: AwsSecret<'_>) -> Result<Zeroizing<String>, AwsError> {
    let name = || secret.name.to_owned();
    let fields = serde_json::from_str::<Fields<'_>>(text).ok();
    let (field, value) = match (secret.json_field, &fields) {
        (None, None) => return Ok(Zeroizing::new(text.to_owned())),
        (Some(field), None) => return Err(AwsError::NotJson { name: name(), field: field.to_owned() }),
        (Some(field), Some(fields)) => {
            let missing =
                || AwsError::NoField { name: name(), field: field.to_owned(), present: names(fields) };
            (field, *fields.get(field).ok_or_else(missing)?)
        }
        (None, Some(fields)) => match fields.first_key_value() {
            Some((field, value)) if fields.len() == 1 => (field.as_str(), *value),
            _ => return Err(AwsError::SeveralFields { name: name(), present: names(fields) }),
        },
    };
    text_of(value).ok_or_else(|| AwsError::Field { name: name(), field: field.to_owned() })
}
