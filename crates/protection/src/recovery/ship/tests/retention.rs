//! What is removed of a chain, and that everything else can still be reached.

use jiff::{SignedDuration, Timestamp};
use keelson_repository::Ownership;

use super::damage::run;
use super::*;
use crate::recovery::run::retention::drop_spent;
use crate::recovery::unnamed::{Named, retire_unnamed};

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

/// A chain with bases at its beginning and, if asked for, after the fourth day; three entries a day, and a run on the
/// fifth. What a test does to it at the end of that day is nine days old at the end. The head of each day.
async fn aged(world: &World, second: bool, harm: impl AsyncFnOnce(&Shipper)) -> (Shipper, Vec<Head>) {
    world.commits(1);
    let (mut shipper, _) = world.begin(LEGACY).await;
    let (mut heads, mut harm) = (Vec::new(), Some(harm));
    for day in 0..14 {
        if second && day == 4 {
            shipper.base.as_mut().unwrap().grow(5 << 20);
        }
        world.commits(3);
        world.ship(&mut shipper).await.unwrap();
        heads.push(world.catalog.head());
        if day == 4 {
            run(world, &shipper).await;
            harm.take().unwrap()(&shipper).await;
        }
        world.clock.advance(DAY);
    }
    (shipper, heads)
}

/// Every day but those is reachable after a removal.
async fn check_kept(world: &World, shipper: &Shipper, heads: &[Head], lost_until: usize) {
    remove(world, shipper, &heads[4..5]).await.unwrap();
    for (day, head) in heads.iter().enumerate() {
        assert_eq!(is_reachable(world, head).await, day >= lost_until, "day {day}");
    }
    assert!(is_reachable(world, &world.catalog.head()).await);
}

/// Nobody needs a key to write a name: a week later the live base and all that it led to were deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_base_makes_nothing_needless() {
    let garbage = || Bytes::from_static(b"of a stranger");
    let world = World::new();
    let (shipper, heads) = aged(&world, false, async |shipper| {
        let base = shipper.base.as_ref().unwrap().document.at;
        let next = Position { sequence: Sequence(base.sequence.0 + 1), ..base };
        world.memory.tamper(&world.folder().base(next), garbage());
    })
    .await;
    check_kept(&world, &shipper, &heads, 0).await;

    // Behind everything: what lay between the newest run and it went at each run.
    let world = World::new();
    let (shipper, heads) = aged(&world, false, async |shipper| {
        world.memory.tamper(&world.folder().base(shipper.position(Sequence(99_999))), garbage());
    })
    .await;
    check_kept(&world, &shipper, &heads, 0).await;

    // A copy of a genuine one.
    let world = World::new();
    let (shipper, heads) = aged(&world, false, async |shipper| {
        let base = world.folder().base(shipper.base.as_ref().unwrap().document.at);
        let bytes = world.memory.fetch_all(&base).await.unwrap();
        world.memory.tamper(&world.folder().base(shipper.position(Sequence(99_999))), bytes);
    })
    .await;
    check_kept(&world, &shipper, &heads, 0).await;
}

/// A week after the newest base had rotted the good one before it went.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_rotted_or_lost_its_rows_costs_none_before_it() {
    let newest = |shipper: &Shipper| shipper.base.as_ref().unwrap().document.clone();
    let world = World::new();
    let (shipper, heads) = aged(&world, true, async |_| {}).await;
    check_kept(&world, &shipper, &heads, 4).await;

    let world = World::new();
    let (shipper, heads) = aged(&world, true, async |shipper| {
        world.memory.tamper(&world.folder().base(newest(shipper).at), Bytes::from_static(b"rotted"));
    })
    .await;
    check_kept(&world, &shipper, &heads, 0).await;

    for folder in ["outcomes", "retired"] {
        let world = World::new();
        let (shipper, _) = aged(&world, true, async |shipper| {
            let (base, repository) = (newest(shipper), &shipper.target().repository);
            let name = format!("{folder}/{}", base.outcome);
            match folder {
                "outcomes" => world.memory.tamper_by_deleting(&repository.root().join(&name).unwrap()),
                _ => {
                    let proof = Ownership::proven_by_newest_epoch(world.lineage, 1);
                    repository.retire(base.outcome, &proof, world.clock.now()).await.map(drop).unwrap();
                }
            }
        })
        .await;
        remove(&world, &shipper, &[]).await.unwrap();
        let bases = world.names(&world.folder().bases()).await;
        assert_eq!(bases.len(), 2, "{folder}: the first is the only one with rows");
    }
}

/// On a share anybody who can write sets the time of a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_not_older_than_it_says_of_itself() {
    let world = World::new();
    let begun = world.clock.now();
    let (mut shipper, mut heads) = aged(&world, false, async |_| {}).await;
    shipper.base.as_mut().unwrap().grow(5 << 20);
    world.commits(1);
    world.ship(&mut shipper).await.unwrap();
    heads.push(world.catalog.head());
    let now = world.clock.now();
    let newest = world.folder().base(shipper.base.as_ref().unwrap().document.at);
    let bytes = world.memory.fetch_all(&newest).await.unwrap();
    world.clock.set(begun);
    world.memory.tamper(&newest, bytes);
    world.clock.set(now);
    check_kept(&world, &shipper, &heads, 0).await;
}

/// Whoever guessed nothing, and only listed outcomes, ended every run of the policy.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_the_place_of_a_retirement_holds_up_no_removal() {
    let world = World::new();
    let (shipper, heads) = aged(&world, true, async |_| {}).await;
    let bases = world.open().await.chain.bases;
    let outcome = shipper.shelf().base(bases[0]).await.unwrap().outcome;
    let retired = world.folder().repository().join(&format!("retired/{outcome}")).unwrap();
    world.memory.tamper(&retired, Bytes::from_static(b"of a stranger"));
    check_kept(&world, &shipper, &heads, 4).await;
}

/// The rows were committed and the store failed before the document: they stayed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_base_names_are_retired_after_a_week() {
    let world = World::new();
    world.commits(1);
    let mut known = Started::never(world.repository);
    let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    let documents = Calls::Beneath(world.folder().bases());
    world.store.inject(documents, Span::Only(1), Fault::Before(Failure::Broken));
    world.ship(&mut shipper).await.unwrap_err();
    world.ship(&mut shipper).await.unwrap();
    let repository = shipper.target().repository.clone();
    assert_eq!(repository.list_outcomes().await.unwrap().len(), 2);
    let retire = async || {
        let proof = Ownership::proven_by_newest_epoch(world.lineage, 1);
        let (folder, now) = (world.folder(), world.clock.now());
        retire_unnamed(&repository, &folder, &Named::default(), &proof, now).await.unwrap()
    };

    world.clock.advance(6 * DAY);
    assert_eq!(retire().await, 0, "its document may be on its way");
    world.clock.advance(2 * DAY);
    let planted = world.folder().base(shipper.position(Sequence(99)));
    world.memory.tamper(&planted, Bytes::from_static(b"rotted"));
    assert_eq!(retire().await, 0, "what does not open may name it");
    world.memory.tamper_by_deleting(&planted);
    assert_eq!(retire().await, 1);
    let named = shipper.base.as_ref().unwrap().document.outcome;
    assert!(repository.fetch_retirement(named).await.unwrap().is_none(), "a base has its rows");
    assert_eq!(repository.list_retired().await.unwrap().len(), 1);
    world.assert_reachable(&[world.catalog.head()]).await;
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
