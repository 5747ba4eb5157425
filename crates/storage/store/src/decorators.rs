//! Stores around stores: each adds one habit and passes everything else through.

mod limit;
mod meter;
mod prefixed;
mod retry;

pub use limit::{Limit, Limits};
pub use meter::{Meter, Tally};
pub use prefixed::Prefixed;
pub use retry::{Backoff, Retry};
