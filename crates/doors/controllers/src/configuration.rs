//! Reconciles every kind of configuration but profiles and policies: checks what an object says and names, and says in
//! its status what was found.
//!
//! All of them are one pipeline: what differs is data in `keelson-resources`.

mod decide;
mod observe;
mod report;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future;
use keelson_model::names::group;
use keelson_protection::Platform;
use keelson_resources::configuration::{CONFIGURATION, ConfigurationKind, Validation};
use keelson_workload::Kind;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::runtime::{Controller, controller, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::drive::drive;
use crate::follow::{LISTED_AGAIN_AFTER, follow, is_listed};
use crate::looks::{Look, Looks};
use crate::publish::{ReconcileError, publish};
use crate::subject::{plain_kind, reference};
use decide::{Decision, decide};
use observe::{Basis, observe};
use report::report;

/// Objects of a kind that are checked at once: nothing is waited for but the closing write.
const CONCURRENCY: u16 = 2;

struct Context {
    platform: Arc<Platform>,
    resource: ApiResource,
    kind: Kind,
    validation: &'static Validation,
    /// The objects of each kind that a verdict depends on.
    around: Vec<(&'static str, Store<DynamicObject>)>,
    looks: Looks<Basis>,
}

/// Reconciles all these kinds until `stop`.
pub(crate) async fn run(platform: Arc<Platform>, client: Client, stop: CancellationToken) {
    let kinds = CONFIGURATION.iter().filter_map(|of| of.validation.map(|validation| (of, validation)));
    let kinds = kinds
        .map(|(of, validation)| run_kind(of, validation, platform.clone(), client.clone(), stop.clone()));
    future::join_all(kinds).await;
}

async fn run_kind(
    of: &'static ConfigurationKind,
    validation: &'static Validation,
    platform: Arc<Platform>,
    client: Client,
    stop: CancellationToken,
) {
    let resource = resource_of(of);
    let (around, touched): (Vec<_>, Vec<_>) = CONFIGURATION
        .iter()
        .filter(|other| validation.looks_at.contains(&other.kind))
        .map(|other| {
            let resource = resource_of(other);
            let objects = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let (store, touched) = follow(watcher(objects, watcher::Config::default()), resource);
            ((other.kind, store), touched)
        })
        .unzip();
    let context = Arc::new(Context {
        platform,
        kind: plain_kind(&resource),
        resource: resource.clone(),
        validation,
        around,
        looks: Looks::new(),
    });
    let objects = Api::<DynamicObject>::all_with(client, &resource);
    let controller = Controller::new_with(objects, watcher::Config::default(), resource)
        .with_config(controller::Config::default().concurrency(CONCURRENCY));
    let controller = touched.into_iter().fold(controller, Controller::reconcile_all_on);
    drive(controller, reconcile, context.clone(), |at| context.looks.forget(at), of.kind, stop).await;
}

fn resource_of(of: &ConfigurationKind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(group::CONFIG, group::VERSION, of.kind);
    ApiResource::from_gvk_with_plural(&gvk, of.plural)
}

async fn reconcile(object: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let platform = &context.platform;
    if !context.around.iter().all(|(_, store)| is_listed(store)) {
        return Ok(Action::requeue(LISTED_AGAIN_AFTER));
    }
    let at = reference(&object, &context.resource);
    let observed = observe(&context, &object);
    let now = platform.clock().now();
    if let Decision::Wait(pause) = decide(&observed, context.validation, now) {
        return Ok(pause.map_or_else(Action::await_change, Action::requeue));
    }
    let report = report(&observed, context.validation, now);
    publish(platform, &context.kind, &observed.subject, &report).await?;
    let look = Look::next(observed.last.as_ref(), observed.basis, now, report.found);
    let pause = look.again_after();
    context.looks.remember(at, look);
    Ok(Action::requeue(pause))
}
