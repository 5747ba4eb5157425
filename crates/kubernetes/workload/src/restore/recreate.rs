//! Deletes an object and makes it anew: one step, which comes to its end whoever stops waiting for it.
//!
//! Order of effects:
//! 1. the former object is deleted, if it is still the one that was read;
//! 2. it is waited for until it is gone;
//! 3. the new object is created;
//! 4. or else, whatever kept it from being created, the former one is put back.
//!
//! Limits: a process that is killed between 1 and 3 leaves neither; the same restore run again creates the object.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::conflicts::propagation;
use super::failure::{ObjectError, RestoreError, Stop};
use super::finish::managed_fields_patch;
use super::prepare::Prepared;
use super::write::{Outcome, create_settled};
use super::{Run, lock};
use crate::capture::clean;
use crate::cluster::{Cluster, named};
use crate::configuration::Creation;
use crate::impersonation::Impersonation;
use crate::kinds::Kind;
use crate::names::push_query;
use crate::objects::ObjectRef;
use crate::request::{Call, Content, RequestError, Verb};

/// How long a deleted object is waited for, beyond the time that a pod takes for itself.
const GONE_WITHIN: Duration = Duration::from_secs(30);
const GONE_POLL: Duration = Duration::from_millis(100);
/// A pod may ask for longer; nobody waits for that.
const GRACE_MAX: Duration = Duration::from_secs(300);
/// Each try waits out a busy or absent server for some seconds by itself.
const PUT_BACK_TRIES_MAX: u32 = 5;

/// Everything the step needs, and nothing that goes when the restore does.
struct Recreation {
    cluster: Cluster,
    kind: Arc<Kind>,
    target: ObjectRef,
    delete_url: String,
    create_url: String,
    live: Value,
    body: String,
    impersonation: Option<Impersonation>,
}

enum Recreated {
    New {
        uid: String,
    },
    /// The object is another by now: nothing was deleted, or somebody else made one.
    Changed,
}

impl Run<'_> {
    /// None if the object is another by now: the caller tries again.
    pub(super) async fn recreate(
        &self,
        kind: &Arc<Kind>,
        prepared: &Prepared,
        live: &Value,
    ) -> Result<Option<Outcome>, Stop> {
        self.reviews.check("delete", kind).await?;
        self.reviews.check("create", kind).await?;
        self.check_recreatable(kind, live).await?;
        let target = prepared.reference(kind);
        let namespace = prepared.namespace.as_deref();
        let owners = lock(&self.owners).resolve(&prepared.owners);
        let url = |verb, url| named(verb, &target, url).map_err(|source| ObjectError::Request { source });
        let mut create_url = url(Verb::Create, kind.collection_url(namespace))?;
        push_query(&mut create_url, "fieldManager", &self.request.mark());
        let recreation = Recreation {
            cluster: self.cluster.clone(),
            kind: kind.clone(),
            delete_url: url(Verb::Delete, kind.object_url(namespace, &prepared.name))?,
            create_url,
            live: live.clone(),
            body: prepared.body_with_owners(owners.as_deref().unwrap_or_default()).to_string(),
            impersonation: self.reviews.impersonation().cloned(),
            target: target.clone(),
        };
        let ended = self.cluster.steps().spawn(recreation.carry_out()).await;
        match ended.map_err(|source| ObjectError::Broken { source })? {
            Ok(Recreated::New { uid }) => {
                self.finish(kind, prepared, uid, owners).await?;
                Ok(Some(Outcome::Recreated))
            }
            Ok(Recreated::Changed) => Ok(None),
            Err(error) => Err(self.stop_recreation(target, error).await),
        }
    }

    /// An absent server ends the restore, so that it is tried again as a whole.
    async fn stop_recreation(&self, object: ObjectRef, error: ObjectError) -> Stop {
        match error {
            ObjectError::Request { source } => self.stop(source).await,
            ObjectError::PutBack { source } if source.refusal().is_none() => self.stop(source).await,
            ObjectError::Lost { source } if source.refusal().is_none() => {
                Stop::Whole(Box::new(RestoreError::Lost { object, source }))
            }
            error => error.into(),
        }
    }
}

impl Recreation {
    async fn carry_out(self) -> Result<Recreated, ObjectError> {
        if !self.delete().await? {
            return Ok(Recreated::Changed);
        }
        let within = GONE_WITHIN + grace(&self.live);
        await_gone(&self.cluster, &self.kind, &self.target, within).await?;
        let call = Call::new(Verb::Create, &self.target, self.create_url.clone())
            .body(Content::Json, self.body.clone())
            .answer_metadata()
            .on_behalf_of(self.impersonation.as_ref());
        match create_settled(&self.cluster, &call).await {
            Ok(Some(uid)) => Ok(Recreated::New { uid }),
            Ok(None) => Ok(Recreated::Changed),
            Err(source) => Err(self.put_back(source).await),
        }
    }

    /// Whether the former object is gone or going. One whose deletion had no answer is looked for.
    async fn delete(&self) -> Result<bool, ObjectError> {
        let metadata = &self.live["metadata"];
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation(&self.kind),
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        });
        let call = Call::new(Verb::Delete, &self.target, self.delete_url.clone())
            .body(Content::Json, options.to_string())
            .on_behalf_of(self.impersonation.as_ref());
        let source = match self.cluster.wire().send(&call).await {
            Ok(_) => return Ok(true),
            Err(error) if error.is_status(404) => return Ok(true),
            Err(source) if source.refusal().is_some() && !source.is_status(409) => {
                return Err(ObjectError::Request { source });
            }
            Err(source) => source,
        };
        let target = &self.target;
        match self.cluster.read_object(&self.kind, target.namespace.as_deref(), &target.name).await {
            Ok(Some(now)) if now["metadata"]["uid"] != metadata["uid"] => Ok(false),
            Ok(Some(now)) if !now["metadata"]["deletionTimestamp"].is_null() => Ok(true),
            Ok(Some(_)) if source.is_status(409) => Ok(false),
            Ok(Some(_)) => Err(ObjectError::Request { source }),
            // It is gone, or nobody can say: what comes next finds out, and puts it back if it must.
            Ok(None) | Err(_) => Ok(true),
        }
    }

    async fn put_back(&self, source: RequestError) -> ObjectError {
        let mut former = self.live.clone();
        let managed_fields = clean(&self.kind, &mut former);
        let mut tries = 1;
        loop {
            match self.cluster.create_object(&self.kind, &former).await {
                Ok(Creation::Created(created)) => {
                    self.put_managers_back(&created, managed_fields).await;
                    return ObjectError::PutBack { source };
                }
                // The create that had no answer did arrive, or somebody else made one.
                Ok(Creation::Existed) => return ObjectError::Request { source },
                Err(error) if error.refusal().is_none() && tries < PUT_BACK_TRIES_MAX => tries += 1,
                Err(_) => return ObjectError::Lost { source },
            }
        }
    }

    /// Whose fields they are is worth a try; the object itself is there.
    async fn put_managers_back(&self, created: &Value, managed_fields: Option<Value>) {
        let uid = created["metadata"]["uid"].as_str().unwrap_or_default();
        let Some(fields) = managed_fields else { return };
        let url = self.kind.object_url(self.target.namespace.as_deref(), &self.target.name);
        let Ok(url) = named(Verb::Patch, &self.target, url) else { return };
        let patch = managed_fields_patch(uid, &fields.to_string());
        let call =
            Call::new(Verb::Patch, &self.target, url).body(Content::JsonPatch, patch).answer_metadata();
        drop(self.cluster.wire().send(&call).await);
    }
}

fn grace(live: &Value) -> Duration {
    let seconds = live["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or_default();
    Duration::from_secs(seconds).min(GRACE_MAX)
}

/// Waits until an object that is being deleted is gone. A server that is away meanwhile is waited for.
pub(super) async fn await_gone(
    cluster: &Cluster,
    kind: &Kind,
    target: &ObjectRef,
    within: Duration,
) -> Result<(), ObjectError> {
    let end = Instant::now() + within;
    loop {
        match cluster.read_object(kind, target.namespace.as_deref(), &target.name).await {
            Ok(None) => return Ok(()),
            Ok(Some(live)) if live["metadata"]["deletionTimestamp"].is_null() => return Ok(()),
            Ok(Some(_)) if Instant::now() > end => {
                return Err(ObjectError::StillDeleted { seconds: within.as_secs() });
            }
            Err(source) if Instant::now() > end => return Err(ObjectError::Request { source }),
            Ok(Some(_)) | Err(_) => sleep(GONE_POLL).await,
        }
    }
}

/// For an object that was found in deletion.
pub(super) const FOUND_GONE_WITHIN: Duration = GONE_WITHIN;
