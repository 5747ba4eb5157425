//! What lies in the place of a list and is none.

use std::collections::BTreeSet;

use keelson_model::SessionId;
use keelson_repository::Retirement;

use super::super::retired::{FoundList, Standing, judge, read_retired, record_retired, stand, take_over};
use super::*;

fn outcome(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

/// Outcome and epoch of each.
fn retirements(lineage: &Lineage, stated: &[(u8, u64)]) -> Vec<Retirement> {
    let retirement = |(number, epoch): &(u8, u64)| Retirement {
        outcome: outcome(*number),
        lineage: lineage.id,
        epoch: *epoch,
        at: Timestamp::UNIX_EPOCH,
    };
    stated.iter().map(retirement).collect()
}

fn set(numbers: &[u8]) -> BTreeSet<SessionId> {
    numbers.iter().copied().map(outcome).collect()
}

async fn standing(store: &MemoryStore, lineage: &Lineage, epoch: u32) -> Standing {
    let folder = ClusterFolder::new(&cluster());
    stand(store, &folder, lineage.id, &lineage.keys, Epoch(epoch)).await.unwrap()
}

async fn record(store: &MemoryStore, lineage: &Lineage, epoch: u32, outcomes: &[u8]) -> FoundList {
    let folder = ClusterFolder::new(&cluster());
    record_retired(store, &folder, lineage.id, &lineage.keys, Epoch(epoch), set(outcomes)).await.unwrap()
}

fn path(lineage: &Lineage, epoch: u32) -> StorePath {
    ClusterFolder::new(&cluster()).epoch_retired(lineage.id, Epoch(epoch))
}

/// One object ended pruning for the whole lineage, and no later owner could heal it.
#[tokio::test]
async fn what_a_stranger_puts_in_a_lists_place_stops_nobody_and_makes_nothing_count() {
    let (store, lineage) = (MemoryStore::new(), lineage());
    store.create(&path(&lineage, 2), Bytes::from_static(b"of a stranger")).await.unwrap();

    // The owner of that epoch frees what it retires itself, and is told which object to delete.
    let Standing::Blocked(stranger) = standing(&store, &lineage, 2).await else {
        panic!("no list can be made")
    };
    assert_eq!(stranger.path, path(&lineage, 2));
    assert!(matches!(record(&store, &lineage, 2, &[1]).await, FoundList::Stranger(_)));
    let stated = retirements(&lineage, &[(1, 1), (2, 2)]);
    let judged = judge(&stated, lineage.id, Epoch(2), None);
    assert_eq!((judged.valid, judged.void), (set(&[2]), set(&[])));

    // The next owner has a list again. What that one cannot have found when it took over does not count.
    let Standing::Unlisted { before, stranger } = standing(&store, &lineage, 3).await else {
        panic!("no list yet")
    };
    assert_eq!(stranger.unwrap().path, path(&lineage, 2));
    let taken = take_over(&stated, lineage.id, before.as_ref());
    assert_eq!(taken, set(&[2]));
    let FoundList::List(list) = record(&store, &lineage, 3, &[2]).await else { panic!("its place is free") };
    let judged = judge(&retirements(&lineage, &[(1, 1), (2, 2), (3, 3)]), lineage.id, Epoch(3), Some(&list));
    assert_eq!((judged.valid, judged.void), (set(&[2, 3]), set(&[1])));
    assert!(matches!(standing(&store, &lineage, 3).await, Standing::Listed(_)));
    assert!(matches!(
        standing(&store, &lineage, 4).await,
        Standing::Unlisted { before: Some(before), stranger: None } if before.epoch == Epoch(3)
    ));
}

#[tokio::test]
async fn once_it_is_deleted_the_list_is_made_after_all() {
    let (store, lineage) = (MemoryStore::new(), lineage());
    store.create(&path(&lineage, 2), Bytes::from_static(b"of a stranger")).await.unwrap();
    assert!(matches!(standing(&store, &lineage, 2).await, Standing::Blocked(_)));
    store.delete(&path(&lineage, 2), None).await.unwrap();
    assert!(matches!(
        standing(&store, &lineage, 2).await,
        Standing::Unlisted { before: None, stranger: None }
    ));
    assert!(matches!(record(&store, &lineage, 2, &[1]).await, FoundList::List(_)));
}

/// It opens under the lineage's key and is genuine, and is not the list of this epoch.
#[tokio::test]
async fn a_copy_of_another_epochs_list_counts_for_nothing() {
    let (store, lineage) = (MemoryStore::new(), lineage());
    record(&store, &lineage, 2, &[1]).await;
    let bytes = store.fetch_all(&path(&lineage, 2)).await.unwrap();
    store.create(&path(&lineage, 3), bytes).await.unwrap();
    assert!(matches!(standing(&store, &lineage, 3).await, Standing::Blocked(_)));
    assert!(matches!(record(&store, &lineage, 3, &[1, 2]).await, FoundList::Stranger(_)));
    let folder = ClusterFolder::new(&cluster());
    let found = read_retired(&store, &folder, lineage.id, &lineage.keys, Epoch(2)).await.unwrap();
    assert_eq!(found.list().unwrap().outcomes, set(&[1]));
}
