//! Reads all K10restores of a namespace, and all KastenDRRestores there, whoever asked for them.

use jiff::Timestamp;
use keelson_model::names::{annotation, group};
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_resources::k10restore::{
    self, ASKED_ANNOTATION, GROUP, HASH_ANNOTATION, K10restoreStatus, KIND, PLURAL, RecoveryReference,
    is_ended, parse,
};
use keelson_resources::recovery::RecoveryState;
use keelson_workload::{Cluster, Kind, RequestError};
use serde::Deserialize;
use serde_json::Value;

use super::PassError;
use super::refusals::{Refusal, Refusals};
use crate::subject::Subject;

/// All that a pass decides on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    /// In the order in which they were made.
    pub asked: Vec<Asked>,
    pub recoveries: Recoveries,
    pub now: Timestamp,
}

/// A K10restore and what was told of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub subject: Subject,
    pub status: K10restoreStatus,
    pub wanted: k10restore::Asked,
    /// If the platform has refused it as it is.
    pub refused: Option<Refusal>,
}

/// The KastenDRRestores of the namespace.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recoveries {
    Listed(Vec<Recovery>),
    /// Nobody serves the kind.
    NotServed,
    Unreachable(Trouble),
}

/// Why something cannot be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub class: ErrorClass,
    pub message: String,
    pub hint: Option<String>,
}

/// The K10restore that a KastenDRRestore was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requester {
    pub uid: String,
    pub name: String,
}

/// A KastenDRRestore.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recovery {
    pub name: String,
    pub uid: String,
    /// None if no K10restore asked for it.
    pub asked_by: Option<Requester>,
    /// When it ended, if a Job or a command asked for it: the Job's next pod comes back to see how.
    pub end_to_see: Option<Timestamp>,
    /// Of the specification that was asked for.
    pub spec_hash: u32,
    pub state: RecoveryState,
    pub phase: String,
    pub error: String,
    /// Objects that were kept as they are, or could not be written.
    pub notes: usize,
}

fn requester((name, uid): (&str, &str)) -> Requester {
    Requester { uid: uid.to_owned(), name: name.to_owned() }
}

impl Trouble {
    pub(super) fn of(error: &RequestError) -> Self {
        Self { class: error.class(), message: Chain(error).to_string(), hint: error.hint() }
    }

    /// Whether it is what was asked for that is in the way, and not the place or the moment.
    pub(super) fn is_its_own(&self) -> bool {
        match self.class {
            ErrorClass::Conflict | ErrorClass::Unavailable { .. } | ErrorClass::Cancelled => false,
            ErrorClass::Invalid
            | ErrorClass::NotFound
            | ErrorClass::Denied
            | ErrorClass::Corrupt
            | ErrorClass::Bug => true,
        }
    }
}

impl Recovery {
    pub(super) fn is_ended(&self) -> bool {
        is_ended(self.state)
    }

    pub(super) fn of(object: &Value) -> Self {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let annotated = |name: &str| metadata["annotations"][name].as_str();
        let (asked, request) = (annotated(ASKED_ANNOTATION), annotated(annotation::REQUEST));
        let ended = status["endTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        Self {
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            asked_by: asked.zip(request).map(requester),
            end_to_see: ended.filter(|_| asked.is_none() && request.is_some()),
            spec_hash: annotated(HASH_ANNOTATION).and_then(|hash| hash.parse().ok()).unwrap_or(0),
            state: RecoveryState::deserialize(&status["state"]).unwrap_or_default(),
            phase: text(&status["phase"]),
            error: text(&status["error"]),
            notes: status["notes"].as_array().map_or(0, Vec::len),
        }
    }
}

impl Asked {
    pub(super) fn of(object: Value) -> Self {
        let subject = Subject::of(object);
        let told = &subject.object["status"];
        let mut status = K10restoreStatus::deserialize(told).unwrap_or_default();
        // Whatever else somebody has written there, that it was begun is not forgotten.
        if status.restore.is_none() {
            status.restore = RecoveryReference::deserialize(&told["restore"]).ok();
        }
        Self { wanted: parse(&subject.object["spec"]), status, subject, refused: None }
    }

    /// Moments are to the second, and two of one second have an order all the same.
    fn order(&self) -> (String, String) {
        let created = self.subject.object["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
        (created.to_owned(), self.subject.at.name.clone())
    }
}

/// Recoveries first: whoever asked for one of them is then listed too, unless it is gone.
pub(super) async fn observe(
    cluster: &Cluster,
    namespace: &str,
    refusals: &Refusals,
    now: Timestamp,
) -> Result<Scene, PassError> {
    let recoveries = match cluster.list_objects(&recovery_kind(), Some(namespace), None).await {
        Ok(objects) => Recoveries::Listed(objects.iter().map(Recovery::of).collect()),
        Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => Recoveries::NotServed,
        Err(error) => Recoveries::Unreachable(Trouble::of(&error)),
    };
    let kind = Kind::namespaced(&format!("{GROUP}/{}", group::VERSION), KIND, PLURAL);
    let asked = cluster.list_objects(&kind, Some(namespace), None).await;
    let asked = asked.map_err(|source| PassError::ListAsked { namespace: namespace.to_owned(), source })?;
    let mut asked: Vec<_> = asked.into_iter().map(Asked::of).collect();
    asked.sort_by_cached_key(Asked::order);
    refusals.mark(&mut asked);
    Ok(Scene { asked, recoveries, now })
}

pub(super) fn recovery_kind() -> Kind {
    Kind::namespaced(&format!("{}/{}", group::DR, group::VERSION), "KastenDRRestore", "kastendrrestores")
}
