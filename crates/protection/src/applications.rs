//! Applications as rows of the derived class: every namespace is one, and so is every namespace that is gone but left
//! restore point contents behind. Nothing here is truth; all of it can be computed again.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keelson_catalog::{Change, Class, Database, Expect, PageKey, Query, RowKind};
use keelson_model::names::label;
use keelson_workload::Kind;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::kinds;
use crate::platform::{Platform, commit};
use crate::policies::EXCLUDED_NAMESPACES;
use crate::records::Record;
use crate::restore_points;

const ACTOR: &str = "applications";
const PAGE: usize = 500;
/// Sorts after every name that Kubernetes allows.
const AFTER_ALL_NAMES: &str = "~";
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
        let (Ok(catalog), Some(since)) = (platform.catalog(), seen.through) else { return };
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
    let catalog = platform.catalog()?;
    count_contents(&catalog, seen)?;
    let namespaces: BTreeMap<String, String> = platform
        .cluster
        .namespaces()
        .await?
        .into_iter()
        .filter(|state| !EXCLUDED_NAMESPACES.contains(&state.name.as_str()))
        .map(|state| (state.name, state.uid))
        .collect();
    unbind_gone(&catalog, &namespaces).await?;
    let install = &platform.settings.install_namespace;
    let now = platform.clock.now();
    let mut wanted = BTreeMap::new();
    for name in namespaces.keys().filter(|name| *name != install) {
        wanted.insert((name.clone(), name.clone()), "Active");
    }
    for name in seen.counts.keys().filter(|name| !namespaces.contains_key(*name)) {
        wanted.insert((install.clone(), name.clone()), "Deleted");
    }
    let mut changes = Vec::new();
    for stored in all(&catalog, kinds::applications())? {
        let key = (stored.namespace.clone(), stored.name.clone());
        match wanted.remove(&key) {
            Some(state) if stored.body.status["state"] == state => {}
            Some(state) => {
                let mut stored = stored;
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

/// Restore points of a namespace that went away while nobody watched go too; their contents stay.
async fn unbind_gone(
    catalog: &Database,
    namespaces: &BTreeMap<String, String>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut query = Query::all(kinds::restore_points(), 1);
    // One row of each namespace is read, however many restore points it has.
    while let Some(first) = catalog.list(&query)?.rows.pop() {
        let namespace = first.row.namespace;
        if !namespaces.contains_key(&namespace) && !EXCLUDED_NAMESPACES.contains(&namespace.as_str()) {
            unbind_all(catalog, &namespace).await?;
            tracing::info!(namespace, "restore points of a namespace that is gone were unbound");
        }
        query.after = Some(PageKey { namespace, name: AFTER_ALL_NAMES.to_owned() });
    }
    Ok(())
}

async fn unbind_all(
    catalog: &Database,
    namespace: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut query =
        Query { namespace: Some(namespace.to_owned()), ..Query::all(kinds::restore_points(), PAGE) };
    loop {
        let page = catalog.list(&query)?;
        for stored in &page.rows {
            let Ok(point) = Record::parse(stored) else { continue };
            let mut changes = vec![Change::delete(point.key())];
            changes.extend(restore_points::unbind_content_of(catalog, &point)?);
            commit(catalog, ACTOR, changes).await?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
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
