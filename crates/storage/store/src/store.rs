//! The `Store` port and the values that pass through it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::{StoreError, StorePath};

/// No object is larger, so that every one is a single request and fits into memory.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// The most that one call of `list` or `list_versions` returns.
pub const LIST_PAGE_MAX: usize = 1000;
/// The longest retention that may be asked for, counted from the store's own time: 90 days and 20 of safety. What
/// is locked longer by mistake cannot be taken back.
pub const RETENTION_MAX: Duration = Duration::from_hours(110 * 24);
/// How much longer than a period of protection an object is retained, so that what is built on it and what extends it
/// may come late. An hour short of what the cap leaves to the longest period: two looks at the store's clock differ.
pub const RETENTION_MARGIN: Duration = Duration::from_hours(20 * 24 - 1);

/// A place that keeps objects under keys.
///
/// # Guarantees
///
/// - *An object is its first version.* Where the store keeps versions, `fetch`, `head` and `list` without a version
///   answer the oldest one; later versions and delete markers show only as `ObjectMeta::altered`. A recorded version
///   id saves the look-up.
/// - Where the store keeps none, reads ignore a version: objects that were copied there bring recorded ids along.
/// - A create has at most one winner among writers of different bytes. A create that meets its own bytes is a
///   success, so that it can be repeated after a lost answer.
/// - An object is seen whole or not at all, and what was acknowledged outlives a crash of the store's machine.
/// - Listings are ordered by the bytes of the path and contain every object that was there throughout.
///
/// # Assumptions
///
/// - Writers put fresh random bytes into objects that they compete for; otherwise two could both take the win.
/// - No key is also a folder: `a` and `a/b` are never both written. Providers may refuse it.
///
/// # Limits
///
/// - Objects of at most `OBJECT_BYTES_MAX`; pages of at most `LIST_PAGE_MAX`.
/// - Keys that no `StorePath` can name are not ours: listings leave them out.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Writes an object, once and whole.
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError>;

    /// Reads an object or a part of it.
    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError>;

    /// Describes an object, its retention included.
    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError>;

    /// Lists what lies beneath a folder at any depth. Retention is not part of the answer.
    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError>;

    /// Names the folders directly inside a folder, in order. A folder exists by what lies in it.
    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError>;

    /// Lists versions and delete markers by key; inside a page the versions of a key come newest first, then its
    /// delete markers. Only where `Capabilities::versions`.
    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError>;

    /// Removes an object for good, with all its versions and markers, or only the version named. What is not there
    /// counts as removed.
    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError>;

    /// Keeps an object from being removed until then. Never shortens. Only where `Capabilities::object_lock`.
    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// The store's own clock, by which retention runs.
    async fn time(&self) -> Result<Timestamp, StoreError>;

    /// Removes what writers that died have left beneath a folder, last written before then by the store's clock, and
    /// counts it. Most stores are left nothing.
    async fn sweep(&self, beneath: &StorePath, written_before: Timestamp) -> Result<u64, StoreError> {
        let _ = (beneath, written_before);
        Ok(0)
    }

    /// What this store can do, as far as it says itself. `probe` finds out whether it is true.
    fn capabilities(&self) -> Capabilities;

    /// Names the store in messages. Holds no secret.
    fn location(&self) -> &str;
}

/// How an object is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// The key must be free, and others may try to take it too. Where versions are kept, the winner is the first.
    Create,
    /// The key must be free and holds a fresh random id, so that nobody can have been there before: spares the
    /// listing of versions that `Create` needs.
    CreateUnique,
    /// Whatever was there is replaced. Only where `Capabilities::overwrite`.
    Overwrite,
}

/// How an object is to be written, and for how long it must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOptions {
    /// What may have been there before.
    pub mode: PutMode,
    /// Until when the object cannot be removed. Only where `Capabilities::object_lock`.
    pub retain_until: Option<Timestamp>,
}

impl PutOptions {
    /// For a key that others could create too.
    pub const fn create() -> Self {
        Self { mode: PutMode::Create, retain_until: None }
    }

    /// For a key that holds a fresh random id.
    pub const fn create_unique() -> Self {
        Self { mode: PutMode::CreateUnique, retain_until: None }
    }

    /// Replaces what is there.
    pub const fn overwrite() -> Self {
        Self { mode: PutMode::Overwrite, retain_until: None }
    }

    /// The same, kept until then.
    pub const fn retained(self, until: Option<Timestamp>) -> Self {
        Self { retain_until: until, ..self }
    }
}

/// What the store says about an object it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// To be recorded and read back by, where the store keeps versions.
    pub version: Option<VersionId>,
    /// By the store's clock; not exact.
    pub stored_at: Timestamp,
}

/// Names one version of one object. Only its store knows what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct VersionId(String);

impl VersionId {
    /// Takes what a store answered, or what was recorded of it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which bytes of which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which bytes.
    pub range: ByteRange,
    /// The version that was recorded when the object was written; without it, the first.
    pub version: Option<VersionId>,
}

impl Read {
    /// All bytes.
    pub const fn all() -> Self {
        Self { range: ByteRange::All, version: None }
    }

    /// `length` bytes from `offset` on.
    pub const fn span(offset: u64, length: u64) -> Self {
        Self { range: ByteRange::Span { offset, length }, version: None }
    }

    /// The last bytes.
    pub const fn last(length: u64) -> Self {
        Self { range: ByteRange::Last(length), version: None }
    }

    /// The same of a recorded version.
    pub fn of_version(self, version: Option<VersionId>) -> Self {
        Self { version, ..self }
    }
}

/// Which bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// Every one.
    All,
    /// Exactly these; an object that ends before is an error.
    Span {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// The last ones; all, if the object is shorter.
    Last(u64),
}

impl ByteRange {
    /// The half-open range of bytes in an object of `length`; nothing if it reaches beyond the end.
    pub fn resolve(self, length: u64) -> Option<std::ops::Range<u64>> {
        match self {
            Self::All => Some(0..length),
            Self::Span { offset, length: wanted } => {
                let end = offset.checked_add(wanted)?;
                (end <= length).then_some(offset..end)
            }
            Self::Last(wanted) => Some(length.saturating_sub(wanted)..length),
        }
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub path: StorePath,
    /// Bytes.
    pub length: u64,
    /// Where the store keeps versions.
    pub version: Option<VersionId>,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// Only `head` answers this.
    pub retain_until: Option<Timestamp>,
    /// Later versions or delete markers lie over it. We make none: somebody tampered. Only listings, and reads that
    /// had to look up the version, notice.
    pub altered: bool,
}

/// Which part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The last path of the page before.
    pub after: Option<StorePath>,
    /// At most so many; capped by `LIST_PAGE_MAX`.
    pub limit: usize,
}

impl ListPage {
    /// The first page, as large as it may be.
    pub const fn first() -> Self {
        Self { after: None, limit: LIST_PAGE_MAX }
    }

    /// The page that follows `after`, as large as it may be.
    pub const fn after(after: StorePath) -> Self {
        Self { after: Some(after), limit: LIST_PAGE_MAX }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, LIST_PAGE_MAX)
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Ordered by path.
    pub objects: Vec<ObjectMeta>,
    /// Another page may follow; it begins after the last path of this one.
    pub more: bool,
}

/// Whose versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionScope {
    /// Those of one key.
    Object(StorePath),
    /// Those of every key beneath a folder.
    Beneath(StorePath),
}

/// Which part of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPage {
    /// What the page before answered as `next`.
    pub after: Option<VersionCursor>,
    /// At most so many; capped by `LIST_PAGE_MAX`.
    pub limit: usize,
}

impl VersionPage {
    /// The first page, as large as it may be.
    pub const fn first() -> Self {
        Self { after: None, limit: LIST_PAGE_MAX }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, LIST_PAGE_MAX)
    }
}

/// Where a listing of versions goes on. Only its store knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCursor {
    pub(crate) key: String,
    pub(crate) version: Option<String>,
}

/// One page of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionListing {
    /// Ordered by path.
    pub versions: Vec<VersionMeta>,
    /// Where the next page begins; nothing at the end. A page may be empty and yet have a next.
    pub next: Option<VersionCursor>,
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMeta {
    /// The object's key.
    pub path: StorePath,
    /// Names the version.
    pub version: VersionId,
    /// Bytes, or a mark that a plain delete left.
    pub kind: VersionKind,
    /// Bytes; nought for a marker.
    pub length: u64,
    /// By the store's clock.
    pub modified: Timestamp,
}

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// It holds bytes.
    Data,
    /// A plain delete put it over the versions before.
    DeleteMarker,
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Of several creates of one key only one succeeds.
    pub conditional_create: bool,
    /// `PutMode::Overwrite` works: nowhere where an object is its first version.
    pub overwrite: bool,
    /// Versions are kept, and an object is its first one.
    pub versions: bool,
    /// Retention is enforced.
    pub object_lock: bool,
    /// A rule of the store removes versions after a time, ours among them; where none are kept, objects.
    pub expires_versions: bool,
    /// For so long everything that is created here cannot be removed, whether its writer asks for it or not: what
    /// `Retained` adds. Whoever builds on older objects extends theirs before.
    pub retention: Option<Duration>,
    /// For how long what one client has created or deleted may look otherwise to another, in listings and reads: its
    /// kernel may answer out of a cache. Nought where every answer is the store's own. Whoever creates an object
    /// and decides by a listing what others have done lets this time pass in between; a create needs no wait, as it is
    /// the store itself that finds a winner.
    pub listing_delay: Duration,
}
