//! The system's clock: the one place that reads it.

use jiff::Timestamp;
use keelson_model::Clock;

#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "binaries are where time comes from")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
