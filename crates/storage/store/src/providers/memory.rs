//! `MemoryStore`: a store that lives as long as the process. For tests, and the plainest statement of the port.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_model::{Clock, ManualClock};

use crate::{
    Capabilities, Feature, ListPage, Listing, OBJECT_BYTES_MAX, ObjectMeta, Operation, PutMode, PutOptions,
    RETENTION_MAX, Read, Store, StoreError, StorePath, VersionCursor, VersionId, VersionKind, VersionListing,
    VersionMeta, VersionPage, VersionScope, Written,
};

const LOCATION: &str = "memory";
/// The clock of a store that was given none stands still here: 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Objects in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
    clock: Arc<dyn Clock>,
    versions: bool,
}

#[derive(Debug, Default)]
struct Objects {
    /// Oldest version first; never empty.
    by_path: BTreeMap<StorePath, Vec<Version>>,
    versions_made: u64,
}

#[derive(Debug, Clone)]
struct Version {
    id: VersionId,
    kind: VersionKind,
    body: Bytes,
    stored_at: Timestamp,
    retain_until: Option<Timestamp>,
}

impl MemoryStore {
    /// An empty store without versions.
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        Self { objects: Arc::default(), clock, versions: false }
    }

    /// An empty store that keeps versions and enforces retention, as a locked bucket does.
    pub fn versioned() -> Self {
        Self { versions: true, ..Self::new() }
    }

    /// The same store, living by another clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Writes past the port, as anyone with the credentials and plain S3 calls can. Where versions are kept the
    /// bytes lie over the object; otherwise they replace it.
    pub fn tamper(&self, path: &StorePath, body: Bytes) {
        let mut objects = self.lock();
        let version = objects.make_version(VersionKind::Data, body, self.clock.now(), None);
        let versions = objects.by_path.entry(path.clone()).or_default();
        if !self.versions {
            versions.clear();
        }
        versions.push(version);
    }

    /// Deletes past the port. Where versions are kept a delete marker lies over the object; otherwise it is gone.
    pub fn tamper_by_deleting(&self, path: &StorePath) {
        let mut objects = self.lock();
        if !self.versions {
            objects.by_path.remove(path);
            return;
        }
        let marker = objects.make_version(VersionKind::DeleteMarker, Bytes::new(), self.clock.now(), None);
        objects.by_path.entry(path.clone()).or_default().push(marker);
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn require(&self, operation: Operation, feature: Feature) -> Result<(), StoreError> {
        if self.versions {
            return Ok(());
        }
        Err(StoreError::Unsupported { operation, location: LOCATION.to_owned(), feature })
    }

    fn check_retention(&self, path: &StorePath, until: Timestamp) -> Result<(), StoreError> {
        let latest = self.clock.now() + RETENTION_MAX;
        if until > latest {
            return Err(StoreError::RetainTooLong { path: path.clone(), until, latest });
        }
        Ok(())
    }

    fn check_put(&self, path: &StorePath, body: &Bytes, options: PutOptions) -> Result<(), StoreError> {
        let length = body.len() as u64;
        if length > OBJECT_BYTES_MAX {
            let (operation, limit) = (Operation::Put, OBJECT_BYTES_MAX);
            return Err(StoreError::TooLarge { operation, path: path.clone(), length, limit });
        }
        if let Some(until) = options.retain_until {
            self.require(Operation::Put, Feature::ObjectLock)?;
            self.check_retention(path, until)?;
        }
        if options.mode == PutMode::Overwrite && self.versions {
            let (operation, location) = (Operation::Put, LOCATION.to_owned());
            return Err(StoreError::Unsupported { operation, location, feature: Feature::Overwrite });
        }
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Objects {
    fn make_version(
        &mut self,
        kind: VersionKind,
        body: Bytes,
        stored_at: Timestamp,
        retain_until: Option<Timestamp>,
    ) -> Version {
        self.versions_made += 1;
        let id = VersionId::new(format!("v{}", self.versions_made));
        Version { id, kind, body, stored_at, retain_until }
    }

    /// The version that was recorded, or the first.
    fn find(
        &self,
        operation: Operation,
        path: &StorePath,
        id: Option<&VersionId>,
    ) -> Result<&Version, StoreError> {
        let versions = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        let mut data = versions.iter().filter(|version| version.kind == VersionKind::Data);
        data.find(|version| id.is_none_or(|id| *id == version.id))
            .ok_or_else(|| StoreError::NotFound { operation, path: path.clone() })
    }

    /// A directory could not hold both; whoever tests on memory shall notice.
    fn mixes_key_and_folder(&self, path: &StorePath) -> bool {
        let mut folders = std::iter::successors(path.parent(), StorePath::parent);
        path.is_root()
            || folders.any(|folder| self.by_path.contains_key(&folder))
            || self.beneath(path).next().is_some()
    }

    fn beneath<'a>(&'a self, folder: &'a StorePath) -> impl Iterator<Item = (StorePath, &'a Vec<Version>)> {
        self.beneath_after(folder, folder)
    }

    /// What lies beneath a folder and behind a path in it.
    fn beneath_after<'a>(
        &'a self,
        folder: &'a StorePath,
        after: &'a StorePath,
    ) -> impl Iterator<Item = (StorePath, &'a Vec<Version>)> {
        let from = (Bound::Excluded(folder.max(after)), Bound::Unbounded);
        let candidates = self.by_path.range::<StorePath, _>(from);
        candidates
            .take_while(|(path, _)| path.as_str().starts_with(folder.as_str()))
            .filter_map(|(path, versions)| Some((path.strip_prefix(folder)?, versions)))
    }
}

fn describe(
    path: &StorePath,
    versions: &[Version],
    version: &Version,
    store_keeps_versions: bool,
) -> ObjectMeta {
    ObjectMeta {
        path: path.clone(),
        length: version.body.len() as u64,
        version: store_keeps_versions.then(|| version.id.clone()),
        modified: version.stored_at,
        retain_until: version.retain_until,
        altered: versions.len() > 1,
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        self.check_put(path, &body, options)?;
        let mut objects = self.lock();
        if objects.mixes_key_and_folder(path) {
            return Err(StoreError::MixKeyAndFolder { operation: Operation::Put, path: path.clone() });
        }
        let now = self.clock.now();
        let version = match (options.mode, objects.find(Operation::Put, path, None)) {
            (PutMode::Create | PutMode::CreateUnique, Ok(first)) if first.body != body => {
                return Err(StoreError::AlreadyExists { path: path.clone() });
            }
            (PutMode::Create | PutMode::CreateUnique, Ok(first)) => first.clone(),
            (PutMode::Create | PutMode::CreateUnique, Err(_)) | (PutMode::Overwrite, _) => {
                objects.make_version(VersionKind::Data, body, now, options.retain_until)
            }
        };
        let written =
            Written { version: self.versions.then(|| version.id.clone()), stored_at: version.stored_at };
        let versions = objects.by_path.entry(path.clone()).or_default();
        match options.mode {
            PutMode::Overwrite => *versions = vec![version],
            PutMode::Create | PutMode::CreateUnique => match versions.iter_mut().find(|v| v.id == version.id)
            {
                Some(ours) => ours.retain_until = ours.retain_until.max(options.retain_until),
                None => versions.push(version),
            },
        }
        Ok(written)
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        let objects = self.lock();
        let version = read.version.as_ref().filter(|_| self.versions);
        let body = &objects.find(Operation::Fetch, path, version)?.body;
        let length = body.len() as u64;
        let range = read.range.resolve(length);
        let range = range.ok_or_else(|| StoreError::OutOfRange { path: path.clone(), length })?;
        Ok(body.slice(range.start as usize..range.end as usize))
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        let objects = self.lock();
        let found = objects.find(Operation::Head, path, version.filter(|_| self.versions))?;
        Ok(describe(path, &objects.by_path[path], found, self.versions))
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let objects = self.lock();
        let mut found = Vec::new();
        for (relative, versions) in objects.beneath_after(folder, page.after.as_ref().unwrap_or(folder)) {
            let path = folder.join_path(&relative).map_err(|source| StoreError::NameObject { source })?;
            let Some(first) = versions.iter().find(|version| version.kind == VersionKind::Data) else {
                continue;
            };
            if found.len() == page.limit() {
                return Ok(Listing { objects: found, more: true });
            }
            let meta = describe(&path, versions, first, self.versions);
            found.push(ObjectMeta { retain_until: None, ..meta });
        }
        Ok(Listing { objects: found, more: false })
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        let objects = self.lock();
        let mut names: Vec<String> = Vec::new();
        for (relative, versions) in objects.beneath(folder) {
            let Some((name, _)) = relative.as_str().split_once('/') else { continue };
            let holds_data = versions.iter().any(|version| version.kind == VersionKind::Data);
            if holds_data && names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.require(Operation::ListVersions, Feature::Versions)?;
        let objects = self.lock();
        let in_scope = |path: &StorePath| match scope {
            VersionScope::Object(object) => path == object,
            VersionScope::Beneath(folder) => path.strip_prefix(folder).is_some(),
        };
        let after = page.after.as_ref();
        let mut listing = VersionListing::default();
        let mut passed = after.is_none();
        for (path, versions) in objects.by_path.iter().filter(|(path, _)| in_scope(path)) {
            let mut ordered: Vec<_> = versions.iter().rev().collect();
            ordered.sort_by_key(|version| version.kind == VersionKind::DeleteMarker);
            for version in ordered {
                if !passed {
                    let cursor = after.map(|cursor| (cursor.key.as_str(), cursor.version.as_deref()));
                    passed = cursor == Some((path.as_str(), Some(version.id.as_str())));
                    continue;
                }
                if listing.versions.len() == page.limit() {
                    listing.next = listing.versions.last().map(cursor_of);
                    return Ok(listing);
                }
                listing.versions.push(VersionMeta {
                    path: path.clone(),
                    version: version.id.clone(),
                    kind: version.kind,
                    length: version.body.len() as u64,
                    modified: version.stored_at,
                });
            }
        }
        Ok(listing)
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        if version.is_some() {
            self.require(Operation::Delete, Feature::Versions)?;
        }
        let mut objects = self.lock();
        let now = self.clock.now();
        let Some(versions) = objects.by_path.get_mut(path) else { return Ok(()) };
        let named = |candidate: &Version| version.is_none_or(|id| *id == candidate.id);
        if versions.iter().any(|v| named(v) && v.retain_until.is_some_and(|until| until > now)) {
            return Err(StoreError::Locked { operation: Operation::Delete, path: path.clone() });
        }
        versions.retain(|candidate| !named(candidate));
        if versions.is_empty() {
            objects.by_path.remove(path);
        }
        Ok(())
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.require(Operation::ExtendRetention, Feature::ObjectLock)?;
        self.check_retention(path, until)?;
        let mut objects = self.lock();
        let id = objects.find(Operation::ExtendRetention, path, version)?.id.clone();
        let versions = objects.by_path.get_mut(path).into_iter().flatten();
        for version in versions.filter(|version| version.id == id) {
            version.retain_until = version.retain_until.max(Some(until));
        }
        Ok(())
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_create: true,
            overwrite: !self.versions,
            versions: self.versions,
            object_lock: self.versions,
            expires_versions: false,
            retention: None,
            listing_delay: Duration::ZERO,
        }
    }

    fn location(&self) -> &str {
        LOCATION
    }
}

fn cursor_of(version: &VersionMeta) -> VersionCursor {
    VersionCursor {
        key: version.path.as_str().to_owned(),
        version: Some(version.version.as_str().to_owned()),
    }
}
