//! Tables and properties of when a schedule runs, and for which tiers.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sub(field: SubField, values: &[u8]) -> SubFrequency {
    with(SubFrequency::default(), field, values)
}

fn with(mut sub: SubFrequency, field: SubField, values: &[u8]) -> SubFrequency {
    let list = match field {
        SubField::Minutes => &mut sub.minutes,
        SubField::Hours => &mut sub.hours,
        SubField::Weekdays => &mut sub.weekdays,
        SubField::Days => &mut sub.days,
        SubField::Months => &mut sub.months,
    };
    *list = values.to_vec();
    sub
}

fn window(start: (u8, u8), end: (u8, u8)) -> Option<BackupWindow> {
    let time = |(hour, minute)| TimeOfDay { hour, minute };
    Some(BackupWindow { start: time(start), end: time(end) })
}

fn runs(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let mut now = at(after);
    let mut next = || {
        now = schedule.next_after(now)?;
        Some(now.to_string())
    };
    (0..count).map_while(|_| next()).collect()
}

use Frequency::*;

#[test]
fn a_bare_frequency_runs_at_the_start_of_its_period() {
    for (frequency, expected) in [
        (Hourly, ["2026-02-03T05:00:00Z", "2026-02-03T06:00:00Z"]),
        (Daily, ["2026-02-04T00:00:00Z", "2026-02-05T00:00:00Z"]),
        (Weekly, ["2026-02-08T00:00:00Z", "2026-02-15T00:00:00Z"]),
        (Monthly, ["2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"]),
        (Yearly, ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ] {
        assert_eq!(runs(&Schedule::every(frequency), "2026-02-03T04:05:06Z", 2), expected, "{frequency}");
    }
    assert_eq!(Schedule::every(OnDemand).next_after(at("2026-02-03T04:05:06Z")), None);
}

#[test]
fn a_run_is_strictly_after_the_moment_asked_about() {
    let hourly = Schedule::every(Hourly);
    assert_eq!(hourly.next_after(at("2026-02-03T05:00:00Z")), Some(at("2026-02-03T06:00:00Z")));
}

#[test]
fn several_values_make_several_runs() {
    for (frequency, field, values, expected) in [
        (Hourly, SubField::Minutes, &[30, 0][..], ["2026-02-03T04:30:00Z", "2026-02-03T05:00:00Z"]),
        (Daily, SubField::Hours, &[22, 10], ["2026-02-03T10:00:00Z", "2026-02-03T22:00:00Z"]),
        (Weekly, SubField::Weekdays, &[7, 3], ["2026-02-04T00:00:00Z", "2026-02-08T00:00:00Z"]),
        (Monthly, SubField::Days, &[15, 31], ["2026-02-15T00:00:00Z", "2026-02-28T00:00:00Z"]),
        (Yearly, SubField::Months, &[1, 7], ["2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
    ] {
        let schedule = Schedule::new(frequency, sub(field, values), None).unwrap();
        assert_eq!(runs(&schedule, "2026-02-03T04:05:06Z", 2), expected, "{frequency}");
    }
}

#[test]
fn single_values_below_set_the_moment() {
    let monthly = with(with(sub(SubField::Days, &[5]), SubField::Hours, &[23]), SubField::Minutes, &[17]);
    let monthly = Schedule::new(Monthly, monthly, None).unwrap();
    assert_eq!(runs(&monthly, "2026-02-03T04:05:06Z", 1), ["2026-02-05T23:17:00Z"]);
}

#[test]
fn an_hourly_window_runs_every_hour_inside_it_and_past_midnight() {
    let schedule = Schedule::new(Hourly, SubFrequency::default(), window((22, 30), (1, 0))).unwrap();
    assert_eq!(
        runs(&schedule, "2026-02-03T22:30:00Z", 4),
        ["2026-02-03T23:30:00Z", "2026-02-04T00:30:00Z", "2026-02-04T22:30:00Z", "2026-02-04T23:30:00Z"]
    );
    let all_day = Schedule::new(Hourly, SubFrequency::default(), window((5, 0), (5, 0))).unwrap();
    assert_eq!(runs(&all_day, "2026-02-03T04:00:00Z", 24).len(), 24);
    assert_eq!(runs(&all_day, "2026-02-03T04:00:00Z", 1), ["2026-02-03T05:00:00Z"]);
}

#[test]
fn any_other_window_runs_at_its_start() {
    let schedule = Schedule::new(Weekly, sub(SubField::Weekdays, &[1]), window((20, 0), (6, 0))).unwrap();
    assert_eq!(runs(&schedule, "2026-02-03T04:05:06Z", 1), ["2026-02-09T20:00:00Z"]);
}

fn check_tiers(schedule: &Schedule, time: &str, expected: &[Tier]) {
    assert_eq!(schedule.tiers_at(at(time)), expected.iter().copied().collect(), "{time}");
}

use Tier::{Daily as D, Hourly as H, Monthly as M, Weekly as W, Yearly as Y};

#[test]
fn the_first_run_of_a_longer_period_counts_for_it() {
    let hourly = Schedule::every(Hourly);
    check_tiers(&hourly, "2026-02-03T05:00:00Z", &[H]);
    check_tiers(&hourly, "2026-02-03T00:00:00Z", &[H, D]);
    check_tiers(&hourly, "2026-02-08T00:00:00Z", &[H, D, W]);
    check_tiers(&hourly, "2026-03-01T00:00:00Z", &[H, D, W, M]);
    check_tiers(&hourly, "2026-01-01T00:00:00Z", &[H, D, M, Y]);
    check_tiers(&Schedule::every(Monthly), "2026-01-01T00:00:00Z", &[M, Y]);
    check_tiers(&Schedule::every(Yearly), "2026-01-01T00:00:00Z", &[Y]);
    check_tiers(&Schedule::every(OnDemand), "2026-01-01T00:00:00Z", &[]);
}

#[test]
fn a_weekly_policy_promotes_the_first_run_of_a_month() {
    let weekly = Schedule::every(Weekly);
    check_tiers(&weekly, "2026-02-01T00:00:00Z", &[W, M]);
    check_tiers(&weekly, "2026-02-08T00:00:00Z", &[W]);
    check_tiers(&weekly, "2026-01-04T00:00:00Z", &[W, M, Y]);
}

#[test]
fn the_first_value_marks_the_promoted_run() {
    let minutes = Schedule::new(Hourly, sub(SubField::Minutes, &[30, 0]), None).unwrap();
    check_tiers(&minutes, "2026-02-03T00:30:00Z", &[H, D]);
    check_tiers(&minutes, "2026-02-03T00:00:00Z", &[H]);

    let hours = Schedule::new(Daily, sub(SubField::Hours, &[22, 10]), None).unwrap();
    check_tiers(&hours, "2026-02-08T22:00:00Z", &[D, W]);
    check_tiers(&hours, "2026-02-08T10:00:00Z", &[D]);

    let evening = Schedule::new(Hourly, sub(SubField::Hours, &[22]), None).unwrap();
    check_tiers(&evening, "2026-02-03T22:00:00Z", &[H, D]);
    check_tiers(&evening, "2026-02-03T00:00:00Z", &[H]);

    let days = Schedule::new(Monthly, sub(SubField::Days, &[15, 1]), None).unwrap();
    check_tiers(&days, "2026-01-15T00:00:00Z", &[M, Y]);
    check_tiers(&days, "2026-01-01T00:00:00Z", &[M]);

    let weekdays = Schedule::new(Weekly, sub(SubField::Weekdays, &[5, 1]), None).unwrap();
    check_tiers(&weekdays, "2026-02-06T00:00:00Z", &[W, M]);
    check_tiers(&weekdays, "2026-02-02T00:00:00Z", &[W]);
}

#[test]
fn the_start_of_a_window_is_its_promoted_run() {
    let schedule = Schedule::new(Hourly, SubFrequency::default(), window((22, 0), (2, 0))).unwrap();
    check_tiers(&schedule, "2026-02-03T22:00:00Z", &[H, D]);
    check_tiers(&schedule, "2026-02-04T00:00:00Z", &[H]);
}

#[test]
fn a_wrong_schedule_names_every_fault() {
    let none = SubFrequency::default;
    for (frequency, sub, window, message) in [
        (Hourly, sub(SubField::Minutes, &[60]), None, "subFrequency.minutes: 60 is not between 0 and 59"),
        (
            Hourly,
            sub(SubField::Minutes, &[0, 7]),
            None,
            "subFrequency.minutes: with several values each must be a multiple of 5, 7 is not",
        ),
        (
            Daily,
            sub(SubField::Minutes, &[0, 5]),
            None,
            "subFrequency.minutes: several values are possible only with @hourly, not with @daily",
        ),
        (
            Hourly,
            sub(SubField::Hours, &[1, 2]),
            None,
            "subFrequency.hours: several values are possible only with @daily, not with @hourly",
        ),
        (Weekly, sub(SubField::Days, &[1]), None, "subFrequency.days cannot be combined with @weekly"),
        (
            Monthly,
            sub(SubField::Weekdays, &[1]),
            None,
            "subFrequency.weekdays cannot be combined with @monthly",
        ),
        (Weekly, sub(SubField::Weekdays, &[0, 7]), None, "subFrequency.weekdays: 7 appears twice"),
        (OnDemand, sub(SubField::Hours, &[1]), None, "subFrequency cannot be combined with @onDemand"),
        (OnDemand, none(), window((1, 0), (2, 0)), "backupWindow cannot be combined with @onDemand"),
        (
            Daily,
            none(),
            window((1, 2), (2, 0)),
            "backupWindow.start: 1:02 is not a time of day in steps of 5 minutes",
        ),
        (
            Daily,
            sub(SubField::Hours, &[1]),
            window((1, 0), (2, 0)),
            "subFrequency.hours cannot be combined with backupWindow",
        ),
    ] {
        let faults = Schedule::new(frequency, sub, window).unwrap_err();
        assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
    }
}

#[test]
fn retention_may_not_be_finer_than_the_frequency() {
    let retention = Retention { hourly: 4, daily: 1, weekly: 1, monthly: 1, yearly: 1 };
    assert_eq!(retention.check_against(Hourly), []);
    assert_eq!(retention.check_against(OnDemand), []);
    let faults: Vec<_> = retention.check_against(Weekly).iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "retention.hourly: a policy with @weekly cannot keep a finer tier than its frequency",
            "retention.daily: a policy with @weekly cannot keep a finer tier than its frequency",
        ]
    );
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let lists = (
        prop::collection::vec(0_u8..60, 0..3),
        prop::collection::vec(0_u8..24, 0..3),
        prop::collection::vec(0_u8..=7, 0..3),
        prop::collection::vec(1_u8..=31, 0..3),
        prop::collection::vec(1_u8..=12, 0..3),
    );
    (0..5_usize, lists).prop_filter_map("legal", |(frequency, (minutes, hours, weekdays, days, months))| {
        let sub = SubFrequency { minutes, hours, weekdays, days, months };
        Schedule::new(Frequency::ALL[frequency], sub, None).ok()
    })
}

proptest! {
    #[test]
    fn runs_move_forward_and_none_lies_between(
        schedule in any_schedule(),
        start in 1_700_000_000_i64..2_000_000_000,
        before in 1_i64..400_000,
    ) {
        let start = Timestamp::from_second(start).unwrap();
        let next = schedule.next_after(start).unwrap();
        prop_assert!(next > start);
        let earlier = start.checked_sub(Span::new().seconds(before)).unwrap();
        let from_earlier = schedule.next_after(earlier).unwrap();
        prop_assert!(from_earlier <= start || from_earlier == next);
        prop_assert!(schedule.tiers_at(next).contains(schedule.frequency().tier().unwrap()));
    }
}
