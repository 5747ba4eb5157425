//! What all actions share: their status, the work list that survives a restart, and how they end.
//!
//! An action is a row that clients see. Beside each unfinished one stands a row of kind `work`, of the derived
//! class: it is how the engine finds what is left to do after a restart, and it is never shipped.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Expect, Row, RowKey, RowKind};
use keelson_model::ErrorClass;
use keelson_model::action::ActionState;
use keelson_resources::KindInfo;
use keelson_resources::actions::{ActionError, Phase};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::namespaces::{self, NamespaceId};
use crate::records::Record;
use crate::requester::Requester;

/// The private part of an action. Its requester is the one that counts; the status only shows it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ActionInternal {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// The namespace that it was made in. Absent on what lies in none, and on actions of before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceId>,
    #[serde(default)]
    pub attempts: u32,
    /// Who wants no more of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// What it has done so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// What more it tells in its details.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// What only the use case itself reads.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub subject: Value,
}

pub(crate) fn work_kind() -> RowKind {
    RowKind::new("work")
}

/// Puts a new action on the list: the row that clients see and the row that the engine looks for.
pub(crate) fn submit(mut action: Record, requester: &Requester, subject: Value) -> Vec<Change> {
    set_state(&mut action, ActionState::Pending);
    set_status(&mut action, "progress", json!(0));
    set_status(&mut action, "requester", json!(keelson_resources::Requester::from(requester)));
    let namespace = namespaces::noted(&action);
    let requester = Some(requester.clone());
    let internal = ActionInternal { requester, namespace, subject, ..ActionInternal::default() };
    action.body.internal = serde_json::to_value(internal).expect("plain data");
    let work = Row {
        kind: work_kind(),
        namespace: String::new(),
        name: action.uid.clone(),
        uid: action.uid.clone(),
        labels: BTreeMap::new(),
        created: action.created,
        class: Class::Derived,
        body: serde_json::to_vec(&Work::of(&action)).expect("plain data"),
    };
    vec![action.put(Expect::Absent), Change::Put { row: work, expect: Expect::Absent }]
}

/// Names the action that a work row stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Work {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Work {
    fn of(action: &Record) -> Self {
        Self {
            kind: action.kind.to_string(),
            namespace: action.namespace.clone(),
            name: action.name.clone(),
            uid: action.uid.clone(),
        }
    }

    pub(crate) fn action(&self) -> RowKey {
        RowKey { kind: RowKind::new(&self.kind), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// Takes an action off the list: it has ended.
pub(crate) fn done_with(action: &Record) -> Vec<Change> {
    let key = RowKey { kind: work_kind(), namespace: String::new(), name: action.uid.clone() };
    vec![Change::Delete { key, expect: Expect::Any }, Change::DropSteps { run: action.uid.clone() }]
}

pub(crate) fn state(action: &Record) -> Option<ActionState> {
    action.body.status.get("state").and_then(Value::as_str).and_then(|word| word.parse().ok())
}

pub(crate) fn set_state(action: &mut Record, state: ActionState) {
    set_status(action, "state", json!(state.to_string()));
}

pub(crate) fn set_status(action: &mut Record, field: &str, value: Value) {
    if !action.body.status.is_object() {
        action.body.status = Value::Object(Map::new());
    }
    action.body.status[field] = value;
}

fn clear_status(action: &mut Record, field: &str) {
    if let Some(status) = action.body.status.as_object_mut() {
        status.remove(field);
    }
}

/// How an action ends when nothing failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finished {
    /// Fields of the status that only this kind has.
    pub status: Map<String, Value>,
    /// What comes into being, or goes, in the same commit that completes the action.
    pub changes: Vec<Change>,
    /// What was left out or refused although the action as a whole is complete.
    pub exceptions: Vec<String>,
    /// What it tells in its details besides its phases, where others go on from that.
    pub details: Option<Value>,
    /// Set when there was nothing to do or no right to do it.
    pub skipped: Option<String>,
}

impl Finished {
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::default() }
    }

    /// Writes the end into the action.
    pub(crate) fn apply(self, action: &mut Record, now: Timestamp) -> Vec<Change> {
        let state = if self.skipped.is_some() { ActionState::Skipped } else { ActionState::Complete };
        set_state(action, state);
        // What an earlier attempt failed by is over.
        clear_status(action, "error");
        for (field, value) in self.status {
            set_status(action, &field, value);
        }
        if let Some(why) = self.skipped {
            set_status(action, "error", json!({ "message": why, "cause": why }));
        } else {
            set_status(action, "progress", json!(100));
        }
        if let Some(details) = self.details {
            set_details(action, &details);
        }
        if !self.exceptions.is_empty() {
            let list: Vec<_> = self.exceptions.iter().map(|message| json!({ "message": message })).collect();
            set_status(action, "exceptions", Value::Array(list));
        }
        set_status(action, "endTime", json!(now));
        let mut changes = vec![action.replace()];
        changes.extend(self.changes);
        changes.extend(done_with(action));
        changes
    }
}

/// A failure in the words of a status.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// For the user, with a hint where there is one.
    pub message: String,
    /// Every layer, innermost first.
    pub cause: String,
    pub class: ErrorClass,
}

impl Told {
    pub(crate) fn plain(message: &str, class: ErrorClass) -> Self {
        Self { message: message.to_owned(), cause: message.to_owned(), class }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!(self.to_error())
    }

    pub(crate) fn to_error(&self) -> ActionError {
        let Self { message, cause, class } = self;
        ActionError { message: message.clone(), cause: cause.clone(), class: class.reason().to_owned() }
    }
}

/// Ends an action that failed for good.
pub(crate) fn fail(action: &mut Record, failure: &Told, now: Timestamp) -> Vec<Change> {
    end_with(action, ActionState::Failed, failure, now)
}

/// Ends an action that nobody wants any more.
pub(crate) fn cancel(action: &mut Record, now: Timestamp) -> Vec<Change> {
    let by = action.body.internal.get("cancelled_by").and_then(Value::as_str).unwrap_or_default();
    let told = Told::plain(&format!("cancelled by user '{by}'"), ErrorClass::Cancelled);
    end_with(action, ActionState::Cancelled, &told, now)
}

/// Notes that somebody wants no more of the action. Whoever carries it out ends it.
pub(crate) fn note_cancelled(action: &mut Record, by: &str) {
    set_internal(action, "cancelled_by", json!(by));
}

/// What it tells in its details besides its phases.
pub(crate) fn set_details(action: &mut Record, details: &impl Serialize) {
    set_internal(action, "details", json!(details));
}

/// What it has done so far, for its details.
pub(crate) fn set_phases(action: &mut Record, phases: &[Phase]) {
    set_internal(action, "phases", json!(phases));
}

fn set_internal(action: &mut Record, field: &str, value: Value) {
    if !action.body.internal.is_object() {
        action.body.internal = Value::Object(Map::new());
    }
    action.body.internal[field] = value;
}

fn end_with(action: &mut Record, state: ActionState, why: &Told, now: Timestamp) -> Vec<Change> {
    set_state(action, state);
    set_status(action, "error", why.to_json());
    set_status(action, "endTime", json!(now));
    let mut changes = vec![action.replace()];
    changes.extend(done_with(action));
    changes
}

/// A child action of a policy run carries its parent by label, never by owner reference.
pub(crate) fn new_action(
    kind: &'static KindInfo,
    namespace: &str,
    name: &str,
    spec: Value,
    now: Timestamp,
) -> Record {
    let mut action = Record::new(kind, namespace, name, now, Class::Local);
    action.body.spec = spec;
    action
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    /// One attempt at it has failed.
    fn attempted() -> Record {
        let mut action =
            new_action(kinds::backup_action(), "shop", "now", Value::Null, Timestamp::UNIX_EPOCH);
        let class = ErrorClass::Unavailable { retry_after: None };
        set_status(&mut action, "error", Told::plain("the share is away", class).to_json());
        action
    }

    #[test]
    fn an_action_that_ends_well_tells_nothing_of_the_attempt_that_failed() {
        let mut action = attempted();
        Finished::default().apply(&mut action, Timestamp::UNIX_EPOCH);
        assert_eq!(state(&action), Some(ActionState::Complete));
        assert_eq!(action.body.status.get("error"), None);
    }

    #[test]
    fn an_action_that_was_skipped_says_why_and_nothing_else() {
        let mut action = attempted();
        Finished::skipped("nothing to do").apply(&mut action, Timestamp::UNIX_EPOCH);
        assert_eq!(action.body.status["error"]["message"], "nothing to do");
    }
}
