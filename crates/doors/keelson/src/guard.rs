//! `keelson guard`: a small process beside the platform that takes its APIServices off the cluster when it cannot.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use keelson_extension::{GuardTimes, RemoveError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::arguments::Common;
use crate::failure::{failed, interrupted};
use crate::output::{data, say};
use crate::signals::Ending;
use crate::{health, logs};

/// It looks each second. Requests that the API server does not answer end after some seconds, and count as looks.
const STANDS_STILL_AFTER: Duration = Duration::from_secs(120);

/// Keep what the platform registers from harming the cluster when it is away, or take it away.
///
/// Deletes the APIServices of the installation at once when its namespace goes, and when no `keelson serve` has renewed its
/// Lease for two minutes: without a server behind them they keep every namespace of the cluster from going. Needs no volume
/// and serves nothing but its probe; two of them at once do no harm.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  keelson guard\n  keelson guard --once      before the platform is uninstalled"
)]
pub(crate) struct Guard {
    #[command(flatten)]
    common: Common,
    /// Take away all that the platform registers, say what it was, and end. Refuses while a `keelson serve` runs.
    #[arg(long)]
    once: bool,
    /// Answer probes there, `GET /healthz` in plain HTTP; without it nowhere.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    health: Option<SocketAddr>,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

/// What `--once` took away.
#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
}

pub(crate) async fn run(guard: Guard) -> Result<()> {
    let client = guard.common.cluster().await?.client();
    let mut library = keelson_extension::Guard::new(client, &guard.common.namespace, GuardTimes::USUAL);
    if guard.once {
        return remove(&guard.common, &library).await;
    }
    logs::init(guard.log_json);
    info!(namespace = guard.common.namespace, "guarding");
    let listener = health::listen(guard.health).await?;
    let (stop, looked) = (CancellationToken::new(), library.looked());
    let asked = async {
        Ending::listen().asked().await;
        stop.cancel();
    };
    let goes_on = || looked.borrow().elapsed() < STANDS_STILL_AFTER;
    tokio::join!(asked, library.run(stop.clone()), health::serve(listener, goes_on, stop.clone()));
    info!("stopped");
    Ok(())
}

async fn remove(common: &Common, guard: &keelson_extension::Guard) -> Result<()> {
    let mut ending = Ending::listen();
    let removed = tokio::select! {
        removed = remove_unserved(guard) => removed.map_err(failed)?,
        () = ending.asked() => {
            return Err(interrupted("interrupted: some of it may be left", None));
        }
    };
    data(common.output, &Removed { removed }, |found| match found.removed.as_slice() {
        [] => "nothing of the platform is registered".to_owned(),
        names => names.iter().map(|name| format!("deleted {name}")).collect::<Vec<_>>().join("\n"),
    });
    Ok(())
}

async fn remove_unserved(guard: &keelson_extension::Guard) -> Result<Vec<String>, RemoveError> {
    if let Some(holder) = guard.read_holder().await? {
        let seconds = GuardTimes::USUAL.renewed_within.as_secs();
        say(&format!("looking for up to {seconds} s whether 'keelson serve' {holder} still runs"));
    }
    guard.remove().await
}
