//! How a bucket is opened: what the profile says, and what the server says of itself.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ExpirationStatus, LifecycleRule, ObjectLockEnabled, ObjectLockRetentionMode,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::S3Store;
use super::transport::Transport;
use super::trust::Trust;
use crate::error::Source;
use crate::{Capabilities, Operation, StoreError, StorePath};

const DEFAULT_REGION: &str = "us-east-1";

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// How firmly retention holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum LockMode {
    /// Whoever has the right to bypass it may still delete.
    #[default]
    Governance,
    /// Nobody may, not even the account's owner. Never chosen unless somebody asked for it.
    Compliance,
}

impl From<LockMode> for ObjectLockRetentionMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Governance => Self::Governance,
            LockMode::Compliance => Self::Compliance,
        }
    }
}

/// What a profile says of a bucket.
#[derive(Clone)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// The folder that is used: lifecycle rules for others do not matter. Paths are from the bucket's root all the same.
    pub path: StorePath,
    /// The server's URL; without it AWS. A server of its own is spoken to in path style.
    pub endpoint: Option<String>,
    /// Without it `us-east-1`.
    pub region: Option<String>,
    /// Names the credentials.
    pub access_key: String,
    /// Proves them.
    pub secret_key: Secret,
    /// Whose certificates the server may show.
    pub trust: Trust,
    /// How firmly retention holds, where it is asked for. A bucket whose own default is COMPLIANCE gets that: whoever
    /// made it asked for it.
    pub lock_mode: LockMode,
}

impl S3Settings {
    /// For messages: the bucket and its server, never the credentials.
    fn location(&self) -> String {
        match self.endpoint() {
            Some(endpoint) => format!("s3://{} at {endpoint}", self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }

    fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().map(str::trim).filter(|endpoint| !endpoint.is_empty())
    }

    fn region(&self) -> &str {
        let region = self.region.as_deref().map(str::trim).filter(|region| !region.is_empty());
        region.unwrap_or(DEFAULT_REGION)
    }

    /// An endpoint is `http` or `https`, a host, perhaps a port, and nothing else: what else it could hold is a
    /// mistake or a password.
    fn check(&self) -> Result<(), StoreError> {
        let fault = if self.bucket.is_empty() || self.bucket.contains(['/', '?', '#', '@']) {
            Some(SettingsFault::Bucket)
        } else if self.access_key.is_empty() || self.secret_key.0.is_empty() {
            Some(SettingsFault::Credentials)
        } else {
            self.endpoint()
                .and_then(|endpoint| (!is_plain_endpoint(endpoint)).then_some(SettingsFault::Endpoint))
        };
        match fault {
            Some(fault) => {
                let location = format!("s3://{}", self.bucket);
                Err(StoreError::Configure { location, source: fault.into() })
            }
            None => Ok(()),
        }
    }
}

fn is_plain_endpoint(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let schemed = matches!(uri.scheme_str(), Some("http" | "https"));
    let hosted = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    schemed && hosted && uri.path() == "/" && uri.query().is_none()
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
enum SettingsFault {
    #[error("a bucket's name is needed")]
    Bucket,
    #[error("an access key and a secret key are needed")]
    Credentials,
    #[error("the endpoint must be http:// or https:// with a host and perhaps a port")]
    Endpoint,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings").field("location", &self.location()).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Opens a bucket that is there already, and asks what it can do.
    ///
    /// # Errors
    ///
    /// Tells apart: settings that cannot be, a server that cannot be reached and why, credentials that are not
    /// accepted, a bucket that is missing or in another region, and a right to list that is missing.
    pub async fn connect(settings: S3Settings) -> Result<Self, StoreError> {
        settings.check()?;
        let location = settings.location();
        let tls = settings
            .trust
            .client_config()
            .map_err(|error| StoreError::Configure { location: location.clone(), source: error.into() })?;
        let transport = Transport::new(tls);
        let mut store = Self {
            client: client(&settings, transport.clone()),
            transport,
            bucket: settings.bucket,
            path: settings.path,
            location,
            lock_mode: settings.lock_mode,
            capabilities: Capabilities {
                conditional_create: true,
                overwrite: true,
                versions: false,
                object_lock: false,
                expires_versions: false,
                retention: None,
                listing_delay: Duration::ZERO,
            },
        };
        store.look().await?;
        store.capabilities.versions = told(store.ask_versions().await)?.unwrap_or(false);
        if store.capabilities.versions {
            store.capabilities.overwrite = false;
            let lock = told(store.ask_lock().await)?.flatten();
            store.capabilities.object_lock = lock.is_some();
            store.lock_mode = lock.flatten().unwrap_or(store.lock_mode);
        }
        let rules = told(store.ask_removing_rules().await)?.unwrap_or_default();
        store.capabilities.expires_versions = !rules.is_empty();
        Ok(store)
    }

    /// A HEAD would do, but its errors come without a body that says what is wrong.
    async fn look(&self) -> Result<(), StoreError> {
        let answer = self.client.list_objects_v2().bucket(&self.bucket).max_keys(1).send().await;
        let answer =
            answer.map_err(|error| name_right(self.fault(Operation::Connect, &StorePath::root(), error)))?;
        self.is_truncated(&StorePath::root(), answer.is_truncated).map(drop)
    }

    pub(super) async fn ask_versions(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_bucket_versioning().bucket(&self.bucket).send().await;
        let answer = answer.map_err(|error| self.fault(Operation::Connect, &StorePath::root(), error))?;
        Ok(answer.status == Some(BucketVersioningStatus::Enabled))
    }

    /// Nothing without locks; with them, the mode of the bucket's own default if it has one.
    pub(super) async fn ask_lock(&self) -> Result<Option<Option<LockMode>>, StoreError> {
        let answer = self.client.get_object_lock_configuration().bucket(&self.bucket).send().await;
        let answer = answer.map_err(|error| self.fault(Operation::Connect, &StorePath::root(), error))?;
        let lock = answer.object_lock_configuration;
        let Some(lock) = lock.filter(|lock| lock.object_lock_enabled == Some(ObjectLockEnabled::Enabled))
        else {
            return Ok(None);
        };
        let default = lock.rule.and_then(|rule| rule.default_retention).and_then(|default| default.mode);
        Ok(Some(match default {
            Some(ObjectLockRetentionMode::Compliance) => Some(LockMode::Compliance),
            Some(ObjectLockRetentionMode::Governance) => Some(LockMode::Governance),
            Some(_) | None => None,
        }))
    }

    /// The rules that remove what must stay: versions, or objects where no versions are kept.
    pub(super) async fn ask_removing_rules(&self) -> Result<Vec<String>, StoreError> {
        let answer = self.client.get_bucket_lifecycle_configuration().bucket(&self.bucket).send().await;
        let answer = answer.map_err(|error| self.fault(Operation::Connect, &StorePath::root(), error))?;
        let removes = |rule: &&LifecycleRule| match self.capabilities.versions {
            true => rule.noncurrent_version_expiration.is_some(),
            false => rule.expiration.as_ref().is_some_and(|when| when.days.is_some() || when.date.is_some()),
        };
        let rules = answer.rules().iter().filter(|rule| rule.status == ExpirationStatus::Enabled);
        let rules = rules.filter(removes).filter(|rule| touches(rule, &self.path));
        Ok(rules.map(|rule| rule.id.clone().unwrap_or_else(|| "without an id".to_owned())).collect())
    }
}

/// Without this right no bucket is opened; those that only protection needs are told by `check_protection`.
#[derive(Debug, thiserror::Error)]
#[error("listing the bucket needs the right s3:ListBucket")]
struct ListingRefused {
    source: Source,
}

fn name_right(error: StoreError) -> StoreError {
    match error {
        StoreError::Forbidden { operation, path, location, source } => {
            let source = ListingRefused { source }.into();
            StoreError::Forbidden { operation, path, location, source }
        }
        error => error,
    }
}

/// A rule without a prefix is for the whole bucket.
fn touches(rule: &LifecycleRule, folder: &StorePath) -> bool {
    let filter = rule.filter.as_ref();
    let inner =
        filter.and_then(|filter| filter.prefix.as_deref().or_else(|| filter.and.as_ref()?.prefix.as_deref()));
    #[expect(deprecated, reason = "servers still answer the older place of the prefix")]
    let prefix = inner.or(rule.prefix.as_deref()).unwrap_or_default();
    let folder = if folder.is_root() { String::new() } else { format!("{folder}/") };
    folder.starts_with(prefix) || prefix.starts_with(&folder)
}

/// A server that refuses to tell, does not know the question or has nothing set counts as without. Where protection
/// was asked for, `check_protection` tells the three apart.
fn told<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::Forbidden { .. } | StoreError::Refused { .. } | StoreError::NotFound { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn client(settings: &S3Settings, transport: Transport) -> Client {
    let secret_key = settings.secret_key.0.as_str();
    let credentials = Credentials::new(&settings.access_key, secret_key, None, None, "profile");
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region().to_owned()))
        .credentials_provider(credentials)
        .http_client(transport)
        // Deadlines are the transport's, repetition is a decorator's.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = settings.endpoint() {
        config = config.endpoint_url(endpoint).force_path_style(true);
    }
    Client::from_conf(config.build())
}
