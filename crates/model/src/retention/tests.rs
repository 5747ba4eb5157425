//! Tables and properties of what retention lets go.

use proptest::prelude::*;

use super::*;

fn point(id: u32, tiers: &[Tier]) -> Point<u32> {
    Point {
        id,
        time: Timestamp::from_second(i64::from(id) * 3600).unwrap(),
        origin: Origin::Schedule,
        result: RunResult::Succeeded,
        tiers: tiers.iter().copied().collect(),
    }
}

fn failed(id: u32, tiers: &[Tier]) -> Point<u32> {
    Point { result: RunResult::Failed, ..point(id, tiers) }
}

fn manual(id: u32, tiers: &[Tier]) -> Point<u32> {
    Point { origin: Origin::Manual, ..point(id, tiers) }
}

fn check(points: &[Point<u32>], retention: Retention, expected: &[u32]) {
    assert_eq!(decide_retired(points, &retention), expected);
}

const TWO_HOURLY: Retention = Retention { hourly: 2, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

use Tier::{Daily, Hourly};

#[test]
fn the_oldest_beyond_the_count_goes() {
    let points: Vec<_> = (1..=5).map(|id| point(id, &[Hourly])).collect();
    check(&points, TWO_HOURLY, &[1, 2, 3]);
}

#[test]
fn nothing_goes_while_there_is_room() {
    check(&[point(1, &[Hourly]), point(2, &[Hourly])], TWO_HOURLY, &[]);
    check(&[], TWO_HOURLY, &[]);
}

#[test]
fn a_promoted_point_outlives_its_own_tier() {
    let retention = Retention { daily: 1, ..TWO_HOURLY };
    let points = [point(1, &[Hourly, Daily]), point(2, &[Hourly]), point(3, &[Hourly]), point(4, &[Hourly])];
    check(&points, retention, &[2]);
}

#[test]
fn a_point_in_two_tiers_takes_a_place_in_both() {
    let retention = Retention { daily: 1, ..TWO_HOURLY };
    let points = [point(1, &[Hourly, Daily]), point(2, &[Hourly]), point(3, &[Hourly, Daily])];
    check(&points, retention, &[1]);
}

#[test]
fn a_manual_point_never_goes_and_never_counts() {
    let points = [manual(1, &[Hourly]), point(2, &[Hourly]), manual(3, &[Hourly]), point(4, &[Hourly])];
    check(&points, TWO_HOURLY, &[]);
}

#[test]
fn a_failed_point_stays_until_enough_newer_good_ones_exist() {
    let failed_first = [failed(1, &[Hourly]), point(2, &[Hourly])];
    check(&failed_first, TWO_HOURLY, &[]);
    let enough = [failed(1, &[Hourly]), point(2, &[Hourly]), point(3, &[Hourly])];
    check(&enough, TWO_HOURLY, &[1]);
}

#[test]
fn a_failed_point_takes_nobodys_place() {
    let points = [point(1, &[Hourly]), point(2, &[Hourly]), failed(3, &[Hourly]), failed(4, &[Hourly])];
    check(&points, TWO_HOURLY, &[]);
}

#[test]
fn a_tier_that_keeps_none_lets_all_go() {
    check(&[point(1, &[Daily]), point(2, &[Hourly])], TWO_HOURLY, &[1]);
}

#[test]
fn a_scheduled_point_without_a_tier_goes() {
    check(&[point(1, &[]), point(2, &[Hourly])], TWO_HOURLY, &[1]);
}

#[test]
fn tiers_print_and_read_as_a_list() {
    let tiers: Tiers = [Daily, Hourly].into_iter().collect();
    let json = serde_json::to_string(&tiers).unwrap();
    assert_eq!(json, r#"["hourly","daily"]"#);
    assert_eq!(serde_json::from_str::<Tiers>(&json).unwrap(), tiers);
}

fn any_points() -> impl Strategy<Value = Vec<Point<u32>>> {
    let one = (0_u8..32, prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    prop::collection::vec(one, 0..40).prop_map(|runs| {
        let number = |(index, (bits, manual, failed)): (usize, (u8, bool, bool))| {
            let id = u32::try_from(index).unwrap();
            Point {
                origin: if manual { Origin::Manual } else { Origin::Schedule },
                result: if failed { RunResult::Failed } else { RunResult::Succeeded },
                tiers: Tiers(bits),
                ..point(id, &[])
            }
        };
        runs.into_iter().enumerate().map(number).collect()
    })
}

fn any_retention() -> impl Strategy<Value = Retention> {
    (0..5_u32, 0..5_u32, 0..3_u32, 0..3_u32, 0..2_u32).prop_map(|(hourly, daily, weekly, monthly, yearly)| {
        Retention { hourly, daily, weekly, monthly, yearly }
    })
}

fn without(points: &[Point<u32>], retired: &[u32]) -> Vec<Point<u32>> {
    points.iter().copied().filter(|point| !retired.contains(&point.id)).collect()
}

proptest! {
    #[test]
    fn every_tier_keeps_as_many_good_points_as_it_asks_for(
        points in any_points(),
        retention in any_retention(),
    ) {
        let kept = without(&points, &decide_retired(&points, &retention));
        for tier in Tier::ALL {
            let good = |points: &[Point<u32>]| {
                points.iter().filter(|point| {
                    point.origin == Origin::Schedule
                        && point.result == RunResult::Succeeded
                        && point.tiers.contains(tier)
                }).count()
            };
            let asked = retention.count(tier) as usize;
            prop_assert!(good(&kept) >= asked.min(good(&points)), "{tier}");
        }
    }

    #[test]
    fn manual_points_never_go_and_a_second_decision_changes_nothing(
        points in any_points(),
        retention in any_retention(),
    ) {
        let retired = decide_retired(&points, &retention);
        let stays = |point: &Point<u32>| !retired.contains(&point.id);
        prop_assert!(points.iter().all(|point| point.origin == Origin::Schedule || stays(point)));
        let kept = without(&points, &retired);
        prop_assert_eq!(decide_retired(&kept, &retention), Vec::<u32>::new());
    }

    #[test]
    fn the_order_in_which_points_are_given_does_not_matter(
        points in any_points(),
        retention in any_retention(),
    ) {
        let reversed: Vec<_> = points.iter().rev().copied().collect();
        prop_assert_eq!(decide_retired(&points, &retention), decide_retired(&reversed, &retention));
    }
}
