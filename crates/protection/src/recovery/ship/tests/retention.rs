//! What is removed of a chain, and that everything else can still be reached.

use jiff::{SignedDuration, Timestamp};
use keelson_repository::Ownership;

use super::damage::run;
use super::*;
use crate::recovery::run::retention::drop_spent;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ten days with a base each, three entries and a run. The head at the end of each day.
async fn ten_days(world: &World) -> (Shipper, Vec<Head>) {
    let (mut shipper, _) = world.begin(LEGACY).await;
    let mut heads = Vec::new();
    for _ in 0..10 {
        shipper.base.as_mut().unwrap().grow(5 << 20);
        world.commits(1);
        world.ship(&mut shipper).await.unwrap();
        world.commits(2);
        world.ship(&mut shipper).await.unwrap();
        run(world, &shipper).await;
        heads.push(world.catalog.head());
        world.clock.advance(DAY);
    }
    (shipper, heads)
}

fn week_before(now: Timestamp) -> Timestamp {
    now.saturating_sub(SignedDuration::from_hours(7 * 24)).unwrap()
}

async fn remove(world: &World, shipper: &Shipper, standing: &[Head]) -> Result<usize, RecoveryError> {
    let reached = shipper.reached(world.catalog.head()).unwrap();
    let proof = Ownership::proven_by_newest_epoch(world.lineage, 1);
    let standing: Vec<Position> = standing.iter().map(|head| Position::of(Epoch(1), head.revision)).collect();
    let now = world.clock.now();
    drop_spent(&reached, &standing, week_before(now), &proof, now).await
}

async fn is_reachable(world: &World, head: &Head) -> bool {
    let open = world.open().await;
    match world.rebuild(&open, head.revision.sequence()).await {
        Ok(chain) => chain == hex::encode(head.chain),
        Err(RecoveryError::Unreachable { .. }) => false,
        Err(error) => panic!("{}", Chain(&error)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_points_and_the_runs_that_stand_outlive_the_rest() {
    let world = World::new();
    let (shipper, heads) = ten_days(&world).await;
    // The first base and that of the first day are of the same moment.
    assert_eq!(world.names(&world.folder().bases()).await.len(), 11);
    let removed = remove(&world, &shipper, &heads[1..2]).await.unwrap();
    assert!(removed > 0);
    for (day, head) in heads.iter().enumerate() {
        assert_eq!(is_reachable(&world, head).await, day == 1 || day >= 3, "day {day}");
    }
    let bases = world.names(&world.folder().bases()).await.len();
    let retired = world.folder().repository().join("retired").unwrap();
    assert_eq!(world.names(&retired).await.len(), 11 - bases, "what a base held goes with it");
    assert_eq!(remove(&world, &shipper, &heads[1..2]).await.unwrap(), 0, "once is enough");
    remove(&world, &shipper, &[]).await.unwrap();
    assert!(!is_reachable(&world, &heads[1]).await, "its run stands no longer");
    for head in &heads[3..] {
        assert!(is_reachable(&world, head).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_stops_anywhere_is_finished_by_the_next() {
    let whole = World::new();
    let (shipper, _) = ten_days(&whole).await;
    remove(&whole, &shipper, &[]).await.unwrap();
    let expected = whole.names(&whole.folder().segments()).await.len();
    let deletes = whole.store.count(&Calls::Of(Operation::Delete)) as u64;
    assert!(deletes > 5);
    for stop in [1, 2, 4, deletes] {
        let world = World::new();
        let (shipper, heads) = ten_days(&world).await;
        world.store.inject(Calls::Of(Operation::Delete), Span::From(stop), Fault::Before(Failure::Broken));
        remove(&world, &shipper, &[]).await.unwrap_err();
        assert!(is_reachable(&world, &heads[3]).await);
        world.store.heal();
        remove(&world, &shipper, &[]).await.unwrap();
        assert_eq!(world.names(&world.folder().segments()).await.len(), expected);
        assert!(is_reachable(&world, &heads[3]).await && is_reachable(&world, &heads[9]).await);
    }
}

/// A listing that collected so many names and no more stopped shipping for good.
#[tokio::test(flavor = "multi_thread")]
async fn more_segments_than_a_listing_collects_stop_nothing() {
    let world = World::new();
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    world.commits(1);
    world.ship(&mut shipper).await.unwrap();
    let of_garbage = |number: u64| {
        let at = Position { epoch: Epoch(0), generation: Generation(1), sequence: Sequence(number) };
        world.folder().segment(at)
    };
    for number in 0..=keelson_store::LIST_ALL_MAX as u64 {
        world.memory.tamper(&of_garbage(number), Bytes::new());
    }
    let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    world.commits(2);
    world.ship(&mut shipper).await.unwrap();
    world.assert_reachable(&[world.catalog.head()]).await;
}
