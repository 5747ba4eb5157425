//! Points in time: every second that was shipped, on any store.

use jiff::Timestamp;

use super::*;
use crate::recovery::documents::Fork;
use crate::recovery::moment::find_moment;

/// The sequence number at a moment of one chain.
async fn find(world: &World, time: Timestamp) -> Result<(u32, u64), (Timestamp, Timestamp)> {
    let chains = [world.open().await];
    match find_moment(&chains, &[], time, world.clock.now()).await {
        Ok(moment) => Ok((moment.at.generation.0, moment.at.sequence.0)),
        Err(RecoveryError::PointInTime { first, last, .. }) => Err((first, last)),
        Err(error) => panic!("{}", Chain(&error)),
    }
}

/// Entries 1 to 20, a second apart, over two bases and many segments. When each was committed.
async fn shipped(world: &World) -> Vec<Timestamp> {
    let commit = |name: &str| {
        world.commit(name);
        world.clock.now()
    };
    let mut times = vec![commit("first"), commit("second")];
    let (mut shipper, _) = world.begin(LEGACY).await;
    for round in 0..6 {
        times.extend((0..3).map(|number| commit(&format!("{round}-{number}"))));
        if round == 3 {
            shipper.base.as_mut().unwrap().grow(5 << 20);
        }
        world.ship(&mut shipper).await.unwrap();
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn every_second_leads_to_its_last_entry() {
    let world = World::new();
    let times = shipped(&world).await;
    for (index, time) in times.iter().enumerate().skip(1) {
        assert_eq!(find(&world, *time).await, Ok((1, index as u64 + 1)), "{time}");
        let half = *time - Duration::from_millis(500);
        assert_eq!(find(&world, half).await.ok(), (index > 1).then_some((1, index as u64)), "{half}");
    }
    let moments = [world.open().await];
    let moment = find_moment(&moments, &[], times[9], world.clock.now()).await.unwrap();
    assert_eq!(moment.committed_at, times[9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_was_not_shipped_is_refused_with_the_range_that_was() {
    let world = World::new();
    let times = shipped(&world).await;
    let range = Err((times[1], times[19]));
    assert_eq!(find(&world, times[0]).await, range, "before the first base");
    assert_eq!(find(&world, times[19] + Duration::from_secs(1)).await, range, "to come");
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(find(&world, times[19] + Duration::from_secs(60)).await, Ok((1, 20)), "nothing followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holds_all_that_was_committed_in_it() {
    let world = World::new();
    world.commit("a");
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commit("b");
    let second = world.clock.now();
    world.clock.advance(Duration::from_millis(700));
    let row = Row {
        kind: RowKind::new("rows"),
        namespace: String::new(),
        name: "in the same second".to_owned(),
        uid: String::new(),
        labels: std::collections::BTreeMap::new(),
        created: second,
        class: Class::Configuration,
        body: b"{}".to_vec(),
    };
    world.catalog.commit(&keelson_catalog::Actor::new("test"), vec![Change::put(row)]).unwrap();
    world.ship(&mut shipper).await.unwrap();
    assert_eq!(find(&world, second).await, Ok((1, 3)));
    assert_eq!(find(&world, second + Duration::from_millis(1)).await, Ok((1, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_among_the_segments_do_not_lead_a_search_astray() {
    let world = World::new();
    let times = shipped(&world).await;
    let folder = world.folder();
    for number in [4, 8, 10, 13, 16, 19, 20, 30] {
        let at = Position { epoch: Epoch(1), generation: Generation(1), sequence: Sequence(number) };
        if !world.names(&folder.segments()).await.contains(&at.to_string()) {
            world.memory.tamper(&folder.segment(at), Bytes::from_static(b"x"));
        }
    }
    for (index, time) in times.iter().enumerate().skip(1) {
        assert_eq!(find(&world, *time).await, Ok((1, index as u64 + 1)), "{time}");
    }
}

/// An older state was given without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_what_was_lost_says_that_more_may_have_been_committed() {
    let world = World::new();
    let times = shipped(&world).await;
    let whole = async |index: usize| {
        let chains = [world.open().await];
        find_moment(&chains, &[], times[index], world.clock.now()).await.unwrap().whole
    };
    for index in 1..times.len() {
        assert!(whole(index).await, "{index}");
    }
    let names = world.names(&world.folder().segments()).await;
    let third: Position = names[2].parse().unwrap();
    world.memory.tamper(&world.folder().segment(third), Bytes::from_static(b"rotted"));
    let before = third.sequence.0 as usize - 2;
    assert!(whole(before - 1).await, "its end is not reached");
    assert!(!whole(before).await, "entry {} cannot be read", third.sequence.0);
}

/// A recovered instance whose passphrase was changed names its source as the parent of both repositories: the state at the
/// fork was given for every moment up to the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_a_new_repository_of_the_same_life_is_found_in_the_one_before() {
    let world = World::new();
    let times = shipped(&world).await;
    let elder = world.open().await;
    let moved = World { repository: RepositoryId::from_bytes(random_bytes()), ..world };
    moved.clock.advance(Duration::from_secs(5));
    ship_into(&moved, moved.target(LEGACY, 1).await).await;

    let (now, mut chains) = (moved.clock.now(), [elder, moved.open().await]);
    let source = RepositoryId::from_bytes(random_bytes());
    let fork = Position { sequence: Sequence(1), ..chains[0].chain.bases[0] };
    for open in &mut chains {
        open.chain.parent = Some(Fork { cluster: cluster(), repository: source, at: fork });
    }
    let moment = find_moment(&chains, &[], times[7], now).await.unwrap();
    assert_eq!(moment.open.chain.repository, chains[0].chain.repository);
    assert_eq!(moment.at.sequence, Sequence(8));
    let moment = find_moment(&chains, &[], now, now).await.unwrap();
    assert_eq!(moment.open.chain.repository, chains[1].chain.repository);
}

/// While disaster recovery was disabled, or another place was shipped to, nothing came here: what had been shipped before
/// was given for every moment of that time, as if it were all.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_at_which_nothing_was_shipped_says_that_more_may_have_been_committed() {
    let world = World::new();
    let times = shipped(&world).await;
    let elder = world.open().await;
    world.commits(3);
    let gap = world.clock.now() - Duration::from_secs(1);
    let moved = World { repository: RepositoryId::from_bytes(random_bytes()), ..world };
    ship_into(&moved, moved.target(LEGACY, 1).await).await;

    let (now, chains) = (moved.clock.now(), [elder, moved.open().await]);
    let at = async |time: Timestamp| {
        let moment = find_moment(&chains, &[], time, now).await.unwrap();
        (moment.at.sequence.0, moment.committed_at, moment.whole)
    };
    assert_eq!(at(gap).await, (20, times[19], false));
    assert_eq!(at(times[18]).await, (19, times[18], true), "what follows is there");
    assert_eq!(at(now).await, (25, now, true));
}

/// A chain that was left with its last entry, and the one that goes on from there in a later generation, with so many
/// commits before its first base.
async fn forked(world: World, commits: usize) -> (World, [OpenChain; 2]) {
    let parent = world.open().await;
    let fork = Position { sequence: Sequence(20), ..parent.chain.latest().unwrap() };
    let left = world.repository;
    let moved = World { repository: RepositoryId::from_bytes(random_bytes()), ..world };
    moved.clock.advance(Duration::from_secs(5));
    move_on::open_generation(&moved.catalog, Generation(2)).await.unwrap();
    moved.commits(commits);
    let mut target = moved.target(LEGACY, 1).await;
    target.enabled.parent = Some(Fork { cluster: cluster(), repository: left, at: fork });
    ship_into(&moved, target).await;
    let child = moved.open().await;
    (moved, [parent, child])
}

/// The chain went on in a later generation beside the one that it left.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_a_fork_is_found_on_the_chain_that_was_left() {
    let world = World::new();
    let times = shipped(&world).await;
    let (moved, mut chains) = forked(world, 0).await;
    let now = moved.clock.now();
    // The one that was left may lie below another cluster id.
    for (own, ancestors) in [(&chains[..], &chains[..0]), (&chains[1..], &chains[..1])] {
        let at = async |time: Timestamp| {
            let moment = find_moment(own, ancestors, time, now).await.unwrap();
            (moment.at.generation.0, moment.at.sequence.0)
        };
        assert_eq!(at(times[7]).await, (1, 8));
        assert_eq!(at(now).await, (2, 3));
    }
    let refused = find_moment(&chains, &[], times[0], now).await.err();
    let Some(RecoveryError::PointInTime { first, last, .. }) = refused else { panic!("before everything") };
    assert_eq!((first, last), (times[1], now));

    // What it shipped after it was left is another instance's.
    chains[1].chain.parent.as_mut().unwrap().at.sequence = Sequence(12);
    let moment = find_moment(&chains[1..], &chains[..1], times[19], now).await.unwrap();
    assert_eq!((moment.at.sequence, moment.whole), (Sequence(12), true));
}

/// What was committed before the first base came with it, and nobody knows when: the end of what had been left was given
/// as if it were all.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_between_a_fork_and_the_first_base_says_that_more_may_have_been_committed() {
    let world = World::new();
    let times = shipped(&world).await;
    let (moved, chains) = forked(world, 3).await;
    let first_base = chains[1].base.head_at;
    for (time, whole) in [(first_base - Duration::from_secs(1), false), (times[18], true)] {
        let moment = find_moment(&chains, &[], time, moved.clock.now()).await.unwrap();
        assert_eq!((moment.at.generation, moment.whole), (Generation(1), whole), "{time}");
    }
}
