//! Leaving a chain that is not this instance's alone: a later generation of the catalog, in a new repository.
//!
//! The order: 1 the last point that both have is looked up; 2 it is noted in the instance file with the id of the new
//! repository, the generation and the reason; 3 the catalog goes on in that generation, above any in the store, so that
//! no revision means two things; 4 the repository is created with the passphrase's slot; 5 it is recorded in place of
//! the note, and shipping begins there with a base.
//!
//! Guarantees: a try that was cut short behind step 3 keeps its point, which nothing else tells any more, and its
//! repository. The next start finds the chain of another generation and takes the note up, in this process or another,
//! unless the chain, the place or the catalog is another one by then.

use keelson_catalog::{Actor, Database};
use keelson_crypto::{VaultKeyring, random_bytes};
use keelson_model::{Chain, ClusterId, Generation, RepositoryId, Sequence};
use keelson_repository::Unlock;

use crate::layout::{ClusterFolder, Epoch, Position};
use crate::locations::{Location, Place};
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::documents::Fork;
use crate::recovery::open::{is_settled, list_repositories, open_chain};
use crate::recovery::read::{Shelf, is_damage};
use crate::recovery::ship::writers::Divergence;
use crate::recovery::state::{self, Enabled, Moved, Moving};
use crate::repositories;

/// Segments that are looked at for the last common point; behind it nothing is decided.
const LOOKED_AT_MAX: usize = 256;

pub(super) async fn move_on(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
    why: &Divergence,
) -> Result<Enabled, RecoveryError> {
    // What is enabled belongs to a catalog that was replaced, and is about to be forgotten.
    if state::recovered(platform)?.is_some_and(|recovered| !recovered.settled) {
        return Err(RecoveryError::Interrupted);
    }
    tracing::error!(
        repository = %enabled.repository,
        reason = %why,
        "the shipped chain is not this instance's alone; going on in a new repository and a later generation"
    );
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let moving = prepare(platform, location, enabled, &catalog, why).await?;
    open_generation(&catalog, moving.generation).await?;

    let keys = platform.repository_keys();
    let moved = Enabled {
        repository: moving.repository,
        enabled_at: platform.clock.now(),
        vault_key: keys.vault.newest().number(),
        slots: keys.slot_ids(),
        parent: Some(moving.fork),
        ..enabled.clone()
    };
    let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(moved.repository);
    repositories::create_or_open(
        location.store.clone(),
        folder.repository(),
        moved.repository,
        &keys,
        &enabled.profile,
        &[],
        &platform.index_cache,
    )
    .await
    .map_err(|source| RecoveryError::Repository { source })?;
    let note = Moved { from: enabled.repository, at: platform.clock.now(), why: moving.why };
    state::write_moved(platform, enabled, &moved, &note).await?;
    Ok(moved)
}

/// Steps 1 and 2.
async fn prepare(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
    catalog: &Database,
    why: &Divergence,
) -> Result<Moving, RecoveryError> {
    let own = catalog.generation();
    let noted = state::moving(platform)?;
    let begun = noted.as_ref().filter(|begun| is_of(begun, enabled, &location.place));
    // Where the chain itself is of this generation, it was gone on with since.
    let gone_on = begun.filter(|begun| begun.has_gone_on(own) && why.generation() != Some(own));
    let vault = platform.vault();
    let seen = highest_generation(location, &platform.cluster_id, &vault).await?;
    let repository = match begun {
        Some(begun) => find_free(location, &platform.cluster_id, begun.repository, &vault).await?,
        None => None,
    };
    let (fork, reason) = match gone_on {
        Some(begun) => (begun.fork.clone(), begun.why.clone()),
        None => (find_fork(platform, location, enabled, catalog).await?, why.to_string()),
    };
    let moving = Moving {
        place: location.place.clone(),
        fork,
        repository: repository.unwrap_or_else(|| RepositoryId::from_bytes(random_bytes())),
        generation: choose_generation(seen, why, own, gone_on.map(|begun| begun.generation)),
        why: reason,
    };
    if noted.as_ref() != Some(&moving) {
        state::write_moving(platform, &moving).await?;
    }
    Ok(moving)
}

/// Pure: whether it is this chain that an earlier try was about to leave.
fn is_of(begun: &Moving, enabled: &Enabled, place: &Place) -> bool {
    begun.fork.repository == enabled.repository && begun.place == enabled.place && begun.place == *place
}

/// Pure: above any that is in use. A catalog that went on already, before a kill, does not go on again.
fn choose_generation(
    seen: Generation,
    why: &Divergence,
    own: Generation,
    begun: Option<Generation>,
) -> Generation {
    // A chain of which no base can be used tells only by what was found in it.
    let known = why.generation().unwrap_or(if begun.is_some() { seen } else { own });
    Generation(seen.max(known).0 + 1).max(begun.unwrap_or(own))
}

/// The repository of an earlier try, unless somebody ships there: a copy of this volume had the same note. What cannot
/// be opened there is not waited for.
async fn find_free(
    location: &Location,
    cluster: &ClusterId,
    id: RepositoryId,
    vault: &VaultKeyring,
) -> Result<Option<RepositoryId>, RecoveryError> {
    match open_chain(&location.store, cluster, id, Unlock::Vault(vault)).await {
        Ok(None) | Err(RecoveryError::NoBase { .. }) => Ok(Some(id)),
        Ok(Some(_)) => Ok(None),
        Err(error) if is_settled(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// In the file as it is. Readers and whoever commits notice nothing; watches begin anew.
pub(super) async fn open_generation(catalog: &Database, wanted: Generation) -> Result<(), RecoveryError> {
    let catalog = catalog.clone();
    let opening = tokio::task::spawn_blocking(move || {
        catalog.open_generation(wanted, &Actor::new("disaster recovery"))
    });
    let opened = opening.await.map_err(|_| RecoveryError::Interrupted)?;
    opened.map(drop).map_err(|source| RecoveryError::OpenGeneration { source })
}

/// Of what opens and is itself: a name alone, which anybody can write, counts for nothing.
pub(super) async fn highest_generation(
    location: &Location,
    cluster: &ClusterId,
    vault: &VaultKeyring,
) -> Result<Generation, RecoveryError> {
    let mut highest = Generation(0);
    for id in list_repositories(&location.store, cluster).await? {
        match open_chain(&location.store, cluster, id, Unlock::Vault(vault)).await {
            Ok(Some(open)) => highest = highest.max(open.base.at.generation),
            Ok(None) => {}
            Err(error) if is_settled(&error) => {
                tracing::warn!(repository = %id, cause = %Chain(&error), "not counted among our chains");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(highest)
}

/// The last point that the stored chain and the catalog have in common.
async fn find_fork(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
    catalog: &Database,
) -> Result<Fork, RecoveryError> {
    let vault = platform.vault();
    let unlock = Unlock::Vault(&vault);
    let cluster = platform.cluster_id.clone();
    let at = match open_chain(&location.store, &cluster, enabled.repository, unlock).await {
        Ok(Some(open)) => common_point(&open.shelf(), catalog).await?,
        Ok(None) | Err(RecoveryError::NoBase { .. }) => None,
        Err(error) if is_damage(&error) => None,
        Err(error) => return Err(error),
    };
    let nothing = Position { epoch: Epoch(0), generation: catalog.generation(), sequence: Sequence(0) };
    Ok(Fork { cluster, repository: enabled.repository, at: at.unwrap_or(nothing) })
}

/// Walks back along the stored chain until an entry is the catalog's own.
pub(super) async fn common_point(
    shelf: &Shelf<'_>,
    catalog: &Database,
) -> Result<Option<Position>, RecoveryError> {
    let is_ours = |at: Position, chain: &str| {
        let same_generation = at.generation == catalog.generation();
        let ours = catalog.chain_at(at.sequence).map_err(|source| RecoveryError::ReadState { source })?;
        Ok::<_, RecoveryError>(same_generation && ours.is_some_and(|ours| hex::encode(ours) == chain))
    };
    let bases = shelf.bases().await?;
    let mut looked_at = 0;
    for index in (0..bases.len()).rev() {
        let next = bases.get(index + 1).map(|next| next.at);
        for segment in shelf.segments(Some(bases[index].at)).await?.iter().rev() {
            let here = next.is_none_or(|next| segment.at <= next);
            if !here || looked_at == LOOKED_AT_MAX {
                continue;
            }
            looked_at += 1;
            match shelf.segment(segment.at).await {
                Ok(stored) if is_ours(stored.last, &stored.chain)? => return Ok(Some(stored.last)),
                Ok(_) => {}
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match shelf.base(bases[index].at).await {
            Ok(base) if is_ours(base.at, &base.state.chain)? => return Ok(Some(base.at)),
            Ok(_) => {}
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keelson_model::InstanceId;
    use keelson_model::recovery::DrMode;

    use super::*;

    fn at(generation: u32) -> Position {
        Position { epoch: Epoch(1), generation: Generation(generation), sequence: Sequence(9) }
    }

    #[test]
    fn a_catalog_goes_on_above_whatever_is_in_use_and_once() {
        let check = |seen: u32, why: &Divergence, own: u32, begun: Option<u32>, chosen: u32| {
            let begun = begun.map(Generation);
            let found = choose_generation(Generation(seen), why, Generation(own), begun);
            assert_eq!(found, Generation(chosen), "{seen} {why} {own} {begun:?}");
        };
        let ahead = Divergence::Ahead { stored: at(1), ours: at(1) };
        let other = |stored| Divergence::OtherGeneration { stored: at(stored), ours: at(2) };
        let foreign = Divergence::ForeignStart { number: 2, instance: InstanceId::from_bytes([1; 16]) };
        check(1, &ahead, 1, None, 2);
        check(4, &ahead, 1, None, 5);
        check(0, &foreign, 1, None, 2);
        // Cut short, with a note and without.
        check(1, &other(1), 2, Some(2), 2);
        check(1, &other(1), 2, None, 2);
        check(0, &foreign, 2, Some(2), 2);
        // A copy of the volume went on in the same meanwhile.
        check(2, &other(1), 2, Some(2), 3);
        check(1, &other(1), 2, Some(3), 3);
    }

    #[test]
    fn only_the_same_chain_is_left_by_the_same_catalog_to_where_an_earlier_try_was_about_to() {
        let place = |path: &str| Place::FileStore { claim: "share".to_owned(), path: path.to_owned() };
        let (left, other) = (RepositoryId::from_bytes([1; 16]), RepositoryId::from_bytes([2; 16]));
        let cluster: ClusterId = "0c3e8c52-6a0b".parse().unwrap();
        let begun = Moving {
            place: place("a"),
            fork: Fork { cluster, repository: left, at: at(4) },
            repository: RepositoryId::from_bytes([3; 16]),
            generation: Generation(6),
            why: String::new(),
        };
        let enabled = |repository, path: &str| Enabled {
            profile: "vault".to_owned(),
            place: place(path),
            repository,
            mode: DrMode::Legacy,
            enabled_at: Timestamp::UNIX_EPOCH,
            vault_key: 1,
            slots: Vec::new(),
            parent: None,
        };
        assert!(is_of(&begun, &enabled(left, "a"), &place("a")));
        assert!(!is_of(&begun, &enabled(other, "a"), &place("a")), "another chain");
        assert!(!is_of(&begun, &enabled(left, "b"), &place("b")), "another place");
        assert!(!is_of(&begun, &enabled(left, "a"), &place("b")), "the profile leads elsewhere now");
        let gone_on: Vec<u32> = (1..9).filter(|own| begun.has_gone_on(Generation(*own))).collect();
        assert_eq!(gone_on, [5, 6]);
    }
}
