//! Follows our configuration kinds as they change.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;

use crate::cluster::{Cluster, PAGE_OBJECTS};
use crate::kinds::{Kind, Scope};
use crate::request::{RequestError, Verb};

/// What happened to an object, or to the watch itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Applied,
    Deleted,
    /// A full list begins: `Applied` follows for each object that exists.
    Restarted,
    /// The full list is over: an object not seen since `Restarted` is gone.
    Listed,
}

/// One change. For `Restarted` and `Listed` only `change` and `kind` say something.
#[derive(Clone, PartialEq)]
pub struct ConfigEvent {
    pub change: ChangeKind,
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub object: Value,
}

/// Never prints the object: it may be a Secret.
impl fmt::Debug for ConfigEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, kind, namespace, name, uid: _, labels: _, object: _ } = self;
        write!(f, "ConfigEvent({change:?} {kind} '{namespace}/{name}')")
    }
}

impl Cluster {
    /// Watches several kinds, in one namespace or in all. The stream never ends; after an error it goes on by
    /// itself with a growing pause, and the error is only told.
    pub fn watch(
        &self,
        kinds: Vec<Kind>,
        namespace: Option<&str>,
    ) -> impl Stream<Item = Result<ConfigEvent, RequestError>> + Send + use<> {
        let streams = kinds.into_iter().map(|kind| self.watch_kind(kind, namespace));
        futures::stream::select_all(streams.collect::<Vec<_>>())
    }

    fn watch_kind(
        &self,
        kind: Kind,
        namespace: Option<&str>,
    ) -> Pin<Box<dyn Stream<Item = Result<ConfigEvent, RequestError>> + Send>> {
        let resource = ApiResource {
            group: kind.group.clone(),
            version: kind.version.clone(),
            api_version: kind.api_version(),
            kind: kind.kind.clone(),
            plural: kind.resource.clone(),
        };
        let client = self.wire().client.clone();
        let api: kube::Api<DynamicObject> = match (kind.scope, namespace) {
            (Scope::Namespaced, Some(namespace)) => kube::Api::namespaced_with(client, namespace, &resource),
            (Scope::Namespaced, None) | (Scope::Cluster, _) => kube::Api::all_with(client, &resource),
        };
        let events = watcher(api, watcher::Config::default().page_size(PAGE_OBJECTS)).default_backoff();
        Box::pin(events.map(move |event| match event {
            Ok(event) => plain_event(&kind, event),
            Err(source) => Err(watch_error(&kind, source)),
        }))
    }
}

fn plain_event(kind: &Kind, event: watcher::Event<DynamicObject>) -> Result<ConfigEvent, RequestError> {
    match event {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            object_event(kind, ChangeKind::Applied, object)
        }
        watcher::Event::Delete(object) => object_event(kind, ChangeKind::Deleted, object),
        watcher::Event::Init => Ok(bare_event(kind, ChangeKind::Restarted)),
        watcher::Event::InitDone => Ok(bare_event(kind, ChangeKind::Listed)),
    }
}

fn object_event(kind: &Kind, change: ChangeKind, object: DynamicObject) -> Result<ConfigEvent, RequestError> {
    let metadata = &object.metadata;
    let event = ConfigEvent {
        change,
        kind: kind.clone(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        object: Value::Null,
    };
    let object = serde_json::to_value(object).map_err(|source| RequestError::DecodeAnswer {
        verb: Verb::Watch,
        target: kind.to_string(),
        source,
    })?;
    Ok(ConfigEvent { object, ..event })
}

fn bare_event(kind: &Kind, change: ChangeKind) -> ConfigEvent {
    ConfigEvent {
        change,
        kind: kind.clone(),
        namespace: String::new(),
        name: String::new(),
        uid: String::new(),
        labels: BTreeMap::new(),
        object: Value::Null,
    }
}

fn watch_error(kind: &Kind, source: watcher::Error) -> RequestError {
    RequestError::Send { verb: Verb::Watch, target: kind.to_string(), source: Box::new(source) }
}
