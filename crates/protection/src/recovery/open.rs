//! Opening a location for recovery: which clusters lie there, which repositories open with the passphrase, and what
//! each holds. Every error says what *is* there.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_crypto::{Passphrase, VaultKeyring};
use keelson_model::recovery::DrMode;
use keelson_model::{Chain, Classified, ClusterId, Generation, RepositoryId, Sequence};
use keelson_repository::{Locked, Open, OpenRepositoryError, Repository, RetireError, Unlock};
use keelson_store::Store;

use crate::layout::{self, ClusterFolder, DrFolder, Position};
use crate::recovery::RecoveryError;
use crate::recovery::chain::{Replay, ShippedChain, UnreachablePoint, choose_segments};
use crate::recovery::documents::{BaseDocument, ManifestDocument};
use crate::recovery::read::{PassedOver, Shelf, StoredName, is_damage, warning};

/// More runs than any retention keeps. The newest are listed.
const MANIFESTS_MAX: usize = 1_000;
/// Small objects that are read side by side.
const READS_IN_FLIGHT: usize = 8;

/// A DR repository that opened, and what its listings say.
pub(crate) struct OpenChain {
    /// Below whose id it lies.
    pub cluster: ClusterId,
    pub repository: Repository<Open>,
    pub folder: DrFolder,
    pub chain: ShippedChain,
    /// The newest base, read.
    pub base: BaseDocument,
    /// When the last entry that can be reached was committed.
    pub end_at: Timestamp,
    /// Runs that are not retired, newest first.
    pub manifests: Vec<ManifestDocument>,
    /// What was passed over, and what is lost.
    pub warnings: Vec<String>,
}

/// The clusters whose folders lie in a location.
pub(crate) async fn list_clusters(store: &Arc<dyn Store>) -> Result<Vec<String>, RecoveryError> {
    let folder = layout::clusters();
    store.list_folders(&folder).await.map_err(|source| RecoveryError::List { folder, source })
}

/// The DR repositories of one cluster: whatever is named like one, since a stranger's cannot be told by its name.
pub(crate) async fn list_repositories(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
) -> Result<Vec<RepositoryId>, RecoveryError> {
    let folder = ClusterFolder::new(cluster).dr();
    let failed = |source| RecoveryError::List { folder: folder.clone(), source };
    let names = store.list_folders(&folder).await.map_err(failed)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Opens every repository below `dr/` that one of the passphrases opens. At least one, or an error that says why none; what
/// is wrong with others beside it comes as warnings.
pub(crate) async fn open_chains(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
) -> Result<(Vec<OpenChain>, Vec<String>), RecoveryError> {
    let repositories = list_repositories(store, cluster).await?;
    if repositories.is_empty() {
        let known = list_clusters(store).await?;
        let cluster = cluster.clone();
        let is_known = known.iter().any(|name| name == cluster.as_str());
        return Err(match is_known {
            true => RecoveryError::NeverRan { cluster },
            false => RecoveryError::UnknownCluster { cluster, known },
        });
    }
    let (mut opened, mut failed) = (Vec::new(), None::<RecoveryError>);
    let mut passed_over = PassedOver::default();
    for id in &repositories {
        match open_with_any(store, cluster, *id, passphrases).await {
            Ok(Some(chain)) => opened.push(chain),
            Ok(None) => {}
            // What is out of reach for now may hold the latest state: nothing older is taken for it.
            Err(error) if !is_settled(&error) => return Err(error),
            Err(error) => {
                if !is_other_passphrase(&error) {
                    passed_over.note(format!("repository {id} is not used: {}", Chain(&error)));
                }
                if failed.as_ref().is_none_or(|told| weight(told) < weight(&error)) {
                    failed = Some(error);
                }
            }
        }
    }
    match (opened.is_empty(), failed) {
        (false, _) => {
            let mut warnings = Vec::new();
            passed_over.tell(&mut warnings);
            Ok((opened, warnings))
        }
        (true, Some(error)) if !is_other_passphrase(&error) => Err(error),
        (true, _) => Err(RecoveryError::WrongPassphrase { cluster: cluster.clone(), repositories }),
    }
}

/// The next try would bring the same: it is what lies there, and not that it is out of reach.
pub(crate) fn is_settled(error: &RecoveryError) -> bool {
    match error {
        RecoveryError::Open { source: OpenRepositoryError::Fetch { source, .. }, .. } => {
            source.class().is_lasting()
        }
        RecoveryError::Open { .. } => true,
        _ => error.class().is_lasting(),
    }
}

fn is_other_passphrase(error: &RecoveryError) -> bool {
    matches!(error, RecoveryError::Open { source: OpenRepositoryError::WrongPassphrase { .. }, .. })
}

/// How much an error tells of why nothing opens. Least tells what anybody can leave there, without a passphrase.
fn weight(error: &RecoveryError) -> u8 {
    match error {
        RecoveryError::Copied { .. } => 0,
        RecoveryError::Open { source, .. } => match source {
            OpenRepositoryError::Decode { .. }
            | OpenRepositoryError::DecodeSlot { .. }
            | OpenRepositoryError::Fetch { .. }
            | OpenRepositoryError::NoSlots { .. } => 0,
            OpenRepositoryError::WrongPassphrase { .. } => 1,
            _ => 3,
        },
        RecoveryError::NoBase { .. } => 2,
        _ => 3,
    }
}

/// With the first passphrase that leads to the newest key, or else with the one that leads furthest. An error is that of
/// a passphrase that says more than that it is another one.
async fn open_with_any(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    id: RepositoryId,
    passphrases: &[Arc<Passphrase>],
) -> Result<Option<OpenChain>, RecoveryError> {
    let (mut best, mut failed) = (None::<OpenChain>, None::<RecoveryError>);
    for passphrase in passphrases {
        let opened = match open_chain(store, cluster, id, Unlock::Passphrase(passphrase)).await {
            Ok(opened) => opened,
            Err(error) if !is_settled(&error) => return Err(error),
            Err(error) => {
                if failed.as_ref().is_none_or(|told| weight(told) < weight(&error)) {
                    failed = Some(error);
                }
                continue;
            }
        };
        let newest = |open: &OpenChain| open.vault_keys().newest().number();
        best = match (best, opened) {
            (Some(best), Some(opened)) if newest(&best) >= newest(&opened) => Some(best),
            (best, None) => best,
            (_, opened) => opened,
        };
        if best.as_ref().is_some_and(|best| !best.repository.names_newer_key()) {
            break;
        }
    }
    match (best, failed) {
        (None, Some(error)) => Err(error),
        (best, _) => Ok(best),
    }
}

/// What lies below a cluster id and says that it was written below another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Read,
    PassOver,
}

/// None where nothing was ever shipped.
pub(crate) async fn open_chain(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    id: RepositoryId,
    unlock: Unlock<'_>,
) -> Result<Option<OpenChain>, RecoveryError> {
    open_shipped(store, cluster, id, unlock, Copies::Read).await
}

/// None also for a copy: of what was written below another id no more is read than the first base that opens.
pub(crate) async fn open_original(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    id: RepositoryId,
    unlock: Unlock<'_>,
) -> Result<Option<OpenChain>, RecoveryError> {
    open_shipped(store, cluster, id, unlock, Copies::PassOver).await
}

async fn open_shipped(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    id: RepositoryId,
    unlock: Unlock<'_>,
    copies: Copies,
) -> Result<Option<OpenChain>, RecoveryError> {
    let folder = ClusterFolder::new(cluster).dr_repository(id);
    let locked = Repository::<Locked>::at(store.clone(), folder.repository().clone())
        .map_err(|source| RecoveryError::Root { source })?;
    let failed = |source| RecoveryError::Open { cluster: cluster.clone(), repository: id, source };
    match locked.summary().await {
        Ok(summary) if summary.id != id => {
            return Err(RecoveryError::Copied { repository: id, of: summary.id });
        }
        Ok(_) => {}
        // Recorded and never finished.
        Err(OpenRepositoryError::Absent { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    }
    let repository = locked.open(unlock).await.map_err(failed)?;
    let shelf = Shelf { store: &**store, repository: &repository, folder: &folder };
    let mut warnings = Vec::new();
    let bases = shelf.bases().await?;
    let base = shelf.newest_base(&bases, &mut warnings).await?;
    let base = base.ok_or_else(|| RecoveryError::NoBase { cluster: cluster.clone(), repository: id })?;
    if copies == Copies::PassOver && base.cluster != *cluster {
        return Ok(None);
    }
    let Contents { chain, end_at, manifests } = read_contents(&shelf, &bases, &base, &mut warnings).await?;
    let cluster = cluster.clone();
    Ok(Some(OpenChain { cluster, repository, folder, chain, base, end_at, manifests, warnings }))
}

/// What lies behind the newest base of a chain, and beside it.
struct Contents {
    chain: ShippedChain,
    end_at: Timestamp,
    manifests: Vec<ManifestDocument>,
}

async fn read_contents(
    shelf: &Shelf<'_>,
    bases: &[StoredName],
    base: &BaseDocument,
    warnings: &mut Vec<String>,
) -> Result<Contents, RecoveryError> {
    let segments = shelf.segments(Some(base.at)).await?;
    let last = shelf.last_segment(&segments, warnings).await?;
    let manifests = read_manifests(shelf, warnings).await?;
    let chain = ShippedChain {
        repository: shelf.repository.id(),
        bases: bases.iter().map(|base| base.at).filter(|at| *at <= base.at).collect(),
        end: last.as_ref().map(|last| last.last),
        parent: base.parent.clone(),
    };
    warnings.extend(find_loss(&chain, &manifests));
    let end_at = last.map_or(base.created, |last| last.last_at);
    Ok(Contents { chain, end_at, manifests })
}

/// The runs that stand, newest first.
async fn read_manifests(
    shelf: &Shelf<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<ManifestDocument>, RecoveryError> {
    let names = shelf.manifests().await?;
    let mut unread = names.len();
    let read = futures::stream::iter(names.into_iter().rev()).map(|name| read_manifest(shelf, name.at));
    let mut read = read.buffered(READS_IN_FLIGHT);
    let (mut manifests, mut passed_over) = (Vec::new(), PassedOver::default());
    // Those that do not open are not counted: whoever can write may leave any number of them.
    while manifests.len() < MANIFESTS_MAX
        && let Some(result) = read.next().await
    {
        unread -= 1;
        match result {
            Ok((manifest, stands, warning)) => {
                warning.into_iter().for_each(|warning| passed_over.note(warning));
                manifests.extend(stands.then_some(manifest));
            }
            Err(error) if is_damage(&error) => passed_over.note(warning(&error)),
            Err(error) => return Err(error),
        }
    }
    passed_over.tell(warnings);
    if unread > 0 {
        warnings.push(format!("{unread} older runs are not listed"));
    }
    Ok(manifests)
}

/// A run, and whether it stands. What claims to retire it and does not open is a stranger's.
async fn read_manifest(
    shelf: &Shelf<'_>,
    at: Position,
) -> Result<(ManifestDocument, bool, Option<String>), RecoveryError> {
    let manifest = shelf.manifest(at).await?;
    match shelf.repository.fetch_retirement(manifest.outcome).await {
        Ok(retirement) => Ok((manifest, retirement.is_none(), None)),
        Err(RetireError::Read { source }) if source.is_damage() => {
            let warning = format!("not used: {}", Chain(&RetireError::Read { source }));
            Ok((manifest, true, Some(warning)))
        }
        Err(source) => Err(RecoveryError::ListRetired { source }),
    }
}

/// Pure. A run names only what lay in the store: what it names and cannot be reached was deleted or damaged since.
fn find_loss(chain: &ShippedChain, manifests: &[ManifestDocument]) -> Option<String> {
    let end = chain.latest()?;
    let lost = manifests.iter().map(|run| run.at).filter(|at| at.revision() > end.revision()).max()?;
    Some(format!(
        "lost: a run proves that the chain of repository {} went through {lost}, and nothing behind {end} can be read",
        chain.repository
    ))
}

impl OpenChain {
    /// The vault keys that the slots of this repository wrap.
    pub(crate) fn vault_keys(&self) -> &VaultKeyring {
        self.repository.vault_keys()
    }

    pub(crate) fn mode(&self) -> DrMode {
        self.base.mode
    }

    pub(crate) fn shelf(&self) -> Shelf<'_> {
        Shelf { store: &**self.repository.store(), repository: &self.repository, folder: &self.folder }
    }

    /// What has to be read to reach a point, from the nearest base that can be used. Reads names, the base and the
    /// last segment.
    pub(crate) async fn plan_replay(
        &self,
        generation: Generation,
        through: Sequence,
        warnings: &mut Vec<String>,
    ) -> Result<(Replay, BaseDocument), RecoveryError> {
        let mut bases = self.chain.clone();
        loop {
            let base = bases.base_for(generation, through);
            let base = base.map_err(|source| RecoveryError::Unreachable { source })?;
            match self.shelf().base(base).await {
                Ok(document) => {
                    let replay = self.replay_from(base, through).await?;
                    return Ok((replay, document));
                }
                Err(error) if is_damage(&error) && bases.bases.len() > 1 => {
                    warnings.push(warning(&error));
                    bases.bases.retain(|at| *at != base);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn replay_from(&self, base: Position, through: Sequence) -> Result<Replay, RecoveryError> {
        if base.sequence == through {
            return Ok(Replay { base, segments: Vec::new(), through });
        }
        let names = self.shelf().segments(Some(base)).await?;
        let names: Vec<Position> = names.iter().map(|name| name.at).collect();
        let segments = choose_segments(base, &names, through);
        let at = Position { sequence: through, ..base };
        let not_covered = || RecoveryError::Unreachable { source: UnreachablePoint::NotCovered { at, base } };
        // Copies under other names stand among them: the last one that is itself must reach the point.
        for last in segments.iter().rev() {
            match self.shelf().segment(*last).await {
                Ok(directory) if directory.last.sequence >= through => {
                    return Ok(Replay { base, segments, through });
                }
                Ok(_) => break,
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(not_covered())
    }
}
