//! What was seen of a chain is asked of it later: it stands as long as nobody puts another state in its place.

use super::*;
use crate::recovery::known_head::{KnownHead, Rollback, check};

/// The end of what was shipped, as a status tells it.
fn seen(world: &World, shipper: &Shipper) -> KnownHead {
    let at = shipper.position(shipper.shipped());
    let chain = hex::encode(world.catalog.chain_at(at.sequence).unwrap().unwrap());
    KnownHead { repository: world.repository, at, chain, seen_at: world.clock.now() }
}

async fn judge(world: &World, known: &KnownHead) -> Option<Rollback> {
    check(known, &[world.open().await], "the newest").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_that_was_seen_stands_while_the_chain_goes_on() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = vec![seen(&world, &shipper)];
    for round in 0..6 {
        if round == 3 {
            shipper.base.as_mut().unwrap().grow(5 << 20);
        }
        world.commits(2);
        world.ship(&mut shipper).await.unwrap();
        heads.push(seen(&world, &shipper));
        for head in &heads {
            assert_eq!(judge(&world, head).await, None, "{}", head.at);
            // Every one of them is compared, in a base or in a segment: another digest would not pass.
            let other = KnownHead { chain: "00".repeat(32), ..head.clone() };
            let found = judge(&world, &other).await;
            assert!(
                matches!(found, Some(Rollback::Differs { at, .. }) if at == head.at),
                "{found:?} {}",
                head.at
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_its_newest_part_is_older_than_what_was_seen() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    let before = seen(&world, &shipper);
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    let after = seen(&world, &shipper);
    let folder = world.folder().segments();
    let newest = world.names(&folder).await.last().unwrap().clone();
    world.memory.tamper_by_deleting(&folder.join(&newest).unwrap());

    assert_eq!(judge(&world, &before).await, None);
    let (repository, at) = (world.repository, after.at);
    assert_eq!(judge(&world, &after).await, Some(Rollback::Older { repository, at, end: before.at }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_seen_and_is_not_there_is_missed() {
    let world = World::new();
    let (shipper, _) = world.begin(LEGACY).await;
    let known = KnownHead { repository: RepositoryId::from_bytes([9; 16]), ..seen(&world, &shipper) };
    let found = judge(&world, &known).await;
    assert!(matches!(found, Some(Rollback::Missing { .. })), "{found:?}");
}
