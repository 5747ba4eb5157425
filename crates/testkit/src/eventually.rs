//! Waiting for what a server does in its own time, without a fixed sleep.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Far longer than anything takes that works, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(25);
/// Where a process is started for each look, which costs as much as a look takes.
const POLL_LEISURELY: Duration = Duration::from_millis(300);
/// For whoever must act in the middle of what takes some hundredths of a second.
const POLL_PROMPTLY: Duration = Duration::from_millis(1);

/// Asks `check` again and again until it answers with a value; gives up after five minutes, naming `what`.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    poll(what, POLL, check).await
}

/// The same for a cheap check, a thousand times a second.
pub async fn promptly<T>(what: &str, check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    poll(what, POLL_PROMPTLY, check).await
}

/// The same for a check that starts a program: what is waited for needs the processors, too.
pub async fn leisurely<T>(what: &str, check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    poll(what, POLL_LEISURELY, check).await
}

async fn poll<T>(
    what: &str,
    pause: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain: {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(pause).await;
    }
}
