//! What is cleaned up behind namespaces that went away while nobody watched: restore points go, contents stay. A
//! namespace of the same name that was made since is another one, and keeps what was made in it. Actions stay: they
//! are the history, which a recovery onto an empty cluster brings back before any namespace.
//!
//! Guarantees: nothing goes that was made in a namespace that is there; the cluster is asked again just before.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use keelson_catalog::{Change, CommitError, Database, Expect, PageKey, Query, RowKind};
use tracing::info;

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
    let kind = kinds::restore_points();
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

/// Whether a restore point was made in the namespace that is there now, as far as it is known.
fn is_of(point: &Record, live: Option<&LiveNamespace>) -> bool {
    let Some(live) = live else { return false };
    let made_in = restore_points::namespace_of(point);
    // What was made on another cluster came with a recovery, which has looked at the namespaces of this one.
    made_in.is_none_or(|made_in| made_in.cluster != live.id.cluster || made_in == live.id)
}

/// A row that changed meanwhile is left for the next look.
async fn remove(catalog: &Database, record: &Record) -> CleanResult {
    let expect = record.revision.map_or(Expect::Present, Expect::At);
    let mut changes = vec![Change::Delete { key: record.key(), expect }];
    changes.extend(restore_points::unbind_content_of(catalog, record)?);
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
    }
}
