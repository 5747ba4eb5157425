//! Time as a parameter. Only binaries know the system's clock; everything else is handed a `Clock`.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

/// Says what time it is.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// A moment after another; one at the end of all times stays there.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).expect("a Duration is never calendar-based")
}

/// So far a clock may be put right without a moment that was written before counting as one of a wrong clock.
pub const PUT_RIGHT_MAX: Duration = Duration::from_secs(3600);

/// Whether a moment is due that was to lie `within` of the one at which it was written. One that lies further ahead was
/// written by a clock that was ahead: whoever waited for it might wait for years.
pub fn is_due(at: Timestamp, within: Duration, now: Timestamp) -> bool {
    at <= now || at > later(later(now, within), PUT_RIGHT_MAX)
}

/// A clock that stands still until it is moved. Tests of retention and schedules live on it.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        *now = later(*now, by);
    }

    pub fn set(&self, to: Timestamp) {
        *self.lock() = to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Timestamp> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_a_clock_that_was_ahead_is_not_waited_for() {
        let now: Timestamp = "2026-03-04T09:30:00Z".parse().unwrap();
        let day = Duration::from_secs(24 * 3600);
        for (at, due) in [
            ("2026-03-04T09:29:59Z", true),
            ("2026-03-04T09:30:00Z", true),
            ("2026-03-04T09:30:01Z", false),
            ("2026-03-05T09:30:00Z", false),
            // It was put back by half an hour.
            ("2026-03-05T10:00:00Z", false),
            ("2026-03-05T10:30:01Z", true),
            ("2028-03-04T09:30:00Z", true),
        ] {
            assert_eq!(is_due(at.parse().unwrap(), day, now), due, "{at}");
        }
        assert!(
            !is_due(Timestamp::MAX, day, Timestamp::MAX - day),
            "the end of all times is no further ahead"
        );
    }
}
