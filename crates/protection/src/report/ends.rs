//! How actions ended: counted for the span of a report, and the last of each policy for each application that it protects.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use keelson_catalog::{Database, Query, ReadError, Row, RowKind};
use keelson_model::action::ActionState;
use keelson_model::names::label;
use keelson_resources::report::ActionCounts;
use serde::Deserialize;

use super::Span;
use crate::history::history_of;
use crate::kinds;
use crate::policies;

/// How actions ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// In the span, by what they do.
    pub counts: BTreeMap<String, ActionCounts>,
    /// Of those that are asked for: of others there is no end.
    last: HashMap<Protected, Last>,
}

/// An application, and a policy that protects it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Protected {
    /// Its namespace and name.
    pub policy: (String, String),
    pub application: String,
}

/// How a policy last ended for an application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Last {
    pub backup: Option<End>,
    pub export: Option<End>,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub began: Timestamp,
    pub at: Timestamp,
    pub state: ActionState,
}

/// What is read of an action; the rest of it is passed over.
#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    state: Option<ActionState>,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
}

/// Reads every action through, page by page. One that goes to the history meanwhile is met there again.
pub(super) fn read(catalog: &Database, span: Span, protected: HashSet<Protected>) -> Result<Ends, ReadError> {
    let last = protected.into_iter().map(|protected| (protected, Last::default())).collect();
    let mut ends = Ends { counts: BTreeMap::new(), last };
    for kind in kinds::actions() {
        let mut noted = HashSet::new();
        for stored in catalog.rows(Query::of(kind.clone())) {
            let row = stored?.row;
            if let Some(end) = end_of(&row) {
                ends.note(&kind, &row, end, span);
                noted.insert(row.uid);
            }
        }
        for stored in catalog.rows(Query::of(history_of(&kind))) {
            // There an action is named by its uid.
            let row = stored?.row;
            if let Some(end) = end_of(&row).filter(|_| !noted.contains(&row.name)) {
                ends.note(&kind, &row, end, span);
            }
        }
    }
    Ok(ends)
}

/// None of an action that has not ended.
fn end_of(row: &Row) -> Option<End> {
    let Action { status } = serde_json::from_slice(&row.body).ok()?;
    let began = status.start_time.unwrap_or(row.created);
    Some(End { began, at: status.end_time?, state: status.state? })
}

impl Ends {
    fn note(&mut self, kind: &RowKind, row: &Row, end: End, span: Span) {
        let End { at, state, .. } = end;
        if span.contains(at) {
            let counts = self.counts.entry(word_of(kind)).or_default();
            match state {
                ActionState::Complete => counts.completed += 1,
                ActionState::Failed => counts.failed += 1,
                ActionState::Cancelled => counts.cancelled += 1,
                ActionState::Skipped => counts.skipped += 1,
                ActionState::Pending
                | ActionState::Running
                | ActionState::AttemptFailed
                | ActionState::Deleting => {}
            }
        }
        // What had nothing to do says nothing of how its application is protected.
        if at <= span.end && state.is_finished() && state != ActionState::Skipped {
            self.note_last(kind, row, end);
        }
    }

    fn note_last(&mut self, kind: &RowKind, row: &Row, end: End) {
        let backups = [kinds::backup_actions(), kinds::backup_cluster_actions()];
        let (is_backup, is_export) = (backups.contains(kind), *kind == kinds::export_actions());
        if !is_backup && !is_export {
            return;
        }
        let of = policies::policy_of(&row.labels).zip(row.labels.get(label::APP_NAMESPACE));
        let Some(((namespace, name), application)) = of else { return };
        let policy = (namespace.to_owned(), name.to_owned());
        let Some(last) = self.last.get_mut(&Protected { policy, application: application.clone() }) else {
            return;
        };
        let last = if is_backup { &mut last.backup } else { &mut last.export };
        if last.is_none_or(|before| before.at < end.at) {
            *last = Some(end);
        }
    }

    /// How a policy last ended for an application.
    pub(super) fn last(&self, (namespace, name): (&str, &str), application: &str) -> Last {
        let policy = (namespace.to_owned(), name.to_owned());
        let key = Protected { policy, application: application.to_owned() };
        self.last.get(&key).copied().unwrap_or_default()
    }
}

/// `batchRestore` of `batchrestoreactions…`: what an action of a kind does.
fn word_of(kind: &RowKind) -> String {
    let kind = keelson_resources::kind_of_row(kind.as_str()).map_or("", |info| info.kind);
    let word = kind.trim_end_matches("Action");
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
