//! Whether this process wants requests sent to it. It answers whoever asks all the same.

use std::sync::atomic::{AtomicBool, Ordering};

/// From no to yes, and in the end to no again.
#[derive(Debug, Default)]
pub struct Readiness {
    stands: AtomicBool,
    leaves: AtomicBool,
}

impl Readiness {
    /// No other `serve` works here.
    pub fn stand(&self) {
        self.stands.store(true, Ordering::Relaxed);
    }

    /// From here on the end is on its way.
    pub fn leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }

    /// Why nothing should be sent here.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.leaves.load(Ordering::Relaxed) {
            return Err("shutting down");
        }
        if self.stands.load(Ordering::Relaxed) { Ok(()) } else { Err("another serve holds the Lease") }
    }
}
