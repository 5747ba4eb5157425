//! Listings of a bucket. Where it keeps versions, a listing of objects is one of their first versions: delete
//! markers and later versions hide nothing.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::primitives::DateTime;
use jiff::Timestamp;

use super::S3Store;
use crate::{
    LIST_PAGE_MAX, ListPage, Listing, ObjectMeta, Operation, StoreError, StorePath, VersionCursor, VersionId,
    VersionKind, VersionListing, VersionMeta, VersionPage, VersionScope,
};

/// Folders of one folder; more than that is not ours.
const FOLDERS_MAX: usize = 100_000;

impl S3Store {
    /// One page of current objects, for buckets without versions.
    pub(super) async fn list_current(
        &self,
        folder: &StorePath,
        page: &ListPage,
    ) -> Result<Listing, StoreError> {
        let mut after = page.after.as_ref().map(ToString::to_string);
        loop {
            let answer = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(key_prefix(folder))
                .set_start_after(after.clone())
                .max_keys(page.limit() as i32)
                .send()
                .await
                .map_err(|error| self.fault(Operation::List, folder, error))?;
            let more = self.is_truncated(folder, answer.is_truncated)?;
            let last = answer.contents().last().and_then(|object| object.key()).map(str::to_owned);
            let objects: Vec<_> = answer
                .contents()
                .iter()
                .filter_map(|object| {
                    Some(ObjectMeta {
                        path: parse_key(object.key()?, folder)?,
                        length: u64::try_from(object.size?).ok()?,
                        version: None,
                        modified: timestamp(object.last_modified.as_ref()),
                        retain_until: None,
                        altered: false,
                    })
                })
                .collect();
            // A page of nothing but foreign keys gives the caller nothing to go on from.
            if !objects.is_empty() || !more {
                return Ok(Listing { objects, more });
            }
            if last.is_none() || last <= after {
                return Err(self.loops(Operation::List, folder));
            }
            after = last;
        }
    }

    /// One page of objects by their first versions.
    pub(super) async fn list_firsts(
        &self,
        folder: &StorePath,
        page: &ListPage,
    ) -> Result<Listing, StoreError> {
        let mut firsts = FirstVersions::new(page.limit());
        let after = page.after.as_ref().map(StorePath::as_str);
        let mut cursor = after.map(|after| VersionCursor { key: after.to_owned(), version: None });
        loop {
            let answer = self.list_raw(folder, &key_prefix(folder), LIST_PAGE_MAX, cursor.as_ref()).await?;
            for entry in entries(&answer) {
                let Some(path) = parse_key(entry.key, folder) else { continue };
                if after.is_none_or(|after| entry.key > after) && !firsts.add(path, &entry) {
                    return Ok(Listing { objects: firsts.objects, more: true });
                }
            }
            cursor = self.next_cursor(folder, &answer, cursor)?;
            if cursor.is_none() {
                firsts.close();
                let more = firsts.objects.len() > page.limit();
                firsts.objects.truncate(page.limit());
                return Ok(Listing { objects: firsts.objects, more });
            }
        }
    }

    /// The first version of one object; nothing if it has none. Reads every version that lies over it.
    pub(super) async fn find_first(
        &self,
        operation: Operation,
        path: &StorePath,
    ) -> Result<ObjectMeta, StoreError> {
        let mut firsts = FirstVersions::new(1);
        let mut cursor = None;
        loop {
            let answer = self.list_raw(path, path.as_str(), LIST_PAGE_MAX, cursor.as_ref()).await?;
            let mut passed = false;
            for entry in entries(&answer) {
                if entry.key == path.as_str() {
                    firsts.add(path.clone(), &entry);
                } else {
                    passed = true;
                }
            }
            cursor = if passed { None } else { self.next_cursor(path, &answer, cursor)? };
            if cursor.is_none() {
                firsts.close();
                let first = firsts.objects.pop();
                return first.ok_or_else(|| StoreError::NotFound { operation, path: path.clone() });
            }
        }
    }

    pub(super) async fn list_version_page(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        let (path, prefix) = match scope {
            VersionScope::Object(path) => (path, path.to_string()),
            VersionScope::Beneath(folder) => (folder, key_prefix(folder)),
        };
        let answer = self.list_raw(path, &prefix, page.limit(), page.after.as_ref()).await?;
        let mut passed = false;
        let mut versions = Vec::new();
        for entry in entries(&answer) {
            let parsed = match scope {
                VersionScope::Object(object) => (entry.key == object.as_str()).then(|| object.clone()),
                VersionScope::Beneath(folder) => parse_key(entry.key, folder),
            };
            passed |= parsed.is_none() && matches!(scope, VersionScope::Object(_));
            let Some(path) = parsed else { continue };
            versions.push(VersionMeta {
                path,
                version: VersionId::new(entry.version),
                kind: entry.kind,
                length: entry.length,
                modified: entry.modified,
            });
        }
        let next = if passed { None } else { self.next_cursor(path, &answer, page.after.clone())? };
        Ok(VersionListing { versions, next })
    }

    pub(super) async fn list_folder_names(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        let prefix = key_prefix(folder);
        let mut names = Vec::new();
        let mut cursor: Option<VersionCursor> = None;
        loop {
            let prefixes;
            (prefixes, cursor) = self.folder_page(folder, &prefix, cursor).await?;
            for found in prefixes {
                let name = found.strip_prefix(&prefix).map(|name| name.trim_end_matches('/'));
                if let Some(name) =
                    name.filter(|name| folder.join(name).is_ok_and(|path| path.name() == *name))
                {
                    names.push(name.to_owned());
                }
            }
            if names.len() > FOLDERS_MAX {
                return Err(StoreError::TooMany { folder: folder.clone(), limit: FOLDERS_MAX });
            }
            if cursor.is_none() {
                names.sort_unstable();
                names.dedup();
                return Ok(names);
            }
        }
    }

    async fn folder_page(
        &self,
        folder: &StorePath,
        prefix: &str,
        cursor: Option<VersionCursor>,
    ) -> Result<(Vec<String>, Option<VersionCursor>), StoreError> {
        let fault = |error| self.fault(Operation::List, folder, error);
        if self.capabilities.versions {
            let request =
                self.client.list_object_versions().bucket(&self.bucket).prefix(prefix).delimiter("/");
            let request = request.set_key_marker(cursor.as_ref().map(|cursor| cursor.key.clone()));
            let request =
                request.set_version_id_marker(cursor.as_ref().and_then(|cursor| cursor.version.clone()));
            let answer = request.send().await.map_err(|error| self.fault(Operation::List, folder, error))?;
            let names = answer.common_prefixes().iter().filter_map(|found| found.prefix.clone()).collect();
            return Ok((names, self.next_cursor(folder, &answer, cursor)?));
        }
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).delimiter("/");
        let request = request.set_continuation_token(cursor.as_ref().map(|cursor| cursor.key.clone()));
        let answer = request.send().await.map_err(fault)?;
        let names = answer.common_prefixes().iter().filter_map(|found| found.prefix.clone()).collect();
        let more = self.is_truncated(folder, answer.is_truncated)?;
        let token = answer.next_continuation_token.filter(|_| more);
        if token.is_some() && token.as_ref() == cursor.as_ref().map(|cursor| &cursor.key) {
            return Err(self.loops(Operation::List, folder));
        }
        Ok((names, token.map(|key| VersionCursor { key, version: None })))
    }

    async fn list_raw(
        &self,
        path: &StorePath,
        prefix: &str,
        limit: usize,
        cursor: Option<&VersionCursor>,
    ) -> Result<ListObjectVersionsOutput, StoreError> {
        self.client
            .list_object_versions()
            .bucket(&self.bucket)
            .prefix(prefix)
            .max_keys(limit as i32)
            .set_key_marker(cursor.map(|cursor| cursor.key.clone()))
            .set_version_id_marker(cursor.and_then(|cursor| cursor.version.clone()))
            .send()
            .await
            .map_err(|error| self.fault(Operation::ListVersions, path, error))
    }

    /// One server answers small pages with the same markers for ever.
    fn next_cursor(
        &self,
        path: &StorePath,
        answer: &ListObjectVersionsOutput,
        before: Option<VersionCursor>,
    ) -> Result<Option<VersionCursor>, StoreError> {
        if !self.is_truncated(path, answer.is_truncated)? {
            return Ok(None);
        }
        let version = answer.next_version_id_marker.clone().filter(|version| !version.is_empty());
        let key = answer.next_key_marker.clone();
        let next = key.map(|key| VersionCursor { key, version });
        if next.is_none() || next == before {
            return Err(self.loops(Operation::ListVersions, path));
        }
        Ok(next)
    }

    /// Every listing says it. What does not is some other page, which the SDK would take for an empty listing.
    pub(super) fn is_truncated(&self, path: &StorePath, said: Option<bool>) -> Result<bool, StoreError> {
        said.ok_or_else(|| {
            let (operation, path, location) = (Operation::List, path.clone(), self.location.clone());
            let source = "the answer is not a listing".into();
            StoreError::Refused { operation, path, location, source }
        })
    }

    fn loops(&self, operation: Operation, path: &StorePath) -> StoreError {
        let (path, location) = (path.clone(), self.location.clone());
        let source = "the listing does not go on from where it said".into();
        StoreError::Refused { operation, path, location, source }
    }
}

/// One line of an answer about versions.
struct Entry<'a> {
    key: &'a str,
    version: &'a str,
    kind: VersionKind,
    length: u64,
    modified: Timestamp,
}

/// The lines of an answer, by key; the versions of a key newest first, then its markers. The SDK keeps the two in
/// lists of their own, each in the server's order.
fn entries(answer: &ListObjectVersionsOutput) -> Vec<Entry<'_>> {
    let versions = answer.versions().iter().filter_map(|version| {
        Some(Entry {
            key: version.key()?,
            version: version.version_id().unwrap_or("null"),
            kind: VersionKind::Data,
            length: u64::try_from(version.size?).ok()?,
            modified: timestamp(version.last_modified.as_ref()),
        })
    });
    let markers = answer.delete_markers().iter().filter_map(|marker| {
        Some(Entry {
            key: marker.key()?,
            version: marker.version_id().unwrap_or("null"),
            kind: VersionKind::DeleteMarker,
            length: 0,
            modified: timestamp(marker.last_modified.as_ref()),
        })
    });
    let mut entries: Vec<_> = versions.chain(markers).collect();
    entries.sort_by(|one, other| one.key.cmp(other.key));
    entries
}

/// Folds versions, which come newest first, into one object a key: its oldest version with bytes.
struct FirstVersions {
    limit: usize,
    objects: Vec<ObjectMeta>,
    /// The key whose versions are coming: its oldest version so far, and how many came.
    current: Option<(StorePath, Option<ObjectMeta>, usize)>,
}

impl FirstVersions {
    fn new(limit: usize) -> Self {
        Self { limit, objects: Vec::new(), current: None }
    }

    /// Says whether more is wanted: with the limit reached, a further object shows that there is more.
    fn add(&mut self, path: StorePath, entry: &Entry<'_>) -> bool {
        if self.current.as_ref().is_none_or(|(current, ..)| *current != path) {
            self.close();
            if self.objects.len() > self.limit {
                self.objects.truncate(self.limit);
                return false;
            }
            self.current = Some((path.clone(), None, 0));
        }
        let Some((_, first, seen)) = &mut self.current else { return true };
        *seen += 1;
        if entry.kind == VersionKind::Data {
            *first = Some(ObjectMeta {
                path,
                length: entry.length,
                version: Some(VersionId::new(entry.version)),
                modified: entry.modified,
                retain_until: None,
                altered: false,
            });
        }
        true
    }

    fn close(&mut self) {
        if let Some((_, Some(first), seen)) = self.current.take() {
            self.objects.push(ObjectMeta { altered: seen > 1, ..first });
        }
    }
}

fn key_prefix(folder: &StorePath) -> String {
    if folder.is_root() { String::new() } else { format!("{folder}/") }
}

/// Nothing for keys that are not ours.
fn parse_key(key: &str, folder: &StorePath) -> Option<StorePath> {
    key.parse().ok().filter(|path: &StorePath| path.strip_prefix(folder).is_some())
}

/// A key that a bucket lists, for `fuzz`: taken only as a path below what was asked for.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_key(bytes: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(bytes) else { return false };
    let folder: StorePath = "k10/cluster".parse().expect("a plain path");
    let Some(path) = parse_key(key, &folder) else { return false };
    assert!(key.starts_with(&key_prefix(&folder)) && path.as_str() == key, "{key:?}");
    true
}

/// What no calendar can hold counts as the epoch.
pub(super) fn timestamp(time: Option<&DateTime>) -> Timestamp {
    let time = time.and_then(|time| Timestamp::new(time.secs(), time.subsec_nanos() as i32).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}
