//! Finished actions beyond the newest thousand of a kind leave what is served and stay in the history.
//!
//! The history is rows of a kind of its own, shipped like the actions were: served kinds stay small for the watches of
//! the whole cluster, and nothing is forgotten. `k10.kasten.io/doNotRetire` keeps an action where it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_catalog::{Change, CommitError, Database, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::names::label;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::actions;
use crate::kinds;
use crate::platform::{Platform, commit};
use crate::records::Record;

/// Finished actions of one kind that stay served.
const KEEP_MAX_ACTIONS: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Commits that wait for the disk together.
const MOVES_IN_FLIGHT: usize = 16;
const ACTOR: &str = "history";

/// A look that did not come to its end; the next one starts over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("read the actions that have ended")]
    Read(#[source] ReadError),
    #[error("move actions to the history")]
    Commit(#[source] CommitError),
}

pub(crate) async fn run_history(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let Ok(catalog) = platform.catalog() else { continue };
        let install_namespace = &platform.settings.install_namespace;
        if let Err(error) = tidy(&catalog, install_namespace, KEEP_MAX_ACTIONS).await {
            warn!(error = &error as &dyn std::error::Error, "finished actions stay served for now");
        }
    }
}

/// The kind under which actions of a kind are kept once they are no longer served.
pub(crate) fn history_of(kind: &RowKind) -> RowKind {
    RowKind::new(format!("history.{kind}"))
}

async fn tidy(catalog: &Database, install_namespace: &str, keep: usize) -> Result<(), HistoryError> {
    for kind in kinds::actions() {
        if catalog.count(&kind).map_err(HistoryError::Read)? <= keep as u64 {
            continue;
        }
        let mut ended = find_ended(catalog, install_namespace, &kind)?;
        let excess = ended.len().saturating_sub(keep);
        ended.sort();
        ended.truncate(excess);
        let moves = ended.into_iter().map(|(_, key)| move_away(catalog, key));
        stream::iter(moves).buffer_unordered(MOVES_IN_FLIGHT).try_collect::<()>().await?;
        if excess > 0 {
            info!(%kind, moved = excess, "finished actions went to the history");
        }
    }
    Ok(())
}

/// What may go, by the time of its end. The parent of a child that may go has ended too: it looks at its children.
fn find_ended(
    catalog: &Database,
    install_namespace: &str,
    kind: &RowKind,
) -> Result<Vec<(Timestamp, RowKey)>, HistoryError> {
    let mut parents: HashMap<RowKey, bool> = HashMap::new();
    let mut found = Vec::new();
    for stored in catalog.rows(Query::of(kind.clone())) {
        let Ok(action) = Record::parse(&stored.map_err(HistoryError::Read)?) else { continue };
        let has_ended = actions::state(&action).is_some_and(|state| state.is_finished());
        if !has_ended || action.label(label::DO_NOT_RETIRE) == "true" {
            continue;
        }
        if let Some(parent) = parent_of(&action, install_namespace)
            && is_at_work(catalog, parent, &mut parents)?
        {
            continue;
        }
        let end = action.body.status["endTime"].as_str().and_then(|text| text.parse().ok());
        found.push((end.unwrap_or(action.created), action.key()));
    }
    Ok(found)
}

/// The run or the batch that made an action.
fn parent_of(action: &Record, install_namespace: &str) -> Option<RowKey> {
    if let Some(run) = action.labels.get(label::RUN_ACTION_NAME) {
        return Some(RowKey::new(kinds::run_actions(), action.label(label::RUN_ACTION_NAMESPACE), run));
    }
    let batch = action.labels.get(label::BATCH_RESTORE_ACTION_NAME)?;
    Some(RowKey::new(kinds::batch_restore_actions(), install_namespace, batch))
}

fn is_at_work(
    catalog: &Database,
    parent: RowKey,
    known: &mut HashMap<RowKey, bool>,
) -> Result<bool, HistoryError> {
    if let Some(known) = known.get(&parent) {
        return Ok(*known);
    }
    let found = catalog.read(&parent).map_err(HistoryError::Read)?;
    let found = found.and_then(|stored| Record::parse(&stored).ok());
    let at_work = found.is_some_and(|found| actions::state(&found).is_none_or(|state| !state.is_finished()));
    known.insert(parent, at_work);
    Ok(at_work)
}

/// Each by itself: objects of one kind never share a resourceVersion.
async fn move_away(catalog: &Database, key: RowKey) -> Result<(), HistoryError> {
    let Some(stored) = catalog.read(&key).map_err(HistoryError::Read)? else { return Ok(()) };
    let Ok(action) = Record::parse(&stored) else { return Ok(()) };
    match commit(catalog, ACTOR, moving(&action)).await {
        // Somebody deletes or changes it: the next look moves it.
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(HistoryError::Commit(error)),
    }
}

/// An action as it is leaves what is served.
pub(crate) fn moving(action: &Record) -> Vec<Change> {
    let expect = action.revision.map_or(Expect::Present, Expect::At);
    let gone = Change::Delete { key: action.key(), expect };
    let mut kept = action.clone();
    kept.kind = history_of(&action.kind);
    // Names may be used again; uids are not.
    kept.name.clone_from(&action.uid);
    vec![gone, kept.put(Expect::Any)]
}

#[cfg(test)]
mod tests {
    use keelson_catalog::{Actor, Class, DataDir};
    use keelson_crypto::CatalogKey;
    use keelson_model::ManualClock;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn action(number: i64, state: &str, labels: &[(&str, &str)]) -> Change {
        let kind = kinds::backup_action();
        let mut action = Record::new(kind, "shop", &format!("b{number}"), at(number), Class::Local);
        action.uid = format!("uid-{number}");
        action.body.status = json!({ "state": state, "endTime": at(number) });
        action.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        action.put(Expect::Absent)
    }

    fn names(catalog: &Database, kind: RowKind) -> Vec<String> {
        catalog.list(&Query::of(kind)).unwrap().rows.into_iter().map(|stored| stored.row.name).collect()
    }

    #[tokio::test]
    async fn the_oldest_finished_actions_leave_what_is_served_and_stay_in_the_history() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path(), Arc::new(ManualClock::new(at(0)))).unwrap();
        let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let mut run = Record::new(kinds::run_action(), "kasten-io", "run", at(0), Class::Local);
        run.body.status = json!({ "state": "Running" });
        let child = [(label::RUN_ACTION_NAME, "run"), (label::RUN_ACTION_NAMESPACE, "kasten-io")];
        let changes = vec![
            run.put(Expect::Absent),
            action(1, "Complete", &[(label::DO_NOT_RETIRE, "true")]),
            action(2, "Running", &[]),
            action(3, "Complete", &child),
            action(4, "Failed", &[]),
            action(5, "Complete", &[]),
            action(6, "Skipped", &[]),
            action(7, "Complete", &[]),
        ];
        catalog.commit(&Actor::new("test"), changes).unwrap();
        tidy(&catalog, "kasten-io", 2).await.unwrap();
        assert_eq!(names(&catalog, kinds::backup_actions()), ["b1", "b2", "b3", "b6", "b7"]);
        assert_eq!(names(&catalog, history_of(&kinds::backup_actions())), ["uid-4", "uid-5"]);
        tidy(&catalog, "kasten-io", 2).await.unwrap();
        assert_eq!(names(&catalog, kinds::backup_actions()).len(), 5, "nothing is left to do");
    }
}
