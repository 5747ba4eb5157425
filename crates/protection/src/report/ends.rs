//! How actions ended: counted for the span of a report, and the last of each policy for each application.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use keelson_catalog::{Database, Query, ReadError, Row, RowKind};
use keelson_model::action::ActionState;
use keelson_model::names::label;
use keelson_resources::report::ActionCounts;
use serde::Deserialize;

use super::Span;
use crate::history::history_of;
use crate::kinds;

/// How actions ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// In the span, by what they do.
    pub counts: BTreeMap<String, ActionCounts>,
    last: HashMap<Protected, Last>,
}

/// An application, and a policy that protects it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Protected {
    policy: (String, String),
    application: String,
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

/// Reads every action through, page by page.
pub(super) fn read(catalog: &Database, span: Span) -> Result<Ends, ReadError> {
    let mut ends = Ends::default();
    for kind in kinds::actions() {
        for rows in [kind.clone(), history_of(&kind)] {
            for stored in catalog.rows(Query::of(rows)) {
                ends.note(&kind, &stored?.row, span);
            }
        }
    }
    Ok(ends)
}

impl Ends {
    fn note(&mut self, kind: &RowKind, row: &Row, span: Span) {
        let Ok(Action { status }) = serde_json::from_slice(&row.body) else { return };
        let (Some(state), Some(at)) = (status.state, status.end_time) else { return };
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
            self.note_last(kind, row, End { began: status.start_time.unwrap_or(row.created), at, state });
        }
    }

    fn note_last(&mut self, kind: &RowKind, row: &Row, end: End) {
        let backups = [kinds::backup_actions(), kinds::backup_cluster_actions()];
        let (is_backup, is_export) = (backups.contains(kind), *kind == kinds::export_actions());
        let label = |name: &str| row.labels.get(name).cloned();
        let policy = label(label::POLICY_NAMESPACE).zip(label(label::POLICY_NAME));
        let Some((policy, application)) = policy.zip(label(label::APP_NAMESPACE)) else { return };
        if !is_backup && !is_export {
            return;
        }
        let last = self.last.entry(Protected { policy, application }).or_default();
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
mod tests {
    use std::sync::Arc;

    use keelson_catalog::{Actor, Class, DataDir, Expect};
    use keelson_crypto::CatalogKey;
    use keelson_model::ManualClock;
    use keelson_resources::KindInfo;
    use serde_json::{Value, json};

    use super::*;
    use crate::history;
    use crate::records::Record;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    fn action(kind: &KindInfo, name: &str, state: &str, end: Option<i64>) -> Record {
        let mut action = Record::new(kind, "shop", name, at(0), Class::Local);
        action.body.status = json!({ "state": state });
        if let Some(end) = end {
            action.body.status["startTime"] = json!(at(end - 1));
            action.body.status["endTime"] = json!(at(end));
        }
        for (label, value) in [
            (label::APP_NAMESPACE, "shop"),
            (label::POLICY_NAME, "nightly"),
            (label::POLICY_NAMESPACE, "kasten-io"),
        ] {
            action.labels.insert(label.to_owned(), value.to_owned());
        }
        action
    }

    /// Those that went to the history too, which nobody is served any more.
    #[test]
    fn actions_are_counted_by_how_they_ended_in_the_span() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let data = DataDir::open(directory.path(), clock).unwrap();
        let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let commit = |changes| catalog.commit(&Actor::new("test"), changes).unwrap();
        let put = |record: &Record| commit(vec![record.put(Expect::Absent)]);
        let (backup, batch) = (kinds::backup_action(), kinds::batch_restore_action());
        for record in [
            action(backup, "before", "Complete", Some(10)),
            action(backup, "first", "Complete", Some(11)),
            action(backup, "failed", "Failed", Some(20)),
            action(backup, "cancelled", "Cancelled", Some(19)),
            action(backup, "skipped", "Skipped", Some(33)),
            action(backup, "after", "Complete", Some(35)),
            action(backup, "running", "Running", None),
            action(kinds::export_action(), "export", "Complete", Some(12)),
            action(batch, "batch", "Complete", Some(34)),
        ] {
            put(&record);
        }
        let mut old = action(backup, "old", "Complete", Some(13));
        old.revision = Some(put(&old));
        commit(history::moving(&old));

        let span = Span::before(at(34), 1, 0);
        let ends = read(&catalog, span).unwrap();
        let counts = json!(ends.counts);
        let of = |completed: u64, failed: u64, cancelled: u64, skipped: u64| -> Value {
            json!({ "completed": completed, "failed": failed, "cancelled": cancelled, "skipped": skipped })
        };
        let expected =
            json!({ "backup": of(2, 1, 1, 1), "batchRestore": of(1, 0, 0, 0), "export": of(1, 0, 0, 0) });
        assert_eq!(counts, expected);

        let last = ends.last(("kasten-io", "nightly"), "shop");
        let end = |hour: i64, state| Some(End { began: at(hour - 1), at: at(hour), state });
        assert_eq!(last.backup, end(20, ActionState::Failed));
        assert_eq!(last.export, end(12, ActionState::Complete));
        assert_eq!(ends.last(("shop", "nightly"), "shop"), Last::default());
    }
}
