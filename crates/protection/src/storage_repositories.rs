//! `StorageRepository`: one object for each repository that the platform knows, and what people have decided of it.
//!
//! The objects are derived rows, made from what the catalog and the instance file know. What people decide is kept in rows
//! of its own that are shipped in every mode. Guarantees: the name of an object follows from its repository, so it is the
//! same after a restart and after a recovery. Deleting an object forgets what was decided and touches no data; the object
//! is made again when the repository is used, and with each start.

mod details;
mod known;
mod runs;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use keelson_catalog::{Change, Class, CommitError, Database, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::{RepositoryId, Revision};
use keelson_resources::storage_repository::StorageRepositorySpec;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use details::details;
pub(crate) use runs::note_run;

use self::known::{Internal, Known};
use crate::platform::{Platform, commit};
use crate::records::{DecodeRecordError, Record, plain_row};
use crate::recovery::former;
use crate::{grants, kinds, namespaces, ownership, repositories};

const ACTOR: &str = "repositories";
/// What changes within this span is looked at together.
const GATHER: Duration = Duration::from_millis(500);
/// Commits that wait for the disk together.
const COMMITS_IN_FLIGHT: usize = 16;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The repositories whose objects were deleted and that nobody has used since. A new process knows of none.
#[derive(Debug, Default)]
pub(crate) struct Unlisted {
    repositories: Mutex<BTreeSet<RepositoryId>>,
    used: Notify,
}

impl Unlisted {
    fn hide(&self, id: RepositoryId) {
        self.lock().insert(id);
    }

    fn is_hidden(&self, id: RepositoryId) -> bool {
        self.lock().contains(&id)
    }

    /// Whatever a repository is used for, its object is there then.
    pub(crate) fn note_use(&self, id: RepositoryId) {
        if self.lock().remove(&id) {
            self.used.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<RepositoryId>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What people have decided of a repository.
pub(crate) fn settings(catalog: &Database, id: RepositoryId) -> Result<StorageRepositorySpec, ReadError> {
    let stored = catalog.read(&settings_key(id))?;
    let settings = stored.and_then(|stored| serde_json::from_slice(&stored.row.body).ok());
    Ok(settings.unwrap_or_default())
}

/// The change that keeps what people have decided.
pub(crate) fn put_settings(
    record: &Record,
    spec: &StorageRepositorySpec,
    now: Timestamp,
) -> Result<Change, DecodeRecordError> {
    let Internal { repository, .. } = record.internal()?;
    let row = plain_row(settings_key(repository), Class::Configuration, spec, now);
    Ok(Change::Put { row, expect: Expect::Any })
}

/// The changes that go with the deletion of an object.
pub(crate) fn forget(record: &Record) -> Result<Vec<Change>, DecodeRecordError> {
    let Internal { repository, .. } = record.internal()?;
    Ok(vec![Change::delete(settings_key(repository))])
}

/// Which repository an object is of.
pub(crate) fn repository_of(object: &Record) -> Result<RepositoryId, DecodeRecordError> {
    Ok(object.internal::<Internal>()?.repository)
}

/// The object is about to be deleted.
pub(crate) fn hide(platform: &Platform, record: &Record) {
    if let Ok(Internal { repository, .. }) = record.internal() {
        platform.unlisted.hide(repository);
    }
}

fn settings_key(id: RepositoryId) -> RowKey {
    RowKey::new(RowKind::new("repository-settings"), "", id.to_string())
}

/// Up to where the objects tell what is known.
struct Seen {
    catalog: Revision,
    instance: Revision,
}

pub(crate) async fn run_storage_repositories(platform: Arc<Platform>, stop: CancellationToken) {
    let mut commits = platform.commits();
    loop {
        let mut seen = refresh(&platform).await.unwrap_or_else(|error| {
            tracing::warn!(error = &*error, "the list of repositories could not be brought up to date");
            None
        });
        tokio::select! {
            () = changed(&platform, &mut commits, &mut seen) => (),
            () = platform.unlisted.used.notified() => (),
            () = stop.cancelled() => return,
        }
    }
}

/// Ends when something was committed that an object may have to tell.
async fn changed(platform: &Platform, commits: &mut watch::Receiver<Revision>, seen: &mut Option<Seen>) {
    loop {
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(GATHER).await;
        let Some(seen) = seen else { return };
        let Ok(catalog) = platform.catalog() else { continue };
        let head = catalog.head().revision;
        let kinds = [
            repositories::row_kind(),
            grants::imported_rows(),
            former::row_kind(),
            kinds::storage_repositories(),
        ];
        let is_quiet = |kind: RowKind| {
            let changes = catalog.changes(&kind, None, seen.catalog, 1);
            changes.is_ok_and(|changes| changes.complete && changes.events.is_empty())
        };
        if platform.instance.head().revision != seen.instance || !kinds.into_iter().all(is_quiet) {
            return;
        }
        seen.catalog = head;
    }
}

/// Brings the objects up to date; none where there is no catalog to do so in.
async fn refresh(platform: &Platform) -> Outcome<Option<Seen>> {
    let Ok(catalog) = platform.catalog() else { return Ok(None) };
    let seen = Seen { catalog: catalog.head().revision, instance: platform.instance.head().revision };
    let mut known = known::all(platform, &catalog)?;
    let ownership = ownership::read(&platform.instance)?;
    let mut changes = Vec::new();
    for stored in catalog.rows(Query::of(kinds::storage_repositories())) {
        let Ok(record) = Record::parse(&stored?) else { continue };
        match known.remove(&record.name) {
            Some(known) => {
                let mut told = record.clone();
                known.describe(&mut told, &ownership);
                if told != record {
                    changes.push(told.replace());
                }
            }
            // It was another installation's own, or belongs to what a recovery has replaced.
            None => changes.push(Change::delete(record.key())),
        }
    }
    let absent: Vec<_> = known.into_values().filter(|known| !platform.unlisted.is_hidden(known.id)).collect();
    if !absent.is_empty() && may_create(platform).await? {
        for known in absent {
            changes.push(make(platform, &catalog, &known, &ownership)?.put(Expect::Absent));
        }
    }
    // Each by itself: objects of one kind never share a resourceVersion.
    let commits = changes.into_iter().map(|change| async {
        match commit(&catalog, ACTOR, vec![change]).await {
            // Somebody has changed it meanwhile, so it is looked at again.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    });
    stream::iter(commits).buffer_unordered(COMMITS_IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await?;
    Ok(Some(seen))
}

/// Nothing is made in a namespace that is about to go.
async fn may_create(platform: &Platform) -> Outcome<bool> {
    Ok(namespaces::find_staying(platform, &platform.settings.install_namespace).await?.is_some())
}

/// A new object.
fn make(
    platform: &Platform,
    catalog: &Database,
    known: &Known,
    ownership: &ownership::Ownership,
) -> Result<Record, ReadError> {
    let (namespace, now) = (&platform.settings.install_namespace, platform.clock.now());
    let mut record = Record::new(kinds::storage_repository(), namespace, &known.name(), now, Class::Derived);
    record.body.spec = serde_json::to_value(settings(catalog, known.id)?).expect("plain data");
    known.describe(&mut record, ownership);
    Ok(record)
}
