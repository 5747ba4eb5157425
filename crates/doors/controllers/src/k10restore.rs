//! Carries out each `K10restore` once, as a KastenDRRestore that it makes and follows.
//!
//! Every pass looks at all of them together: the platform does one recovery at a time. The uid that a KastenDRRestore bears
//! tells whose it is, so that a pass that was cut off anywhere is finished by the next, of this process or another. Nothing
//! of a K10restore holds up its deletion.

mod act;
mod decide;
mod observe;
mod refusals;
mod report;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keelson_model::names::group;
use keelson_model::{Chain, Classified, Clock, ErrorClass};
use keelson_resources::k10restore::{GROUP, KIND, PLURAL};
use keelson_workload::{Cluster, EventRecord, Kind, NamespacedName, RequestError};
use kube::Api;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::follow::follow;
use crate::publish::Note;
use crate::status::status_patch;
use act::{Outcome, act};
use decide::{Plan, Step, decide};
use observe::{Asked, Requester, observe};
use refusals::Refusals;
use report::{Report, note_of_orphan, report};

/// Who reports, in events.
const REPORTER: &str = "keelson-operator";
/// A recovery that is at work takes its next step within seconds.
const LOOK_AT_WORK: Duration = Duration::from_secs(1);
const LOOK_WAITING: Duration = Duration::from_secs(5);
/// What the platform does not take is asked for again, should somebody have changed what it lacked.
const LOOK_AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// Nobody tells when a KastenDRRestore was made or removed that belongs to a K10restore that is gone.
const LOOK_AT_REST: Duration = Duration::from_secs(60);

/// A pass that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error("list the K10restores of namespace '{namespace}'")]
    ListAsked { namespace: String, source: RequestError },
    #[error("write the status of K10restore '{at}'")]
    WriteStatus { at: NamespacedName, source: RequestError },
}

impl Classified for PassError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ListAsked { source, .. } | Self::WriteStatus { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ListAsked { .. } => "controllers.k10restore.list",
            Self::WriteStatus { .. } => "controllers.k10restore.status",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ListAsked { source, .. } if source.class() == ErrorClass::NotFound => {
                Some(format!("the definition of {KIND} is missing: kubectl apply -f deploy/operator/crds"))
            }
            Self::ListAsked { source, .. } | Self::WriteStatus { source, .. } => source.hint(),
        }
    }
}

struct Operator {
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    kind: Kind,
    namespace: String,
    /// K10restores that are gone and whose recovery goes on: told once.
    told: BTreeSet<String>,
    refusals: Refusals,
}

/// Carries out the K10restores of a namespace until `stop`.
pub async fn run(cluster: Cluster, clock: Arc<dyn Clock>, namespace: String, stop: CancellationToken) {
    let gvk = GroupVersionKind::gvk(GROUP, group::VERSION, KIND);
    let resource = ApiResource::from_gvk_with_plural(&gvk, PLURAL);
    let objects = Api::<DynamicObject>::namespaced_with(cluster.client(), &namespace, &resource);
    let (_objects, touched) = follow(watcher(objects, watcher::Config::default()), resource.clone());
    let mut touched = pin!(touched);
    let kind = Kind::namespaced(&resource.api_version, KIND, PLURAL);
    let (told, refusals) = (BTreeSet::new(), Refusals::default());
    let mut operator = Operator { cluster, clock, kind, namespace, told, refusals };
    loop {
        let Some(pause) = stop.run_until_cancelled(operator.look()).await else { return };
        tokio::select! {
            Some(()) = touched.next() => (),
            () = tokio::time::sleep(pause) => (),
            () = stop.cancelled() => return,
        }
        // One pass answers all that has happened.
        while let Some(Some(())) = touched.next().now_or_never() {}
    }
}

impl Operator {
    /// One pass, and how long to rest after it.
    async fn look(&mut self) -> Duration {
        match self.pass().await {
            Ok(pause) => pause,
            Err(error) => {
                let (hint, cause) = (error.hint().unwrap_or_default(), Chain(&error).to_string());
                warn!(
                    cause,
                    code = error.code(),
                    hint,
                    "a look at the K10restores was cut short; trying again"
                );
                LOOK_WAITING
            }
        }
    }

    async fn pass(&mut self) -> Result<Duration, PassError> {
        let now = self.clock.now();
        let scene = observe(&self.cluster, &self.namespace, &self.refusals, now).await?;
        let plan = decide(&scene);
        let outcome = match &plan.step {
            Some(step) => Some(act(&self.cluster, &self.namespace, step).await),
            None => None,
        };
        self.refusals.note(&scene, plan.step.as_ref(), outcome.as_ref());
        let mut unwritten = None;
        for (asked, verdict) in scene.asked.iter().zip(&plan.verdicts) {
            let report = report(asked, verdict, outcome.as_ref(), self.clock.now());
            // One that cannot be written to holds up no other.
            if let Err(error) = self.publish(asked, &report).await {
                unwritten.get_or_insert(error);
            }
        }
        self.tell_orphans(&plan).await;
        unwritten.map_or_else(|| Ok(pause_after(&plan, outcome.as_ref())), Err)
    }

    async fn publish(&self, asked: &Asked, report: &Report) -> Result<(), PassError> {
        let at = &asked.subject.at;
        let Some(patch) = status_patch(&asked.subject.object["status"], &report.status) else {
            return Ok(());
        };
        let written = self.cluster.patch_status(&self.kind, Some(&at.namespace), &at.name, &patch).await;
        match written {
            Ok(_) => {}
            // Deleted meanwhile: the next pass cleans up.
            Err(error) if error.class() == ErrorClass::NotFound => return Ok(()),
            Err(source) => return Err(PassError::WriteStatus { at: at.clone(), source }),
        }
        for note in &report.events {
            self.record(at, &asked.subject.uid, note).await;
        }
        Ok(())
    }

    async fn tell_orphans(&mut self, plan: &Plan) {
        self.told.retain(|uid| plan.orphans.iter().any(|orphan| orphan.asked_by.uid == *uid));
        for orphan in &plan.orphans {
            let Requester { uid, name } = &orphan.asked_by;
            if self.told.insert(uid.clone()) {
                let at = NamespacedName::new(&self.namespace, name);
                self.record(&at, uid, &note_of_orphan(orphan)).await;
            }
        }
    }

    /// An event that cannot be recorded holds up nothing: the status has said the same.
    async fn record(&self, at: &NamespacedName, uid: &str, note: &Note) {
        info!(name = at.name, reason = note.reason, note = note.text, "K10restore");
        let record = EventRecord {
            about: self.kind.clone(),
            at: at.clone(),
            uid: uid.to_owned(),
            severity: note.severity,
            reason: note.reason.to_owned(),
            action: "Recover".to_owned(),
            note: note.text.clone(),
            instance: REPORTER.to_owned(),
        };
        if let Err(error) = self.cluster.record_event(&record, self.clock.now()).await {
            let error = &error as &dyn std::error::Error;
            warn!(reason = note.reason, error, "an event was not recorded");
        }
    }
}

fn pause_after(plan: &Plan, outcome: Option<&Outcome>) -> Duration {
    if let (Some(step), Some(Outcome::Refused(trouble))) = (&plan.step, outcome) {
        let passes_turn = matches!(step, Step::Create(_)) && trouble.is_its_own() && plan.is_turn_wanted();
        if passes_turn { LOOK_AT_WORK } else { LOOK_AFTER_REFUSAL }
    } else if plan.step.is_some() || plan.is_at_work() {
        LOOK_AT_WORK
    } else if plan.is_waiting() || !plan.orphans.is_empty() {
        LOOK_WAITING
    } else {
        LOOK_AT_REST
    }
}
