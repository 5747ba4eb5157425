//! Opening a location for recovery: which clusters lie there, which repositories open with the passphrase, and what
//! each holds. Every error says what *is* there.

use std::collections::HashSet;
use std::sync::Arc;

use keelson_crypto::{ObjectKind, Passphrase, VaultKeyring};
use keelson_model::recovery::DrMode;
use keelson_model::{ClusterId, RepositoryId};
use keelson_repository::{Locked, Open, OpenRepositoryError, Repository, Unlock};
use keelson_store::{Store, StoreExt, StorePath};

use crate::documents;
use crate::layout::{self, ClusterFolder, DrFolder, Position, name_of};
use crate::locations::Location;
use crate::recovery::RecoveryError;
use crate::recovery::chain::ShippedChain;
use crate::recovery::documents::{BaseDocument, ManifestDocument, SegmentDirectory};

/// More repositories than this below one cluster id are not our work.
const REPOSITORIES_MAX: usize = 64;

/// A DR repository that opened, and what its listings say.
pub(crate) struct OpenChain {
    pub repository: Repository<Open>,
    pub folder: DrFolder,
    pub chain: ShippedChain,
    /// The newest base, read.
    pub base: BaseDocument,
    /// Runs that are not retired, newest first.
    pub manifests: Vec<ManifestDocument>,
}

/// The clusters whose folders lie in a location.
pub(crate) async fn list_clusters(location: &Location) -> Result<Vec<String>, RecoveryError> {
    let folder = layout::clusters();
    location.store.list_folders(&folder).await.map_err(|source| RecoveryError::List { folder, source })
}

/// The DR repositories of one cluster.
pub(crate) async fn list_repositories(
    location: &Location,
    cluster: &ClusterId,
) -> Result<Vec<RepositoryId>, RecoveryError> {
    let folder = ClusterFolder::new(cluster).dr();
    let failed = |source| RecoveryError::List { folder: folder.clone(), source };
    let names = location.store.list_folders(&folder).await.map_err(failed)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).take(REPOSITORIES_MAX).collect())
}

/// Opens every repository below `dr/` that this passphrase opens. At least one, or an error that says why none.
pub(crate) async fn open_chains(
    location: &Location,
    cluster: &ClusterId,
    passphrase: &Arc<Passphrase>,
) -> Result<Vec<OpenChain>, RecoveryError> {
    let repositories = list_repositories(location, cluster).await?;
    if repositories.is_empty() {
        let known = list_clusters(location).await?;
        let cluster = cluster.clone();
        let is_known = known.iter().any(|name| name == cluster.as_str());
        return Err(match is_known {
            true => RecoveryError::NeverRan { cluster },
            false => RecoveryError::UnknownCluster { cluster, known },
        });
    }
    let mut opened = Vec::new();
    let mut without_base = None;
    for id in &repositories {
        let folder = ClusterFolder::new(cluster).dr_repository(*id);
        let locked = Repository::<Locked>::at(location.store.clone(), folder.repository().clone())
            .map_err(|source| RecoveryError::Root { source })?;
        let repository = match locked.open(Unlock::Passphrase(passphrase)).await {
            Ok(repository) => repository,
            Err(OpenRepositoryError::WrongPassphrase { .. }) => continue,
            // Recorded and never finished: nothing was shipped there.
            Err(OpenRepositoryError::Absent { .. }) => continue,
            Err(source) => {
                return Err(RecoveryError::Open { cluster: cluster.clone(), repository: *id, source });
            }
        };
        match read_chain(&*location.store, repository, folder).await? {
            Some(chain) => opened.push(chain),
            None => without_base = Some(*id),
        }
    }
    match (opened.is_empty(), without_base) {
        (false, _) => Ok(opened),
        (true, Some(repository)) => Err(RecoveryError::NoBase { cluster: cluster.clone(), repository }),
        (true, None) => Err(RecoveryError::WrongPassphrase { cluster: cluster.clone(), repositories }),
    }
}

/// None where no base was ever completed.
async fn read_chain(
    store: &dyn Store,
    repository: Repository<Open>,
    folder: DrFolder,
) -> Result<Option<OpenChain>, RecoveryError> {
    let bases = positions(store, &folder.bases()).await?;
    let Some(newest) = bases.last().copied() else { return Ok(None) };
    let segments = positions(store, &folder.segments()).await?;
    let base: BaseDocument =
        read_document(store, &repository, ObjectKind::Base, &folder.base(newest)).await?;
    let end = match segments.last() {
        Some(last) => Some(segment_end(store, &repository, &folder, *last).await?),
        None => None,
    };
    let mut manifests = Vec::new();
    let retired = repository.list_retired().await.map_err(|source| RecoveryError::ListRetired { source })?;
    let retired: HashSet<_> = retired.into_iter().map(|retirement| retirement.outcome).collect();
    for at in positions(store, &folder.manifests()).await?.into_iter().rev() {
        let path = folder.manifest(at);
        let manifest: ManifestDocument =
            read_document(store, &repository, ObjectKind::Manifest, &path).await?;
        if !retired.contains(&manifest.outcome) {
            manifests.push(manifest);
        }
    }
    let chain =
        ShippedChain { repository: repository.id(), bases, segments, end, parent: base.parent.clone() };
    Ok(Some(OpenChain { repository, folder, chain, base, manifests }))
}

pub(crate) async fn positions(store: &dyn Store, folder: &StorePath) -> Result<Vec<Position>, RecoveryError> {
    let failed = |source| RecoveryError::List { folder: folder.clone(), source };
    let objects = store.list_all(folder).await.map_err(failed)?;
    Ok(objects.iter().filter_map(|object| name_of(&object.path)).collect())
}

pub(crate) async fn read_document<T: serde::de::DeserializeOwned>(
    store: &dyn Store,
    repository: &Repository<Open>,
    kind: ObjectKind,
    path: &StorePath,
) -> Result<T, RecoveryError> {
    let bytes =
        store.fetch_all(path).await.map_err(|source| RecoveryError::Fetch { path: path.clone(), source })?;
    documents::open(repository.keyring(), kind, path, &bytes)
        .map_err(|source| RecoveryError::Document { source })
}

/// A segment's name tells its first entry; its directory tells the last.
pub(crate) async fn segment_end(
    store: &dyn Store,
    repository: &Repository<Open>,
    folder: &DrFolder,
    first: Position,
) -> Result<Position, RecoveryError> {
    let path = folder.segment(first);
    let directory: SegmentDirectory = read_document(store, repository, ObjectKind::Segment, &path).await?;
    Ok(directory.last)
}

impl OpenChain {
    /// The vault keys that the slots of this repository wrap.
    pub(crate) fn vault_keys(&self) -> &VaultKeyring {
        self.repository.vault_keys()
    }

    pub(crate) fn mode(&self) -> DrMode {
        self.base.mode
    }
}
