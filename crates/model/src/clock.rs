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
