//! Owns the tasks of a running platform: started together, stopped together, awaited.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{applications, engine, mirror, ownership, platform::Platform, recovery, scheduler, status};

/// Runs the platform until `stop`, then waits until what is in flight has come to rest.
pub async fn run(platform: Arc<Platform>, stop: CancellationToken) {
    tokio::join!(
        engine::run_actions(platform.clone(), stop.clone()),
        scheduler::run_scheduler(platform.clone(), stop.clone()),
        mirror::run_mirror(platform.clone(), stop.clone()),
        applications::run_applications(platform.clone(), stop.clone()),
        recovery::ship::run_shipping(platform.clone(), stop.clone()),
        recovery::service::run_recovery(platform.clone(), stop.clone()),
        ownership::run_ownership(platform.clone(), stop.clone()),
        status::run_status(platform.clone(), stop.clone()),
    );
    platform.tasks().close();
    platform.tasks().wait().await;
}
