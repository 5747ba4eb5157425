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
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ExpirationStatus, ObjectLockEnabled, ObjectLockRetentionMode,
};
use zeroize::Zeroizing;

use super::S3Store;
use super::transport::Transport;
use super::trust::Trust;
use crate::{Capabilities, Operation, StoreError, StorePath};

const DEFAULT_REGION: &str = "us-east-1";

/// A text that is never printed.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// How firmly retention holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
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
    /// How firmly retention holds, where it is asked for.
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
            location,
            lock_mode: settings.lock_mode,
            capabilities: Capabilities {
                conditional_create: true,
                overwrite: true,
                versions: false,
                object_lock: false,
                expires_versions: false,
                listing_delay: Duration::ZERO,
            },
        };
        store.look().await?;
        store.capabilities.versions = store.ask_versions().await?;
        if store.capabilities.versions {
            store.capabilities.overwrite = false;
            store.capabilities.object_lock = store.ask_lock().await?;
            store.capabilities.expires_versions = store.ask_expiry().await?;
        }
        Ok(store)
    }

    /// A HEAD would do, but its errors come without a body that says what is wrong.
    async fn look(&self) -> Result<(), StoreError> {
        let answer = self.client.list_objects_v2().bucket(&self.bucket).max_keys(1).send().await;
        let answer = answer.map_err(|error| self.fault(Operation::Connect, &StorePath::root(), error))?;
        self.is_truncated(&StorePath::root(), answer.is_truncated).map(drop)
    }

    async fn ask_versions(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_bucket_versioning().bucket(&self.bucket).send().await;
        match answer {
            Ok(versioning) => Ok(versioning.status == Some(BucketVersioningStatus::Enabled)),
            Err(error) => self.cannot_tell(error),
        }
    }

    async fn ask_lock(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_object_lock_configuration().bucket(&self.bucket).send().await;
        match answer {
            Ok(lock) => {
                let enabled = lock.object_lock_configuration.and_then(|lock| lock.object_lock_enabled);
                Ok(enabled == Some(ObjectLockEnabled::Enabled))
            }
            Err(error) => self.cannot_tell(error),
        }
    }

    async fn ask_expiry(&self) -> Result<bool, StoreError> {
        let answer = self.client.get_bucket_lifecycle_configuration().bucket(&self.bucket).send().await;
        match answer {
            Ok(lifecycle) => Ok(lifecycle.rules().iter().any(|rule| {
                rule.status == ExpirationStatus::Enabled && rule.noncurrent_version_expiration.is_some()
            })),
            Err(error) => self.cannot_tell(error),
        }
    }

    /// A server that refuses to tell, does not know the question or has nothing set counts as without. Without
    /// locks nothing is promised that it does not hold.
    fn cannot_tell<E>(&self, error: aws_sdk_s3::error::SdkError<E>) -> Result<bool, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match self.fault(Operation::Connect, &StorePath::root(), error) {
            StoreError::Forbidden { .. } | StoreError::Refused { .. } | StoreError::NotFound { .. } => {
                Ok(false)
            }
            error => Err(error),
        }
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
