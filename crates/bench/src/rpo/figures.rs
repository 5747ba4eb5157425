//! What was measured of the loss: printed, kept as JSON, and held against the gate.

use std::fmt;
use std::time::{Duration, Instant};

use keelson_model::Revision;
use serde_json::{Value, json};

use super::Acknowledged;

const AGE_GATE: Duration = Duration::from_secs(5);

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    acknowledged: usize,
    lost: usize,
    /// How long before the kill the oldest lost one was acknowledged.
    worst: Duration,
}

impl Round {
    pub(super) fn of(acknowledged: &[Acknowledged], recoverable: Revision, killed: Instant) -> Self {
        let lost = acknowledged.iter().filter(|one| one.revision > recoverable);
        let ages = lost.map(|one| killed.saturating_duration_since(one.at));
        let (count, worst) =
            ages.fold((0, Duration::ZERO), |(count, worst), age| (count + 1, worst.max(age)));
        Self { acknowledged: acknowledged.len(), lost: count, worst }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, lost, worst } = self;
        write!(f, "{acknowledged} acknowledged, {lost} lost, the oldest {:.2} s old", worst.as_secs_f64())
    }
}

pub(crate) struct Figures {
    pub(super) rounds: Vec<Round>,
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let worst = self.worst();
        let missed =
            format!("a commit was lost {:.2} s after it was acknowledged, gate 5 s", worst.as_secs_f64());
        (worst > AGE_GATE).then_some(missed).into_iter().collect()
    }

    fn worst(&self) -> Duration {
        self.rounds.iter().map(|round| round.worst).max().unwrap_or_default()
    }

    /// Of the worst ages of all kills, the one that half of them stay below.
    fn median(&self) -> Duration {
        let mut ages: Vec<_> = self.rounds.iter().map(|round| round.worst).collect();
        ages.sort();
        ages.get(ages.len() / 2).copied().unwrap_or_default()
    }

    fn sum(&self, of: impl Fn(&Round) -> usize) -> usize {
        self.rounds.iter().map(of).sum()
    }

    pub(crate) fn report(&self) -> Value {
        json!({
            "kills": self.rounds.len(),
            "acknowledged": self.sum(|round| round.acknowledged),
            "lost": self.sum(|round| round.lost),
            "ageSeconds": { "worst": self.worst().as_secs_f64(), "median": self.median().as_secs_f64(),
                            "gate": AGE_GATE.as_secs_f64() },
            "missed": self.missed_gates(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kills with the disk wiped   {}", self.rounds.len())?;
        writeln!(f, "acknowledged in all         {}", self.sum(|round| round.acknowledged))?;
        writeln!(f, "lost in all                 {}", self.sum(|round| round.lost))?;
        writeln!(f, "oldest lost, median kill    {:.2} s", self.median().as_secs_f64())?;
        write!(f, "oldest lost, worst kill     {:.2} s (gate 5 s)", self.worst().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use keelson_model::{Generation, Sequence};

    use super::*;

    #[test]
    fn what_is_newer_than_the_recoverable_is_lost_and_its_oldest_counts() {
        let killed = Instant::now() + Duration::from_secs(60);
        let at = |sequence| Revision::new(Generation(1), Sequence(sequence));
        let ago = |seconds, sequence| Acknowledged {
            at: killed - Duration::from_secs(seconds),
            revision: at(sequence),
        };
        let acknowledged = [ago(9, 1), ago(7, 2), ago(4, 3), ago(1, 4)];
        let check = |recoverable, lost, worst| {
            let worst = Duration::from_secs(worst);
            assert_eq!(
                Round::of(&acknowledged, at(recoverable), killed),
                Round { acknowledged: 4, lost, worst }
            );
        };
        check(4, 0, 0);
        check(2, 2, 4);
        check(0, 4, 9);
        let figures = Figures { rounds: vec![Round::of(&acknowledged, at(1), killed)] };
        assert_eq!(figures.missed_gates().len(), 1);
    }
}
