//! What strangers put among the starts costs a request each, once, and hides no start.

use super::*;

fn plant(world: &World, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        world.memory.tamper(&world.folder().start(number), Bytes::from_static(b"of a stranger"));
    }
}

/// Requests beneath `starts/` while something is done: how many objects were read, listed and created.
async fn count<T>(world: &World, work: impl Future<Output = T>) -> (T, [usize; 3]) {
    let before = world.store.calls().len();
    let done = work.await;
    let calls = world.store.calls().split_off(before);
    let starts = world.folder().starts();
    let beneath = |path: &StorePath| *path == starts || path.strip_prefix(&starts).is_some();
    let of = |operation: Operation| {
        let mine = calls.iter().filter(|call| call.operation == operation);
        mine.filter(|call| call.path.as_ref().is_some_and(beneath)).count()
    };
    (done, [Operation::Fetch, Operation::List, Operation::Put].map(of))
}

/// Each taken number was a listing and a reading of all that lay behind it: 300 of them were 45,000 requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_behind_hundreds_of_taken_numbers_reads_each_of_them_once() {
    let world = World::new();
    plant(&world, 1..=300);
    let mut known = Started::never(world.repository);
    let (shipper, requests) = count(&world, world.take_up(LEGACY, &mut known)).await;
    let mut shipper = shipper.unwrap();
    assert_eq!(requests, [300, 1, 1]);
    let mut heads = Vec::new();
    for _ in 0..3 {
        heads.extend(world.commits(1));
        let (shipped, requests) = count(&world, world.ship(&mut shipper)).await;
        shipped.unwrap();
        assert_eq!(requests, [0, 1, 0]);
    }
    assert!(world.names(&world.folder().starts()).await.contains(&format!("{:08}", 301)));
    // It knows its own again, and looks at what lay before it no more.
    let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
    let (again, requests) = count(&world, world.take_up(LEGACY, &mut known)).await;
    again.unwrap();
    assert_eq!(requests, [1, 1, 1]);
    world.commits(1);
    assert!(matches!(divergence(world.ship(&mut shipper).await), Divergence::ForeignStart { .. }));
    world.assert_reachable(&heads).await;
}

/// Numbers far behind were read again each second.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_do_not_read_again_what_strangers_left_behind_a_start() {
    let world = World::new();
    let (mut shipper, known) = world.begin(LEGACY).await;
    plant(&world, (0..300).map(|number| 100 + 7 * number));
    for reads in [300, 0, 0] {
        world.commits(1);
        let (shipped, requests) = count(&world, world.ship(&mut shipper)).await;
        shipped.unwrap();
        assert_eq!(requests, [reads, 1, 0]);
    }
    let clone = world.copy_volume();
    clone.take_up(LEGACY, &mut known.clone()).await.unwrap();
    world.commits(1);
    let found = divergence(world.ship(&mut shipper).await);
    assert!(matches!(found, Divergence::ForeignStart { number: 2, .. }), "{found}");
}

/// What was garbage is looked at again once it is another object.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_the_place_of_what_a_stranger_left_is_found() {
    let world = World::new();
    let (mut shipper, known) = world.begin(LEGACY).await;
    plant(&world, 2..=3);
    world.commits(1);
    world.ship(&mut shipper).await.unwrap();
    world.memory.tamper_by_deleting(&world.folder().start(2));
    let clone = world.copy_volume();
    clone.take_up(LEGACY, &mut known.clone()).await.unwrap();
    world.commits(1);
    let found = divergence(world.ship(&mut shipper).await);
    assert!(matches!(found, Divergence::ForeignStart { number: 2, .. }), "{found}");
}

/// More than a page of names: a round costs a few requests however many there are, and the next start is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_among_the_starts_costs_few_requests_a_round_and_hides_no_start() {
    let world = World::new();
    let (mut shipper, known) = world.begin(LEGACY).await;
    plant(&world, 2..=1_040);
    plant(&world, (0..3_000).map(|number| 5_000 + 3 * number));
    for most in [1_000 + 16, 16, 16 + 1, 1, 1] {
        world.commits(1);
        let (shipped, [read, listed, _]) = count(&world, world.ship(&mut shipper)).await;
        shipped.unwrap();
        assert!(read <= most && listed == 1, "{read} of {most} reads, {listed} listings");
    }
    let clone = world.copy_volume();
    clone.take_up(LEGACY, &mut known.clone()).await.unwrap();
    world.commits(1);
    let found = divergence(world.ship(&mut shipper).await);
    assert!(matches!(found, Divergence::ForeignStart { number: 1_041, .. }), "{found}");
}
