//! Owns the tasks of a running platform: started together, stopped together, awaited.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    applications, engine, events, expiry, history, maintenance, mirror, ownership, passkeys,
    platform::Platform, recovery, scheduler, status, storage_repositories, upkeep,
};

/// Runs the platform until `stop`, then waits until what is in flight has come to rest.
///
/// Each service is a task of its own: one that computes or waits on a disk must not hold up the others.
pub async fn run(platform: Arc<Platform>, stop: CancellationToken) {
    if platform.instance_away().is_some() {
        // Whatever would be done would be done as somebody else.
        tracing::error!("the instance file is damaged: nothing is done, and every request is told so");
        return stop.cancelled().await;
    }
    let mut services = JoinSet::new();
    services.spawn(engine::run_actions(platform.clone(), stop.clone()));
    services.spawn(events::run_events(platform.clone(), stop.clone()));
    services.spawn(scheduler::run_scheduler(platform.clone(), stop.clone()));
    services.spawn(expiry::run_expiry(platform.clone(), stop.clone()));
    services.spawn(history::run_history(platform.clone(), stop.clone()));
    services.spawn(mirror::run_mirror(platform.clone(), stop.clone()));
    services.spawn(applications::run_applications(platform.clone(), stop.clone()));
    services.spawn(recovery::ship::run_shipping(platform.clone(), stop.clone()));
    services.spawn(recovery::service::run_recovery(platform.clone(), stop.clone()));
    services.spawn(recovery::late_exports::run_late_exports(platform.clone(), stop.clone()));
    services.spawn(recovery::drill::run_drills(platform.clone(), stop.clone()));
    services.spawn(ownership::run_ownership(platform.clone(), stop.clone()));
    services.spawn(status::run_status(platform.clone(), stop.clone()));
    services.spawn(recovery::slots::run_slots(platform.clone(), stop.clone()));
    services.spawn(passkeys::run_passkeys(platform.clone(), stop.clone()));
    services.spawn(storage_repositories::run_storage_repositories(platform.clone(), stop.clone()));
    services.spawn(maintenance::run_maintenance(platform.clone(), stop.clone()));
    services.spawn(upkeep::run_upkeep(platform.clone(), stop.clone()));
    while let Some(ended) = services.join_next().await {
        if let Err(error) = ended {
            tracing::error!(error = &error as &dyn std::error::Error, "a service ended abnormally; stopping");
            stop.cancel();
        }
    }
    platform.tasks().close();
    platform.tasks().wait().await;
}
