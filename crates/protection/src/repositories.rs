//! Which repository an application's backups go to, made on first use: one on the platform's volume for what is not
//! exported, one for each application in each location.
//!
//! The row that names a repository is committed before the repository is created, so that no repository exists that
//! the catalog does not know; creating it again after a kill finds it there.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelson_catalog::{
    Change, Class, CommitError, Database, Expect, Query, ReadError, Row, RowKey, RowKind, Stored,
};
use keelson_crypto::{VaultKey, VaultKeyring, random_bytes};
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, RepositoryId, SessionId, SlotId};
use keelson_repository::{
    ChunkSizes, CreateRepositoryError, IndexCache, Locked, NewRepository, Open, OpenRepositoryError,
    Repository, Unlock,
};
use keelson_store::decorators::AsOf;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{ParsePathError, Store, StoreError, StorePath};
use serde::{Deserialize, Serialize};

use crate::grants::{self, GrantName, GrantsError};
use crate::identity::RepositoryKeys;
use crate::layout::ClusterFolder;
use crate::locations::{Location, LocationError, Place};
use crate::ownership::{self, OwnershipError};
use crate::platform::{CatalogAway, Platform, commit};
use crate::restore_points::{Artifact, ExportedTo};

/// Below the data directory.
pub(crate) const LOCAL_FOLDER: &str = "local";
/// Marks the rows of repositories that an instance made while it owned nothing.
const BESIDE: &str = "-beside-";
const ACTOR: &str = "repositories";

/// A repository in a location, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepositoryRow {
    pub application: String,
    pub profile: String,
    pub place: Place,
    /// Under whose folder it lies.
    pub cluster: ClusterId,
    pub repository: RepositoryId,
    /// The passphrase slots that it is known to carry.
    #[serde(default)]
    pub slots: Vec<SlotId>,
}

impl RepositoryRow {
    /// Its folder.
    pub(crate) fn root(&self) -> StorePath {
        ClusterFolder::new(&self.cluster).export_repository(&self.application, self.repository)
    }

    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The change that records it under a name that tells the place.
    pub(crate) fn put(&self, name: &str, created: jiff::Timestamp, expect: Expect) -> Change {
        let key = RowKey::new(row_kind(), &self.application, name);
        let row = Row {
            kind: key.kind,
            namespace: key.namespace,
            name: key.name,
            uid: self.repository.to_string(),
            labels: BTreeMap::new(),
            created,
            class: Class::Configuration,
            body: serde_json::to_vec(self).expect("plain data"),
        };
        Change::Put { row, expect }
    }
}

pub(crate) fn row_kind() -> RowKind {
    RowKind::new("repositories")
}

/// Every export repository that the catalog knows.
pub(crate) fn export_rows(catalog: &Database) -> Result<Vec<(RowKey, RepositoryRow)>, ReadError> {
    let known = |stored: Stored| Some((stored.row.key(), RepositoryRow::parse(&stored.row.body)?));
    catalog.rows(Query::of(row_kind())).filter_map(|stored| stored.map(known).transpose()).collect()
}

/// A repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RepositoriesError {
    #[error("make the folder '{}' of local backups", folder.display())]
    MakeFolder { folder: std::path::PathBuf, source: std::io::Error },
    #[error("open the folder of local backups")]
    OpenFolder { source: StoreError },
    #[error("create repository '{root}' in '{profile}'")]
    Create { root: String, profile: String, source: CreateRepositoryError },
    #[error("give repository '{root}' in '{profile}' the newest key and slots")]
    AddKey { root: String, profile: String, source: CreateRepositoryError },
    #[error(
        "repository '{root}' in '{profile}' has a newer key than this installation: nothing is written to it"
    )]
    OtherKeys { root: String, profile: String },
    #[error("repository '{root}' is not in '{profile}' any more")]
    Gone { root: String, profile: String },
    #[error("open repository '{root}' in '{profile}'")]
    Open { root: String, profile: String, source: OpenRepositoryError },
    #[error("'{root}' names no folder of a repository")]
    Root { root: String, source: ParsePathError },
    #[error("'{root}' names no repository of exports")]
    NoExport { root: String },
    #[error("use what another installation has granted")]
    Granted { source: GrantsError },
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("read which repository '{application}' is exported to")]
    Read { application: String, source: ReadError },
    #[error("record the repository of '{application}'")]
    Record { application: String, source: CommitError },
    #[error("open the location of a restore point")]
    Location { source: LocationError },
    #[error("profile '{profile}' leads elsewhere than where this restore point was exported to")]
    OtherPlace { profile: String },
    #[error("establish who owns the exports")]
    NotOwned { source: OwnershipError },
    #[error("this backup was local to the lost cluster and no copy of it was shipped")]
    LostWithItsCluster,
}

impl Classified for RepositoriesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::MakeFolder { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::OpenFolder { source } => source.class(),
            Self::Create { source, .. } | Self::AddKey { source, .. } => source.class(),
            Self::Open { source, .. } => source.class(),
            Self::Root { .. } | Self::NoExport { .. } => ErrorClass::Corrupt,
            Self::Granted { source } => source.class(),
            Self::Away { source } => source.class(),
            Self::Read { source, .. } => source.class(),
            Self::Record { source, .. } => source.class(),
            Self::Location { source } => source.class(),
            Self::NotOwned { source } => source.class(),
            Self::OtherKeys { .. } => ErrorClass::Denied,
            Self::OtherPlace { .. } => ErrorClass::Invalid,
            Self::Gone { .. } | Self::LostWithItsCluster => ErrorClass::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::MakeFolder { .. } => "repositories.make_folder",
            Self::OpenFolder { .. } => "repositories.open_folder",
            Self::Create { .. } => "repositories.create",
            Self::AddKey { .. } => "repositories.add_key",
            Self::OtherKeys { .. } => "repositories.other_keys",
            Self::Gone { .. } => "repositories.gone",
            Self::Open { .. } => "repositories.open",
            Self::Root { .. } => "repositories.root",
            Self::NoExport { .. } => "repositories.no_export",
            Self::Granted { .. } => "repositories.granted",
            Self::Away { .. } => "repositories.catalog_away",
            Self::Read { .. } => "repositories.read",
            Self::Record { .. } => "repositories.record",
            Self::Location { .. } => "repositories.location",
            Self::OtherPlace { .. } => "repositories.other_place",
            Self::NotOwned { .. } => "repositories.not_owned",
            Self::LostWithItsCluster => "repositories.lost",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Location { source } => source.hint(),
            Self::Open { source, .. } => source.hint(),
            Self::OpenFolder { source } => source.hint(),
            Self::OtherPlace { .. } => {
                Some("name a profile of the original location in spec.artifactOverrideProfile".to_owned())
            }
            Self::NotOwned { source } => source.hint(),
            Self::Granted { source } => source.hint(),
            Self::LostWithItsCluster => Some("choose an exported restore point".to_owned()),
            _ => None,
        }
    }
}

/// Creates a repository, or opens the one that an earlier try has made, with everything that [`open_current`] gives.
pub(crate) async fn create_or_open(
    store: Arc<dyn Store>,
    root: &StorePath,
    id: RepositoryId,
    keys: &RepositoryKeys,
    profile: &str,
    carried: &[SlotId],
    index_cache: &IndexCache,
) -> Result<Repository<Open>, RepositoriesError> {
    if let Some(open) = open_current(store.clone(), root, keys, profile, carried, index_cache).await? {
        return Ok(open);
    }
    let RepositoryKeys { vault, slots } = keys;
    let new = NewRepository { id, vault, slots, chunks: ChunkSizes::default() };
    locked(store, root, index_cache)?.create(new).await.map_err(|source| RepositoriesError::Create {
        root: root.to_string(),
        profile: profile.to_owned(),
        source,
    })
}

/// Opens a repository, if it is there, and gives it the newest key and those of the slots that it is not known to
/// carry already: nothing may be written into it before.
pub(crate) async fn open_current(
    store: Arc<dyn Store>,
    root: &StorePath,
    keys: &RepositoryKeys,
    profile: &str,
    carried: &[SlotId],
    index_cache: &IndexCache,
) -> Result<Option<Repository<Open>>, RepositoriesError> {
    let RepositoryKeys { vault, slots } = keys;
    let open = match locked(store, root, index_cache)?.open(Unlock::Vault(vault)).await {
        Ok(open) => open,
        Err(OpenRepositoryError::Absent { .. }) => return Ok(None),
        Err(source) => {
            return Err(RepositoriesError::Open {
                root: root.to_string(),
                profile: profile.to_owned(),
                source,
            });
        }
    };
    if !open.holds_newest_key() {
        let (root, profile) = (root.to_string(), profile.to_owned());
        return Err(RepositoriesError::OtherKeys { root, profile });
    }
    let lacking: Vec<_> = slots.iter().filter(|slot| !carried.contains(&slot.id())).cloned().collect();
    open.add_key(vault, &lacking).await.map(Some).map_err(|source| RepositoriesError::AddKey {
        root: root.to_string(),
        profile: profile.to_owned(),
        source,
    })
}

fn locked(
    store: Arc<dyn Store>,
    root: &StorePath,
    index_cache: &IndexCache,
) -> Result<Repository<Locked>, RepositoriesError> {
    let locked = Repository::<Locked>::at(store, root.clone());
    let locked = locked.map_err(|source| RepositoriesError::OpenFolder { source })?;
    Ok(locked.indexed_in(index_cache))
}

impl Platform {
    pub(crate) fn local_repository_id(&self) -> RepositoryId {
        RepositoryId::from_bytes(*self.identity().instance.as_bytes())
    }

    /// The repository on the platform's own volume. The instance Secret alone opens it.
    pub(crate) async fn local_repository(&self) -> Result<Repository<Open>, RepositoriesError> {
        let folder = self.settings.data.join(LOCAL_FOLDER);
        std::fs::create_dir_all(&folder)
            .map_err(|source| RepositoriesError::MakeFolder { folder: folder.clone(), source })?;
        let store = FilesystemStore::open(&folder).await;
        let store: Arc<dyn Store> =
            Arc::new(store.map_err(|source| RepositoriesError::OpenFolder { source })?);
        let vault = VaultKeyring::new(VaultKey::derive_local(&self.instance_key));
        let keys = RepositoryKeys { vault, slots: Vec::new() };
        let id = self.local_repository_id();
        let (root, place) = (StorePath::root(), "the platform's volume");
        let opened = create_or_open(store, &root, id, &keys, place, &[], &self.index_cache).await?;
        self.unlisted.note_use(id);
        Ok(opened)
    }

    /// The repository that an application is exported to through this location, made on first use.
    pub(crate) async fn export_repository(
        &self,
        location: &Location,
        application: &str,
    ) -> Result<(RepositoryRow, Repository<Open>), RepositoriesError> {
        let (key, row) = self.choose_export_repository(location, application).await?;
        // Claimed for the folder that is written to: a recovered instance goes on in its source's once it owns it.
        match ownership::prove(self, location, &row.cluster).await {
            Ok(_) => {}
            Err(OwnershipError::Pending { .. }) if key.name.contains(BESIDE) => {}
            Err(source) => return Err(RepositoriesError::NotOwned { source }),
        }
        self.open_export(location, key, row).await
    }

    /// Opens an export repository, gives it what it lacks of keys and slots, and records that it has them, and through which
    /// profile it was reached.
    pub(crate) async fn open_export(
        &self,
        location: &Location,
        key: RowKey,
        mut row: RepositoryRow,
    ) -> Result<(RepositoryRow, Repository<Open>), RepositoriesError> {
        let keys = self.repository_keys();
        let (store, root) = (location.store.clone(), row.root());
        let (profile, cache) = (&location.profile, &self.index_cache);
        let opened = create_or_open(store, &root, row.repository, &keys, profile, &row.slots, cache).await;
        let open = match opened {
            // Its keys were made by others after the passphrase of our recovery: exports go on beside it.
            Err(RepositoriesError::OtherKeys { .. }) => {
                row = self.begin_beside(location, &key, row).await?;
                let (store, root) = (location.store.clone(), row.root());
                create_or_open(store, &root, row.repository, &keys, profile, &row.slots, cache).await?
            }
            opened => opened?,
        };
        let known = row.clone();
        if row.slots != keys.slot_ids() && self.lets_granted_follow(location, &row, &open).await {
            row.slots = keys.slot_ids();
        }
        // The profile that it was known by may be gone.
        row.profile.clone_from(&location.profile);
        if row != known {
            self.note_known(&key, &row).await?;
        }
        self.unlisted.note_use(open.id());
        Ok((row, open))
    }

    /// Gives an export repository the newest key and all slots of today, whatever it is thought to carry.
    pub(crate) async fn upgrade_export(
        &self,
        location: &Location,
        key: &RowKey,
        row: &RepositoryRow,
    ) -> Result<(), RepositoriesError> {
        let proven = ownership::prove(self, location, &row.cluster).await;
        proven.map_err(|source| RepositoriesError::NotOwned { source })?;
        let keys = self.repository_keys();
        let (store, root, profile) = (location.store.clone(), row.root(), &location.profile);
        let opened = open_current(store, &root, &keys, profile, &[], &self.index_cache).await?;
        let gone = || RepositoriesError::Gone { root: root.to_string(), profile: profile.clone() };
        let open = opened.ok_or_else(gone)?;
        let known = RepositoryRow { slots: keys.slot_ids(), ..row.clone() };
        let follows = self.lets_granted_follow(location, row, &open).await;
        if known == *row || !follows { Ok(()) } else { self.note_known(key, &known).await }
    }

    /// Gives a repository's newest data key to whoever was granted it. Whether that is done, or can never be: what could not
    /// be written now is tried again as long as the repository is not known to have the slots of today.
    async fn lets_granted_follow(
        &self,
        location: &Location,
        row: &RepositoryRow,
        open: &Repository<Open>,
    ) -> bool {
        let Err(error) = grants::renew(self, location, (row, open)).await else { return true };
        tracing::warn!(
            application = row.application,
            profile = location.profile,
            cause = %Chain(&error),
            "other installations may not be able to read what is written here from now on"
        );
        error.class().is_lasting()
    }

    /// From here on the application is exported to a new repository; what lies in the one before stays where it is.
    async fn begin_beside(
        &self,
        location: &Location,
        key: &RowKey,
        before: RepositoryRow,
    ) -> Result<RepositoryRow, RepositoriesError> {
        let proven = ownership::prove(self, location, &self.cluster_id).await;
        proven.map_err(|source| RepositoriesError::NotOwned { source })?;
        let fresh = RepositoryRow {
            cluster: self.cluster_id.clone(),
            repository: RepositoryId::from_bytes(random_bytes()),
            slots: Vec::new(),
            ..before
        };
        let catalog = self.catalog().map_err(|source| RepositoriesError::Away { source })?;
        let put = fresh.put(&key.name, self.clock.now(), Expect::Any);
        commit(&catalog, ACTOR, vec![put])
            .await
            .map_err(|source| RepositoriesError::Record { application: fresh.application.clone(), source })?;
        Ok(fresh)
    }

    /// A row that has changed meanwhile is noted by whoever opens the repository next.
    async fn note_known(&self, key: &RowKey, known: &RepositoryRow) -> Result<(), RepositoriesError> {
        let failed = |source| RepositoriesError::Record { application: known.application.clone(), source };
        let catalog = self.catalog().map_err(|source| RepositoriesError::Away { source })?;
        let stored = catalog
            .read(key)
            .map_err(|source| RepositoriesError::Read { application: known.application.clone(), source })?;
        let Some(stored) = stored else { return Ok(()) };
        let expect = Expect::At(stored.revision);
        let row = Row { body: serde_json::to_vec(known).expect("plain data"), ..stored.row };
        match commit(&catalog, ACTOR, vec![Change::Put { row, expect }]).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    async fn choose_export_repository(
        &self,
        location: &Location,
        application: &str,
    ) -> Result<(RowKey, RepositoryRow), RepositoriesError> {
        let catalog = self.catalog().map_err(|source| RepositoriesError::Away { source })?;
        let key = RowKey::new(row_kind(), application, self.repository_row_name(location));
        let read = || {
            catalog
                .read(&key)
                .map_err(|source| RepositoriesError::Read { application: application.into(), source })
        };
        if let Some(row) = read()?.and_then(|stored| RepositoryRow::parse(&stored.row.body)) {
            return Ok((key, row));
        }
        let fresh = RepositoryRow {
            application: application.to_owned(),
            profile: location.profile.clone(),
            place: location.place.clone(),
            cluster: self.cluster_id.clone(),
            repository: RepositoryId::from_bytes(random_bytes()),
            slots: Vec::new(),
        };
        let put = fresh.put(&key.name, self.clock.now(), Expect::Absent);
        match commit(&catalog, ACTOR, vec![put]).await {
            Ok(_) => Ok((key, fresh)),
            // Another export of the same application was a moment faster.
            Err(CommitError::Conflict { .. }) => {
                let found = read()?.and_then(|stored| RepositoryRow::parse(&stored.row.body));
                Ok((key, found.unwrap_or(fresh)))
            }
            Err(source) => Err(RepositoriesError::Record { application: application.to_owned(), source }),
        }
    }

    /// While this instance owns nothing it exports beside the source's repositories, never into them.
    fn repository_row_name(&self, location: &Location) -> String {
        let place = location.place.key();
        match ownership::read(&self.instance).ok().and_then(|ownership| ownership.pending) {
            None => place,
            Some(pending) => format!("{place}{BESIDE}{}", pending.since.as_second()),
        }
    }

    /// Opens the repository that holds an artifact, the copy of it where the original is out of reach.
    pub(crate) async fn open_artifact(
        &self,
        artifact: &Artifact,
        override_profile: Option<&str>,
    ) -> Result<(Repository<Open>, Artifact), RepositoriesError> {
        if let Some(exported) = &artifact.exported {
            let profile = override_profile.unwrap_or(&exported.profile);
            let location =
                self.open_location(profile).await.map_err(|source| RepositoriesError::Location { source })?;
            if override_profile.is_none() && location.place != exported.place {
                return Err(RepositoriesError::OtherPlace { profile: profile.to_owned() });
            }
            if let Some(grant) = &exported.granted {
                let open = self.open_imported(&location, (exported, grant), artifact.repository).await?;
                return Ok((open, artifact.clone()));
            }
            let root = parse_root(&exported.root)?;
            if let Some(open) = self.open_past(&location, exported, &root, artifact.outcome).await {
                self.unlisted.note_use(open.id());
                return Ok((open, artifact.clone()));
            }
            let mut locked = Repository::<Locked>::at(location.store, root)
                .map_err(|source| RepositoriesError::OpenFolder { source })?;
            // A copy in another place has the same id and may have other index objects.
            if override_profile.is_none() {
                locked = locked.indexed_in(&self.index_cache);
            }
            let open = locked.open(Unlock::Vault(&self.vault())).await;
            let open = open.map_err(|source| RepositoriesError::Open {
                root: exported.root.clone(),
                profile: profile.to_owned(),
                source,
            })?;
            self.unlisted.note_use(open.id());
            return Ok((open, artifact.clone()));
        }
        let local = self.local_repository().await?;
        if local.id() == artifact.repository {
            return Ok((local, artifact.clone()));
        }
        let copy = artifact.copy.as_deref().ok_or(RepositoriesError::LostWithItsCluster)?;
        Box::pin(self.open_artifact(copy, override_profile)).await
    }
}

impl Platform {
    /// The repository of another installation that an artifact was imported from.
    async fn open_imported(
        &self,
        location: &Location,
        (exported, grant): (&ExportedTo, &GrantName),
        repository: RepositoryId,
    ) -> Result<Repository<Open>, RepositoriesError> {
        let of = exported.cluster().zip(exported.application());
        let (cluster, application) =
            of.ok_or_else(|| RepositoriesError::NoExport { root: exported.root.clone() })?;
        let row = RepositoryRow {
            application: application.to_owned(),
            profile: location.profile.clone(),
            place: location.place.clone(),
            cluster,
            repository,
            slots: Vec::new(),
        };
        grants::open(self, location, grant, &row).await
    }

    /// The repository as it was at the moment that was recovered, if it held the outcome then. Who holds our keys may have
    /// retired since what he cannot delete. As long as this instance owns nothing of it, nothing there changes for us.
    async fn open_past(
        &self,
        location: &Location,
        exported: &ExportedTo,
        root: &StorePath,
        outcome: SessionId,
    ) -> Option<Repository<Open>> {
        let until = ownership::read(&self.instance).ok()?.looks_until(&exported.cluster()?)?;
        // A store without versions has no past.
        let past = AsOf::new(location.store.clone(), until).ok()?;
        let locked = Repository::<Locked>::at(Arc::new(past), root.clone()).ok()?;
        let open = locked.open(Unlock::Vault(&self.vault())).await.ok()?;
        open.fetch_outcome(outcome).await.ok()?;
        Some(open)
    }
}

pub(crate) fn parse_root(root: &str) -> Result<StorePath, RepositoriesError> {
    root.parse().map_err(|source| RepositoriesError::Root { root: root.to_owned(), source })
}
