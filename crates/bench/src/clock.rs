//! The time that the machine tells.

use jiff::Timestamp;
use keelson_model::Clock;

#[derive(Debug)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "binaries are where time comes from")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
