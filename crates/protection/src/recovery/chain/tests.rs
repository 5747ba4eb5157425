//! Tables over names: which base, which segments, which chain.

use super::*;

fn at(epoch: u32, generation: u32, sequence: u64) -> Position {
    Position { epoch: Epoch(epoch), generation: Generation(generation), sequence: Sequence(sequence) }
}

fn names(sequences: &[u64]) -> Vec<Position> {
    sequences.iter().map(|sequence| at(1, 1, *sequence)).collect()
}

fn chain(id: u8, bases: &[u64], end: u64) -> ShippedChain {
    ShippedChain {
        repository: RepositoryId::from_bytes([id; 16]),
        bases: names(bases),
        end: (end > 0).then(|| at(1, 1, end)),
        parent: None,
    }
}

/// A chain that left another one.
fn child(id: u8, parent: &ShippedChain, fork: Position, base: Position, end: Position) -> ShippedChain {
    let parent = Fork { cluster: "0c3e8c52-6a0b".parse().unwrap(), repository: parent.repository, at: fork };
    ShippedChain {
        repository: RepositoryId::from_bytes([id; 16]),
        bases: vec![base],
        end: Some(end),
        parent: Some(parent),
    }
}

#[test]
fn a_point_is_reached_from_the_nearest_base_before_it() {
    let chain = chain(1, &[10, 50], 70);
    for (through, base) in [(65, 50), (40, 10), (50, 50), (70, 50), (10, 10)] {
        assert_eq!(chain.base_for(Generation(1), Sequence(through)), Ok(at(1, 1, base)));
    }
    let behind = names(&[1, 11, 30, 51, 60]);
    assert_eq!(choose_segments(at(1, 1, 50), &behind, Sequence(65)), names(&[51, 60]));
    assert_eq!(choose_segments(at(1, 1, 10), &behind, Sequence(40)), names(&[11, 30]));
    assert_eq!(choose_segments(at(1, 1, 50), &behind, Sequence(50)), names(&[]));
}

#[test]
fn a_point_before_the_first_base_or_after_the_end_is_refused() {
    let chain = chain(1, &[20], 30);
    let reach = |generation, through| chain.base_for(Generation(generation), Sequence(through));
    assert!(matches!(reach(1, 5), Err(UnreachablePoint::NoBase { .. })));
    assert!(matches!(reach(1, 31), Err(UnreachablePoint::Beyond { .. })));
    assert!(matches!(reach(2, 1), Err(UnreachablePoint::NoBase { .. })));
}

#[test]
fn the_latest_point_is_the_end_of_the_last_segment_or_the_base_beyond_it() {
    assert_eq!(chain(1, &[10], 15).latest(), Some(at(1, 1, 15)));
    assert_eq!(chain(1, &[10, 20], 15).latest(), Some(at(1, 1, 20)));
    assert_eq!(chain(1, &[10], 0).latest(), Some(at(1, 1, 10)));
    assert_eq!(chain(1, &[], 15).latest(), None);
}

/// A recovered instance ships at epoch 0 until it owns. Its work counts while the source shipped nothing more.
#[test]
fn a_child_without_ownership_is_followed_while_its_parent_has_nothing_beyond_the_fork() {
    let fork = at(1, 1, 15);
    let mut parent = chain(1, &[10], 15);
    let child = child(2, &parent, fork, at(0, 2, 1), at(0, 2, 9));
    let latest = |chains: &[ShippedChain]| latest_chain(chains).map(|chain| chain.repository);
    assert_eq!(latest(&[parent.clone(), child.clone()]), Some(child.repository));
    assert_eq!(latest(&[child.clone(), parent.clone()]), Some(child.repository));
    parent.end = Some(at(1, 1, 16));
    assert_eq!(latest(&[parent.clone(), child]), Some(parent.repository));
}

#[test]
fn a_child_that_owns_is_the_latest_whatever_its_parent_ships() {
    let parent = chain(1, &[10], 99);
    let child = child(2, &parent, at(1, 1, 15), at(0, 2, 1), at(2, 2, 9));
    assert_eq!(latest_chain(&[parent, child.clone()]).unwrap().repository, child.repository);
}

/// A rolled-back volume goes on beside the chain that it found ahead of it, at the same epoch.
#[test]
fn a_later_generation_of_the_same_epoch_is_the_latest() {
    let parent = chain(1, &[10], 100);
    let child = child(2, &parent, at(1, 1, 90), at(1, 2, 1), at(1, 2, 3));
    assert_eq!(latest_chain(&[parent, child.clone()]).unwrap().repository, child.repository);
}

/// What a review of an old cluster id tells of, wherever it lies.
#[test]
fn what_goes_on_below_another_id_is_found_over_others_and_not_where_it_was_left_itself() {
    let source = chain(1, &[10], 15);
    let first = child(2, &source, at(1, 1, 15), at(0, 2, 1), at(0, 2, 9));
    let second = child(3, &first, at(0, 2, 9), at(0, 3, 1), at(0, 3, 2));
    let rehearsal = child(4, &source, at(1, 1, 12), at(0, 2, 1), at(0, 2, 5));
    let stranger = child(5, &chain(6, &[10], 15), at(1, 1, 15), at(0, 2, 1), at(0, 2, 5));
    let others = [second.clone(), rehearsal.clone(), stranger, first.clone()];
    let check = |own: &[ShippedChain], others: &[ShippedChain], expected: &[&ShippedChain]| {
        assert_eq!(find_continuations(own, others), expected);
    };
    check(std::slice::from_ref(&source), &others, &[&second, &rehearsal]);
    check(std::slice::from_ref(&source), &[rehearsal.clone(), first.clone()], &[&rehearsal, &first]);
    check(std::slice::from_ref(&second), &[source.clone(), first.clone()], &[]);
    check(&[source.clone(), second.clone()], std::slice::from_ref(&first), &[]);
    // It shipped on after somebody had recovered from it.
    let ahead = ShippedChain { end: Some(at(0, 2, 11)), ..first };
    check(&[source], &[second.clone(), ahead.clone()], &[&second, &ahead]);
}

#[test]
fn a_child_of_a_child_is_followed_and_a_sibling_that_got_further_wins() {
    let parent = chain(1, &[10], 15);
    let first = child(2, &parent, at(1, 1, 15), at(0, 2, 1), at(0, 2, 9));
    let second = child(3, &first, at(0, 2, 9), at(0, 3, 1), at(0, 3, 2));
    let sibling = child(4, &parent, at(1, 1, 15), at(0, 2, 1), at(0, 2, 5));
    let chains = [sibling, second.clone(), first, parent];
    assert_eq!(latest_chain(&chains).unwrap().repository, second.repository);
}
