//! Reconciles `Profile`: tries the location, says what was found, and looks again before that grows old.

mod act;
mod decide;
mod observe;
mod report;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use keelson_protection::Platform;
use keelson_resources::profile::Profile;
use keelson_workload::Kind;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::discovery::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::runtime::{Controller, controller, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::drive::drive;
use crate::follow::follow_secrets;
use crate::looks::{Look, Looks};
use crate::publish::{ReconcileError, publish};
use crate::subject::{plain_kind, reference};
use act::act;
use decide::{Decision, decide};
use observe::{Basis, observe};
use report::report;

/// Locations that are tried at once.
const CONCURRENCY: u16 = 4;

struct Context {
    platform: Arc<Platform>,
    resource: ApiResource,
    kind: Kind,
    /// Of the install namespace; only what tells that one has changed.
    secrets: Store<PartialObjectMeta<Secret>>,
    looks: Looks<Basis>,
    stop: CancellationToken,
}

pub(crate) async fn run(platform: Arc<Platform>, client: Client, stop: CancellationToken) {
    let resource = ApiResource::erase::<Profile>(&());
    let install_namespace = &platform.settings().install_namespace;
    let (secrets, secret_touched) =
        follow_secrets(client.clone(), install_namespace, watcher::Config::default());
    let context = Arc::new(Context {
        kind: plain_kind(&resource),
        looks: Looks::new(),
        platform,
        resource: resource.clone(),
        secrets,
        stop: stop.clone(),
    });
    let profiles = Api::<DynamicObject>::all_with(client, &resource);
    let controller = Controller::new_with(profiles, watcher::Config::default(), resource)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(secret_touched);
    drive(controller, reconcile, context.clone(), |at| context.looks.forget(at), "Profile", stop).await;
}

async fn reconcile(profile: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let platform = &context.platform;
    let at = reference(&profile, &context.resource);
    let observed = observe(&context, &profile);
    let step = match decide(&observed, platform.clock().now()) {
        Decision::Wait(pause) => return Ok(pause.map_or_else(Action::await_change, Action::requeue)),
        Decision::Look(step) => step,
    };
    let Some(verdict) = context.stop.run_until_cancelled(act(platform, &observed, step)).await else {
        return Ok(Action::await_change());
    };
    let now = platform.clock().now();
    let report = report(&observed, &verdict, now);
    publish(platform, &context.kind, &observed.subject, &report).await?;
    let look = Look::next(observed.last.as_ref(), observed.basis, now, report.found);
    let pause = look.again_after();
    context.looks.remember(at, look);
    Ok(Action::requeue(pause))
}
