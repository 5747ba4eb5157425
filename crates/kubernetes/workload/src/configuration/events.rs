//! Events (`events.k8s.io/v1`): what happened to an object, for whoever describes it.

use std::fmt;

use jiff::Timestamp;
use serde_json::json;

use super::Creation;
use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::kinds::Kind;
use crate::names::NamespacedName;
use crate::request::RequestError;

/// The longest note that the API server takes.
const NOTE_BYTES_MAX: usize = 1024;
/// An event about something outside namespaces goes here.
const CLUSTER_EVENTS: &str = "default";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSeverity {
    Normal,
    Warning,
}

impl fmt::Display for EventSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct EventRecord {
    pub about: Kind,
    /// An empty namespace stands for an object outside namespaces.
    pub at: NamespacedName,
    pub uid: String,
    pub severity: EventSeverity,
    /// One word in CamelCase: `BackupFailed`.
    pub reason: String,
    /// What was being done: `Backup`.
    pub action: String,
    pub note: String,
    /// The pod or process that reports.
    pub instance: String,
}

impl Cluster {
    /// Records the event under a name made of the object and `at`, so that a repeated call adds nothing.
    pub async fn record_event(&self, record: &EventRecord, at: Timestamp) -> Result<Creation, RequestError> {
        let EventRecord { about, at: place, uid, severity, reason, action, note, instance } = record;
        let namespace = if place.namespace.is_empty() { CLUSTER_EVENTS } else { &place.namespace };
        let base: String = place.name.chars().take(200).collect();
        let event = json!({
            "metadata": {
                "namespace": namespace,
                "name": format!("{base}.{:x}", at.as_nanosecond()),
            },
            "eventTime": format!("{at:.6}"),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": instance,
            "action": action,
            "reason": reason,
            "type": severity.to_string(),
            "note": clip(note),
            "regarding": {
                "apiVersion": about.api_version(),
                "kind": about.kind,
                "namespace": place.namespace,
                "name": place.name,
                "uid": uid,
            },
        });
        self.create_object(&Kind::namespaced("events.k8s.io/v1", "Event", "events"), &event).await
    }
}

fn clip(note: &str) -> &str {
    let end = (0..=NOTE_BYTES_MAX.min(note.len())).rev().find(|end| note.is_char_boundary(*end));
    &note[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_clipped_at_a_character() {
        assert_eq!(clip("short"), "short");
        let long = "é".repeat(NOTE_BYTES_MAX);
        assert_eq!(clip(&long).len(), NOTE_BYTES_MAX);
        assert_eq!(clip(&format!("x{long}")).len(), NOTE_BYTES_MAX - 1);
    }
}
