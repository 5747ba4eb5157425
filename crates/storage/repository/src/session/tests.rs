//! Where writers and pruning meet, with the marks, verdicts and endings that only pruning writes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind, VaultKey, VaultKeyring, random_bytes};
use keelson_model::{Classified, Clock, ErrorClass, ManualClock, PackId, RepositoryId, later};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{PutOptions, Store, StoreExt, StorePath};

use super::*;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::format::outcome_record::{OutcomeRecord, SessionResult};
use crate::object::seal_record;
use crate::outcome::{NamedStream, Outcome, OutcomeDraft};
use crate::repository::{Indexed, NewRepository, Repository};
use crate::{ChunkSizes, paths};

const CONTENT: &[u8] = &[7; 5000];

fn now() -> Timestamp {
    Timestamp::constant(1_770_000_000, 0)
}

async fn repository() -> Repository<Indexed> {
    repository_in(Arc::new(MemoryStore::new())).await
}

async fn repository_in(store: Arc<dyn Store>) -> Repository<Indexed> {
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let chunks = ChunkSizes::new(64, 256, 1024).unwrap();
    let new = NewRepository { id: RepositoryId::from_bytes([1; 16]), vault: &vault, slots: &[], chunks };
    let locked = Repository::at(store, StorePath::root()).unwrap();
    locked.create(new).await.unwrap().load_index().await.unwrap()
}

async fn begin(repository: &Repository<Indexed>) -> Session {
    let new = NewSession { purpose: SessionPurpose::Backup, lives_until: now(), now: now() };
    repository.begin(new).await.unwrap()
}

async fn finish(session: Session) -> Result<Outcome, CommitError> {
    let content = stream::iter([Ok::<_, WriteError>(Bytes::from_static(CONTENT))]);
    let reference = session.write(content).await.unwrap();
    let stream = NamedStream { name: "data".to_owned(), reference, attributes: Default::default() };
    let (description, streams) = (Vec::new(), vec![stream]);
    session.commit(OutcomeDraft { created: now(), description, streams, retain_until: None }).await
}

async fn put(repository: &Repository<Indexed>, kind: ObjectKind, folder: &str, id: ObjectId, body: &[u8]) {
    let core = repository.core();
    let object = seal_record(&core.keys, kind, id, body).unwrap();
    let path = core.paths.join(&format!("{folder}/{id}"));
    core.store.put(&path, object.bytes, PutOptions::create()).await.unwrap();
}

async fn mark(repository: &Repository<Indexed>, packs: &[PackId]) -> ObjectId {
    let id = ObjectId::from_bytes(random_bytes());
    let record = MarkRecord { packs: packs.to_vec(), outcomes: Vec::new() };
    put(repository, ObjectKind::Mark, paths::MARKS, id, &record.encode()).await;
    id
}

async fn judge(repository: &Repository<Indexed>, mark: ObjectId, dead: &[PackId], kept: &[PackId]) {
    let record = VerdictRecord { dead: dead.to_vec(), kept: kept.to_vec() };
    put(repository, ObjectKind::Verdict, paths::VERDICTS, mark, &record.encode()).await;
}

#[tokio::test]
async fn a_marked_pack_is_not_named_again_before_a_verdict_keeps_it() {
    let repository = repository().await;
    let first = finish(begin(&repository).await).await.unwrap();
    let again = finish(begin(&repository).await).await.unwrap();
    assert_eq!(again.packs(), first.packs());

    let marked = mark(&repository, first.packs()).await;
    let second = finish(begin(&repository).await).await.unwrap();
    assert!(second.packs().iter().all(|pack| !first.packs().contains(pack)));

    judge(&repository, marked, &[], first.packs()).await;
    mark(&repository, second.packs()).await;
    let third = finish(begin(&repository).await).await.unwrap();
    assert_eq!(third.packs(), first.packs());
}

#[tokio::test]
async fn a_dead_pack_is_never_named_again() {
    let repository = repository().await;
    let first = finish(begin(&repository).await).await.unwrap();
    let marked = mark(&repository, first.packs()).await;
    judge(&repository, marked, first.packs(), &[]).await;
    let second = finish(begin(&repository).await).await.unwrap();
    assert!(second.packs().iter().all(|pack| !first.packs().contains(pack)));
}

/// A prune that begins later lists this session and waits for it, so its mark need not be seen.
#[tokio::test]
async fn a_mark_made_after_the_session_began_does_not_concern_it() {
    let repository = repository().await;
    let first = finish(begin(&repository).await).await.unwrap();
    let session = begin(&repository).await;
    mark(&repository, first.packs()).await;
    assert_eq!(finish(session).await.unwrap().packs(), first.packs());
}

#[tokio::test]
async fn a_session_that_maintenance_ended_must_start_again() {
    let repository = repository().await;
    let session = begin(&repository).await;
    let record = OutcomeRecord::bare(SessionResult::Aborted, SessionPurpose::Backup, now());
    let id = ObjectId::from_bytes(*session.id().as_bytes());
    put(&repository, ObjectKind::Outcome, paths::OUTCOMES, id, &record.encode()).await;

    let error = finish(session).await.unwrap_err();
    assert!(matches!(error, CommitError::Ended { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(error.hint().unwrap().contains("start again"));
    finish(begin(&repository).await).await.unwrap();
}

/// What ends a session is removed after a fortnight. A commit that comes later still would meet nothing, and might name
/// packs that were freed since.
#[tokio::test]
async fn a_session_that_was_paused_for_weeks_does_not_commit() {
    const DAY: Duration = Duration::from_hours(24);
    let clock = Arc::new(ManualClock::new(now()));
    let repository = repository_in(Arc::new(MemoryStore::new().with_clock(clock.clone()))).await;
    let (paused, late, renewed) =
        (begin(&repository).await, begin(&repository).await, begin(&repository).await);
    renewed.life().renew(now() + 16 * DAY).await.unwrap();
    clock.advance(Duration::from_secs(1800));
    finish(late).await.unwrap();

    clock.advance(15 * DAY);
    let error = finish(paused).await.unwrap_err();
    let outlived = |source: &SessionError| matches!(source, SessionError::Outlived { .. });
    assert!(matches!(&error, CommitError::Alive { source, .. } if outlived(source)), "{error}");
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(error.hint().unwrap().contains("start again"));
    finish(renewed).await.unwrap();

    // A store's clock that is weeks ahead from the start makes no life shorter.
    assert!(clock.now() > later(now(), 15 * DAY));
    finish(begin(&repository).await).await.unwrap();
}

#[tokio::test]
async fn a_session_that_maintenance_ended_is_not_renewed() {
    let repository = repository().await;
    let (session, other) = (begin(&repository).await, begin(&repository).await);
    let record = OutcomeRecord::bare(SessionResult::Aborted, SessionPurpose::Backup, now());
    let id = ObjectId::from_bytes(*session.id().as_bytes());
    put(&repository, ObjectKind::Outcome, paths::OUTCOMES, id, &record.encode()).await;
    let until = later(now(), Duration::from_hours(24));
    let error = session.life().renew(until).await.unwrap_err();
    assert!(matches!(error, SessionError::Ended { .. }), "{error}");
    assert_eq!(session.life().until(), now());
    other.life().renew(until).await.unwrap();
    assert_eq!(other.life().until(), until);
}

#[tokio::test]
async fn a_damaged_mark_stops_a_session_rather_than_being_passed_over() {
    let repository = repository().await;
    finish(begin(&repository).await).await.unwrap();
    let id = ObjectId::from_bytes([9; 16]);
    put(&repository, ObjectKind::Mark, paths::MARKS, id, &[0, 0, 1]).await;
    let new = NewSession { purpose: SessionPurpose::Backup, lives_until: now(), now: now() };
    let error = repository.begin(new).await.unwrap_err();
    assert!(matches!(error, SessionError::ReadDecision { .. }));
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[tokio::test]
async fn an_index_object_that_maintenance_removed_is_forgotten_by_the_next_session() {
    let repository = repository().await;
    let first = finish(begin(&repository).await).await.unwrap();
    let core = repository.core();
    for reference in first.indexes() {
        core.store.delete(&core.paths.index(reference.id), None).await.unwrap();
    }
    let second = finish(begin(&repository).await).await.unwrap();
    assert!(second.packs().iter().all(|pack| !first.packs().contains(pack)));
}

/// What a session locks is a version: the one that is there, and not the one that was there once.
#[tokio::test]
async fn an_index_object_that_is_there_in_another_version_is_read_again() {
    let repository = repository_in(Arc::new(MemoryStore::versioned())).await;
    let outcome = finish(begin(&repository).await).await.unwrap();
    let core = repository.core();
    let path = core.paths.index(outcome.indexes()[0].id);
    let known = || repository.local().current().sources().next().unwrap().version;
    drop(begin(&repository).await);
    assert_eq!(known(), outcome.indexes()[0].version);

    let bytes = core.store.fetch_all(&path).await.unwrap();
    core.store.delete(&path, outcome.indexes()[0].version.as_ref()).await.unwrap();
    let put = core.store.put(&path, bytes, PutOptions::create()).await.unwrap();
    drop(begin(&repository).await);
    assert_ne!(put.version, outcome.indexes()[0].version);
    assert_eq!(known(), put.version);
}

#[tokio::test]
async fn a_write_that_is_dropped_half_way_breaks_its_session() {
    let repository = repository().await;
    let session = begin(&repository).await;
    let endless = stream::pending::<Result<Bytes, WriteError>>();
    let mut write = Box::pin(session.write(endless));
    assert!(futures::poll!(&mut write).is_pending());
    drop(write);
    assert!(matches!(finish_streams(session).await.unwrap_err(), CommitError::Write { .. }));
}

async fn finish_streams(session: Session) -> Result<Outcome, CommitError> {
    let draft =
        OutcomeDraft { created: now(), description: Vec::new(), streams: Vec::new(), retain_until: None };
    session.commit(draft).await
}
