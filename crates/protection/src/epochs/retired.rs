//! Which retirements count: `epochs/<lineage>/<n>.retired` names those that epoch `n` found when it was claimed.
//!
//! An owner of an earlier epoch who was paused may state a retirement after another has taken over. It is in no such
//! list and therefore void.
//!
//! Order of a new owner: 1 claim the epoch, 2 only then list the retirements, 3 create the list ([`inherit`]); of every
//! owner then, each time it prunes: 4 list the retirements, 5 only then read the claims, and judge ([`find_counting`]).
//!
//! Anybody who can write can be first in a list's place. What does not open there under the lineage's key names nothing:
//! it makes no retirement count that an owner has not found, and stops nobody from freeing what he himself retires.

use std::collections::BTreeSet;

use keelson_crypto::{Keyring, ObjectKind};
use keelson_model::{LineageId, SessionId};
use keelson_repository::{JudgedRetirements, Open, Ownership, Repository, RetireError, Retirement};
use keelson_store::{Store, StoreError, StoreExt, StorePath};
use serde::{Deserialize, Serialize};

use super::EpochError;
use crate::documents::{self, DocumentError};
use crate::layout::{ClusterFolder, Epoch};

/// The list of one epoch. Where there is none, nobody has judged yet what was retired before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetiredBefore {
    version: u32,
    pub epoch: Epoch,
    pub outcomes: BTreeSet<SessionId>,
}

impl RetiredBefore {
    fn of(epoch: Epoch, outcomes: BTreeSet<SessionId>) -> Self {
        Self { version: 0, epoch, outcomes }
    }
}

/// What lies in the place of an epoch's list.
#[derive(Debug)]
pub(super) enum FoundList {
    Absent,
    List(RetiredBefore),
    /// Nobody of this lineage wrote it, or not in this place.
    Stranger(StrangersList),
}

/// What lies in the place of a list and is none.
#[derive(Debug)]
pub(crate) struct StrangersList {
    pub path: StorePath,
    pub source: DocumentError,
}

impl FoundList {
    #[cfg(test)]
    pub(super) fn list(self) -> Option<RetiredBefore> {
        match self {
            Self::List(list) => Some(list),
            Self::Absent | Self::Stranger(_) => None,
        }
    }
}

/// By what an owner judges what owners before it have retired.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Without it none of that counts, and none is void.
    pub list: Option<RetiredBefore>,
    /// What lies in the place of a list and is none.
    pub stranger: Option<StrangersList>,
}

/// What an owner has before it, who has looked for the list of its epoch.
#[derive(Debug)]
pub(super) enum Standing {
    /// The list is made.
    Listed(RetiredBefore),
    /// It cannot be made. What owners before have retired is neither freed nor withdrawn.
    Blocked(StrangersList),
    /// It is to be made, after this one of an earlier epoch.
    Unlisted { before: Option<RetiredBefore>, stranger: Option<StrangersList> },
}

/// Whether the list of an epoch can still be made, and of what.
enum Prospect {
    Decided(Inherited),
    ToMake { taken: BTreeSet<SessionId>, passed_over: Option<StrangersList> },
}

/// Gives the list of an epoch that is claimed. Where there is none it is made, of what the repositories hold now: of all
/// that are owned together, since what is not in it is void.
pub(crate) async fn inherit(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
    repositories: &[Repository<Open>],
) -> Result<Inherited, EpochError> {
    let (taken, passed_over) = match prospect(store, cluster, lineage, keys, epoch, repositories).await? {
        Prospect::Decided(inherited) => return Ok(inherited),
        Prospect::ToMake { taken, passed_over } => (taken, passed_over),
    };
    Ok(match record_retired(store, cluster, lineage, keys, epoch, taken).await? {
        FoundList::List(list) => Inherited { list: Some(list), stranger: passed_over },
        FoundList::Stranger(stranger) => Inherited { list: None, stranger: Some(stranger) },
        FoundList::Absent => Inherited { list: None, stranger: passed_over },
    })
}

/// What [`inherit`] would give now. Makes nothing.
pub(crate) async fn foresee_inherited(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
    repositories: &[Repository<Open>],
) -> Result<Inherited, EpochError> {
    Ok(match prospect(store, cluster, lineage, keys, epoch, repositories).await? {
        Prospect::Decided(inherited) => inherited,
        Prospect::ToMake { taken, passed_over } => {
            Inherited { list: Some(RetiredBefore::of(epoch, taken)), stranger: passed_over }
        }
    })
}

async fn prospect(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
    repositories: &[Repository<Open>],
) -> Result<Prospect, EpochError> {
    // Nobody has owned it before.
    if epoch.0 <= 1 {
        return Ok(Prospect::Decided(Inherited::default()));
    }
    let (before, passed_over) = match stand(store, cluster, lineage, keys, epoch).await? {
        Standing::Listed(list) => {
            return Ok(Prospect::Decided(Inherited { list: Some(list), stranger: None }));
        }
        Standing::Blocked(stranger) => {
            return Ok(Prospect::Decided(Inherited { list: None, stranger: Some(stranger) }));
        }
        Standing::Unlisted { before, stranger } => (before, stranger),
    };
    let mut taken = BTreeSet::new();
    for repository in repositories {
        let retirements = repository.list_retired().await;
        let retirements = retirements.map_err(|source| EpochError::ListRetired { source })?;
        taken.extend(take_over(&retirements, lineage, before.as_ref()));
    }
    Ok(Prospect::ToMake { taken, passed_over })
}

/// Lists the retirements of a repository, only then has ownership proven, and judges: one that is stated in between is
/// not among them.
pub(crate) async fn find_counting<E: From<RetireError>>(
    repository: &Repository<Open>,
    lineage: LineageId,
    list: Option<&RetiredBefore>,
    proof: impl Future<Output = Result<Ownership, E>>,
) -> Result<(Ownership, JudgedRetirements), E> {
    let retirements = repository.list_retired().await?;
    let proof = proof.await?;
    let judged = judge(&retirements, lineage, epoch_of(&proof), list);
    Ok((proof, judged))
}

/// The epoch that is held.
pub(crate) fn epoch_of(proof: &Ownership) -> Epoch {
    Epoch(u32::try_from(proof.epoch()).unwrap_or(u32::MAX))
}

/// Looks for the list of an epoch, and for the newest one before it. If that does not open it counts as one that names
/// nothing: what it named stays. To look further back could make count what it had found void.
pub(super) async fn stand(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
) -> Result<Standing, EpochError> {
    match read_retired(store, cluster, lineage, keys, epoch).await? {
        FoundList::List(list) => return Ok(Standing::Listed(list)),
        FoundList::Stranger(stranger) => return Ok(Standing::Blocked(stranger)),
        FoundList::Absent => {}
    }
    // The first owner has nobody before it.
    for earlier in (2..epoch.0).rev().map(Epoch) {
        match read_retired(store, cluster, lineage, keys, earlier).await? {
            FoundList::Absent => {}
            FoundList::List(list) => {
                return Ok(Standing::Unlisted { before: Some(list), stranger: None });
            }
            FoundList::Stranger(stranger) => {
                let before = Some(RetiredBefore::of(earlier, BTreeSet::new()));
                return Ok(Standing::Unlisted { before, stranger: Some(stranger) });
            }
        }
    }
    Ok(Standing::Unlisted { before: None, stranger: None })
}

/// Pure: which retirements count while `newest` is the newest epoch and `list` is its list.
pub(super) fn judge(
    retirements: &[Retirement],
    lineage: LineageId,
    newest: Epoch,
    list: Option<&RetiredBefore>,
) -> JudgedRetirements {
    let mut judged = JudgedRetirements::default();
    let newest_number = u64::from(newest.0);
    let list = list.filter(|list| list.epoch == newest);
    for retirement in retirements.iter().filter(|retirement| retirement.lineage == lineage) {
        if retirement.epoch == newest_number {
            judged.valid.insert(retirement.outcome);
        } else if let Some(list) = list.filter(|_| retirement.epoch < newest_number) {
            let side = if list.outcomes.contains(&retirement.outcome) {
                &mut judged.valid
            } else {
                &mut judged.void
            };
            side.insert(retirement.outcome);
        }
    }
    judged
}

/// Pure: what a new owner takes over of the retirements that it found after its claim. `before` is the newest list of
/// an earlier epoch: what was void then stays void.
pub(super) fn take_over(
    retirements: &[Retirement],
    lineage: LineageId,
    before: Option<&RetiredBefore>,
) -> BTreeSet<SessionId> {
    let counts = |retirement: &&Retirement| {
        retirement.lineage == lineage
            && before.is_none_or(|list| {
                retirement.epoch >= u64::from(list.epoch.0) || list.outcomes.contains(&retirement.outcome)
            })
    };
    retirements.iter().filter(counts).map(|retirement| retirement.outcome).collect()
}

/// Creates the list of an epoch, once, and gives what is there afterwards: a list that was there already is the list.
pub(super) async fn record_retired(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
    outcomes: BTreeSet<SessionId>,
) -> Result<FoundList, EpochError> {
    let path = cluster.epoch_retired(lineage, epoch);
    let list = RetiredBefore::of(epoch, outcomes);
    let bytes = documents::seal(keys.newest(), ObjectKind::EpochRetired, &path, &list)
        .map_err(|source| EpochError::Seal { source })?;
    match store.create(&path, bytes).await {
        Ok(_) => Ok(FoundList::List(list)),
        Err(StoreError::AlreadyExists { .. }) => read_retired(store, cluster, lineage, keys, epoch).await,
        Err(source) => Err(EpochError::Write { path, source }),
    }
}

/// Reads the list of an epoch.
pub(super) async fn read_retired(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    epoch: Epoch,
) -> Result<FoundList, EpochError> {
    let path = cluster.epoch_retired(lineage, epoch);
    let bytes = store.fetch_if_present(&path).await;
    let Some(bytes) = bytes.map_err(|source| EpochError::Read { path: path.clone(), source })? else {
        return Ok(FoundList::Absent);
    };
    match documents::open::<RetiredBefore>(keys, ObjectKind::EpochRetired, &path, &bytes) {
        Ok(list) if list.epoch == epoch => Ok(FoundList::List(list)),
        Ok(list) => {
            let name = cluster.epoch_retired(lineage, list.epoch).to_string();
            let source = DocumentError::OtherName { path: path.clone(), name };
            Ok(FoundList::Stranger(StrangersList { path, source }))
        }
        Err(source) => Ok(FoundList::Stranger(StrangersList { path, source })),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const LINEAGE: LineageId = LineageId::from_bytes([1; 16]);

    fn outcomes(numbers: &[u8]) -> BTreeSet<SessionId> {
        numbers.iter().map(|number| SessionId::from_bytes([*number; 16])).collect()
    }

    /// Outcome and epoch of each.
    fn retirements(stated: &[(u8, u64)]) -> Vec<Retirement> {
        let retirement = |(outcome, epoch): &(u8, u64)| Retirement {
            outcome: SessionId::from_bytes([*outcome; 16]),
            lineage: LINEAGE,
            epoch: *epoch,
            at: Timestamp::UNIX_EPOCH,
        };
        stated.iter().map(retirement).collect()
    }

    fn list(epoch: u32, numbers: &[u8]) -> RetiredBefore {
        RetiredBefore { version: 0, epoch: Epoch(epoch), outcomes: outcomes(numbers) }
    }

    #[test]
    fn a_retirement_counts_if_the_newest_owner_stated_or_found_it() {
        let check = |stated: &[(u8, u64)], newest, list: Option<RetiredBefore>, valid: &[u8], void: &[u8]| {
            let judged = judge(&retirements(stated), LINEAGE, Epoch(newest), list.as_ref());
            assert_eq!((judged.valid, judged.void), (outcomes(valid), outcomes(void)));
        };
        check(&[(1, 1)], 1, None, &[1], &[]);
        check(&[(1, 1), (2, 1), (3, 2)], 2, Some(list(2, &[1])), &[1, 3], &[2]);
        // Not judged yet, or stated under an epoch that nobody knows of.
        check(&[(1, 1), (3, 2)], 2, None, &[3], &[]);
        check(&[(1, 1)], 2, Some(list(1, &[1])), &[], &[]);
        check(&[(1, 3)], 2, Some(list(2, &[])), &[], &[]);
        let foreign = judge(&retirements(&[(1, 1)]), LineageId::from_bytes([9; 16]), Epoch(1), None);
        assert_eq!(foreign, JudgedRetirements::default());
    }

    #[test]
    fn what_was_void_stays_void_when_ownership_moves_on() {
        let check = |stated: &[(u8, u64)], before: Option<RetiredBefore>, expected: &[u8]| {
            assert_eq!(take_over(&retirements(stated), LINEAGE, before.as_ref()), outcomes(expected));
        };
        check(&[(1, 1), (2, 1)], None, &[1, 2]);
        check(&[(1, 1), (2, 1), (3, 2)], Some(list(2, &[1])), &[1, 3]);
    }
}
