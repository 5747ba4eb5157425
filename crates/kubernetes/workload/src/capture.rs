//! Reads an application, or the cluster scope: kind by kind, page by page, cleaned of what the cluster owns.
//!
//! Guarantees: what is left out is in the report; memory does not grow with what is captured.
//! Limits: kinds are read one beside the other, not at one moment; a kind that cannot be read is reported and
//! the others go on.

mod clean;
mod cluster_scope;
mod inventory;
mod pages;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use keelson_model::{Chain, Classified, ErrorClass};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

pub(crate) use clean::{clean, remove_status, without_marks};
#[cfg(any(test, fuzzing))]
pub(crate) use pages::withstand_list;
use pages::{Item, Pages};
pub(crate) use select::is_never_captured;
use select::{KindVerdict, Selection};

use crate::cluster::{
    Cluster, Freshness, NamespacePhase, ServedKind, ServedKinds, Unanswered, namespace_kind,
};
use crate::configuration::definition_kind;
use crate::filters::Filters;
use crate::format::OBJECT_BYTES_MAX;
use crate::kinds::Kind;
use crate::layers::Layer;
use crate::names::NamespaceName;
use crate::objects::CapturedObject;
use crate::omissions::{Omission, OmissionReason, Omissions};
use crate::request::RequestError;
use crate::scope::CaptureScope;

/// Kinds read at once. Eight keep the API server busy; more only wait in its queue.
const KINDS_AT_ONCE: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusRule {
    /// A status tells of the cluster it is in; controllers write it anew.
    #[default]
    Drop,
    Keep,
}

#[derive(Debug, Clone)]
pub struct CaptureRequest {
    pub scope: CaptureScope,
    pub filters: Filters,
    pub status: StatusRule,
}

/// What was captured and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureReport {
    pub objects: u64,
    /// By `deployments.apps`.
    pub counts: BTreeMap<String, u64>,
    /// All versions under which each captured kind was served, the captured one first.
    pub served_versions: BTreeMap<String, Vec<String>>,
    pub omitted: Vec<Omission>,
    /// Kinds and groups that could not be read, or not to their end. The caller decides whether the rest is enough.
    pub failed: Vec<KindFailure>,
}

impl CaptureReport {
    /// The rest is enough: what could not be read counts as left out.
    pub fn accept_failures(&mut self) {
        let left_out = self.failed.drain(..).map(|KindFailure { resource, why }| Omission {
            resource,
            reason: OmissionReason::NotRead(why),
            count: 0,
            names: Vec::new(),
        });
        self.omitted.extend(left_out);
    }
}

/// A kind, or a group, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindFailure {
    pub resource: String,
    pub why: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("read namespace '{namespace}'")]
    ReadNamespace { namespace: NamespaceName, source: RequestError },
    #[error("namespace '{namespace}' does not exist")]
    NamespaceMissing { namespace: NamespaceName },
    #[error("namespace '{namespace}' is being deleted")]
    NamespaceTerminating { namespace: NamespaceName },
    #[error("read which kinds the cluster serves")]
    Discover { source: RequestError },
    #[error("read the {resource} of {scope}")]
    ReadKind { scope: CaptureScope, resource: String, source: RequestError },
    #[error("the capture of {scope} was abandoned")]
    Abandoned { scope: CaptureScope },
}

impl Classified for CaptureError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadNamespace { source, .. }
            | Self::Discover { source }
            | Self::ReadKind { source, .. } => source.class(),
            Self::NamespaceMissing { .. } => ErrorClass::NotFound,
            Self::NamespaceTerminating { .. } => ErrorClass::Conflict,
            Self::Abandoned { .. } => ErrorClass::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadNamespace { .. } => "workload.capture.read_namespace",
            Self::NamespaceMissing { .. } => "workload.capture.namespace_missing",
            Self::NamespaceTerminating { .. } => "workload.capture.namespace_terminating",
            Self::Discover { .. } => "workload.capture.discover",
            Self::ReadKind { .. } => "workload.capture.read_kind",
            Self::Abandoned { .. } => "workload.capture.abandoned",
        }
    }
}

impl Cluster {
    /// Sends every selected object into `sink`, in no order across kinds. The caller keeps one stream per layer
    /// and bounds memory by the channel's capacity (16 objects are at most 64 MiB); dropping the receiver abandons
    /// the capture.
    pub async fn capture(
        &self,
        request: &CaptureRequest,
        sink: mpsc::Sender<CapturedObject>,
    ) -> Result<CaptureReport, CaptureError> {
        let namespace = request.scope.namespace();
        if let Some(namespace) = namespace {
            self.check_capturable(namespace).await?;
        }
        let served = self.discover().await.map_err(|source| CaptureError::Discover { source })?;
        let run = Run { cluster: self, request, served: &served, sink, tally: Mutex::default() };
        let kinds = served.iter().filter(|kind| run.is_read(kind));
        let reads: Vec<_> = kinds.map(|kind| run.capture_kind(kind).boxed()).collect();
        stream::iter(reads).buffer_unordered(KINDS_AT_ONCE).try_collect::<()>().await?;
        if let Some(namespace) = namespace {
            run.capture_single(&namespace_kind(), namespace.as_str()).await?;
        }
        run.capture_definitions().await?;
        Ok(run.into_report())
    }

    async fn check_capturable(&self, namespace: &NamespaceName) -> Result<(), CaptureError> {
        let state = self
            .namespace_state(namespace)
            .await
            .map_err(|source| CaptureError::ReadNamespace { namespace: namespace.clone(), source })?;
        match state.map(|state| state.phase) {
            None => Err(CaptureError::NamespaceMissing { namespace: namespace.clone() }),
            Some(NamespacePhase::Terminating) => {
                Err(CaptureError::NamespaceTerminating { namespace: namespace.clone() })
            }
            Some(NamespacePhase::Active) => Ok(()),
        }
    }
}

/// One capture while it runs.
struct Run<'a> {
    cluster: &'a Cluster,
    request: &'a CaptureRequest,
    served: &'a ServedKinds,
    sink: mpsc::Sender<CapturedObject>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    objects: u64,
    counts: BTreeMap<String, u64>,
    served_versions: BTreeMap<String, Vec<String>>,
    omissions: Omissions,
    failed: Vec<KindFailure>,
    /// Definitions that the captured custom objects need: `<plural>.<group>`.
    definitions: BTreeSet<String>,
    /// Definitions that were captured for themselves.
    defined: BTreeSet<String>,
}

impl<'a> Run<'a> {
    fn selection(&self) -> Selection<'a> {
        Selection {
            scope: self.request.scope.of_kinds(),
            filters: &self.request.filters,
            served: self.served,
        }
    }

    fn with_tally<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn is_read(&self, kind: &ServedKind) -> bool {
        match self.selection().judge_kind(kind) {
            // Where it is stale, the whole group is told of.
            KindVerdict::Read => kind.freshness == Freshness::Current,
            KindVerdict::NotAsked => false,
            KindVerdict::Omit(reason) => {
                let resource = kind.kind.resource_name();
                self.with_tally(|tally| tally.omissions.add_kind(resource, reason));
                false
            }
        }
    }

    async fn capture_kind(&self, served: &ServedKind) -> Result<(), CaptureError> {
        let resource = served.kind.resource_name();
        let namespace = self.request.scope.namespace().map(NamespaceName::as_str);
        let mut pages = Pages::new(self.cluster, &served.kind, namespace);
        loop {
            match pages.next().await {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Object(object))) => self.take(served, object).await?,
                Ok(Some(Item::Skipped(reason))) => {
                    self.with_tally(|tally| tally.omissions.add(resource.clone(), reason, "(unknown)"));
                }
                // A kind that went away while we read has no objects.
                Err(error) if error.is_status(404) => return Ok(()),
                Err(error) if error.refusal().is_some() => {
                    let why = Chain(&error).to_string();
                    self.with_tally(|tally| tally.failed.push(KindFailure { resource, why }));
                    return Ok(());
                }
                Err(source) => {
                    let scope = self.request.scope.clone();
                    return Err(CaptureError::ReadKind { scope, resource, source });
                }
            }
        }
    }

    async fn take(&self, served: &ServedKind, object: Value) -> Result<(), CaptureError> {
        let selection = self.selection();
        if !selection.selects(served, &object) {
            return Ok(());
        }
        let resource = || served.kind.resource_name();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(reason) = selection.omit(served, &object) {
            self.with_tally(|tally| tally.omissions.add(resource(), reason, &name));
            return Ok(());
        }
        if served.kind.is("", "PersistentVolumeClaim") {
            let reason = OmissionReason::ClaimNotProtected;
            self.with_tally(|tally| tally.omissions.add(resource(), reason, &name));
        }
        let Some(captured) = self.pack(&served.kind.clone(), object) else {
            self.omit_too_large(&served.kind, &name);
            return Ok(());
        };
        self.count(served, captured.layer);
        if captured.layer == Layer::Definitions {
            self.with_tally(|tally| tally.defined.insert(name));
        }
        self.deliver(captured).await
    }

    fn omit_too_large(&self, kind: &Kind, name: &str) {
        let reason = OmissionReason::TooLarge { bytes_max: OBJECT_BYTES_MAX };
        self.with_tally(|tally| tally.omissions.add(kind.resource_name(), reason, name));
    }

    /// Cleans the object; None if it is still too large.
    fn pack(&self, kind: &std::sync::Arc<Kind>, mut object: Value) -> Option<CapturedObject> {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let managed_fields = clean(kind, &mut object);
        if self.request.status == StatusRule::Drop {
            remove_status(&mut object);
        }
        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().map(str::to_owned);
        let (namespace, name) = (text("namespace"), text("name").unwrap_or_default());
        let managed_fields =
            managed_fields.as_ref().and_then(|fields| serde_json::value::to_raw_value(fields).ok());
        let object: Box<RawValue> = serde_json::value::to_raw_value(&object).ok()?;
        let managed_bytes = managed_fields.as_ref().map_or(0, |fields| fields.get().len());
        if object.get().len() + managed_bytes > OBJECT_BYTES_MAX {
            return None;
        }
        Some(CapturedObject {
            layer: Layer::of(kind),
            kind: kind.clone(),
            namespace,
            name,
            uid,
            object,
            managed_fields,
        })
    }

    fn count(&self, served: &ServedKind, layer: Layer) {
        let kind = &served.kind;
        self.with_tally(|tally| {
            tally.objects += 1;
            let count = tally.counts.entry(kind.resource_name()).or_default();
            *count += 1;
            if *count == 1 {
                tally.served_versions.insert(kind.resource_name(), served.versions.clone());
                if layer == Layer::Custom && !kind.group.is_empty() {
                    tally.definitions.insert(kind.resource_name());
                }
            }
        });
    }

    async fn deliver(&self, object: CapturedObject) -> Result<(), CaptureError> {
        let abandoned = |_| CaptureError::Abandoned { scope: self.request.scope.clone() };
        self.sink.send(object).await.map_err(abandoned)
    }

    /// Definitions of the captured custom kinds. Kinds that another server serves have none.
    async fn capture_definitions(&self) -> Result<(), CaptureError> {
        let missing = |tally: &mut Tally| tally.definitions.difference(&tally.defined).cloned().collect();
        let names: Vec<String> = self.with_tally(missing);
        for name in names {
            self.capture_single(&definition_kind(), &name).await?;
        }
        Ok(())
    }

    async fn capture_single(&self, kind: &Kind, name: &str) -> Result<(), CaptureError> {
        match self.cluster.read_object(kind, None, name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => {
                let served = ServedKind {
                    kind: std::sync::Arc::new(kind.clone()),
                    verbs: Vec::new(),
                    versions: vec![kind.version.clone()],
                    freshness: Freshness::Current,
                };
                let Some(captured) = self.pack(&served.kind, object) else {
                    self.omit_too_large(kind, name);
                    return Ok(());
                };
                self.count(&served, captured.layer);
                self.deliver(captured).await
            }
            Err(error) if error.refusal().is_some() => {
                let resource = format!("{kind} '{name}'");
                let why = Chain(&error).to_string();
                self.with_tally(|tally| tally.failed.push(KindFailure { resource, why }));
                Ok(())
            }
            Err(source) => {
                let scope = self.request.scope.clone();
                Err(CaptureError::ReadKind { scope, resource: kind.resource_name(), source })
            }
        }
    }

    fn into_report(self) -> CaptureReport {
        let selection = self.selection();
        let missed = self.served.unanswered.iter().filter(|unanswered| selection.misses(unanswered));
        let unanswered: Vec<_> = missed.map(unanswered).collect();
        let tally = self.tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Tally { objects, counts, served_versions, omissions, mut failed, definitions: _, defined: _ } =
            tally;
        failed.extend(unanswered);
        CaptureReport { objects, counts, served_versions, omitted: omissions.into_list(), failed }
    }
}

fn unanswered(missed: &Unanswered) -> KindFailure {
    KindFailure {
        resource: missed.to_string(),
        why: format!("the server behind APIService '{}' does not answer", missed.api_service()),
    }
}

#[cfg(test)]
mod tests;
