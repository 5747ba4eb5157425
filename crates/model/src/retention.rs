//! Which restore points a policy's retention lets go: grandfather, father, son, kept per tier.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The length of time over which restore points of one row of the scheme are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Tier {
    /// Finest first.
    pub const ALL: [Self; 5] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// As a policy spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tiers that one run counts for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Tier>", into = "Vec<Tier>")]
pub struct Tiers(u8);

impl Tiers {
    /// No tier.
    pub const NONE: Self = Self(0);

    /// The same and one more.
    pub const fn with(self, tier: Tier) -> Self {
        Self(self.0 | tier.bit())
    }

    /// Whether it counts for the tier.
    pub const fn contains(self, tier: Tier) -> bool {
        self.0 & tier.bit() != 0
    }

    /// Whether it counts for none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The tiers, finest first.
    pub fn iter(self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(move |tier| self.contains(*tier))
    }
}

impl FromIterator<Tier> for Tiers {
    fn from_iter<I: IntoIterator<Item = Tier>>(tiers: I) -> Self {
        tiers.into_iter().fold(Self::NONE, Self::with)
    }
}

impl From<Vec<Tier>> for Tiers {
    fn from(tiers: Vec<Tier>) -> Self {
        tiers.into_iter().collect()
    }
}

impl From<Tiers> for Vec<Tier> {
    fn from(tiers: Tiers) -> Self {
        tiers.iter().collect()
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How many restore points of each tier are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Retention {
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

impl Retention {
    /// What the policy that protects the platform itself starts with.
    pub const DISASTER_RECOVERY: Self = Self { hourly: 4, daily: 1, weekly: 1, monthly: 1, yearly: 1 };

    /// How many points of the tier are kept.
    pub const fn count(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Hourly => self.hourly,
            Tier::Daily => self.daily,
            Tier::Weekly => self.weekly,
            Tier::Monthly => self.monthly,
            Tier::Yearly => self.yearly,
        }
    }

    /// Whether every point would go at once.
    pub fn keeps_nothing(&self) -> bool {
        Tier::ALL.into_iter().all(|tier| self.count(tier) == 0)
    }
}

/// Who started the run that made a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Schedule,
    /// Run Once. Only its own expiry or a person's hand removes it.
    Manual,
}

/// How the run that made a restore point ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunResult {
    Succeeded,
    Failed,
}

/// What retention has to know of one restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point<Id> {
    pub id: Id,
    /// The moment it stands for: of a scheduled run the scheduled time.
    pub time: Timestamp,
    pub origin: Origin,
    pub result: RunResult,
    /// As decided by `Schedule::tiers_at` when the run was made.
    pub tiers: Tiers,
}

/// Decides which points of one policy and one application go, oldest first.
///
/// A scheduled point stays as long as one of its tiers has fewer newer successful scheduled points than the
/// retention asks for. So failed points take nobody's place and leave once enough newer good ones exist.
/// Points of manual runs neither go nor count. Equal times are ordered by id.
pub fn decide_retired<Id: Ord + Clone>(points: &[Point<Id>], retention: &Retention) -> Vec<Id> {
    let mut scheduled: Vec<_> = points.iter().filter(|point| point.origin == Origin::Schedule).collect();
    scheduled.sort_by_key(|point| Reverse((point.time, &point.id)));
    let mut newer_successful: BTreeMap<Tier, u32> = BTreeMap::new();
    let mut retired = Vec::new();
    for point in scheduled {
        let stays = point.tiers.iter().any(|tier| {
            let newer = newer_successful.get(&tier).copied().unwrap_or(0);
            newer < retention.count(tier)
        });
        if !stays {
            retired.push(point.id.clone());
        }
        match point.result {
            RunResult::Succeeded => {
                for tier in point.tiers.iter() {
                    *newer_successful.entry(tier).or_insert(0) += 1;
                }
            }
            RunResult::Failed => {}
        }
    }
    retired.reverse();
    retired
}
