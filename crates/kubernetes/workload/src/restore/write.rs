//! Writes one object: creates it, or meets the one that exists by the rule for its kind.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use super::belongings::differences;
use super::conflicts::{ConflictRule, is_recreated_after, may_recreate, says_immutable};
use super::failure::{ObjectError, RestoreError, Stop};
use super::prepare::Prepared;
use super::recreate::{FOUND_GONE_WITHIN, await_gone};
use super::{Run, lock, namespace};
use crate::capture::{clean, remove_status};
use crate::cluster::{Cluster, named};
use crate::comparable::comparable_value;
use crate::kinds::{Kind, Scope};
use crate::names::push_query;
use crate::request::{Call, Content, Refusal, RequestError, Verb};

/// Times that an object may appear, change or vanish under our hands.
const ROUNDS_MAX: usize = 5;
/// A new kind, a default account, a quota: what a create may have to wait for.
const SETTLE_WITHIN: Duration = Duration::from_secs(6);
const SETTLE_POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Created,
    Replaced,
    Recreated,
    Unchanged,
    Kept,
}

#[derive(Deserialize)]
struct WrittenObject {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    uid: String,
}

impl Run<'_> {
    pub(super) async fn write(&self, kind: &Arc<Kind>, prepared: &Prepared) -> Result<Outcome, Stop> {
        // Outside namespaces an existing object is enough, also for those who may not create one.
        if kind.scope == Scope::Cluster
            && let Some(outcome) = self.meet_existing(kind, prepared).await?
        {
            return Ok(outcome);
        }
        self.reviews.check("create", kind).await?;
        for _ in 0..ROUNDS_MAX {
            if self.create(kind, prepared).await? {
                return Ok(Outcome::Created);
            }
            if let Some(outcome) = self.meet_existing(kind, prepared).await? {
                return Ok(outcome);
            }
        }
        Err(ObjectError::KeepsChanging.into())
    }

    /// False if an object of this name exists.
    async fn create(&self, kind: &Arc<Kind>, prepared: &Prepared) -> Result<bool, Stop> {
        let target = prepared.reference(kind);
        let mut url = named(Verb::Create, &target, kind.collection_url(prepared.namespace.as_deref()))
            .map_err(|source| ObjectError::Request { source })?;
        push_query(&mut url, "fieldManager", &self.request.mark());
        let owners = lock(&self.owners).resolve(&prepared.owners);
        let body = prepared.body_with_owners(owners.as_deref().unwrap_or_default()).to_string();
        let call = Call::new(Verb::Create, &target, url)
            .body(Content::Json, body)
            .answer_metadata()
            .on_behalf_of(self.reviews.impersonation());
        match create_settled(self.cluster, &call).await {
            Ok(Some(uid)) => {
                self.finish(kind, prepared, uid, owners).await?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.stop(error).await),
        }
    }

    /// What an error of one write means for the restore.
    pub(super) async fn stop(&self, source: RequestError) -> Stop {
        let refusal = source.refusal();
        let goes =
            refusal.is_some_and(|refusal| refusal.causes.iter().any(|cause| cause == "NamespaceTerminating"));
        if let (true, Some(target)) = (goes, self.request.scope.target()) {
            match namespace::terminating(self.cluster, target).await {
                Ok(Some(error)) | Err(error) => return Stop::Whole(Box::new(error)),
                Ok(None) => {}
            }
        }
        match source {
            RequestError::Send { .. } | RequestError::Timeout { .. } => {
                Stop::Whole(Box::new(RestoreError::Unreachable { source }))
            }
            source => ObjectError::Request { source }.into(),
        }
    }

    /// None if there is none any more, or it changed meanwhile: the caller tries again.
    async fn meet_existing(&self, kind: &Arc<Kind>, prepared: &Prepared) -> Result<Option<Outcome>, Stop> {
        let live = self.cluster.read_object(kind, prepared.namespace.as_deref(), &prepared.name).await;
        let Some(live) = self.settled(live).await? else { return Ok(None) };
        if !live["metadata"]["deletionTimestamp"].is_null() {
            let gone = await_gone(self.cluster, kind, &prepared.reference(kind), FOUND_GONE_WITHIN).await;
            return match gone {
                Ok(()) => Ok(None),
                Err(ObjectError::Request { source }) => Err(self.stop(source).await),
                Err(error) => Err(error.into()),
            };
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        lock(&self.owners).record(&prepared.original_uid, &uid);
        let unfinished = is_unfinished(&live, &self.request.mark());
        if comparable_live(kind, &live) == prepared.comparable() {
            if unfinished {
                let owners = lock(&self.owners).resolve(&prepared.owners);
                self.finish(kind, prepared, uid, owners).await?;
            }
            return Ok(Some(Outcome::Unchanged));
        }
        let rule = if unfinished { ConflictRule::Replace } else { self.request.conflicts.rule(kind) };
        match rule {
            ConflictRule::Keep => Ok(Some(Outcome::Kept)),
            ConflictRule::Fail => Err(ObjectError::Exists.into()),
            ConflictRule::Recreate if may_recreate(kind) => self.recreate(kind, prepared, &live).await,
            ConflictRule::Update | ConflictRule::Replace | ConflictRule::Recreate => {
                self.replace(kind, prepared, &live, rule).await
            }
        }
    }

    async fn settled<T>(&self, answer: Result<T, RequestError>) -> Result<T, Stop> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.stop(error).await),
        }
    }

    async fn replace(
        &self,
        kind: &Arc<Kind>,
        prepared: &Prepared,
        live: &Value,
        rule: ConflictRule,
    ) -> Result<Option<Outcome>, Stop> {
        self.reviews.check("update", kind).await?;
        let target = prepared.reference(kind);
        let mut url =
            named(Verb::Replace, &target, kind.object_url(prepared.namespace.as_deref(), &prepared.name))
                .map_err(|source| ObjectError::Request { source })?;
        push_query(&mut url, "fieldManager", &self.request.mark());
        let owners = lock(&self.owners).resolve(&prepared.owners);
        let mut body = prepared.body_with_owners(owners.as_deref().unwrap_or_default());
        carry_over(kind, live, &mut body);
        let call = Call::new(Verb::Replace, &target, url)
            .body(Content::Json, body.to_string())
            .answer_metadata()
            .on_behalf_of(self.reviews.impersonation());
        match self.cluster.wire().send_json::<WrittenObject>(&call).await {
            Ok(written) => {
                self.finish(kind, prepared, written.metadata.uid, owners).await?;
                Ok(Some(Outcome::Replaced))
            }
            Err(error) if error.is_status(409) || error.is_status(404) => Ok(None),
            Err(error) => {
                let cannot_change = error.refusal().is_some_and(|refusal| is_recreated_after(kind, refusal));
                if cannot_change && rule == ConflictRule::Replace {
                    return self.recreate(kind, prepared, live).await;
                }
                if !may_recreate(kind) && error.refusal().is_some_and(says_immutable) {
                    let differs = differences(&comparable_live(kind, live), &prepared.comparable());
                    return Err(ObjectError::NotRecreated { differs, source: error }.into());
                }
                Err(self.stop(error).await)
            }
        }
    }
}

/// The uid of the new object; None if one of this name exists.
pub(super) async fn create_settled(
    cluster: &Cluster,
    call: &Call<'_>,
) -> Result<Option<String>, RequestError> {
    let end = Instant::now() + SETTLE_WITHIN;
    loop {
        match cluster.wire().send_json::<WrittenObject>(call).await {
            Ok(created) => return Ok(Some(created.metadata.uid)),
            Err(error) if error.is_already_exists() => return Ok(None),
            Err(error) if error.refusal().is_some_and(is_settling) && Instant::now() < end => {
                sleep(SETTLE_POLL).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refusals that pass when the cluster has caught up with what was just created.
fn is_settling(refusal: &Refusal) -> bool {
    let says = |text: &str| refusal.message.contains(text);
    match refusal.status {
        404 => says("could not find the requested resource") || says("page not found"),
        409 => refusal.reason == "Conflict",
        403 => says("error looking up service account"),
        _ => false,
    }
}

/// Whether an earlier run of this restore wrote the object and did not come to its last step.
fn is_unfinished(live: &Value, mark: &str) -> bool {
    let managers = live["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    managers.iter().any(|entry| entry["manager"] == mark)
}

fn comparable_live(kind: &Kind, live: &Value) -> Value {
    let mut live = live.clone();
    clean(kind, &mut live);
    remove_status(&mut live);
    comparable_value(live)
}

/// What an overwrite must repeat from the existing object, or be refused.
fn carry_over(kind: &Kind, live: &Value, body: &mut Value) {
    for key in ["uid", "resourceVersion"] {
        body["metadata"][key] = live["metadata"][key].clone();
    }
    if kind.is("", "PersistentVolumeClaim") {
        body["spec"]["volumeName"] = live["spec"]["volumeName"].clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_unfinished_while_the_restore_owns_any_of_its_fields() {
        let live = |manager: &str| json!({"metadata": {"managedFields": [{"manager": "helm"}, {"manager": manager}]}});
        let mark = "keelson-restore-one";
        assert!(is_unfinished(&live(mark), mark));
        for other in ["kubectl", "keelson-restore", "keelson-restore-another"] {
            assert!(!is_unfinished(&live(other), mark), "{other}");
        }
        assert!(!is_unfinished(&json!({"metadata": {}}), mark));
    }

    #[test]
    fn an_overwrite_carries_what_cannot_be_left_out() {
        let claim = Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
        let live = json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"volumeName": "pv-1"}});
        let mut body = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": "fast"}});
        carry_over(&claim, &live, &mut body);
        let expected = json!({"metadata": {"name": "data", "uid": "u", "resourceVersion": "7"},
            "spec": {"storageClassName": "fast", "volumeName": "pv-1"}});
        assert_eq!(body, expected);
    }
}
