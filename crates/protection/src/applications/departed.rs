//! What is cleaned up behind namespaces that went away while nobody watched: restore points and actions go, contents
//! stay. A namespace of the same name that was made since is another one, and keeps what was made in it.
//!
//! Guarantees: nothing goes that was made in a namespace that is there; the cluster is asked again just before.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use keelson_catalog::{Change, CommitError, Database, Expect, PageKey, Query, RowKind};
use tracing::info;

use crate::actions;
use crate::kinds;
use crate::namespaces::{self, LiveNamespace};
use crate::platform::{Platform, commit};
use crate::records::Record;
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
    let kinds = [
        kinds::restore_points(),
        kinds::run_actions(),
        kinds::backup_actions(),
        kinds::export_actions(),
        kinds::restore_actions(),
    ];
    for kind in kinds {
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
            if !is_of(&record, live.as_ref()) {
                remove(catalog, &record).await?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Whether a row was made in the namespace that is there now, as far as it is known.
fn is_of(record: &Record, live: Option<&LiveNamespace>) -> bool {
    let Some(live) = live else { return false };
    if record.kind == kinds::restore_points() {
        let made_in = restore_points::namespace_of(record);
        // What was made on another cluster came with a recovery, which has looked at the namespaces of this one.
        return made_in.is_none_or(|made_in| made_in.cluster != live.id.cluster || made_in == live.id);
    }
    // Of an action only its time is known; an unfinished one ends by itself.
    let is_finished = actions::state(record).is_some_and(|state| state.is_finished());
    !is_finished || live.created.is_none_or(|created| record.created >= created)
}

/// A row that changed meanwhile is left for the next look.
async fn remove(catalog: &Database, record: &Record) -> CleanResult {
    let expect = record.revision.map_or(Expect::Present, Expect::At);
    let mut changes = vec![Change::Delete { key: record.key(), expect }];
    if record.kind == kinds::restore_points() {
        changes.extend(restore_points::unbind_content_of(catalog, record)?);
    } else {
        changes.extend(actions::done_with(record));
    }
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
    use jiff::Timestamp;
    use keelson_catalog::Class;
    use keelson_model::ClusterId;
    use serde_json::json;

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
        let check = |made_in: Option<NamespaceId>, live: Option<&LiveNamespace>, stays: bool| {
            let mut point = Record::new(kinds::restore_point(), "shop", "p", at(50), Class::Local);
            if let Some(made_in) = made_in.clone() {
                restore_points::note_namespace(&mut point, made_in);
            }
            assert_eq!(is_of(&point, live), stays, "{made_in:?}");
        };
        check(Some(id(NEW, "2")), Some(&live), true);
        check(Some(id(NEW, "1")), Some(&live), false);
        check(Some(id(OTHER, "1")), Some(&live), true);
        check(None, Some(&live), true);
        check(Some(id(NEW, "2")), None, false);
        check(None, None, false);

        let check = |created: i64, state: &str, live: Option<&LiveNamespace>, stays: bool| {
            let mut action = Record::new(kinds::backup_action(), "shop", "b", at(created), Class::Local);
            action.body.status = json!({ "state": state });
            assert_eq!(is_of(&action, live), stays, "{created} {state}");
        };
        check(50, "Complete", Some(&live), false);
        check(50, "Running", Some(&live), true);
        check(100, "Failed", Some(&live), true);
        check(150, "Complete", None, false);
        check(150, "Pending", None, false);
    }
}
