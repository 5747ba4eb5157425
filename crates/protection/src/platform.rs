//! What every use case stands on: settings, clock, cluster, the two database files, and the keys.
//!
//! Opening a platform reads or makes its identity. It starts nothing: `service.rs` owns the tasks.

mod commits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::SignedDuration;
use keelson_catalog::{
    Actor, Change, CommitError, DataDir, DataDirError, Database, OpenCatalogError, Rewrapped, RowKind,
    Subscription,
};
use keelson_crypto::{CatalogKey, InstanceKey, KdfCost, VaultKeyring};
use keelson_model::{Chain, Classified, Clock, ClusterId, ErrorClass, Generation, InstanceId, Revision};
use keelson_passphrase::aws::AwsEnvironment;
use keelson_repository::IndexCache;
use keelson_resources::KINDS;
use keelson_resources::KindInfo;
use keelson_workload::{Cluster, ConnectError};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use self::commits::Commits;
use crate::audit::Trail;
use crate::cancel::Attempts;
use crate::identity::{self, Identity, IdentityError, RepositoryKeys};
use crate::instance_secret::{OpenedInstanceKey, SecretKeys, secret_keys};
use crate::kept;
use crate::namespaces::StayingNamespaces;
use crate::ownership::ClockLooks;
use crate::passkeys::Passkeys;
use crate::recovery::ship::Shipper;
use crate::storage_repositories::Unlisted;

/// What an operator decides about one installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace that holds profiles, policies and secrets of the platform.
    pub install_namespace: String,
    /// The platform's own volume.
    pub data: PathBuf,
    /// Where the claims of file-store profiles are mounted: `<mounts>/<claim>`.
    pub mounts: PathBuf,
    /// Claims that lie elsewhere, for a platform that runs outside a cluster.
    pub claims: BTreeMap<String, PathBuf>,
    /// How long the ownership ConfigMap must have been gone before ownership is claimed.
    pub ownership_grace: Duration,
    /// How far a store's clock may be from ours before nothing is removed there any more.
    pub clock_difference_max: SignedDuration,
    /// Legacy or Quick, for a DR policy that does not say.
    pub quick_mode: bool,
    /// How long recovering may take.
    pub recovery_bounds: RecoveryBounds,
    /// What guessing a passphrase costs. PBKDF2 is for FIPS mode, which also asks for longer passphrases.
    pub passphrase_cost: KdfCost,
    /// Where AWS is and as whom the platform runs there, as the environment of its process says.
    pub aws: AwsEnvironment,
}

#[cfg(test)]
impl Settings {
    /// Of a platform that a unit test opens on a volume.
    pub(crate) fn of_a_test(data: &std::path::Path) -> Self {
        Self {
            install_namespace: "kasten-io".to_owned(),
            data: data.to_owned(),
            mounts: "/nowhere".into(),
            claims: BTreeMap::new(),
            ownership_grace: Duration::from_secs(60),
            clock_difference_max: SignedDuration::from_mins(5),
            quick_mode: false,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: KdfCost::LOWEST,
            aws: AwsEnvironment::default(),
        }
    }
}

/// In minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryBounds {
    /// Of a KastenDRRestore that names no bound of its own.
    pub restore: u64,
    /// Of a KastenDRReview.
    pub review: u64,
}

impl RecoveryBounds {
    /// The documented ones.
    pub const USUAL: Self = Self { restore: 90, review: 30 };
}

/// A ConfigMap may vanish for a moment while its namespace is torn down or a tool re-applies it.
pub const OWNERSHIP_GRACE: Duration = Duration::from_secs(60);

/// The catalog cannot be read or written at the moment.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the catalog is not available: {why}")]
pub struct CatalogAway {
    pub why: String,
    pub hint: Option<String>,
}

impl Classified for CatalogAway {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable { retry_after: None }
    }

    fn code(&self) -> &'static str {
        "platform.catalog_away"
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// A platform that cannot start. Only what no degraded service could survive is one of these.
#[derive(Debug, thiserror::Error)]
pub enum OpenPlatformError {
    #[error("read the cluster's id, the UID of namespace 'default'")]
    ClusterId { source: ConnectError },
    #[error("open the data directory '{}'", path.display())]
    DataDir { path: PathBuf, source: DataDirError },
    #[error("read which catalog is current in '{}'", path.display())]
    Current { path: PathBuf, source: OpenCatalogError },
    #[error("open the instance file in '{}'", path.display())]
    Instance { path: PathBuf, source: OpenCatalogError },
    #[error("wrap the instance key under the changed Secret")]
    Rewrap { source: CommitError },
    #[error("establish the identity of this installation")]
    Identity { source: IdentityError },
    #[error("create the first catalog in '{}'", path.display())]
    CreateCatalog { path: PathBuf, source: OpenCatalogError },
}

impl Classified for OpenPlatformError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ClusterId { source } => source.class(),
            Self::DataDir { source, .. } => source.class(),
            Self::Current { source, .. }
            | Self::Instance { source, .. }
            | Self::CreateCatalog { source, .. } => source.class(),
            Self::Identity { source } => source.class(),
            Self::Rewrap { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ClusterId { .. } => "platform.open.cluster_id",
            Self::DataDir { .. } => "platform.open.data_dir",
            Self::Current { .. } => "platform.open.current",
            Self::Instance { .. } => "platform.open.instance",
            Self::Identity { .. } => "platform.open.identity",
            Self::Rewrap { .. } => "platform.open.rewrap",
            Self::CreateCatalog { .. } => "platform.open.create_catalog",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DataDir { source, .. } => source.hint(),
            Self::Identity { source } => source.hint(),
            Self::ClusterId { .. }
            | Self::Current { .. }
            | Self::Instance { .. }
            | Self::Rewrap { .. }
            | Self::CreateCatalog { .. } => None,
        }
    }
}

/// Below the data directory.
pub(crate) const INDEX_FOLDER: &str = "index";

/// Who this installation is. A new one gets an identity; one whose recovery was cut short after its switch adopts.
async fn read_identity(
    instance: &Database,
    key: &InstanceKey,
    generation: Option<Generation>,
    clock: &dyn Clock,
) -> Result<Identity, IdentityError> {
    let found = Identity::read(instance)?;
    let is_new = found.is_none();
    let mut identity = found.unwrap_or_else(|| Identity::new(key));
    let adopted = generation.is_some_and(|generation| identity.complete_adoption(generation));
    if is_new || adopted {
        identity.write(instance, clock.now()).await?;
    }
    Ok(identity)
}

/// Without the folder indexes are loaded anew each time they are needed.
fn open_index_cache(settings: &Settings) -> IndexCache {
    let folder = settings.data.join(INDEX_FOLDER);
    IndexCache::open(&folder).unwrap_or_else(|error| {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "indexes are kept for as long as they are in use only");
        IndexCache::temporary()
    })
}

/// One running installation.
pub struct Platform {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cluster: Cluster,
    pub(crate) cluster_id: ClusterId,
    pub(crate) namespaces: StayingNamespaces,
    pub(crate) data: DataDir,
    pub(crate) trail: Trail,
    pub(crate) instance: Database,
    /// Why the instance file cannot be used, where it cannot: `instance` is an empty one in a scratch folder then.
    instance_away: Option<CatalogAway>,
    pub(crate) instance_key: InstanceKey,
    /// The key of the instance Secret, and who opens it.
    pub(crate) passkeys: Passkeys,
    /// Local copies of repositories' indexes.
    pub(crate) index_cache: IndexCache,
    /// Repositories whose objects were deleted.
    pub(crate) unlisted: Unlisted,
    /// Ships the journal; held while a run of the DR policy needs the chain to stand still.
    pub(crate) shipper: tokio::sync::Mutex<Option<Shipper>>,
    /// Why nothing is shipped, and since when.
    pub(crate) shipping_trouble: std::sync::Mutex<Option<(jiff::Timestamp, String)>>,
    /// Where the store's clock and ours differ.
    pub(crate) clock_looks: ClockLooks,
    /// The ownership ConfigMap is gone with the install namespace, and so releases nothing.
    pub(crate) torn_down: AtomicBool,
    /// Held while a review or restore is made: at most one of each may exist.
    pub(crate) recovery_requests: tokio::sync::Mutex<()>,
    /// What is carried out at the moment, to be cancelled.
    pub(crate) attempts: Attempts,
    /// APIServices of our groups that are somebody else's, as the door has found them.
    taken_apis: std::sync::Mutex<BTreeMap<String, TakenApi>>,
    /// One at a time changes the passphrase, or what is enabled.
    pub(crate) enabling: tokio::sync::Mutex<()>,
    /// Told when repositories elsewhere lack the newest passphrase slots.
    pub(crate) slots_lacking: tokio::sync::Notify,
    /// Read and replaced together: slots belong to the newest of the keys.
    identity: RwLock<(Identity, RepositoryKeys)>,
    catalog: ArcSwap<CatalogSlot>,
    commits: Arc<Commits>,
    /// Small tasks of use cases; awaited when the service stops.
    tasks: TaskTracker,
    _instance_commits: Subscription,
}

/// An APIService of a group of ours that is not ours to touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenApi {
    pub uid: String,
    /// To whom it leads.
    pub by: String,
}

/// The catalog in use, or why there is none.
struct CatalogSlot {
    catalog: Result<(Database, CatalogKey), CatalogAway>,
    _commits: Option<Subscription>,
}

impl Platform {
    /// Opens an installation, or makes one on an empty volume.
    ///
    /// A catalog that cannot be opened does not stop the platform: it starts without one and says why.
    pub async fn open(
        settings: Settings,
        cluster: Cluster,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenPlatformError> {
        let cluster_id =
            cluster.cluster_id().await.map_err(|source| OpenPlatformError::ClusterId { source })?;
        let path = settings.data.clone();
        let data = DataDir::open(&path, clock.clone())
            .map_err(|source| OpenPlatformError::DataDir { path: path.clone(), source })?;
        let current = match data.current_generation() {
            Ok(current) => Ok(current),
            Err(error @ OpenCatalogError::Corrupt { .. }) => Err(away(error)),
            Err(source) => return Err(OpenPlatformError::Current { path, source }),
        };
        let failed = |source| OpenPlatformError::Identity { source };
        let is_new = matches!(current, Ok(None)) && data.instance_wrapped_key().is_err();
        let secret = secret_keys(&cluster, &settings.install_namespace, !is_new).await.map_err(failed)?;
        let OpenedInstance { instance, key, secret, away: instance_away } =
            open_or_replace_instance(&data, &secret)?;
        let current = match &instance_away {
            // Without its own file an installation does not know whose catalog it holds.
            Some(why) => Err(why.clone()),
            None => current,
        };
        let generation = current.as_ref().ok().copied().flatten();
        let identity = read_identity(&instance, &key, generation, &*clock).await.map_err(failed)?;
        let keys = identity.repository_keys(&key).map_err(failed)?;
        let catalog = match current {
            Err(why) => Err(why),
            Ok(None) => {
                let catalog_key = CatalogKey::generate();
                let database = data
                    .create_first(&catalog_key, &identity::wrap_catalog_key(&key, &catalog_key))
                    .map_err(|source| OpenPlatformError::CreateCatalog { path, source })?;
                Ok((database, catalog_key))
            }
            Ok(Some(_)) => open_current(&data, &key),
        };
        let commits = Commits::new(instance.head().revision);
        let instance_commits = instance.subscribe(commits.subscriber());
        let slot = CatalogSlot::new(catalog, &commits);
        let index_cache = open_index_cache(&settings);
        Ok(Arc::new(Self {
            unlisted: Unlisted::default(),
            shipper: tokio::sync::Mutex::new(None),
            shipping_trouble: std::sync::Mutex::new(None),
            clock_looks: ClockLooks::default(),
            torn_down: AtomicBool::new(false),
            recovery_requests: tokio::sync::Mutex::new(()),
            settings,
            clock,
            cluster,
            cluster_id,
            namespaces: StayingNamespaces::default(),
            trail: Trail::new(data.path()),
            data,
            instance,
            instance_away,
            instance_key: key,
            passkeys: Passkeys::new(secret),
            index_cache,
            attempts: Attempts::default(),
            taken_apis: std::sync::Mutex::default(),
            enabling: tokio::sync::Mutex::new(()),
            slots_lacking: tokio::sync::Notify::new(),
            identity: RwLock::new((identity, keys)),
            catalog: ArcSwap::from_pointee(slot),
            commits,
            tasks: TaskTracker::new(),
            _instance_commits: instance_commits,
        }))
    }

    /// The database that holds a kind: recovery's own kinds outlive the catalog that they replace.
    pub fn database(&self, kind: &KindInfo) -> Result<Database, CatalogAway> {
        if kind.group != keelson_model::names::group::DR {
            return self.catalog();
        }
        match &self.instance_away {
            None => Ok(self.instance.clone()),
            Some(why) => Err(why.clone()),
        }
    }

    /// Names this installation: whoever has its volume open, in this process or an earlier one.
    pub fn instance(&self) -> InstanceId {
        self.identity().instance
    }

    /// Why nothing may be done but to answer: the installation does not know itself.
    pub fn instance_away(&self) -> Option<&CatalogAway> {
        self.instance_away.as_ref()
    }

    pub fn catalog(&self) -> Result<Database, CatalogAway> {
        let slot = self.catalog.load();
        slot.catalog.as_ref().map(|(database, _)| database.clone()).map_err(CatalogAway::clone)
    }

    /// Opens nothing, closes nothing: from here on everybody works with this catalog.
    pub(crate) fn use_catalog(&self, database: Database, key: CatalogKey) {
        self.catalog.store(Arc::new(CatalogSlot::new(Ok((database, key)), &self.commits)));
        self.commits.wake_all();
    }

    /// What the door has found of our groups in the hands of others, by the names of APIServices: told to people.
    pub fn note_taken_apis(&self, taken: BTreeMap<String, TakenApi>) {
        *self.taken_apis.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = taken;
    }

    pub(crate) fn taken_apis(&self) -> BTreeMap<String, TakenApi> {
        self.taken_apis.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Wakes up after every commit to either file. Only the wake-up counts; the value may be of either.
    pub fn commits(&self) -> watch::Receiver<Revision> {
        self.commits.follow_any()
    }

    /// Wakes up after every commit that may have changed objects of a kind, and when another catalog or generation is in
    /// use.
    pub fn commits_of(&self, kind: &KindInfo) -> watch::Receiver<()> {
        self.commits.follow_kind(RowKind::new(kind.row_kind()))
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub fn cluster_id(&self) -> &ClusterId {
        &self.cluster_id
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity.read().unwrap_or_else(std::sync::PoisonError::into_inner).0.clone()
    }

    /// What every repository of the lineage must open with.
    pub(crate) fn repository_keys(&self) -> RepositoryKeys {
        self.identity.read().unwrap_or_else(std::sync::PoisonError::into_inner).1.clone()
    }

    pub(crate) fn vault(&self) -> VaultKeyring {
        self.repository_keys().vault
    }

    /// Works with the key that seals secret fields of the catalog in use.
    pub(crate) fn with_catalog_key<T>(&self, work: impl FnOnce(&CatalogKey) -> T) -> Result<T, CatalogAway> {
        let slot = self.catalog.load();
        slot.catalog.as_ref().map(|(_, key)| work(key)).map_err(CatalogAway::clone)
    }

    /// Writes a changed identity and works with it from here on.
    pub(crate) async fn become_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        let keys = identity.repository_keys(&self.instance_key)?;
        identity.write(&self.instance, self.clock.now()).await?;
        *self.identity.write().unwrap_or_else(std::sync::PoisonError::into_inner) = (identity, keys);
        Ok(())
    }
}

impl CatalogSlot {
    fn new(catalog: Result<(Database, CatalogKey), CatalogAway>, commits: &Arc<Commits>) -> Self {
        let subscribe = |(database, _): &(Database, CatalogKey)| database.subscribe(commits.subscriber());
        let subscription = catalog.as_ref().ok().map(subscribe);
        Self { catalog, _commits: subscription }
    }
}

struct OpenedInstance {
    instance: Database,
    key: InstanceKey,
    /// The key of the instance Secret that wraps it.
    secret: InstanceKey,
    /// Why the file cannot be used, where it cannot.
    away: Option<CatalogAway>,
}

/// An instance file that is damaged is left as it is, for a person to see, and a scratch one takes its place.
fn open_or_replace_instance(
    data: &DataDir,
    secret: &SecretKeys,
) -> Result<OpenedInstance, OpenPlatformError> {
    match open_instance(data, secret) {
        Ok(opened) => Ok(opened),
        Err(OpenPlatformError::Instance { path, source: error @ OpenCatalogError::Corrupt { .. } }) => {
            let hint = "restore the platform's volume from a copy, or start on an empty volume and without Secret \
                        'keelson-instance', and recover the platform from its location";
            let why = CatalogAway { hint: Some(hint.to_owned()), ..away(error) };
            let (key, secret) = (InstanceKey::generate(), InstanceKey::generate());
            let scratch = data.create_scratch(&CatalogKey::derive_instance(&key));
            let instance = scratch.map_err(|source| OpenPlatformError::Instance { path, source })?;
            Ok(OpenedInstance { instance, key, secret, away: Some(why) })
        }
        Err(error) => Err(error),
    }
}

/// The instance file is made at the first start, by a process that may be killed right after.
fn open_instance(data: &DataDir, secret: &SecretKeys) -> Result<OpenedInstance, OpenPlatformError> {
    let failed = |source| OpenPlatformError::Instance { path: data.path().to_owned(), source };
    let locked = |source| OpenPlatformError::Identity { source };
    let wrapped = match data.instance_wrapped_key() {
        Err(OpenCatalogError::Absent { .. }) => {
            let (opened, wrapped) = secret.make_instance_key().map_err(locked)?;
            let OpenedInstanceKey { key, secret, rewrapped: _ } = opened;
            let made = data.create_instance(&CatalogKey::derive_instance(&key), &wrapped);
            return Ok(OpenedInstance { instance: made.map_err(failed)?, key, secret, away: None });
        }
        read => read.map_err(failed)?,
    };
    let OpenedInstanceKey { key, secret, rewrapped } = secret.open_instance_key(&wrapped).map_err(locked)?;
    let instance = data.open_instance(&CatalogKey::derive_instance(&key)).map_err(failed)?;
    if let Some(rewrapped) = rewrapped {
        match instance.rewrap(rewrapped).map_err(|source| OpenPlatformError::Rewrap { source })? {
            Rewrapped::Wiped => {
                tracing::info!("the instance Secret has changed; its key before can be removed from it");
            }
            Rewrapped::BeforeLingers { why } => tracing::warn!(
                why,
                "the instance Secret has changed; its key before still opens what the volume's files held before"
            ),
        }
    }
    Ok(OpenedInstance { instance, key, secret, away: None })
}

fn away<E: Classified>(error: E) -> CatalogAway {
    tracing::error!(error = &error as &dyn std::error::Error, "a catalog does not open; serving without it");
    CatalogAway { why: Chain(&error).to_string(), hint: error.hint() }
}

/// A catalog that does not open leaves the platform without one: discovery answers, data answers 503.
fn open_current(data: &DataDir, key: &InstanceKey) -> Result<(Database, CatalogKey), CatalogAway> {
    let wrapped = data.current_wrapped_key().map_err(away)?;
    let catalog_key = identity::unwrap_catalog_key(key, &wrapped).map_err(away)?;
    let database = data.open_current(&catalog_key).map_err(away)?;
    Ok((database, catalog_key))
}

/// Commits without blocking the runtime: the writer thread answers through a channel.
///
/// Of a kind that is served at most one row is changed: a client whose watch breaks between two events goes on behind the
/// version of the first, and would never see another of the same version.
///
/// A part of the platform is named by its name, and what a client asked for by a `Deed`: the trail of audit events is made
/// of nothing else.
pub(crate) async fn commit(
    database: &Database,
    actor: impl Into<Actor>,
    changes: Vec<Change>,
) -> Result<Revision, CommitError> {
    debug_assert!(has_one_of_each_kind(&changes), "several rows of one served kind");
    debug_assert_eq!(kept::find_unlisted(&changes), None, "`kept.rs` does not list it");
    let (reply, answer) = oneshot::channel();
    database.commit_with(&actor.into(), changes, Box::new(move |result| drop(reply.send(result))));
    answer.await.expect("the writer answers each commit before it drops the callback")
}

fn has_one_of_each_kind(changes: &[Change]) -> bool {
    KINDS.iter().all(|kind| {
        let kind = kind.row_kind();
        let is_of_kind = |change: &&Change| match change {
            Change::Put { row, .. } => row.kind.as_str() == kind,
            Change::Delete { key, .. } => key.kind.as_str() == kind,
            _ => false,
        };
        changes.iter().filter(is_of_kind).count() <= 1
    })
}
