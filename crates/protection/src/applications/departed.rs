//! What is cleaned up behind namespaces that went away while nobody watched: restore points go, contents stay, actions go
//! to the history. A namespace of the same name that was made since is another one, and keeps what was made in it.
//! Actions of another cluster stay: a recovery onto an empty one brings them back before any namespace.
//!
//! Guarantees: nothing goes that was made in a namespace that is there; the cluster is asked again just before.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use jiff::Timestamp;
use keelson_catalog::{Change, CommitError, Database, Expect, PageKey, Query, RowKind};
use keelson_model::ClusterId;
use keelson_model::action::ActionState;
use keelson_model::names::group;
use keelson_resources::{KINDS, ResourceScope};
use serde_json::json;
use tracing::info;

use crate::actions;
use crate::history;
use crate::kinds;
use crate::namespaces::{self, LiveNamespace};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::requests::RequestError;
use crate::restore_points;

const ACTOR: &str = "applications";
const PAGE: usize = 500;
/// Sorts after every name that Kubernetes allows.
const AFTER_ALL_NAMES: &str = "~";

type CleanResult = Result<(), Box<dyn Error + Send + Sync>>;

/// `present` is what the cluster listed, `known` the uids that were seen before; only where they differ is anything
/// looked at closely.
pub(super) async fn clean(
    platform: &Platform,
    catalog: &Database,
    present: &BTreeMap<String, String>,
    known: &HashMap<&str, &str>,
) -> CleanResult {
    for kind in kinds() {
        let mut query = Query::all(kind.clone(), 1);
        // One row of each namespace is read, however many it has.
        while let Some(first) = catalog.list(&query)?.rows.pop() {
            let namespace = first.row.namespace;
            let uid = present.get(&namespace).map(String::as_str);
            let is_known = uid.is_some() && known.get(namespace.as_str()).copied() == uid;
            if !is_known && namespace != platform.settings.install_namespace {
                clean_namespace(platform, catalog, &kind, &namespace).await?;
            }
            query.after = Some(PageKey { namespace, name: AFTER_ALL_NAMES.to_owned() });
        }
    }
    Ok(())
}

/// What lies in namespaces and was made there.
fn kinds() -> impl Iterator<Item = RowKind> {
    let actions =
        KINDS.iter().filter(|kind| kind.group == group::ACTIONS && kind.scope == ResourceScope::Namespaced);
    actions.map(|kind| RowKind::new(kind.row_kind())).chain([kinds::restore_points()])
}

async fn clean_namespace(
    platform: &Platform,
    catalog: &Database,
    kind: &RowKind,
    namespace: &str,
) -> CleanResult {
    let mut query = Query { namespace: Some(namespace.to_owned()), ..Query::all(kind.clone(), PAGE) };
    loop {
        let page = catalog.list(&query)?;
        // Asked after the rows were read: what is made in a namespace from now on is not among them.
        let live = namespaces::find(platform, namespace).await?;
        for stored in &page.rows {
            let Ok(record) = Record::parse(stored) else { continue };
            if !is_of(&record, live.as_ref(), &platform.cluster_id) {
                let changes = if record.kind == kinds::restore_points() {
                    removal(catalog, &record)?
                } else {
                    let now = platform.clock.now();
                    move_to_history(record.clone(), now)
                };
                remove(catalog, &record, changes).await?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Whether a restore point or an action was made in the namespace that is there now, as far as it is known.
fn is_of(record: &Record, live: Option<&LiveNamespace>, here: &ClusterId) -> bool {
    let made_in = namespaces::noted(record);
    // What was made on another cluster came with a recovery, which has looked at the namespaces of this one.
    let is_of_here = made_in.as_ref().is_none_or(|made_in| made_in.cluster == *here);
    match live {
        Some(live) => !is_of_here || made_in.is_none_or(|made_in| made_in == live.id),
        // A restore point without its namespace is none; an action is the history wherever it lies.
        None => record.kind != kinds::restore_points() && (!is_of_here || made_in.is_none()),
    }
}

fn removal(catalog: &Database, point: &Record) -> Result<Vec<Change>, RequestError> {
    let expect = point.revision.map_or(Expect::Present, Expect::At);
    let mut changes = vec![Change::Delete { key: point.key(), expect }];
    changes.extend(restore_points::unbind_content_of(catalog, point)?);
    Ok(changes)
}

/// What had not ended ends here: it notices that it is gone, and stops.
fn move_to_history(mut action: Record, now: Timestamp) -> Vec<Change> {
    let mut after = Vec::new();
    if !actions::state(&action).is_some_and(ActionState::is_finished) {
        actions::set_state(&mut action, ActionState::Cancelled);
        actions::set_status(&mut action, "endTime", json!(now));
        after = actions::done_with(&action);
    }
    let mut changes = history::moving(&action);
    changes.append(&mut after);
    changes
}

/// A row that changed meanwhile is left for the next look.
async fn remove(catalog: &Database, record: &Record, changes: Vec<Change>) -> CleanResult {
    match commit(catalog, ACTOR, changes).await {
        Ok(_) => {
            info!(namespace = record.namespace, name = record.name, kind = %record.kind, "removed with its namespace");
            Ok(())
        }
        Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use keelson_catalog::Class;

    use super::*;
    use crate::namespaces::{Lifetime, NamespaceId};

    const NEW: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
    const OTHER: &str = "1c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";

    fn id(cluster: &str, uid: &str) -> NamespaceId {
        let cluster: ClusterId = cluster.parse().unwrap();
        NamespaceId { cluster, uid: uid.to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A namespace that was made again under its name kept the points of the one that had gone.
    #[test]
    fn only_what_was_made_in_the_namespace_that_is_there_stays() {
        let live = LiveNamespace { id: id(NEW, "2"), created: Some(at(100)), lifetime: Lifetime::Staying };
        let here = id(NEW, "").cluster;
        let check = |made_in: Option<NamespaceId>, live: Option<&LiveNamespace>, stays: [bool; 2]| {
            for (kind, stays) in [kinds::restore_point(), kinds::backup_action()].into_iter().zip(stays) {
                let mut record = Record::new(kind, "shop", "p", at(50), Class::Local);
                if let Some(made_in) = &made_in {
                    namespaces::note(&mut record, made_in);
                }
                assert_eq!(is_of(&record, live, &here), stays, "{} of {made_in:?}", kind.kind);
            }
        };
        check(Some(id(NEW, "2")), Some(&live), [true, true]);
        check(Some(id(NEW, "1")), Some(&live), [false, false]);
        check(Some(id(OTHER, "1")), Some(&live), [true, true]);
        check(None, Some(&live), [true, true]);
        check(Some(id(NEW, "2")), None, [false, false]);
        check(Some(id(OTHER, "1")), None, [false, true]);
        check(None, None, [false, true]);
    }

    #[test]
    fn what_had_not_ended_ends_when_it_goes_to_the_history() {
        let check = |state: ActionState, ends: ActionState, changes: usize| {
            let mut action = Record::new(kinds::backup_action(), "shop", "b", at(50), Class::Local);
            actions::set_state(&mut action, state);
            let moved = move_to_history(action.clone(), at(60));
            assert_eq!(moved.len(), changes, "{moved:?}");
            let Change::Put { row, .. } = &moved[1] else { panic!("{moved:?}") };
            let key = (row.kind.clone(), row.name.clone());
            assert_eq!(key, (history::history_of(&kinds::backup_actions()), action.uid));
            let body: crate::records::Body = serde_json::from_slice(&row.body).unwrap();
            assert_eq!(body.status["state"], ends.to_string());
        };
        check(ActionState::Complete, ActionState::Complete, 2);
        check(ActionState::Running, ActionState::Cancelled, 4);
    }
}
