//! Sessions, readers and retirement as others see them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keelson_model::{Classified, Clock, ErrorClass, LineageId, ManualClock};
use keelson_repository::{
    Depth, Ownership, ReadError, RetireError, Retired, SessionPurpose, SessionResult, Unlock,
};
use keelson_store::decorators::Retained;
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{RETENTION_MARGIN, Store, StoreExt};

use crate::upkeep::opened;
use crate::world::*;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn nothing_is_seen_of_a_session_before_its_commit() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        assert_eq!(site.keys("sessions").await.len(), 1);
        let reference = session.write(pieces(b"content")).await.unwrap();
        assert!(site.keys("outcomes").await.is_empty());
        let id = session.id();
        session.life().renew(now()).await.unwrap();
        session.commit(draft(vec![named("data", reference)])).await.unwrap();
        assert_eq!(repository.list_outcomes().await.unwrap(), [id]);
        assert_eq!(site.keys("sessions").await.len(), 2);
    }
}

#[tokio::test]
async fn an_aborted_session_leaves_an_outcome_that_cannot_be_read() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        session.write(pieces(&noise(1, 10_000))).await.unwrap();
        let id = session.id();
        session.life().give_up(now()).await.unwrap();
        assert_eq!(repository.fetch_outcome(id).await.unwrap().result(), SessionResult::Aborted);
        let error = fresh_reader(&store).await.outcome(id).await.unwrap_err();
        assert!(matches!(error, ReadError::NotCommitted { .. }));
    }
}

#[tokio::test]
async fn a_reader_announces_itself_and_says_when_it_is_done() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let outcome = back_up(&repository, b"content").await.unwrap();
        let reader = repository.begin_reading(new_session(SessionPurpose::Restore)).await.unwrap();
        assert_eq!(site.keys("sessions").await.len(), 2);
        let reference = reader.outcome(outcome.id).await.unwrap().streams()[0].reference;
        assert_eq!(read(&reader, &reference).await.unwrap(), b"content");
        reader.finish(now()).await.unwrap();
        let mut results = Vec::new();
        for id in repository.list_outcomes().await.unwrap() {
            results.push(repository.fetch_outcome(id).await.unwrap().result());
        }
        results.sort_by_key(|result| *result as u8);
        assert_eq!(results, [SessionResult::Committed, SessionResult::Done]);
    }
}

#[tokio::test]
async fn readers_refuse_a_retired_outcome_and_packs_stay() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let outcome = back_up(&repository, b"content").await.unwrap();
        let packs = site.keys("packs").await;
        let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 4);
        assert_eq!(repository.retire(outcome.id, &proof, now()).await.unwrap(), Retired::Now);
        assert_eq!(repository.retire(outcome.id, &proof, now()).await.unwrap(), Retired::Before);

        let error = read_back(&store, outcome.id).await.unwrap_err();
        assert!(matches!(error, ReadError::Retired { .. }));
        assert_eq!(error.class(), ErrorClass::NotFound);
        assert_eq!(site.keys("packs").await, packs);
        let retired = repository.list_retired().await.unwrap();
        assert_eq!((retired[0].outcome, retired[0].epoch, retired[0].at), (outcome.id, 4, now()));
    }
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_retired() {
    for site in Site::both() {
        let repository = create_indexed(&site.store().await).await;
        let proof = Ownership::proven_by_newest_epoch(LineageId::from_bytes([3; 16]), 1);
        let id = keelson_model::SessionId::from_bytes([1; 16]);
        let error = repository.retire(id, &proof, now()).await.unwrap_err();
        assert!(matches!(error, RetireError::Absent { .. }));
        assert!(site.keys("retired").await.is_empty());
    }
}

#[tokio::test]
async fn a_locked_outcome_locks_all_that_it_needs() {
    let memory = MemoryStore::versioned();
    let store: Arc<dyn Store> = Arc::new(memory);
    let repository = create_indexed(&store).await;
    back_up(&repository, &noise(1, 50_000)).await.unwrap();
    let until = store.time().await.unwrap() + DAY;
    let session = repository.begin(new_session(SessionPurpose::Export)).await.unwrap();
    let content = [noise(1, 50_000), noise(2, 50_000)].concat();
    let reference = session.write(pieces(&content)).await.unwrap();
    let mut locked = draft(vec![named("data", reference)]);
    locked.retain_until = Some(until);
    let outcome = session.commit(locked).await.unwrap();
    assert_eq!(outcome.packs().len(), 2);

    for object in store.list_all(&root()).await.unwrap() {
        let meta = store.head(&object.path, object.version.as_ref()).await.unwrap();
        let text = object.path.as_str();
        let needed = !text.contains("/sessions/")
            && (!text.contains("/outcomes/") || text.ends_with(&outcome.id.to_string()));
        assert_eq!(meta.retain_until, needed.then_some(until), "{text}");
    }
}

/// Until when everything that a committed outcome leads to is retained: the shortest.
async fn shortest_retention(store: &Arc<dyn Store>, besides: &[&str]) -> Timestamp {
    let mut shortest = Timestamp::MAX;
    for object in store.list_all(&root()).await.unwrap() {
        if besides.iter().any(|folder| object.path.as_str().contains(folder)) {
            continue;
        }
        let meta = store.head(&object.path, object.version.as_ref()).await.unwrap();
        shortest = shortest.min(meta.retain_until.unwrap_or(Timestamp::MIN));
    }
    shortest
}

#[tokio::test]
async fn where_everything_is_retained_an_outcome_extends_what_it_reuses_and_can_be_extended_itself() {
    let clock = Arc::new(ManualClock::new(now()));
    let memory = MemoryStore::versioned().with_clock(clock.clone());
    let store: Arc<dyn Store> = Arc::new(Retained::new(Arc::new(memory.clone()), 7 * DAY));
    let content = noise(1, 50_000);
    let repository = create_indexed(&store).await;
    let first = back_up(&repository, &content).await.unwrap();
    let retention = 7 * DAY + RETENTION_MARGIN;
    assert_eq!(shortest_retention(&store, &[]).await, now() + retention);
    assert_eq!(first.retain_until(), Some(now() + retention));

    // Half of the margin later the old packs are needed for as long as the new outcome. The decorator asks for the time
    // anew, as a process does that was started since.
    clock.advance(10 * DAY);
    let store: Arc<dyn Store> = Arc::new(Retained::new(Arc::new(memory), 7 * DAY));
    let opened = locked(&store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    let repository = opened.load_index().await.unwrap();
    let second = back_up(&repository, &content).await.unwrap();
    assert_eq!(second.packs(), first.packs());
    let until = clock.now() + retention;
    assert_eq!(second.retain_until(), Some(until));
    assert_eq!(shortest_retention(&store, &["/sessions/", "/outcomes/"]).await, until);

    clock.advance(10 * DAY);
    let until = clock.now() + retention;
    let opened = locked(&store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    opened.lengthen(&HashSet::from([second.id]), until).await.unwrap();
    assert_eq!(shortest_retention(&store, &["/sessions/", "/outcomes/"]).await, until);
    let path = format!("{}/outcomes/{}", root(), second.id).parse().unwrap();
    assert_eq!(store.head(&path, None).await.unwrap().retain_until, Some(until));
    let nobody = keelson_model::SessionId::from_bytes([9; 16]);
    assert!(opened.lengthen(&HashSet::from([nobody]), until).await.is_err());
}

/// Nobody writes it again, and no lock lasts as long as it is kept.
#[tokio::test]
async fn what_is_kept_longer_than_a_lock_lasts_is_locked_anew_in_time_and_not_each_day() {
    let clock = Arc::new(ManualClock::new(now()));
    let memory = MemoryStore::versioned().with_clock(clock.clone());
    let store: Arc<dyn Store> = Arc::new(Retained::new(Arc::new(memory), 7 * DAY));
    let repository = create_indexed(&store).await;
    let kept = HashSet::from([back_up(&repository, &noise(1, 50_000)).await.unwrap().id]);
    let repository = locked(&store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    let mut lengthened = 0;
    for day in 1..=60 {
        clock.advance(DAY);
        let until = store.retention_end().await.unwrap().unwrap();
        let least = until - RETENTION_MARGIN / 2;
        lengthened += repository.lengthen_ending_before(least, &kept, until).await.unwrap();
        let shortest = shortest_retention(&store, &["/sessions/"]).await;
        assert!(shortest > clock.now() + 7 * DAY + 9 * DAY, "day {day}: {shortest}");
    }
    assert_eq!(lengthened, 6);
}

#[tokio::test]
async fn what_is_gone_keeps_nothing_else_from_being_locked_longer_and_is_told() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::versioned());
    let repository = create_indexed(&store).await;
    let damaged = back_up(&repository, &noise(1, 20_000)).await.unwrap();
    let whole = back_up(&repository, &noise(2, 20_000)).await.unwrap();
    let nobody = keelson_model::SessionId::from_bytes([9; 16]);
    let until = store.time().await.unwrap() + DAY;
    let repository = locked(&store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    let ends = async |folder: &str| {
        let mut ends = Vec::new();
        for object in store.list_all(&root().join(folder).unwrap()).await.unwrap() {
            ends.push(store.head(&object.path, None).await.unwrap().retain_until);
        }
        ends
    };
    let error = repository.lengthen_ending_before(until, &HashSet::from([whole.id, nobody]), until).await;
    assert!(error.unwrap_err().to_string().contains(&nobody.to_string()));
    for folder in ["packs", "outcomes"] {
        assert_eq!(ends(folder).await.iter().flatten().count(), 1, "{folder}");
    }

    let gone = damaged.packs()[0].to_string();
    let packs = store.list_all(&root().join("packs").unwrap()).await.unwrap();
    let gone = packs.into_iter().find(|object| object.path.name() == gone).unwrap().path;
    store.delete(&gone, None).await.unwrap();
    let later = until + DAY;
    let error = repository.lengthen(&HashSet::from([damaged.id, whole.id]), later).await.unwrap_err();
    assert!(error.to_string().contains(gone.as_str()), "{error}");
    for folder in ["packs", "index", "keys", "slots", "outcomes"] {
        let ends = ends(folder).await;
        assert!(!ends.is_empty() && ends.iter().all(|end| *end == Some(later)), "{folder}: {ends:?}");
    }
}

/// As a mirror leaves it: the same keys and bytes, under version ids of the other bucket's own.
async fn mirror(from: &Arc<dyn Store>) -> MemoryStore {
    let copy = MemoryStore::versioned();
    copy.create(&"another/object".parse().unwrap(), Default::default()).await.unwrap();
    for object in from.list_all(&root()).await.unwrap() {
        let bytes = from.fetch_all(&object.path).await.unwrap();
        let written = copy.create(&object.path, bytes).await.unwrap();
        assert_ne!(written.version, object.version);
    }
    copy
}

/// Every pack of the copy counted as missing.
#[tokio::test]
async fn a_copy_in_another_versioned_bucket_is_read_verified_and_gone_on_with() {
    let original: Arc<dyn Store> = Arc::new(MemoryStore::versioned());
    let content = noise(1, 50_000);
    let repository = create_indexed(&original).await;
    let first = back_up(&repository, &content).await.unwrap();
    let retained = Retained::new(Arc::new(mirror(&original).await), 7 * DAY);
    let copy: Arc<dyn Store> = Arc::new(retained);
    assert!(read_back(&copy, first.id).await.unwrap() == content);
    let report = verify(&copy, Depth::Full, &[first.id]).await;
    assert!(report.is_whole(), "{:?}", report.findings);

    let repository = opened(&copy).await;
    let second = back_up(&repository, &content).await.unwrap();
    assert_eq!(second.packs(), first.packs());
    assert!(shortest_retention(&copy, &["/sessions/", "/outcomes/"]).await >= second.retain_until().unwrap());
}
