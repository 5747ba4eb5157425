//! When a policy runs, and for which tiers of retention each run counts. All times are UTC.

mod calendar;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::retention::{Retention, Tier, Tiers};

/// How often a policy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frequency {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// Only by hand.
    OnDemand,
}

impl Frequency {
    /// Every frequency, shortest first.
    pub const ALL: [Self; 6] =
        [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly, Self::OnDemand];

    /// As a policy spells it: `@hourly`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "@hourly",
            Self::Daily => "@daily",
            Self::Weekly => "@weekly",
            Self::Monthly => "@monthly",
            Self::Yearly => "@yearly",
            Self::OnDemand => "@onDemand",
        }
    }

    /// The tier that every run of this frequency counts for.
    pub const fn tier(self) -> Option<Tier> {
        match self {
            Self::Hourly => Some(Tier::Hourly),
            Self::Daily => Some(Tier::Daily),
            Self::Weekly => Some(Tier::Weekly),
            Self::Monthly => Some(Tier::Monthly),
            Self::Yearly => Some(Tier::Yearly),
            Self::OnDemand => None,
        }
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Frequency {
    type Err = ScheduleFault;

    fn from_str(text: &str) -> Result<Self, ScheduleFault> {
        let found = Self::ALL.into_iter().find(|frequency| frequency.as_str() == text);
        found.ok_or_else(|| ScheduleFault::UnknownFrequency { text: text.chars().take(40).collect() })
    }
}

/// Narrows a frequency. In each list the first value marks the run that is promoted to longer tiers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SubFrequency {
    pub minutes: Vec<u8>,
    pub hours: Vec<u8>,
    /// 0 and 7 are Sunday.
    pub weekdays: Vec<u8>,
    pub days: Vec<u8>,
    pub months: Vec<u8>,
}

/// A list of a sub-frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubField {
    Minutes,
    Hours,
    Weekdays,
    Days,
    Months,
}

impl SubField {
    /// Every list, finest first.
    pub const ALL: [Self; 5] = [Self::Minutes, Self::Hours, Self::Weekdays, Self::Days, Self::Months];

    const fn bounds(self) -> (u8, u8) {
        match self {
            Self::Minutes => (0, 59),
            Self::Hours => (0, 23),
            Self::Weekdays => (0, 7),
            Self::Days => (1, 31),
            Self::Months => (1, 12),
        }
    }

    /// The frequency one level above, at which several values make several runs.
    const fn repeats_in(self) -> Frequency {
        match self {
            Self::Minutes => Frequency::Hourly,
            Self::Hours => Frequency::Daily,
            Self::Weekdays => Frequency::Weekly,
            Self::Days => Frequency::Monthly,
            Self::Months => Frequency::Yearly,
        }
    }
}

impl fmt::Display for SubField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Weekdays => "weekdays",
            Self::Days => "days",
            Self::Months => "months",
        })
    }
}

/// A time of the day to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    pub hour: u8,
    pub minute: u8,
}

/// The hours of the day in which a policy may start its runs. An end not after the start is on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackupWindow {
    pub start: TimeOfDay,
    pub end: TimeOfDay,
}

/// Why a schedule is refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleFault {
    #[error(
        "frequency '{text}' is unknown; known are @hourly, @daily, @weekly, @monthly, @yearly and @onDemand"
    )]
    UnknownFrequency { text: String },
    #[error("subFrequency.{field}: {value} is not between {least} and {most}")]
    OutOfRange { field: SubField, value: u8, least: u8, most: u8 },
    #[error("subFrequency.{field}: {value} appears twice")]
    Repeated { field: SubField, value: u8 },
    #[error("subFrequency.{field}: several values are possible only with {only}, not with {frequency}")]
    Several { field: SubField, only: Frequency, frequency: Frequency },
    #[error("subFrequency.minutes: with several values each must be a multiple of 5, {value} is not")]
    MinuteStep { value: u8 },
    #[error("subFrequency.{field} cannot be combined with {frequency}")]
    NotWithFrequency { field: SubField, frequency: Frequency },
    #[error("subFrequency cannot be combined with @onDemand")]
    OnDemandSubFrequency,
    #[error("backupWindow cannot be combined with @onDemand")]
    OnDemandWindow,
    #[error("backupWindow.{edge}: {hour}:{minute:02} is not a time of day in steps of 5 minutes")]
    WindowTime { edge: &'static str, hour: u8, minute: u8 },
    #[error("subFrequency.{field} cannot be combined with backupWindow")]
    NotWithWindow { field: SubField },
    #[error("enableStaggering needs a backupWindow")]
    StaggeringWithoutWindow,
    #[error("retention.{tier}: a policy with {frequency} cannot keep a finer tier than its frequency")]
    TierTooFine { tier: Tier, frequency: Frequency },
}

/// A checked schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schedule {
    frequency: Frequency,
    sub: SubFrequency,
    window: Option<BackupWindow>,
}

impl Schedule {
    /// Checks the parts of a schedule and reports every fault found.
    pub fn new(
        frequency: Frequency,
        sub: SubFrequency,
        window: Option<BackupWindow>,
    ) -> Result<Self, Vec<ScheduleFault>> {
        let mut faults = Vec::new();
        for field in SubField::ALL {
            check_field(&mut faults, frequency, field, sub.values(field));
        }
        if frequency == Frequency::OnDemand && !sub.is_empty() {
            faults.push(ScheduleFault::OnDemandSubFrequency);
        }
        if let Some(window) = &window {
            check_window(&mut faults, frequency, &sub, window);
        }
        if faults.is_empty() { Ok(Self { frequency, sub, window }) } else { Err(faults) }
    }

    /// A schedule with nothing but a frequency.
    pub fn every(frequency: Frequency) -> Self {
        Self { frequency, sub: SubFrequency::default(), window: None }
    }

    /// How often it runs.
    pub fn frequency(&self) -> Frequency {
        self.frequency
    }

    /// The hours of the day it keeps to, if any.
    pub fn window(&self) -> Option<BackupWindow> {
        self.window
    }

    /// The first run after `after`; none for a policy that runs on demand.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = TimeZone::UTC.to_datetime(after);
        let mut date = after.date();
        // A day earlier: a window that began yesterday may reach into today.
        date = date.yesterday().unwrap_or(date);
        for _ in 0..calendar::DAYS_SEARCHED_MAX {
            if self.runs_on(date) {
                let next = self.starts_of(date).into_iter().find(|start| *start > after);
                if let Some(next) = next {
                    return TimeZone::UTC.to_timestamp(next).ok();
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The tiers that the run scheduled for `at` counts for. Every run counts for the policy's own tier; the
    /// run marked by the first values counts for the longer ones too.
    pub fn tiers_at(&self, at: Timestamp) -> Tiers {
        let Some(own) = self.frequency.tier() else { return Tiers::NONE };
        let at = TimeZone::UTC.to_datetime(at);
        let longer = Tier::ALL.into_iter().filter(|tier| *tier > own && self.is_promoted(at, *tier));
        longer.fold(Tiers::NONE.with(own), Tiers::with)
    }

    fn is_promoted(&self, at: DateTime, tier: Tier) -> bool {
        // Below the week a day has several runs, of which the first value marks one.
        let is_marked_time = self.frequency > Frequency::Daily || at.time() == self.marked_time();
        let date = at.date();
        is_marked_time
            && match tier {
                Tier::Hourly | Tier::Daily => true,
                Tier::Weekly => calendar::is_weekday(date, self.sub.first(SubField::Weekdays)),
                Tier::Monthly => self.stands_for_month(date),
                Tier::Yearly => {
                    self.stands_for_month(date) && calendar::is_month(date, self.sub.first(SubField::Months))
                }
            }
    }

    fn stands_for_month(&self, date: Date) -> bool {
        match self.frequency {
            // A month seldom begins with the week; its first weekly run stands for it.
            Frequency::Weekly => {
                date.day() <= 7 && calendar::is_weekday(date, self.sub.first(SubField::Weekdays))
            }
            _ => calendar::is_day(date, self.sub.first(SubField::Days)),
        }
    }

    fn marked_time(&self) -> Time {
        match self.window {
            Some(window) => calendar::time(window.start.hour, window.start.minute),
            None => calendar::time(self.sub.first(SubField::Hours), self.sub.first(SubField::Minutes)),
        }
    }

    fn runs_on(&self, date: Date) -> bool {
        let matches = |field, test: fn(Date, u8) -> bool| {
            let values = self.sub.values(field);
            values.iter().any(|value| test(date, *value))
                || (values.is_empty() && test(date, self.sub.first(field)))
        };
        match self.frequency {
            Frequency::OnDemand => false,
            Frequency::Hourly | Frequency::Daily => true,
            Frequency::Weekly => matches(SubField::Weekdays, calendar::is_weekday),
            Frequency::Monthly => matches(SubField::Days, calendar::is_day),
            Frequency::Yearly => {
                matches(SubField::Months, calendar::is_month)
                    && calendar::is_day(date, self.sub.first(SubField::Days))
            }
        }
    }

    /// The runs of the day, earliest first. Those of a window that reaches past midnight belong to its first day.
    fn starts_of(&self, date: Date) -> Vec<DateTime> {
        match (self.frequency, self.window) {
            (Frequency::Hourly, Some(window)) => (0..window.hours())
                .map(|hours| date.to_datetime(self.marked_time()).saturating_add(Span::new().hours(hours)))
                .collect(),
            (Frequency::Hourly, None) => {
                let minutes = sorted(&self.sub.minutes, 0);
                let hours = 0..24;
                hours
                    .flat_map(|hour| minutes.iter().map(move |minute| calendar::time(hour, *minute)))
                    .map(|time| date.to_datetime(time))
                    .collect()
            }
            (Frequency::Daily, None) => {
                let minute = self.sub.first(SubField::Minutes);
                let hours = sorted(&self.sub.hours, 0).into_iter();
                hours.map(|hour| date.to_datetime(calendar::time(hour, minute))).collect()
            }
            _ => vec![date.to_datetime(self.marked_time())],
        }
    }
}

impl BackupWindow {
    /// How many runs an hour apart begin before the end. Equal ends mean the whole day.
    fn hours(&self) -> i64 {
        let minutes = |time: TimeOfDay| i64::from(time.hour) * 60 + i64::from(time.minute);
        let length = (minutes(self.end) - minutes(self.start)).rem_euclid(DAY_MINUTES);
        let length = if length == 0 { DAY_MINUTES } else { length };
        (length + 59) / 60
    }
}

const DAY_MINUTES: i64 = 24 * 60;

fn sorted(values: &[u8], default: u8) -> Vec<u8> {
    let mut values = if values.is_empty() { vec![default] } else { values.to_vec() };
    values.sort_unstable();
    values
}

impl Retention {
    /// Reports the tiers that are finer than the frequency.
    pub fn check_against(&self, frequency: Frequency) -> Vec<ScheduleFault> {
        let Some(own) = frequency.tier() else { return Vec::new() };
        let finer = Tier::ALL.into_iter().filter(|tier| *tier < own && self.count(*tier) > 0);
        finer.map(|tier| ScheduleFault::TierTooFine { tier, frequency }).collect()
    }
}

impl SubFrequency {
    /// The values of one list, in the order given.
    pub fn values(&self, field: SubField) -> &[u8] {
        match field {
            SubField::Minutes => &self.minutes,
            SubField::Hours => &self.hours,
            SubField::Weekdays => &self.weekdays,
            SubField::Days => &self.days,
            SubField::Months => &self.months,
        }
    }

    /// Whether no list has a value.
    pub fn is_empty(&self) -> bool {
        SubField::ALL.into_iter().all(|field| self.values(field).is_empty())
    }

    /// The value that marks the promoted run: minute 0, hour 0, Sunday, the 1st, January if none is given.
    fn first(&self, field: SubField) -> u8 {
        let default = match field {
            SubField::Minutes | SubField::Hours | SubField::Weekdays => 0,
            SubField::Days | SubField::Months => 1,
        };
        self.values(field).first().copied().unwrap_or(default)
    }
}

fn check_field(faults: &mut Vec<ScheduleFault>, frequency: Frequency, field: SubField, values: &[u8]) {
    let (least, most) = field.bounds();
    for (index, &value) in values.iter().enumerate() {
        if !(least..=most).contains(&value) {
            faults.push(ScheduleFault::OutOfRange { field, value, least, most });
        }
        let same = |other: &u8| other % 7 == value % 7 && field == SubField::Weekdays || *other == value;
        if values[..index].iter().any(same) {
            faults.push(ScheduleFault::Repeated { field, value });
        }
    }
    let only = field.repeats_in();
    if values.len() > 1 && frequency != only && frequency != Frequency::OnDemand {
        faults.push(ScheduleFault::Several { field, only, frequency });
    }
    if field == SubField::Minutes && values.len() > 1 {
        let odd = values.iter().filter(|value| *value % 5 != 0);
        faults.extend(odd.map(|value| ScheduleFault::MinuteStep { value: *value }));
    }
    let excluded = match frequency {
        Frequency::Monthly | Frequency::Yearly => field == SubField::Weekdays,
        Frequency::Weekly => field == SubField::Days,
        Frequency::Hourly | Frequency::Daily | Frequency::OnDemand => false,
    };
    if excluded && !values.is_empty() {
        faults.push(ScheduleFault::NotWithFrequency { field, frequency });
    }
}

fn check_window(
    faults: &mut Vec<ScheduleFault>,
    frequency: Frequency,
    sub: &SubFrequency,
    window: &BackupWindow,
) {
    if frequency == Frequency::OnDemand {
        faults.push(ScheduleFault::OnDemandWindow);
    }
    for (edge, TimeOfDay { hour, minute }) in [("start", window.start), ("end", window.end)] {
        if hour > 23 || minute > 59 || minute % 5 != 0 {
            faults.push(ScheduleFault::WindowTime { edge, hour, minute });
        }
    }
    for field in [SubField::Minutes, SubField::Hours] {
        if !sub.values(field).is_empty() {
            faults.push(ScheduleFault::NotWithWindow { field });
        }
    }
}
