//! From a profile to an opened store: which directory or bucket, with which credentials, rooted at the profile's path.
//!
//! Reads the profile and its Secret from the cluster each time, so that a changed credential counts at once.

mod ways;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keelson_crypto::Sha256;
use keelson_model::location::{
    DrTargetRefusal, FileStoreLocation, LocationSpec, ObjectStoreLocation, ObjectStoreProvider,
    ProfileHealth, ProfileKind, check_dr_target,
};
use keelson_model::{Chain, Classified, ClusterId, ErrorClass};
use keelson_resources::profile;
use keelson_store::decorators::{Backoff, Limit, Limits, Prefixed, Retained, Retry};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::s3::{LockMode, S3Settings, S3Store, Trust};
use keelson_store::{ListPage, ParsePathError, Store, StoreError, StorePath};
use keelson_workload::{NamespacedName, RequestError, Secret};
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::kinds;
use crate::layout;
use crate::ownership;
use crate::platform::Platform;
use crate::validation::faults_of;

/// A small object store answers this many calls at once without queueing them.
const LIMITS: Limits =
    Limits { calls_max: NonZeroUsize::new(32).expect("32 is not zero"), bytes_per_second_max: None };
/// A store that is busy or starts again is away for seconds. One that is silent takes longer to be given up once than this.
const OPENED_WITHIN: Duration = Duration::from_secs(15);
/// Where this platform has stored and nothing of it is left.
pub(crate) const EMPTIED_HINT: &str =
    "mount the share, or name the bucket, that has the backups; to begin anew, give the profile another path";

/// A store opened through a profile.
#[derive(Debug, Clone)]
pub struct Location {
    pub profile: String,
    pub store: Arc<dyn Store>,
    /// Tells places apart: two profiles of one bucket and path have the same.
    pub place: Place,
    /// Whoever keeps the store open compares it with what the profile and its Secret say later.
    pub(crate) opened_with: OpenedWith,
}

/// What a location is opened with. Of the Secret a digest that is never shown: two with the same values are the same.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OpenedWith {
    spec: Arc<LocationSpec>,
    secret: Option<Sha256>,
}

impl OpenedWith {
    fn of(spec: &LocationSpec, secret: Option<&Secret>) -> Self {
        Self { spec: Arc::new(spec.clone()), secret: secret.map(digest_of) }
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(&self.spec)
    }

    /// Of a store that a test has made by itself.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        let (claim, path) = (String::new(), String::new());
        let spec = LocationSpec::FileStore(FileStoreLocation { claim, path, supplemental_group: None });
        Self::of(&spec, None)
    }
}

impl fmt::Debug for OpenedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedWith").field("spec", &self.spec).finish_non_exhaustive()
    }
}

fn digest_of(secret: &Secret) -> Sha256 {
    digest::of_parts(secret.data.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_slice()]))
}

/// A location, opened to be tried.
pub(crate) struct Trial {
    pub store: Arc<dyn Store>,
    /// The bucket, where its profile asks for protection.
    pub protecting: Option<S3Store>,
}

/// A store with nothing around it.
enum Bare {
    Share(Arc<dyn Store>),
    Bucket(S3Store),
}

/// Where a location is, without credentials: what a restore point records of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Place {
    FileStore { claim: String, path: String },
    ObjectStore { endpoint: String, bucket: String, path: String },
}

impl Place {
    pub(crate) fn of(spec: &LocationSpec) -> Self {
        match spec {
            LocationSpec::FileStore(file) => {
                Self::FileStore { claim: file.claim.clone(), path: file.path.clone() }
            }
            LocationSpec::ObjectStore(object) => Self::ObjectStore {
                endpoint: object.endpoint.clone().unwrap_or_default(),
                bucket: object.bucket.clone(),
                path: object.path.clone(),
            },
        }
    }

    /// A short name for rows about this place.
    pub fn key(&self) -> String {
        let json = serde_json::to_vec(self).expect("plain data");
        Sha256::of(&json).to_string()[..32].to_owned()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::FileStore { claim, path } => {
                write!(f, "claim '{claim}'")?;
                path
            }
            Self::ObjectStore { endpoint, bucket, path } => {
                write!(f, "bucket '{bucket}'")?;
                if !endpoint.is_empty() {
                    write!(f, " at '{endpoint}'")?;
                }
                path
            }
        };
        if path.is_empty() { Ok(()) } else { write!(f, ", path '{path}'") }
    }
}

/// A profile as far as it can be told without touching its location.
#[derive(Debug, Clone)]
pub struct KnownProfile {
    pub name: String,
    pub kind: ProfileKind,
    pub health: ProfileHealth,
    pub spec: Option<LocationSpec>,
    /// What its validation found wrong.
    pub faults: Vec<String>,
}

impl KnownProfile {
    /// Decides whether it may hold new backups.
    pub(crate) fn check_target(&self) -> Result<(), LocationError> {
        check_dr_target(self.kind, self.health).map_err(|refusal| LocationError::Refused {
            profile: self.name.clone(),
            refusal,
            faults: self.faults.clone(),
        })
    }
}

impl KnownProfile {
    /// Decides whether it may be read from.
    pub(crate) fn check_source(&self) -> Result<(), LocationError> {
        match self.check_target() {
            Err(LocationError::Refused { refusal: DrTargetRefusal::ReadOnly, .. }) => Ok(()),
            checked => checked,
        }
    }
}

fn said(faults: &[String]) -> String {
    if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) }
}

/// What came of each profile that was tried.
fn told(tried: &[LocationError]) -> String {
    if tried.is_empty() {
        return "none leads there".to_owned();
    }
    let told: Vec<_> = tried.iter().map(|error| Chain(error).to_string()).collect();
    told.join("; ")
}

/// A profile leads to no store.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    #[error("list the profiles")]
    ListProfiles { source: RequestError },
    #[error("read profile '{profile}'")]
    ReadProfile { profile: String, source: RequestError },
    #[error("there is no profile '{profile}' in namespace '{namespace}'")]
    NoProfile { profile: String, namespace: String },
    #[error("profile '{profile}' is not usable: {}", faults.join("; "))]
    MalformedProfile { profile: String, faults: Vec<String> },
    #[error("profile '{profile}' describes no location")]
    NoLocation { profile: String },
    #[error("profile '{profile}' cannot be used here: {refusal}{}", said(faults))]
    Refused { profile: String, refusal: DrTargetRefusal, faults: Vec<String> },
    #[error("read Secret '{secret}' of profile '{profile}'")]
    ReadSecret { profile: String, secret: NamespacedName, source: RequestError },
    #[error("Secret '{secret}' of profile '{profile}' does not exist")]
    NoSecret { profile: String, secret: NamespacedName },
    #[error("Secret '{secret}' of profile '{profile}' has no key '{missing}'; it has {}", present.join(", "))]
    MissingKey { profile: String, secret: NamespacedName, missing: &'static str, present: Vec<String> },
    #[error("profile '{profile}' names a provider that this version cannot use: {provider:?}")]
    Provider { profile: String, provider: ObjectStoreProvider },
    #[error("claim '{claim}' of profile '{profile}' is not mounted at '{}'", directory.display())]
    NotMounted { profile: String, claim: String, directory: std::path::PathBuf },
    #[error("path '{path}' of profile '{profile}'")]
    Path { profile: String, path: String, source: ParsePathError },
    #[error("open the location of profile '{profile}'")]
    Open { profile: String, source: StoreError },
    #[error("{location} of profile '{profile}' holds nothing of cluster {cluster}, which has stored there")]
    Emptied { profile: String, cluster: ClusterId, location: String },
    #[error("profile '{profile}' asks for protection for {period}, and {location} does not give it")]
    Unprotected { profile: String, period: String, location: String },
    #[error("profile '{profile}' leads elsewhere now")]
    LeadsElsewhere { profile: String },
    #[error("no profile opens {place}: {}", told(tried))]
    OpenPlace { place: String, tried: Vec<LocationError> },
}

impl Classified for LocationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ListProfiles { source }
            | Self::ReadProfile { source, .. }
            | Self::ReadSecret { source, .. } => source.class(),
            Self::NoProfile { .. }
            | Self::NoSecret { .. }
            | Self::NotMounted { .. }
            | Self::Emptied { .. } => ErrorClass::NotFound,
            Self::MalformedProfile { .. }
            | Self::NoLocation { .. }
            | Self::Refused { .. }
            | Self::MissingKey { .. }
            | Self::Provider { .. }
            | Self::Path { .. }
            | Self::Unprotected { .. }
            | Self::LeadsElsewhere { .. } => ErrorClass::Invalid,
            Self::Open { source, .. } => source.class(),
            Self::OpenPlace { tried, .. } => {
                let mut classes = tried.iter().map(Self::class);
                classes.find(|class| class.is_retryable()).unwrap_or(ErrorClass::NotFound)
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ListProfiles { .. } => "location.profile.list",
            Self::ReadProfile { .. } => "location.profile.read",
            Self::NoProfile { .. } => "location.profile.absent",
            Self::MalformedProfile { .. } => "location.profile.malformed",
            Self::NoLocation { .. } => "location.profile.no_location",
            Self::Refused { .. } => "location.profile.refused",
            Self::ReadSecret { .. } => "location.secret.read",
            Self::NoSecret { .. } => "location.secret.absent",
            Self::MissingKey { .. } => "location.secret.missing_key",
            Self::Provider { .. } => "location.provider",
            Self::NotMounted { .. } => "location.claim.not_mounted",
            Self::Path { .. } => "location.path",
            Self::Open { .. } => "location.open",
            Self::Emptied { .. } => "location.emptied",
            Self::Unprotected { .. } => "location.unprotected",
            Self::LeadsElsewhere { .. } => "location.profile.elsewhere",
            Self::OpenPlace { .. } => "location.place",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } => source.hint(),
            Self::NotMounted { claim, .. } => Some(format!(
                "mount the claim into the platform, or start it with --claim {claim}=<directory>"
            )),
            Self::Emptied { .. } => Some(EMPTIED_HINT.to_owned()),
            Self::Unprotected { .. } => Some(
                "the profile's status says what is missing; to read only, make a profile without protectionPeriod"
                    .to_owned(),
            ),
            Self::OpenPlace { .. } => {
                Some("mend one of those profiles, or make another, of any name, that leads there".to_owned())
            }
            Self::NoProfile { .. } => {
                Some("kubectl get profiles -n <install namespace> lists them".to_owned())
            }
            Self::NoSecret { .. } | Self::MissingKey { .. } => {
                Some("create the Secret with the credentials that the profile's type needs".to_owned())
            }
            _ => None,
        }
    }
}

impl Platform {
    /// What a profile says of itself. `NoProfile` where it does not exist.
    pub async fn profile(&self, name: &str) -> Result<KnownProfile, LocationError> {
        let namespace = &self.settings.install_namespace;
        let object = self
            .cluster
            .read_object(&kinds::profile(), Some(namespace), name)
            .await
            .map_err(|source| LocationError::ReadProfile { profile: name.to_owned(), source })?
            .ok_or_else(|| LocationError::NoProfile {
                profile: name.to_owned(),
                namespace: namespace.clone(),
            })?;
        known_profile(name, &object)
    }

    /// The names of all profiles.
    pub(crate) async fn list_profiles(&self) -> Result<Vec<String>, LocationError> {
        let namespace = &self.settings.install_namespace;
        let listed = self.cluster.list_objects(&kinds::profile(), Some(namespace), None).await;
        let listed = listed.map_err(|source| LocationError::ListProfiles { source })?;
        let name = |object: &serde_json::Value| object["metadata"]["name"].as_str().map(str::to_owned);
        Ok(listed.iter().filter_map(name).collect())
    }

    /// Opens the location of a profile, whatever it is good for.
    pub async fn open_location(&self, profile: &str) -> Result<Location, LocationError> {
        let known = self.profile(profile).await?;
        let spec = known.spec.ok_or_else(|| LocationError::NoLocation { profile: profile.to_owned() })?;
        self.open_spec(profile, &spec).await
    }

    /// What the location of a profile would be opened with now, without a word to it.
    pub(crate) async fn look_at_location(&self, profile: &str) -> Result<OpenedWith, LocationError> {
        let known = self.profile(profile).await?;
        let spec = known.spec.ok_or_else(|| LocationError::NoLocation { profile: profile.to_owned() })?;
        let secret = self.read_credentials(profile, &spec).await?;
        Ok(OpenedWith::of(&spec, secret.as_ref()))
    }

    /// Opens a location that must take new backups.
    pub async fn open_writable(&self, profile: &str) -> Result<Location, LocationError> {
        let known = self.profile(profile).await?;
        known.check_target()?;
        let spec = known.spec.ok_or_else(|| LocationError::NoLocation { profile: profile.to_owned() })?;
        let location = self.open_spec(profile, &spec).await?;
        self.check_kept(profile, &location.place, &*location.store).await?;
        Ok(location)
    }

    /// Where this platform has stored and nothing of it lies, something else goes by the name of the place that was meant: a
    /// folder of the node where a share is not mounted, or a bucket that was made anew.
    pub(crate) async fn check_kept(
        &self,
        profile: &str,
        place: &Place,
        store: &dyn Store,
    ) -> Result<(), LocationError> {
        let claimed = ownership::held_key(place, &self.cluster_id);
        // What of it cannot be read is told where ownership is proven.
        if !ownership::read(&self.instance).is_ok_and(|known| known.held.contains_key(&claimed)) {
            return Ok(());
        }
        let emptied = holds_nothing_of(&self.cluster_id, store).await;
        if emptied.map_err(|source| LocationError::Open { profile: profile.to_owned(), source })? {
            let (profile, location) = (profile.to_owned(), store.location().to_owned());
            return Err(LocationError::Emptied { profile, cluster: self.cluster_id.clone(), location });
        }
        Ok(())
    }

    /// A store that was asked to protect does so for whatever is created there, or it is not opened at all.
    pub(crate) async fn open_spec(
        &self,
        profile: &str,
        spec: &LocationSpec,
    ) -> Result<Location, LocationError> {
        let secret = self.read_credentials(profile, spec).await?;
        let store = match self.connect(profile, spec, secret.as_ref(), OPENED_WITHIN).await? {
            Bare::Share(store) => store,
            Bare::Bucket(bucket) => Arc::new(bucket),
        };
        let mut store: Arc<dyn Store> = Arc::new(Retry::new(Arc::new(Limit::new(store, LIMITS))));
        if let Some(period) = spec.protection_period() {
            if !store.capabilities().object_lock {
                let location = store.location().to_owned();
                let (profile, period) = (profile.to_owned(), period.to_string());
                return Err(LocationError::Unprotected { profile, period, location });
            }
            store = Arc::new(Retained::new(store, period.0));
        }
        let store = below(store, root_of(profile, spec)?);
        let opened_with = OpenedWith::of(spec, secret.as_ref());
        Ok(Location { profile: profile.to_owned(), store, place: Place::of(spec), opened_with })
    }

    /// Opens a location to find out what it is good for: nothing is locked for longer than a trial takes.
    pub(crate) async fn open_trial(
        &self,
        profile: &str,
        spec: &LocationSpec,
    ) -> Result<Trial, LocationError> {
        let secret = self.read_credentials(profile, spec).await?;
        let bare = self.connect(profile, spec, secret.as_ref(), Duration::ZERO).await?;
        let (store, bucket): (Arc<dyn Store>, _) = match bare {
            Bare::Share(store) => (store, None),
            Bare::Bucket(bucket) => (Arc::new(bucket.clone()), Some(bucket)),
        };
        let store: Arc<dyn Store> = Arc::new(Retry::new(Arc::new(Limit::new(store, LIMITS))));
        let protecting = bucket.filter(|_| spec.protection_period().is_some());
        Ok(Trial { store: below(store, root_of(profile, spec)?), protecting })
    }

    async fn connect(
        &self,
        profile: &str,
        spec: &LocationSpec,
        secret: Option<&Secret>,
        within: Duration,
    ) -> Result<Bare, LocationError> {
        match (spec, secret) {
            (LocationSpec::FileStore(file), _) => Ok(Bare::Share(self.open_claim(profile, file).await?)),
            (LocationSpec::ObjectStore(object), Some(secret)) => {
                let settings = settings_with(profile, object, root_of(profile, spec)?, secret)?;
                let backoff = Backoff { within, ..Backoff::default() };
                let bucket = backoff.repeat(|| S3Store::connect(settings.clone())).await;
                let failed = |source| LocationError::Open { profile: profile.to_owned(), source };
                Ok(Bare::Bucket(bucket.map_err(failed)?))
            }
            (LocationSpec::ObjectStore(object), None) => Err(no_secret(profile, object)),
        }
    }

    async fn open_claim(
        &self,
        profile: &str,
        file: &FileStoreLocation,
    ) -> Result<Arc<dyn Store>, LocationError> {
        let directory = match self.settings.claims.get(&file.claim) {
            Some(directory) => directory.clone(),
            None => self.settings.mounts.join(&file.claim),
        };
        // Looks at the directory on a thread of its own and within a deadline: a share may hang.
        match FilesystemStore::open(&directory).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(StoreError::MissingLocation { .. }) => Err(LocationError::NotMounted {
                profile: profile.to_owned(),
                claim: file.claim.clone(),
                directory,
            }),
            Err(source) => Err(LocationError::Open { profile: profile.to_owned(), source }),
        }
    }

    /// The Secret of a bucket. A share has none.
    async fn read_credentials(
        &self,
        profile: &str,
        spec: &LocationSpec,
    ) -> Result<Option<Secret>, LocationError> {
        let LocationSpec::ObjectStore(object) = spec else { return Ok(None) };
        if object.provider != ObjectStoreProvider::S3 {
            return Err(LocationError::Provider { profile: profile.to_owned(), provider: object.provider });
        }
        let at = NamespacedName::new(&object.credential.namespace, &object.credential.name);
        let secret = self.cluster.read_secret(&at).await.map_err(|source| LocationError::ReadSecret {
            profile: profile.to_owned(),
            secret: at,
            source,
        })?;
        secret.map(Some).ok_or_else(|| no_secret(profile, object))
    }
}

fn no_secret(profile: &str, object: &ObjectStoreLocation) -> LocationError {
    let secret = NamespacedName::new(&object.credential.namespace, &object.credential.name);
    LocationError::NoSecret { profile: profile.to_owned(), secret }
}

/// Whether nothing at all of a cluster lies in a location.
pub(crate) async fn holds_nothing_of(cluster: &ClusterId, store: &dyn Store) -> Result<bool, StoreError> {
    let folder = layout::ClusterFolder::new(cluster);
    let listed = store.list(folder.root(), &ListPage { after: None, limit: 1 }).await?;
    Ok(listed.objects.is_empty() && !listed.more)
}

/// Whether a location opens with the values of a Secret that is not in the cluster. A share needs none.
pub(crate) async fn opens_with(profile: &str, spec: &LocationSpec, secret: &Secret) -> bool {
    let LocationSpec::ObjectStore(object) = spec else { return true };
    let Ok(root) = root_of(profile, spec) else { return false };
    let Ok(settings) = settings_with(profile, object, root.clone(), secret) else { return false };
    let Ok(bucket) = S3Store::connect(settings).await else { return false };
    below(Arc::new(bucket), root).list_folders(&layout::clusters()).await.is_ok()
}

fn settings_with(
    profile: &str,
    object: &ObjectStoreLocation,
    path: StorePath,
    secret: &Secret,
) -> Result<S3Settings, LocationError> {
    let field = |missing: &'static str| text_field(profile, secret, missing);
    Ok(S3Settings {
        bucket: object.bucket.clone(),
        path,
        endpoint: object.endpoint.clone(),
        region: Some(object.region.clone()).filter(|region| !region.is_empty()),
        access_key: field("aws_access_key_id")?,
        secret_key: keelson_store::providers::s3::Secret::new(field("aws_secret_access_key")?),
        trust: if object.skip_tls_verify { Trust::Anyone } else { Trust::default() },
        lock_mode: LockMode::default(),
    })
}

fn root_of(profile: &str, spec: &LocationSpec) -> Result<StorePath, LocationError> {
    let path = match spec {
        LocationSpec::FileStore(file) => &file.path,
        LocationSpec::ObjectStore(object) => &object.path,
    };
    path.parse().map_err(|source| LocationError::Path {
        profile: profile.to_owned(),
        path: path.to_owned(),
        source,
    })
}

fn below(store: Arc<dyn Store>, root: StorePath) -> Arc<dyn Store> {
    if root.is_root() { store } else { Arc::new(Prefixed::new(store, root)) }
}

fn text_field(profile: &str, secret: &Secret, key: &'static str) -> Result<String, LocationError> {
    let text = secret.data.get(key).and_then(|value| std::str::from_utf8(value).ok());
    text.map(str::to_owned).ok_or_else(|| LocationError::MissingKey {
        profile: profile.to_owned(),
        secret: secret.at.clone(),
        missing: key,
        present: secret.data.keys().cloned().collect(),
    })
}

pub(crate) fn known_profile(name: &str, object: &serde_json::Value) -> Result<KnownProfile, LocationError> {
    let parsed = profile::parse(object)
        .map_err(|faults| LocationError::MalformedProfile { profile: name.to_owned(), faults })?;
    Ok(KnownProfile {
        name: name.to_owned(),
        kind: parsed.kind,
        health: parsed.health,
        spec: parsed.location,
        faults: match parsed.health {
            ProfileHealth::Failed => faults_of(&object["status"]),
            _ => Vec::new(),
        },
    })
}

/// Labels that tell which profile an exported thing lies behind.
pub(crate) fn export_labels(profile: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(keelson_model::names::label::EXPORT_PROFILE.to_owned(), profile.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: &str, key: &str) -> Secret {
        let data = [("aws_access_key_id", id), ("aws_secret_access_key", key)];
        let data = data.map(|(name, value)| (name.to_owned(), value.into()));
        Secret::opaque(NamespacedName::new("kasten-io", "s3-creds"), data)
    }

    /// How it was opened, if its profile says this and its Secret that.
    fn opened(path: &str, secret: Option<&Secret>) -> OpenedWith {
        let (claim, path) = ("share".to_owned(), path.to_owned());
        OpenedWith::of(
            &LocationSpec::FileStore(FileStoreLocation { claim, path, supplemental_group: None }),
            secret,
        )
    }

    #[test]
    fn a_location_is_opened_otherwise_where_its_profile_or_a_value_of_its_secret_has_changed() {
        let before = opened("a", Some(&keys("id", "key")));
        assert_eq!(
            before,
            opened("a", Some(&keys("id", "key"))),
            "a Secret that was made anew with the same values"
        );
        assert_ne!(before, opened("b", Some(&keys("id", "key"))));
        assert_ne!(before, opened("a", Some(&keys("id", "other"))));
        assert_ne!(before, opened("a", Some(&keys("idk", "ey"))), "where one value ends is told");
        assert_ne!(before, opened("a", None));
        let digest = digest_of(&keys("id", "key")).to_string();
        assert!(!format!("{before:?}").contains(&digest), "the digest of a Secret is not shown");
    }
}
