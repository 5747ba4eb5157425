//! Reconciles `Policy`: checks what it says and names, so that only a sound policy runs.

mod act;
mod decide;
mod observe;
mod report;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use keelson_model::names::DR_SECRET;
use keelson_protection::Platform;
use keelson_resources::configuration::preset::PolicyPreset;
use keelson_resources::policy::Policy;
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
use crate::follow::{LISTED_AGAIN_AFTER, follow, follow_secrets, is_listed};
use crate::looks::{Look, Looks};
use crate::publish::{ReconcileError, publish};
use crate::subject::{plain_kind, reference};
use act::act;
use decide::{Decision, decide};
use observe::{Basis, observe};
use report::{report, report_pending};

/// Policies that are checked at once.
const CONCURRENCY: u16 = 4;

struct Context {
    platform: Arc<Platform>,
    resource: ApiResource,
    kind: Kind,
    profile_resource: ApiResource,
    /// Of the install namespace.
    profiles: Store<DynamicObject>,
    preset_resource: ApiResource,
    /// Of all namespaces.
    presets: Store<DynamicObject>,
    /// The Secret with the passphrase; only what tells that it has changed.
    passphrase: Store<PartialObjectMeta<Secret>>,
    looks: Looks<Basis>,
    stop: CancellationToken,
}

pub(crate) async fn run(platform: Arc<Platform>, client: Client, stop: CancellationToken) {
    let resource = ApiResource::erase::<Policy>(&());
    let profile_resource = ApiResource::erase::<Profile>(&());
    let profiles = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        &platform.settings().install_namespace,
        &profile_resource,
    );
    let profiles = watcher(profiles, watcher::Config::default());
    let (profiles, profile_touched) = follow(profiles, profile_resource.clone());
    let preset_resource = ApiResource::erase::<PolicyPreset>(&());
    let presets = Api::<DynamicObject>::all_with(client.clone(), &preset_resource);
    let (presets, preset_touched) =
        follow(watcher(presets, watcher::Config::default()), preset_resource.clone());
    let only = watcher::Config::default().fields(&format!("metadata.name={DR_SECRET}"));
    let (passphrase, passphrase_touched) =
        follow_secrets(client.clone(), &platform.settings().install_namespace, only);
    let context = Arc::new(Context {
        platform,
        kind: plain_kind(&resource),
        resource: resource.clone(),
        profile_resource,
        profiles,
        preset_resource,
        presets,
        passphrase,
        looks: Looks::new(),
        stop: stop.clone(),
    });
    let policies = Api::<DynamicObject>::all_with(client, &resource);
    let controller = Controller::new_with(policies, watcher::Config::default(), resource)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_all_on(profile_touched)
        .reconcile_all_on(preset_touched)
        .reconcile_all_on(passphrase_touched);
    drive(controller, reconcile, context.clone(), |at| context.looks.forget(at), "Policy", stop).await;
}

async fn reconcile(policy: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let platform = &context.platform;
    if !is_listed(&context.presets) {
        return Ok(Action::requeue(LISTED_AGAIN_AFTER));
    }
    let at = reference(&policy, &context.resource);
    let observed = observe(&context, &policy);
    let step = match decide(&observed, platform.clock().now()) {
        Decision::Wait(pause) => return Ok(pause.map_or_else(Action::await_change, Action::requeue)),
        Decision::Look(step) => step,
    };
    if let Some(report) = report_pending(&observed) {
        publish(platform, &context.kind, &observed.subject, &report).await?;
    }
    let Some(verdict) = context.stop.run_until_cancelled(act(platform, step)).await else {
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
