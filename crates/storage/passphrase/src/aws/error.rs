//! Why AWS does not give the passphrase, or does not take credentials. Names what is missing or refused, never what signs.

use std::path::PathBuf;

use http::header::InvalidHeaderValue;
use keelson_model::{Classified, ErrorClass};

use crate::secret::listed;
use crate::transport::{Lost, TrustError};
use crate::vault::{FieldFault, class_of};

/// The passphrase cannot be had from AWS, or AWS does not know who asks.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("'{region}' is no region of AWS")]
    Region { region: String },
    #[error("the endpoint of '{service}' must be http:// or https:// with a host and perhaps a port")]
    Endpoint { service: &'static str },
    #[error("set up the way to AWS")]
    Trust { source: TrustError },
    #[error("the access key, the secret key or the token cannot be the value of a header")]
    KeysUnfit { source: InvalidHeaderValue },
    #[error("ask AWS")]
    Request { source: http::Error },
    #[error("reach '{host}'")]
    Reach { host: String, source: Lost },
    #[error("read the web identity from '{}'", path.display())]
    ReadToken { path: PathBuf, source: std::io::Error },
    #[error("a web identity is there, and no role for it")]
    NoWebRole,
    #[error("AWS does not give role '{role}' for the web identity ({code}): {message}")]
    WebIdentityRefused { role: String, code: String, message: String },
    #[error("neither keys nor a web identity are there, and the machine's metadata does not answer")]
    NoInstance { source: Lost },
    #[error("neither keys nor a web identity are there, and the machine has no role: status {status}")]
    NoInstanceRole { status: u16 },
    #[error("AWS does not give role '{role}' ({code}): {message}")]
    RoleRefused { role: String, code: String, message: String },
    #[error("AWS does not know the access key in region '{region}': {message}")]
    KeysUnknown { region: String, message: String },
    #[error("AWS does not take the signature in region '{region}': {message}")]
    KeysWrong { region: String, message: String },
    #[error("the credentials have expired: {message}")]
    KeysExpired { message: String },
    #[error("there is no secret '{name}' in region '{region}'")]
    NoSecret { name: String, region: String },
    #[error("reading secret '{name}' is denied: {message}")]
    Denied { name: String, message: String },
    #[error("secret '{name}' cannot be read, or is deleted: {message}")]
    Deleted { name: String, message: String },
    #[error("secret '{name}' cannot be decrypted: {message}")]
    Undecryptable { name: String, message: String },
    #[error("secret '{name}' is binary")]
    Binary { name: String },
    #[error("secret '{name}' {fault}")]
    Value { name: String, fault: FieldFault },
    #[error("secret '{name}' is no JSON object, of which field '{field}' could be taken")]
    NotJson { name: String, field: String },
    #[error("secret '{name}' has no field '{field}'; it has {}", listed(present))]
    NoField { name: String, field: String, present: Vec<String> },
    #[error(
        "secret '{name}' is a JSON object, and which field is meant is not said; it has {}",
        listed(present)
    )]
    SeveralFields { name: String, present: Vec<String> },
    #[error("field '{field}' of secret '{name}' is not text")]
    Field { name: String, field: String },
    #[error("what answers is not AWS: status {status} without what AWS says with it")]
    NotAws { status: u16 },
    #[error("AWS answers with status {status}, {code}: {message}")]
    Refused { status: u16, code: String, message: String },
}

pub(super) fn is_throttling(code: &str) -> bool {
    code.starts_with("Throttling")
}

impl Classified for AwsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Region { .. }
            | Self::Endpoint { .. }
            | Self::Trust { .. }
            | Self::KeysUnfit { .. }
            | Self::Request { .. }
            | Self::NoWebRole
            | Self::Binary { .. }
            | Self::Value { .. }
            | Self::NotJson { .. }
            | Self::SeveralFields { .. }
            | Self::Field { .. } => ErrorClass::Invalid,
            Self::ReadToken { .. }
            | Self::NoInstance { .. }
            | Self::NoInstanceRole { .. }
            | Self::NoSecret { .. }
            | Self::Deleted { .. }
            | Self::NoField { .. } => ErrorClass::NotFound,
            Self::WebIdentityRefused { .. }
            | Self::RoleRefused { .. }
            | Self::KeysUnknown { .. }
            | Self::KeysWrong { .. }
            | Self::KeysExpired { .. }
            | Self::Denied { .. }
            | Self::Undecryptable { .. } => ErrorClass::Denied,
            Self::Reach { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::Refused { code, .. } if is_throttling(code) => {
                ErrorClass::Unavailable { retry_after: None }
            }
            Self::NotAws { status } | Self::Refused { status, .. } => class_of(*status),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Region { .. } => "passphrase.aws.region",
            Self::Endpoint { .. } => "passphrase.aws.endpoint",
            Self::Trust { .. } => "passphrase.aws.trust",
            Self::KeysUnfit { .. } => "passphrase.aws.keys_unfit",
            Self::Request { .. } => "passphrase.aws.request",
            Self::Reach { .. } => "passphrase.aws.reach",
            Self::ReadToken { .. } => "passphrase.aws.read_web_identity",
            Self::NoWebRole => "passphrase.aws.no_web_role",
            Self::WebIdentityRefused { .. } => "passphrase.aws.web_identity_refused",
            Self::NoInstance { .. } => "passphrase.aws.no_instance",
            Self::NoInstanceRole { .. } => "passphrase.aws.no_instance_role",
            Self::RoleRefused { .. } => "passphrase.aws.role_refused",
            Self::KeysUnknown { .. } => "passphrase.aws.keys_unknown",
            Self::KeysWrong { .. } => "passphrase.aws.keys_wrong",
            Self::KeysExpired { .. } => "passphrase.aws.keys_expired",
            Self::NoSecret { .. } => "passphrase.aws.no_secret",
            Self::Denied { .. } => "passphrase.aws.denied",
            Self::Deleted { .. } => "passphrase.aws.deleted",
            Self::Undecryptable { .. } => "passphrase.aws.undecryptable",
            Self::Binary { .. } => "passphrase.aws.binary",
            Self::Value { .. } => "passphrase.aws.value",
            Self::NotJson { .. } => "passphrase.aws.not_json",
            Self::NoField { .. } => "passphrase.aws.no_field",
            Self::SeveralFields { .. } => "passphrase.aws.several_fields",
            Self::Field { .. } => "passphrase.aws.field",
            Self::NotAws { .. } => "passphrase.aws.not_aws",
            Self::Refused { .. } => "passphrase.aws.refused",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Region { .. } => {
                "aws-region of k10-dr-secret is the region that holds the secret, as us-east-1; AWS_REGION in the \
                 platform's environment, where it is set, is one too"
            }
            Self::Endpoint { .. } => {
                "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SECRETS_MANAGER and AWS_ENDPOINT_URL_STS in the platform's \
                 environment say where the services are"
            }
            Self::ReadToken { .. } | Self::NoWebRole => {
                "EKS sets AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN for a service account with a role"
            }
            Self::NoInstance { .. } | Self::NoInstanceRole { .. } => {
                "give the profile a Secret with aws_access_key_id and aws_secret_access_key, the platform's service \
                 account a role, or the machine one"
            }
            Self::WebIdentityRefused { .. } => {
                "the role's trust policy must name the platform's service account"
            }
            Self::RoleRefused { .. } => {
                "the role's trust policy must name who takes it, who needs sts:AssumeRole"
            }
            Self::KeysUnknown { .. } => {
                "is aws_access_key_id of the profile's Secret right, and is the key active?"
            }
            Self::KeysWrong { .. } => {
                "is aws_secret_access_key of the profile's Secret right, and is the clock?"
            }
            Self::NoSecret { .. } => "key of k10-dr-secret is the secret's name, aws-region where it lies",
            Self::Denied { .. } => {
                "the identity of the profile needs secretsmanager:GetSecretValue on the secret"
            }
            Self::Deleted { .. } => "aws secretsmanager restore-secret",
            Self::Undecryptable { .. } => "the identity of the profile needs kms:Decrypt on the secret's key",
            Self::Binary { .. } => "put the passphrase into SecretString",
            Self::NotJson { .. } | Self::NoField { .. } | Self::SeveralFields { .. } => {
                "aws-secret-key of k10-dr-secret names the field; without it the secret is the passphrase as it is, or \
                 has one field"
            }
            Self::Reach { .. } => "check the region, and what the network lets through",
            Self::Trust { .. }
            | Self::KeysUnfit { .. }
            | Self::Request { .. }
            | Self::KeysExpired { .. }
            | Self::Value { .. }
            | Self::Field { .. }
            | Self::NotAws { .. }
            | Self::Refused { .. } => return None,
        };
        Some(if self.may_be_of_the_region() { format!("{text}; {REGION_ASKED}") } else { text.to_owned() })
    }
}

/// Where an identity is looked at is nowhere in a profile.
const REGION_ASKED: &str = "an identity is asked for in the region of AWS_REGION in the platform's environment, else of \
                            aws-region of k10-dr-secret, else in us-east-1, and keys of GovCloud and of China are known \
                            in their own regions only";

impl AwsError {
    /// Whether another region could answer otherwise.
    fn may_be_of_the_region(&self) -> bool {
        matches!(self, Self::Reach { .. } | Self::KeysUnknown { .. } | Self::KeysWrong { .. })
    }
}
