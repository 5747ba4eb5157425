//! The closing writes of a reconcile: the status where it differs, then events.

use std::time::Duration;

use keelson_model::{Classified, ErrorClass};
use keelson_protection::Platform;
use keelson_workload::{EventRecord, EventSeverity, Kind, NamespacedName, RequestError};
use kube::runtime::controller::Action;
use serde_json::Value;
use tracing::warn;

use crate::looks::Found;
use crate::status::status_patch;
use crate::subject::Subject;

/// Who reports, in events.
const REPORTER: &str = "keelson";
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Nobody's fault that waiting mends; the cluster may still be changed by somebody.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a reconcile has to tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub status: Value,
    pub events: Vec<Note>,
    pub found: Found,
}

/// One event, about the object that was reconciled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub severity: EventSeverity,
    pub reason: &'static str,
    pub text: String,
}

/// A reconcile that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("write the status of {kind} '{at}'")]
    WriteStatus { kind: String, at: NamespacedName, source: RequestError },
}

impl Classified for ReconcileError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::WriteStatus { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WriteStatus { .. } => "controllers.status.write",
        }
    }
}

/// When to try again, by what the failure means.
pub(crate) fn retry(error: &ReconcileError) -> Action {
    Action::requeue(match error.class() {
        ErrorClass::Unavailable { retry_after } => retry_after.unwrap_or(RETRY_AFTER),
        class if class.is_retryable() => RETRY_AFTER,
        _ => REFUSED_RETRY_AFTER,
    })
}

pub(crate) async fn publish(
    platform: &Platform,
    kind: &Kind,
    subject: &Subject,
    report: &Report,
) -> Result<(), ReconcileError> {
    let at = &subject.at;
    let Some(patch) = status_patch(&subject.object["status"], &report.status) else { return Ok(()) };
    platform
        .cluster()
        .patch_status(kind, Some(&at.namespace), &at.name, &patch)
        .await
        .map_err(|source| ReconcileError::WriteStatus { kind: kind.kind.clone(), at: at.clone(), source })?;
    for note in &report.events {
        record(platform, kind, subject, note).await;
    }
    Ok(())
}

/// An event that cannot be recorded holds up nothing: the status has said the same.
pub(crate) async fn record(platform: &Platform, kind: &Kind, subject: &Subject, note: &Note) {
    let record = EventRecord {
        about: kind.clone(),
        at: subject.at.clone(),
        uid: subject.uid.clone(),
        severity: note.severity,
        reason: note.reason.to_owned(),
        action: "Validate".to_owned(),
        note: note.text.clone(),
        instance: REPORTER.to_owned(),
    };
    if let Err(error) = platform.cluster().record_event(&record, platform.clock().now()).await {
        warn!(reason = note.reason, error = &error as &dyn std::error::Error, "an event was not recorded");
    }
}
