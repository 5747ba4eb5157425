//! Finds out what a location really does, whatever it says of itself: some servers overwrite where they were asked to
//! create, some ignore retention, and a wrong clock makes both worthless.
//!
//! 1. list the root
//! 2. write an object, read it, list it
//! 3. race eight creates of one key
//! 4. count versions, lock an object and try to delete it
//! 5. delete what was written
//!
//! A crash leaves small objects beneath `keelson-probe/`, which mean nothing to anybody.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use keelson_model::{Classified, ErrorClass};
use serde::Serialize;
use tokio::time::Instant;

use crate::providers::s3::LockMode;
use crate::{
    Feature, ListPage, PutOptions, Store, StoreError, StoreExt, StorePath, VersionPage, VersionScope,
};

const FOLDER: &str = "keelson-probe";
const RACERS: usize = 8;
/// How long the probe's object is locked: long enough to try a delete, short enough to wait for; and for a store that
/// answers too slowly for that.
const LOCK_SECONDS: [u64; 2] = [4, 60];
/// How often a delete is tried while the lock runs out, a second apart.
const UNLOCK_TRIES: u64 = 2 * LOCK_SECONDS[0];
/// With a greater difference nobody can tell when a retention ends.
pub const CLOCK_DIFFERENCE_MAX: SignedDuration = SignedDuration::from_mins(5);
/// How late a location may show what others wrote. A share whose kernel caches folders for a minute, which is what NFS
/// does unless told otherwise, is just within.
pub const LISTING_DELAY_MAX: SignedDuration = SignedDuration::from_secs(150);

/// What a location was seen to do. Printed into a profile's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dialect {
    /// Objects can be written. Without it the rest was not tried.
    pub writable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of eight racing creates exactly one won.
    pub conditional_create: bool,
    /// Versions are kept and can be listed.
    pub versions: bool,
    /// A locked object could not be deleted.
    pub object_lock: bool,
    /// How firmly objects are locked, as a check of their protection has found. The probe does not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_mode: Option<LockMode>,
    /// A rule of the store removes old versions; where none are kept, objects.
    pub expires_versions: bool,
    /// The store's clock less ours.
    pub clock_difference: SignedDuration,
    /// For how long a listing may miss what another client wrote.
    pub listing_delay: SignedDuration,
    /// What is weaker than it could be, and stands against nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why a location cannot take backups. For import and restore it serves all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing can be written.
    ReadOnly,
    /// Two writers could both take the same key.
    NoConditionalCreate,
    /// The store itself removes old versions, which is what it must keep.
    ExpiresVersions,
    /// The store itself removes objects.
    ExpiresObjects,
    /// The clocks differ too much.
    ClocksDiffer,
    /// Others' objects are seen too late.
    ShowsLate,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "the location is read-only",
            Self::NoConditionalCreate => "the store overwrites objects where it was asked to create them",
            Self::ExpiresVersions => "a lifecycle rule of the bucket removes noncurrent versions",
            Self::ExpiresObjects => "a lifecycle rule of the bucket removes objects after a time",
            Self::ClocksDiffer => "the store's clock and ours differ by more than five minutes",
            Self::ShowsLate => {
                "the share shows too late what others write: mount it with acdirmax or actimeo of at most 60 seconds"
            }
        })
    }
}

impl Dialect {
    /// All that stands against backups and exports to this location; nothing if it is fit.
    pub fn unfit(&self) -> Vec<Unfit> {
        if !self.writable {
            return vec![Unfit::ReadOnly];
        }
        let faults = [
            (!self.conditional_create, Unfit::NoConditionalCreate),
            (self.expires_versions && self.versions, Unfit::ExpiresVersions),
            (self.expires_versions && !self.versions, Unfit::ExpiresObjects),
            (self.clock_difference.abs() > CLOCK_DIFFERENCE_MAX, Unfit::ClocksDiffer),
            (self.listing_delay > LISTING_DELAY_MAX, Unfit::ShowsLate),
        ];
        faults.into_iter().filter_map(|(stands, unfit)| stands.then_some(unfit)).collect()
    }

    fn read_only(store: &dyn Store, refusal: &StoreError) -> Self {
        Self {
            writable: false,
            reason: Some(refusal.to_string()),
            conditional_create: false,
            versions: store.capabilities().versions,
            object_lock: store.capabilities().object_lock,
            lock_mode: None,
            expires_versions: store.capabilities().expires_versions,
            clock_difference: SignedDuration::ZERO,
            listing_delay: signed(store.capabilities().listing_delay),
            warnings: Vec::new(),
        }
    }
}

/// At which step a location failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ProbeError {
    #[error("list the location")]
    ListLocation { source: StoreError },
    #[error("write a test object")]
    WriteObject { source: StoreError },
    #[error("read the test object back")]
    ReadObject { source: StoreError },
    #[error("ask the store's time")]
    AskTime { source: StoreError },
    #[error("race creates of one test object")]
    RaceCreates { source: StoreError },
    #[error("list the versions of a test object")]
    ListVersions { source: StoreError },
    #[error("lock a test object")]
    LockObject { source: StoreError },
    #[error("delete a test object")]
    DeleteObject { source: StoreError },
    #[error("the test object reads otherwise than it was written")]
    ReadOtherBytes,
    #[error("the test object is written but not listed")]
    MissInListing,
}

impl ProbeError {
    /// What the store said, where it was the store.
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::ListLocation { source }
            | Self::WriteObject { source }
            | Self::ReadObject { source }
            | Self::AskTime { source }
            | Self::RaceCreates { source }
            | Self::ListVersions { source }
            | Self::LockObject { source }
            | Self::DeleteObject { source } => Some(source),
            Self::ReadOtherBytes | Self::MissInListing => None,
        }
    }
}

impl Classified for ProbeError {
    fn class(&self) -> ErrorClass {
        self.store_error().map_or(ErrorClass::Corrupt, Classified::class)
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadOtherBytes => "store.probe.other_bytes",
            Self::MissInListing => "store.probe.not_listed",
            Self::ListLocation { source }
            | Self::WriteObject { source }
            | Self::ReadObject { source }
            | Self::AskTime { source }
            | Self::RaceCreates { source }
            | Self::ListVersions { source }
            | Self::LockObject { source }
            | Self::DeleteObject { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        self.store_error().and_then(Classified::hint)
    }
}

/// Tries a location. `nonce` names the test objects: no two probes may share one.
///
/// # Errors
///
/// Where the location cannot even be read, or where it fails in a way that is no dialect. A location that can be read
/// but not written is a `Dialect`.
pub async fn probe(store: &dyn Store, nonce: &str, now: Timestamp) -> Result<Dialect, ProbeError> {
    let begun = Instant::now();
    let first = ListPage { after: None, limit: 1 };
    store.list(&StorePath::root(), &first).await.map_err(|source| ProbeError::ListLocation { source })?;

    let test = TestObjects::new(nonce).map_err(|source| ProbeError::WriteObject { source })?;
    match store.create(&test.plain, test.body(0)).await {
        Ok(_) => {}
        Err(refusal @ (StoreError::ReadOnly { .. } | StoreError::Forbidden { .. })) => {
            return Ok(Dialect::read_only(store, &refusal));
        }
        Err(refusal @ StoreError::Unsupported { feature: Feature::Links, .. }) => {
            return Ok(Dialect::read_only(store, &refusal));
        }
        Err(source) => return Err(ProbeError::WriteObject { source }),
    }
    let examined = examine(store, &test, now, begun).await;
    let cleaned = clean(store, &test).await;
    let dialect = examined?;
    cleaned.map_err(|source| ProbeError::DeleteObject { source })?;
    Ok(dialect)
}

struct TestObjects {
    folder: StorePath,
    plain: StorePath,
    raced: StorePath,
    locked: StorePath,
    nonce: String,
}

impl TestObjects {
    fn new(nonce: &str) -> Result<Self, StoreError> {
        let build = || {
            let folder = StorePath::root().join(FOLDER)?.join(nonce)?;
            let (plain, raced, locked) =
                (folder.join("plain")?, folder.join("raced")?, folder.join("locked")?);
            Ok(Self { folder, plain, raced, locked, nonce: nonce.to_owned() })
        };
        build().map_err(|source| StoreError::NameObject { source })
    }

    fn body(&self, racer: usize) -> Bytes {
        format!("{} {racer}\n", self.nonce).into()
    }
}

async fn examine(
    store: &dyn Store,
    test: &TestObjects,
    now: Timestamp,
    begun: Instant,
) -> Result<Dialect, ProbeError> {
    let read = store.fetch_all(&test.plain).await.map_err(|source| ProbeError::ReadObject { source })?;
    if read != test.body(0) {
        return Err(ProbeError::ReadOtherBytes);
    }
    let listed = store.list(&test.folder, &ListPage::first()).await;
    let listed = listed.map_err(|source| ProbeError::ListLocation { source })?;
    if !listed.objects.iter().any(|object| object.path == test.plain) {
        return Err(ProbeError::MissInListing);
    }
    let time = store.time().await.map_err(|source| ProbeError::AskTime { source })?;
    let clock_difference = time.duration_since(now) - elapsed(begun);

    let capabilities = store.capabilities();
    let one_winner = race(store, test).await?;
    let one_version = !capabilities.versions || count_versions(store, test).await? == 1;
    let object_lock = capabilities.object_lock && lock_holds(store, test).await?;
    Ok(Dialect {
        writable: true,
        reason: None,
        conditional_create: capabilities.conditional_create && one_winner && one_version,
        versions: capabilities.versions,
        object_lock,
        lock_mode: None,
        expires_versions: capabilities.expires_versions,
        clock_difference,
        listing_delay: signed(capabilities.listing_delay),
        warnings: Vec::new(),
    })
}

fn elapsed(begun: Instant) -> SignedDuration {
    signed(begun.elapsed())
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// `CreateUnique`, so that it is the server that decides and not our look at the versions.
async fn race(store: &dyn Store, test: &TestObjects) -> Result<bool, ProbeError> {
    let racers =
        (0..RACERS).map(|racer| store.put(&test.raced, test.body(racer), PutOptions::create_unique()));
    let mut winners = Vec::new();
    for (racer, outcome) in join_all(racers).await.into_iter().enumerate() {
        match outcome {
            Ok(_) => winners.push(racer),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(source) => return Err(ProbeError::RaceCreates { source }),
        }
    }
    let read = store.fetch_all(&test.raced).await.map_err(|source| ProbeError::ReadObject { source })?;
    Ok(matches!(winners[..], [winner] if read == test.body(winner)))
}

async fn count_versions(store: &dyn Store, test: &TestObjects) -> Result<usize, ProbeError> {
    let scope = VersionScope::Object(test.raced.clone());
    let listing = store.list_versions(&scope, &VersionPage::first()).await;
    Ok(listing.map_err(|source| ProbeError::ListVersions { source })?.versions.len())
}

async fn lock_holds(store: &dyn Store, test: &TestObjects) -> Result<bool, ProbeError> {
    for seconds in LOCK_SECONDS {
        if let Some(holds) = lock_holds_for(store, test, seconds).await? {
            return Ok(holds);
        }
    }
    Ok(false)
}

/// None where the lock had ended before the delete did.
async fn lock_holds_for(
    store: &dyn Store,
    test: &TestObjects,
    seconds: u64,
) -> Result<Option<bool>, ProbeError> {
    let fault = |source| ProbeError::LockObject { source };
    // Asked anew: what came before may have taken as long as the lock lasts.
    let time = async || store.time().await.map_err(|source| ProbeError::AskTime { source });
    let until = time().await? + Duration::from_secs(seconds);
    let options = PutOptions::create().retained(Some(until));
    store.put(&test.locked, test.body(0), options).await.map_err(fault)?;
    let retained = store.head(&test.locked, None).await.map_err(fault)?.retain_until;
    if retained.is_none_or(|retained| retained < until) {
        return Ok(Some(false));
    }
    match store.delete(&test.locked, None).await {
        Ok(()) => Ok((time().await? < until).then_some(false)),
        Err(StoreError::Locked { .. }) => Ok(Some(true)),
        Err(source) => Err(ProbeError::DeleteObject { source }),
    }
}

/// What a rule of the bucket locks for longer stays behind.
async fn clean(store: &dyn Store, test: &TestObjects) -> Result<(), StoreError> {
    let mut failure = None;
    for path in [&test.plain, &test.raced] {
        match store.delete(path, None).await {
            Ok(()) | Err(StoreError::Locked { .. }) => {}
            Err(error) => failure = Some(error),
        }
    }
    for _ in 0..UNLOCK_TRIES {
        match store.delete(&test.locked, None).await {
            Ok(()) => break,
            Err(StoreError::Locked { .. }) => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_says_all_that_stands_against_backups() {
        let fit = Dialect {
            writable: true,
            reason: None,
            conditional_create: true,
            versions: true,
            object_lock: true,
            lock_mode: None,
            expires_versions: false,
            clock_difference: SignedDuration::from_mins(-5),
            listing_delay: SignedDuration::from_secs(150),
            warnings: Vec::new(),
        };
        assert_eq!(fit.unfit(), []);
        let late = SignedDuration::from_secs(301);
        let unfit = Dialect {
            conditional_create: false,
            expires_versions: true,
            clock_difference: -late,
            listing_delay: SignedDuration::from_secs(152),
            ..fit.clone()
        };
        let expected =
            [Unfit::NoConditionalCreate, Unfit::ExpiresVersions, Unfit::ClocksDiffer, Unfit::ShowsLate];
        assert_eq!(unfit.unfit(), expected);
        assert_eq!(Dialect { writable: false, ..unfit }.unfit(), [Unfit::ReadOnly]);
    }
}
