//! The reconcilers of our custom resources: they look at each object and say in the status what they found.
//!
//! Profiles and policies are five steps in five files each; all other kinds share one pipeline. What to look at and what it means is decided in `keelson-protection`.
//! `K10restore` is reconciled by a process of its own, the operator, which knows the platform by its API alone.

mod configuration;
mod disaster_recovery;
mod drive;
mod follow;
mod k10restore;
mod looks;
mod policy;
mod profile;
mod publish;
mod status;
mod subject;

use std::sync::Arc;

use keelson_protection::Platform;
use tokio_util::sync::CancellationToken;

pub use k10restore::run as run_operator;

/// Reconciles all kinds of configuration until `stop`, then waits for what is in flight.
pub async fn run(platform: Arc<Platform>, client: kube::Client, stop: CancellationToken) {
    if platform.instance_away().is_some() {
        // A verdict on the policy that protects the platform would enable that under another identity.
        return stop.cancelled().await;
    }
    tokio::join!(
        profile::run(platform.clone(), client.clone(), stop.clone()),
        policy::run(platform.clone(), client.clone(), stop.clone()),
        configuration::run(platform.clone(), client, stop.clone()),
        disaster_recovery::run(platform, stop),
    );
}
