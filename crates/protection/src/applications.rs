//! Applications as rows of the derived class: every namespace is one, and so is every namespace that is gone but left
//! restore point contents behind. Nothing here is truth; all of it can be computed again.

mod departed;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keelson_catalog::{Change, Class, Database, Expect, Query, RowKind};
use keelson_model::names::label;
use keelson_workload::Kind;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::kinds;
use crate::platform::{Platform, commit};
use crate::policies::EXCLUDED_NAMESPACES;
use crate::records::Record;

const ACTOR: &str = "applications";
const PAGE: usize = 500;
/// Changes of this long are looked at together.
const GATHER: Duration = Duration::from_millis(500);

pub(crate) async fn run_applications(platform: Arc<Platform>, stop: CancellationToken) {
    let namespaces = vec![Kind::cluster("v1", "Namespace", "namespaces")];
    let mut events = pin!(platform.cluster.watch(namespaces, None));
    let mut contents = ContentsSeen::default();
    loop {
        if let Err(error) = refresh(&platform, &mut contents).await {
            warn!(error = &*error, "the list of applications could not be brought up to date");
        }
        let mut commits = platform.commits();
        tokio::select! {
            event = events.next() => if event.is_none() { return },
            () = contents_changed(&platform, &mut commits, &contents) => (),
            () = stop.cancelled() => return,
        }
        tokio::select! { () = tokio::time::sleep(GATHER) => (), () = stop.cancelled() => return }
    }
}

/// The applications that contents name, and the revision up to which that is known.
#[derive(Default)]
struct ContentsSeen {
    counts: BTreeMap<String, u64>,
    through: Option<keelson_model::Revision>,
}

/// Ends when a content was made or removed since it was last looked.
async fn contents_changed(
    platform: &Platform,
    commits: &mut tokio::sync::watch::Receiver<keelson_model::Revision>,
    seen: &ContentsSeen,
) {
    loop {
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
        let Ok(catalog) = platform.catalog() else { continue };
        let Some(since) = seen.through else { return };
        match catalog.changes(&kinds::restore_point_contents(), None, since, 1) {
            Ok(changes) if changes.events.is_empty() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

async fn refresh(
    platform: &Platform,
    seen: &mut ContentsSeen,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // There is nothing to bring up to date; what is wrong stands in the status.
    let Ok(catalog) = platform.catalog() else { return Ok(()) };
    count_contents(&catalog, seen)?;
    let namespaces: BTreeMap<String, String> =
        platform.cluster.namespaces().await?.into_iter().map(|state| (state.name, state.uid)).collect();
    let applications = all(&catalog, kinds::applications())?;
    let known = applications.iter().filter(|known| known.namespace == known.name);
    let known = known.map(|known| (known.name.as_str(), known.uid.as_str())).collect();
    departed::clean(platform, &catalog, &namespaces, &known).await?;
    let install = &platform.settings.install_namespace;
    let now = platform.clock.now();
    let mut wanted = decide(&namespaces, &seen.counts, install);
    let mut changes = Vec::new();
    for stored in applications {
        let key = (stored.namespace.clone(), stored.name.clone());
        let is_another = namespaces.get(&key.0).is_some_and(|uid| key.0 == key.1 && *uid != stored.uid);
        match wanted.remove(&key) {
            Some(state) if stored.body.status["state"] == state && !is_another => {}
            Some(state) => {
                let mut stored = stored;
                if let Some(uid) = namespaces.get(&key.1) {
                    stored.uid.clone_from(uid);
                }
                stored.body.status = json!({ "state": state });
                changes.push(stored.replace());
            }
            None => changes.push(Change::delete(stored.key())),
        }
    }
    for ((namespace, name), state) in wanted {
        let mut record = Record::new(kinds::application(), &namespace, &name, now, Class::Derived);
        if let Some(uid) = namespaces.get(&name) {
            record.uid.clone_from(uid);
        }
        record.labels.insert(label::APP_NAME.to_owned(), name.clone());
        record.body.spec = json!({ "namespace": { "name": name } });
        record.body.status = json!({ "state": state });
        changes.push(record.put(Expect::Any));
    }
    if !changes.is_empty() {
        commit(&catalog, ACTOR, changes).await?;
    }
    Ok(())
}

/// Counts the contents of each application: all of them at first, then only what changed.
fn count_contents(catalog: &Database, seen: &mut ContentsSeen) -> Result<(), keelson_catalog::ReadError> {
    let head = catalog.head().revision;
    let unchanged = seen.through.is_some_and(|since| {
        since.generation() == head.generation()
            && catalog
                .changes(&kinds::restore_point_contents(), None, since, 1)
                .is_ok_and(|changes| changes.events.is_empty())
    });
    if unchanged {
        seen.through = Some(head);
        return Ok(());
    }
    let mut counts = BTreeMap::new();
    let mut query = Query::all(kinds::restore_point_contents(), PAGE);
    loop {
        let page = catalog.list(&query)?;
        for stored in &page.rows {
            if let Some(name) = stored.row.labels.get(label::APP_NAMESPACE) {
                *counts.entry(name.clone()).or_insert(0) += 1;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    *seen = ContentsSeen { counts, through: Some(head) };
    Ok(())
}

/// Which applications are shown, and as what. Namespaces of the cluster itself only where something was stored of them.
fn decide(
    namespaces: &BTreeMap<String, String>,
    contents: &BTreeMap<String, u64>,
    install: &str,
) -> BTreeMap<(String, String), &'static str> {
    let is_shown = |name: &&String| {
        *name != install && (contents.contains_key(*name) || !EXCLUDED_NAMESPACES.contains(&name.as_str()))
    };
    let active = namespaces.keys().filter(is_shown).map(|name| ((name.clone(), name.clone()), "Active"));
    let gone = contents.keys().filter(|name| !namespaces.contains_key(*name));
    active.chain(gone.map(|name| ((install.to_owned(), name.clone()), "Deleted"))).collect()
}

fn all(catalog: &Database, kind: RowKind) -> Result<Vec<Record>, keelson_catalog::ReadError> {
    let mut query = Query::all(kind, PAGE);
    let mut records = Vec::new();
    loop {
        let page = catalog.list(&query)?;
        records.extend(page.rows.iter().filter_map(|stored| Record::parse(stored).ok()));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(records),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was backed up of `default` showed as an application that had been deleted.
    #[test]
    fn a_namespace_of_the_cluster_is_an_application_where_something_was_stored_of_it() {
        let namespaces =
            ["default", "kube-system", "kasten-io", "shop"].map(|name| (name.to_owned(), "u".into()));
        let contents = ["default", "kasten-io", "old"].map(|name| (name.to_owned(), 1));
        let found = decide(&namespaces.into(), &contents.into(), "kasten-io");
        let found: Vec<_> =
            found.iter().map(|((namespace, name), state)| format!("{namespace}/{name} {state}")).collect();
        assert_eq!(found, ["default/default Active", "kasten-io/old Deleted", "shop/shop Active"]);
    }
}
