//! Stores around stores: each adds one habit and passes everything else through.

mod as_of;
mod limit;
mod meter;
mod prefixed;
mod retained;
mod retry;

pub use as_of::AsOf;
pub use limit::{Limit, Limits};
pub use meter::{Meter, Tally};
pub use prefixed::Prefixed;
pub use retained::Retained;
pub use retry::{Backoff, Retry};
