//! Writes an application or the cluster scope back, layer by layer, many objects of a layer at once.
//!
//! Guarantees: running it again finishes what was left; an object that cannot be restored is reported and the
//! rest goes on; nothing outside the target namespace is changed, but definitions that are missing are created, and what
//! else lies outside namespaces where the restore is one of the cluster scope;
//! an object that is deleted to be made anew is there again at the end, however the restore ends.
//! Limits: memory grows by two uids per object, for the owner references.

mod authority;
mod belongings;
mod conflicts;
mod failure;
mod finish;
mod namespace;
mod owners;
mod prepare;
mod recreate;
mod report;
mod write;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use serde_json::Value;

pub use authority::Authority;
pub use conflicts::{ConflictRule, Conflicts};
pub use failure::{ObjectFailure, RestoreError};
pub use report::{OwnerDropped, RestoreProgress, RestoreReport};

use authority::Reviews;
use failure::Stop;
use owners::Owners;
use prepare::{Prepared, Verdict};
use report::Tally;
use write::Outcome;

use crate::cluster::{Cluster, ServedKinds, reference};
use crate::configuration::definition_kind;
use crate::filters::Filters;
use crate::format::DecodeObjectsError;
use crate::kinds::Kind;
use crate::layers::Layer;
use crate::names::NamespaceName;
use crate::objects::{CapturedObject, ObjectRef};
use crate::request::RequestError;
use crate::scope::RestoreScope;

/// Requests in flight. Sixteen bring a small API server to its limit; it tells when it wants fewer.
const OBJECTS_AT_ONCE: usize = 16;
/// A definition that is not established by then has names that clash, or the server is in trouble.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);
/// A new kind shows in discovery a moment after its definition is established.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
const SERVED_POLL: Duration = Duration::from_millis(200);

/// Whether claims for volumes are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimRule {
    /// A claim would come back without its data: it is reported, and left to the user.
    #[default]
    Report,
    CreateEmpty,
}

/// Whether Roles and RoleBindings are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RbacRule {
    #[default]
    Leave,
    Restore,
}

#[derive(Debug, Clone)]
pub struct RestoreRequest {
    pub scope: RestoreScope,
    pub filters: Filters,
    pub conflicts: Conflicts,
    pub claims: ClaimRule,
    pub rbac: RbacRule,
    pub authority: Authority,
    /// Names this restore in the marks on objects it has not finished: the same when it is run again, another for
    /// every other restore.
    pub run: String,
    /// How long a namespace that is being deleted is waited for.
    pub terminating_wait: Duration,
}

impl RestoreRequest {
    /// Everything back to where it was, nothing overwritten, with our own rights.
    pub fn in_place(namespace: NamespaceName, run: &str) -> Self {
        Self::new(RestoreScope::Application { original: namespace.clone(), target: namespace }, run)
    }

    /// Everything back that is missing in the cluster scope, rights among it, with our own rights.
    pub fn of_cluster_scope(run: &str) -> Self {
        Self { rbac: RbacRule::Restore, ..Self::new(RestoreScope::Cluster, run) }
    }

    fn new(scope: RestoreScope, run: &str) -> Self {
        Self {
            scope,
            filters: Filters::default(),
            conflicts: Conflicts::default(),
            claims: ClaimRule::default(),
            rbac: RbacRule::default(),
            authority: Authority::Platform,
            run: run.to_owned(),
            terminating_wait: Duration::from_secs(30),
        }
    }
}

impl Cluster {
    /// Restores objects that come in the order of their layers. `progress` is called after every object.
    pub async fn restore<S>(
        &self,
        request: &RestoreRequest,
        objects: S,
        progress: &(dyn Fn(RestoreProgress) + Send + Sync),
    ) -> Result<RestoreReport, RestoreError>
    where
        S: Stream<Item = Result<CapturedObject, DecodeObjectsError>> + Send,
    {
        if let Some(target) = request.scope.target() {
            namespace::await_usable(self, target, request.terminating_wait).await?;
        }
        let served = self.discover().await.map_err(|source| RestoreError::Discover { source })?;
        let run = Run {
            cluster: self,
            request,
            progress,
            reviews: Reviews::new(self, request),
            served: Mutex::new(Arc::new(served)),
            owners: Mutex::default(),
            tally: Mutex::default(),
        };
        run.restore_layers(objects).await?;
        run.settle_owners().await?;
        Ok(lock(&run.tally).take_report())
    }
}

/// One restore while it runs.
struct Run<'a> {
    cluster: &'a Cluster,
    request: &'a RestoreRequest,
    progress: &'a (dyn Fn(RestoreProgress) + Send + Sync),
    reviews: Reviews<'a>,
    served: Mutex<Arc<ServedKinds>>,
    owners: Mutex<Owners>,
    tally: Mutex<Tally>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    async fn restore_layers<S>(&self, objects: S) -> Result<(), RestoreError>
    where
        S: Stream<Item = Result<CapturedObject, DecodeObjectsError>> + Send,
    {
        let mut in_flight = FuturesUnordered::new();
        let fed = self.feed(objects, &mut in_flight).await;
        // What was begun comes to its end also where the rest does not: an object may be deleted and not yet anew.
        let mut rest = Ok(());
        while let Some(done) = in_flight.next().await {
            rest = rest.and(done);
        }
        let layer = fed.and_then(|layer| rest.map(|()| layer))?;
        // Even a restore of nothing leaves the namespace it was asked for, and definitions may be all there is.
        self.end_layers(layer, None).await
    }

    /// Starts on each object in its turn. Returns the last layer.
    async fn feed<'r, S>(
        &'r self,
        objects: S,
        in_flight: &mut FuturesUnordered<BoxFuture<'r, Result<(), RestoreError>>>,
    ) -> Result<Layer, RestoreError>
    where
        S: Stream<Item = Result<CapturedObject, DecodeObjectsError>> + Send,
    {
        let mut objects = std::pin::pin!(objects);
        let mut layer = Layer::Namespace;
        loop {
            let object = tokio::select! {
                Some(done) = in_flight.next() => {
                    done?;
                    continue;
                }
                object = objects.next(), if in_flight.len() < OBJECTS_AT_ONCE => object,
            };
            let Some(object) = object else { return Ok(layer) };
            let object = object.map_err(|source| RestoreError::ReadObjects { source })?;
            if object.layer < layer {
                return Err(RestoreError::LayerOrder { object: object.reference(), after: layer });
            }
            if object.layer > layer {
                while let Some(done) = in_flight.next().await {
                    done?;
                }
                self.end_layers(layer, Some(object.layer)).await?;
                layer = object.layer;
            }
            in_flight.push(self.restore_object(object).boxed());
        }
    }

    /// What must hold before a later layer begins, and at the end.
    async fn end_layers(&self, ended: Layer, next: Option<Layer>) -> Result<(), RestoreError> {
        if let (Layer::Namespace, Some(target)) = (ended, self.request.scope.target()) {
            namespace::ensure(self, target).await?;
        }
        if ended <= Layer::Definitions && next.is_none_or(|next| next > Layer::Definitions) {
            self.await_definitions().await?;
        }
        Ok(())
    }

    async fn restore_object(&self, object: CapturedObject) -> Result<(), RestoreError> {
        let layer = object.layer;
        let outcome = self.try_restore(&object).await;
        let mut tally = lock(&self.tally);
        match outcome {
            Ok(outcome) => tally.count(&object, outcome),
            Err(Stop::Skip(reason)) => tally.skip(&object.reference(), reason),
            Err(Stop::Object(error)) => tally.fail(object.reference(), &*error),
            Err(Stop::Whole(error)) => return Err(*error),
        }
        let progress = tally.progress(layer);
        drop(tally);
        (self.progress)(progress);
        Ok(())
    }

    async fn try_restore(&self, object: &CapturedObject) -> Result<Outcome, Stop> {
        let prepared = match prepare::prepare(object, self.request)? {
            Verdict::Restore(prepared) => *prepared,
            Verdict::Skip(reason) => return Err(Stop::Skip(reason)),
        };
        let served = lock(&self.served).clone();
        let kind = prepare::resolve(&served, &object.kind)?;
        self.write(&kind, &prepared).await
    }

    /// Waits until the definitions that this restore created serve their kinds.
    async fn await_definitions(&self) -> Result<(), RestoreError> {
        let definitions = std::mem::take(&mut lock(&self.tally).definitions);
        if definitions.is_empty() {
            return Ok(());
        }
        for definition in &definitions {
            match self.cluster.wait_established(&definition.name, ESTABLISHED_WITHIN).await {
                Ok(()) => {}
                Err(error @ RequestError::ConditionNotMet { .. }) => {
                    let reference = reference(&definition_kind(), None, &definition.name);
                    lock(&self.tally).fail(reference, &error);
                }
                Err(source) => return Err(RestoreError::Unreachable { source }),
            }
        }
        let end = tokio::time::Instant::now() + SERVED_WITHIN;
        loop {
            let served = self.cluster.discover().await.map_err(|source| RestoreError::Discover { source })?;
            let is_served =
                |definition: &Definition| served.find(&definition.group, &definition.kind).is_some();
            let complete = definitions.iter().all(is_served);
            *lock(&self.served) = Arc::new(served);
            if complete || tokio::time::Instant::now() > end {
                return Ok(());
            }
            tokio::time::sleep(SERVED_POLL).await;
        }
    }
}

/// A definition that this restore created.
#[derive(Debug, Clone)]
struct Definition {
    name: String,
    group: String,
    kind: String,
}

impl Definition {
    fn of(prepared: &Prepared) -> Self {
        let spec = prepared.body.get("spec").unwrap_or(&Value::Null);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self { name: prepared.name.clone(), group: text(&spec["group"]), kind: text(&spec["names"]["kind"]) }
    }
}

/// An object where it was written.
#[derive(Debug, Clone)]
struct Destination {
    kind: Arc<Kind>,
    namespace: Option<String>,
    name: String,
    uid: String,
}

impl Destination {
    fn reference(&self) -> ObjectRef {
        reference(&self.kind, self.namespace.as_deref(), &self.name)
    }
}
