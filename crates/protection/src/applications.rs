//! Applications as rows of the derived class: every namespace is one, and so is every namespace that is gone but left
//! restore point contents behind. Nothing here is truth; all of it can be computed again.

mod departed;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use keelson_catalog::{
    Change, Class, Database, Event, EventKind, Expect, Labels, Query, ReadError, RowKind, Stored,
};
use keelson_crypto::Sha256;
use keelson_model::Revision;
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::selector::LabelSelector;
use keelson_workload::Kind;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::contents::{Followed, View};
use crate::kinds;
use crate::platform::{Platform, commit};
use crate::policies::EXCLUDED_NAMESPACES;
use crate::records::Record;

const ACTOR: &str = "applications";
/// Changes of this long are looked at together.
const GATHER: Duration = Duration::from_millis(500);
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Commits that wait for the disk together.
const COMMITS_IN_FLIGHT: usize = 16;

pub(crate) async fn run_applications(platform: Arc<Platform>, stop: CancellationToken) {
    let namespaces = vec![Kind::cluster("v1", "Namespace", "namespaces")];
    let mut events = pin!(platform.cluster.watch(namespaces, None));
    let mut contents = Followed::<ContentsSeen>::default();
    loop {
        let mut commits = platform.commits();
        let pause = match refresh(&platform, &mut contents).await {
            Ok(()) => {
                tokio::select! {
                    event = events.next() => if event.is_none() { return },
                    () = contents_changed(&platform, &mut commits, &mut contents) => (),
                    () = stop.cancelled() => return,
                }
                GATHER
            }
            Err(error) => {
                warn!(error = &*error, "the list of applications could not be brought up to date");
                AFTER_FAILURE
            }
        };
        tokio::select! { () = tokio::time::sleep(pause) => (), () = stop.cancelled() => return }
    }
}

/// The applications that contents name.
#[derive(Default)]
struct ContentsSeen {
    applications: BTreeSet<String>,
    /// Since somebody last looked.
    has_changed: bool,
}

impl ContentsSeen {
    /// Of these labels one content is less.
    fn forget(&mut self, catalog: &Database, labels: &Labels) -> Result<(), ReadError> {
        let Some(application) = labels.get(label::APP_NAMESPACE) else { return Ok(()) };
        let labels = LabelSelector::equal(label::APP_NAMESPACE, application);
        let left = catalog.list(&Query { labels, ..Query::all(kinds::restore_point_contents(), 1) })?;
        if left.rows.is_empty() {
            self.has_changed |= self.applications.remove(application);
        }
        Ok(())
    }
}

impl View for ContentsSeen {
    fn clear(&mut self) {
        self.applications.clear();
        self.has_changed = true;
    }

    fn note(&mut self, stored: &Stored) {
        let application = stored.row.labels.get(label::APP_NAMESPACE);
        // The cluster scope is no namespace that could have gone.
        let Some(application) = application.filter(|name| *name != CLUSTER_SCOPE) else { return };
        if !self.applications.contains(application) {
            self.applications.insert(application.clone());
            self.has_changed = true;
        }
    }

    fn apply(&mut self, catalog: &Database, event: &Event) -> Result<(), ReadError> {
        if event.kind == EventKind::Deleted {
            return self.forget(catalog, &event.stored.row.labels);
        }
        self.note(&event.stored);
        event.before_labels.iter().try_for_each(|before| self.forget(catalog, before))
    }
}

/// Ends when an application got its first content or lost its last one. Restore points bind and unbind contents all the
/// time, which is nothing to an application.
async fn contents_changed(
    platform: &Platform,
    commits: &mut tokio::sync::watch::Receiver<Revision>,
    seen: &mut Followed<ContentsSeen>,
) {
    loop {
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
        let Ok(catalog) = platform.catalog() else { continue };
        if seen.follow(&catalog).is_err() || seen.view.has_changed {
            return;
        }
    }
}

async fn refresh(
    platform: &Platform,
    seen: &mut Followed<ContentsSeen>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // There is nothing to bring up to date; what is wrong stands in the status.
    let Ok(catalog) = platform.catalog() else { return Ok(()) };
    seen.follow(&catalog)?;
    seen.view.has_changed = false;
    let namespaces: BTreeMap<String, String> =
        platform.cluster.namespaces().await?.into_iter().map(|state| (state.name, state.uid)).collect();
    let applications = all(&catalog, kinds::applications())?;
    let known = applications.iter().filter(|known| known.namespace == known.name);
    let known = known.filter_map(|known| Some((known.name.as_str(), namespace_uid(known)?))).collect();
    departed::clean(platform, &catalog, &namespaces, &known).await?;
    let install = &platform.settings.install_namespace;
    let now = platform.clock.now();
    let mut wanted = decide(&namespaces, &seen.view.applications, install);
    let mut changes = Vec::new();
    for stored in applications {
        let key = (stored.namespace.clone(), stored.name.clone());
        let uid = namespaces.get(&key.0).filter(|_| key.0 == key.1).map(String::as_str);
        let is_another = uid.is_some() && namespace_uid(&stored) != uid;
        match wanted.remove(&key) {
            Some(state) if stored.body.status["state"] == state && !is_another => {}
            Some(state) => {
                let mut stored = stored;
                if let Some(uid) = namespaces.get(&key.1) {
                    identify(&mut stored, uid);
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
            identify(&mut record, uid);
        }
        record.labels.insert(label::APP_NAME.to_owned(), name.clone());
        record.body.spec = json!({ "namespace": { "name": name } });
        record.body.status = json!({ "state": state });
        changes.push(record.put(Expect::Any));
    }
    // Each by itself: objects of one kind never share a resourceVersion.
    let commits = changes.into_iter().map(|change| commit(&catalog, ACTOR, vec![change]));
    stream::iter(commits).buffer_unordered(COMMITS_IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// The private part of an application.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationInternal {
    /// Of the namespace that it was.
    namespace_uid: String,
}

fn namespace_uid(application: &Record) -> Option<&str> {
    application.body.internal.get("namespaceUid").and_then(Value::as_str)
}

/// Its uid is its own, and the same for the same namespace: to the garbage collector two objects of one uid, of whichever
/// kinds, are one object.
fn identify(application: &mut Record, namespace_uid: &str) {
    let digest = Sha256::of(format!("Application {namespace_uid}").as_bytes());
    let bytes = digest.as_bytes().first_chunk().copied().expect("a digest is longer than a uid");
    application.uid = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
    let internal = ApplicationInternal { namespace_uid: namespace_uid.to_owned() };
    application.body.internal = serde_json::to_value(internal).expect("plain data");
}

/// Which applications are shown, and as what. Namespaces of the cluster itself only where something was stored of them.
fn decide(
    namespaces: &BTreeMap<String, String>,
    contents: &BTreeSet<String>,
    install: &str,
) -> BTreeMap<(String, String), &'static str> {
    let is_shown = |name: &&String| {
        let is_reserved = *name == install || *name == CLUSTER_SCOPE;
        !is_reserved && (contents.contains(*name) || !EXCLUDED_NAMESPACES.contains(&name.as_str()))
    };
    let active = namespaces.keys().filter(is_shown).map(|name| ((name.clone(), name.clone()), "Active"));
    let gone = contents.iter().filter(|name| !namespaces.contains_key(*name));
    active.chain(gone.map(|name| ((install.to_owned(), name.clone()), "Deleted"))).collect()
}

fn all(catalog: &Database, kind: RowKind) -> Result<Vec<Record>, ReadError> {
    let record = |stored: Stored| Record::parse(&stored).ok();
    catalog.rows(Query::of(kind)).filter_map(|stored| stored.map(record).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The garbage collector took an application for its namespace, and left what should go with that.
    #[test]
    fn an_application_has_a_uid_of_its_own_as_long_as_its_namespace_lives() {
        let of = |namespace_uid: &str| {
            let mut application =
                Record::new(kinds::application(), "shop", "shop", Timestamp::UNIX_EPOCH, Class::Derived);
            identify(&mut application, namespace_uid);
            assert_eq!(super::namespace_uid(&application), Some(namespace_uid));
            application.uid
        };
        let (one, other) = ("0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa", "1c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa");
        assert_eq!(of(one), of(one));
        let uids = BTreeSet::from([of(one), of(other), one.to_owned(), other.to_owned()]);
        assert_eq!(uids.len(), 4);
        assert!(uids.iter().all(|uid| uuid::Uuid::parse_str(uid).is_ok()), "{uids:?}");
    }

    /// What was backed up of `default` showed as an application that had been deleted.
    #[test]
    fn a_namespace_of_the_cluster_is_an_application_where_something_was_stored_of_it() {
        let namespaces = ["default", "kube-system", "kasten-io", "kasten-io-cluster", "shop"]
            .map(|name| (name.to_owned(), "u".into()));
        let contents = ["default", "kasten-io", "old"].map(str::to_owned);
        let found = decide(&namespaces.into(), &contents.into(), "kasten-io");
        let found: Vec<_> =
            found.iter().map(|((namespace, name), state)| format!("{namespace}/{name} {state}")).collect();
        assert_eq!(found, ["default/default Active", "kasten-io/old Deleted", "shop/shop Active"]);
    }
}
