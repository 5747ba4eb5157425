//! The fields of a policy that say when it runs and how long what it makes is kept.

use keelson_model::retention;
use keelson_model::schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often a policy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FrequencyName {
    #[serde(rename = "@hourly")]
    Hourly,
    #[serde(rename = "@daily")]
    Daily,
    #[serde(rename = "@weekly")]
    Weekly,
    #[serde(rename = "@monthly")]
    Monthly,
    #[serde(rename = "@yearly")]
    Yearly,
    #[serde(rename = "@onDemand")]
    OnDemand,
}

/// Narrows a frequency. In each list the first value marks the run that is promoted to longer tiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SubFrequency {
    /// Minutes of the hour.
    #[schemars(length(max = 12), inner(range(min = 0, max = 59)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minutes: Vec<i32>,
    /// Hours of the day.
    #[schemars(length(max = 24), inner(range(min = 0, max = 23)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<i32>,
    /// Days of the week; 0 and 7 are Sunday.
    #[schemars(length(max = 7), inner(range(min = 0, max = 7)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<i32>,
    /// Days of the month; in a shorter month its last day.
    #[schemars(length(max = 31), inner(range(min = 1, max = 31)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<i32>,
    /// Months of the year.
    #[schemars(length(max = 12), inner(range(min = 1, max = 12)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<i32>,
}

/// The hours of the day in which runs may start. An end not after the start is on the next day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupWindow {
    /// When it begins.
    pub start: TimeOfDay,
    /// When it ends.
    pub end: TimeOfDay,
}

/// A time of the day, in steps of five minutes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimeOfDay {
    /// The hour.
    #[schemars(range(min = 0, max = 23))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<i32>,
    /// The minute, a multiple of 5.
    #[schemars(range(min = 0, max = 59), extend("multipleOf" = 5))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<i32>,
}

/// How many restore points of each tier are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    /// One an hour.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<i32>,
    /// One a day.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<i32>,
    /// One a week.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<i32>,
    /// One a month.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<i32>,
    /// One a year.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<i32>,
}

impl From<FrequencyName> for schedule::Frequency {
    fn from(name: FrequencyName) -> Self {
        match name {
            FrequencyName::Hourly => Self::Hourly,
            FrequencyName::Daily => Self::Daily,
            FrequencyName::Weekly => Self::Weekly,
            FrequencyName::Monthly => Self::Monthly,
            FrequencyName::Yearly => Self::Yearly,
            FrequencyName::OnDemand => Self::OnDemand,
        }
    }
}

impl From<&SubFrequency> for schedule::SubFrequency {
    fn from(sub: &SubFrequency) -> Self {
        let SubFrequency { minutes, hours, weekdays, days, months } = sub;
        Self {
            minutes: small_all(minutes),
            hours: small_all(hours),
            weekdays: small_all(weekdays),
            days: small_all(days),
            months: small_all(months),
        }
    }
}

impl From<&BackupWindow> for schedule::BackupWindow {
    fn from(window: &BackupWindow) -> Self {
        let part = |part: Option<i32>| small(part.unwrap_or(0));
        let time =
            |time: &TimeOfDay| schedule::TimeOfDay { hour: part(time.hour), minute: part(time.minute) };
        Self { start: time(&window.start), end: time(&window.end) }
    }
}

impl From<&Retention> for retention::Retention {
    fn from(retention: &Retention) -> Self {
        let Retention { hourly, daily, weekly, monthly, yearly } = *retention;
        let count = |count: Option<i32>| count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        Self {
            hourly: count(hourly),
            daily: count(daily),
            weekly: count(weekly),
            monthly: count(monthly),
            yearly: count(yearly),
        }
    }
}

/// What no list takes stays something that no list takes.
fn small(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn small_all(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().copied().map(small).collect()
}
