//! What a plan says and what of it is a note, from what was observed.

use keelson_model::Sequence;

use super::*;
use crate::layout::Epoch;

fn at(epoch: u32, sequence: u64) -> Position {
    Position { epoch: Epoch(epoch), generation: Generation(1), sequence: Sequence(sequence) }
}

/// Ownership changed hands after the base: what was read last is of the later epoch.
#[test]
fn a_recovery_leaves_its_source_at_the_last_entry_that_was_read() {
    let replay =
        |segments: Vec<Position>, through| Replay { base: at(1, 10), segments, through: Sequence(through) };
    let fork = |replay: Replay| {
        let id: ClusterId = "0c3e8c52-6a0b".parse().unwrap();
        let (newer, other) = ("1d4f9d63-7b1c".parse().unwrap(), "2e5fae74-8c2d".parse().unwrap());
        let plan = decide(Observed {
            profile: "vault",
            source: &id,
            asked: &newer,
            moment: None,
            target: &id,
            point: "latest",
            mode: DrMode::Legacy,
            material: Material::of_chain(RepositoryId::from_bytes([1; 16]), replay),
            highest_generation: Generation(1),
            counts: BTreeMap::new(),
            skip: SkipResources::default(),
            existing: Existing::Keep,
            present: 0,
            created: Timestamp::UNIX_EPOCH,
            cards: &[],
            fips: false,
            warnings: vec!["lost: a run".to_owned()],
        });
        assert_eq!(plan.warnings[0], "lost: a run");
        assert!(plan.is_of(&id) && plan.is_of(&newer) && !plan.is_of(&other));
        plan.fork().unwrap().at
    };
    assert_eq!(fork(replay(vec![at(1, 11), at(2, 15)], 17)), at(2, 17));
    assert_eq!(fork(replay(vec![], 10)), at(1, 10));
}

#[test]
fn what_a_card_says_of_the_source_is_a_note_of_the_plan() {
    let id = |text: &str| -> ClusterId { text.parse().unwrap() };
    let (source, target) = (id("0c3e8c52-6a0b"), id("1d4f9d63-7b1c"));
    let check_for = |asked: &ClusterId, cards: &[(bool, Option<&str>)], fips: bool, expected: &[&str]| {
        let card = |(fips, on): &(bool, Option<&str>)| CardDocument {
            format: 0,
            product_version: "1".to_owned(),
            fips: *fips,
            created: Timestamp::UNIX_EPOCH,
            continued_by: on.map(id),
        };
        let cards: Vec<_> = cards.iter().map(card).collect();
        let plan = decide(Observed {
            profile: "vault",
            source: &source,
            asked,
            moment: None,
            target: &target,
            point: "exports",
            mode: DrMode::QuickNoSnapshot,
            material: Material::Exports,
            highest_generation: Generation(1),
            counts: BTreeMap::new(),
            skip: SkipResources::default(),
            existing: Existing::Keep,
            present: 0,
            created: Timestamp::UNIX_EPOCH,
            cards: &cards,
            fips,
            warnings: Vec::new(),
        });
        let told: Vec<_> = plan.warnings.iter().filter(|text| text.contains("cluster 0c3e8c52")).collect();
        assert_eq!(told.len(), expected.len(), "{cards:?} {fips}: {told:?}");
        assert!(told.iter().zip(expected).all(|(told, part)| told.contains(part)), "{told:?}");
    };
    let check = |cards: &[(bool, Option<&str>)], fips: bool, expected: &[&str]| {
        check_for(&source, cards, fips, expected);
    };
    let (lost, gained) = ("ran in FIPS mode and this instance does not", "did not run in FIPS mode");
    check(&[], true, &[]);
    check(&[(true, None)], true, &[]);
    check(&[(false, None)], false, &[]);
    check(&[(true, None)], false, &[lost]);
    check(&[(false, None)], true, &[gained]);
    // Whoever has taken over since ran in another mode.
    check(&[(false, None), (true, Some("1d4f9d63-7b1c"))], false, &[lost]);
    check(&[(true, Some("2e5fae74-8c2d"))], false, &[lost, "cluster 2e5fae74-8c2d has taken over"]);
    // Whoever comes with the newer id gets a moment of the older one.
    check_for(&id("2e5fae74-8c2d"), &[(true, Some("2e5fae74-8c2d"))], false, &[lost]);
}

#[test]
fn what_exists_is_replaced_only_where_a_quick_restore_point_was_confirmed() {
    use Existing::{Keep, Replace};
    let check = |mode: DrMode, asked: Existing, expected: Existing, told: &str| {
        let id: ClusterId = "0c3e8c52-6a0b".parse().unwrap();
        let replay = Replay { base: at(1, 10), segments: Vec::new(), through: Sequence(10) };
        let plan = decide(Observed {
            profile: "vault",
            source: &id,
            asked: &id,
            moment: None,
            target: &id,
            point: "latest",
            mode,
            material: Material::of_chain(RepositoryId::from_bytes([1; 16]), replay),
            highest_generation: Generation(1),
            counts: BTreeMap::new(),
            skip: SkipResources::default(),
            existing: asked,
            present: 0,
            created: Timestamp::UNIX_EPOCH,
            cards: &[],
            fips: false,
            warnings: Vec::new(),
        });
        assert_eq!(plan.existing, expected, "{mode} {asked:?}");
        let words =
            if expected == Replace { "create or replace profiles" } else { "create missing profiles" };
        assert!(plan.steps.iter().any(|step| step == words), "{:?}", plan.steps);
        let is_told = plan.warnings.iter().any(|warning| warning.contains("overrideResources"));
        assert_eq!(is_told, !told.is_empty(), "{mode} {asked:?}: {:?}", plan.warnings);
        assert!(plan.to_string().contains(told));
    };
    check(DrMode::Legacy, Keep, Keep, "");
    check(DrMode::Legacy, Replace, Keep, "overrideResources is for Quick DR");
    check(DrMode::QuickNoSnapshot, Keep, Keep, "with quickMode.overrideResources they are replaced");
    for mode in DrMode::ALL.into_iter().filter(|mode| mode.is_quick()) {
        check(mode, Replace, Replace, "");
    }
}
