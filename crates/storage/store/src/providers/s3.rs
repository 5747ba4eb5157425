//! `S3Store`: a bucket of AWS or of a compatible server.
//!
//! One PUT an object, never multipart; every body with its SHA-256. Where the bucket keeps versions, reads without a
//! version cost one listing of the key: record the version that `put` answered. Repeats requests only over
//! connections that broke: wrap it in `Retry`.

mod connect;
mod fault;
mod listing;
mod protection;
mod transport;
mod trust;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockRetention, ObjectLockRetentionMode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;

pub use self::connect::{LockMode, S3Settings, Secret};
use self::fault::Failure;
use self::listing::timestamp;
#[cfg(any(test, fuzzing))]
pub(crate) use self::listing::withstand_key;
pub use self::protection::{ProtectionCheck, ProtectionFault};
use self::transport::Transport;
pub use self::trust::Trust;
use crate::{
    ByteRange, Capabilities, Feature, ListPage, Listing, OBJECT_BYTES_MAX, ObjectMeta, Operation, PutMode,
    PutOptions, RETENTION_MAX, Read, Store, StoreError, StorePath, VersionId, VersionKind, VersionListing,
    VersionPage, VersionScope, Written,
};

/// Objects in a bucket. Clones share connections.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    transport: Transport,
    bucket: String,
    path: StorePath,
    location: String,
    lock_mode: LockMode,
    capabilities: Capabilities,
}

/// The SDK's client would print the access key.
impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("location", &self.location).finish_non_exhaustive()
    }
}

/// A key is taken: the create did not happen.
const PRECONDITION_FAILED: u16 = 412;
const RANGE_NOT_SATISFIABLE: u16 = 416;

impl S3Store {
    fn require(&self, has: bool, operation: Operation, feature: Feature) -> Result<(), StoreError> {
        if has {
            return Ok(());
        }
        Err(StoreError::Unsupported { operation, location: self.location.clone(), feature })
    }

    fn check_retention(&self, path: &StorePath, until: Timestamp) -> Result<(), StoreError> {
        let now = self.transport.server_time();
        let latest = now.and_then(|now| now.checked_add(RETENTION_MAX).ok()).unwrap_or(Timestamp::MIN);
        if until > latest {
            return Err(StoreError::RetainTooLong { path: path.clone(), until, latest });
        }
        Ok(())
    }

    fn check_put(&self, path: &StorePath, body: &Bytes, options: PutOptions) -> Result<(), StoreError> {
        let length = body.len() as u64;
        if path.is_root() {
            return Err(StoreError::MixKeyAndFolder { operation: Operation::Put, path: path.clone() });
        }
        if length > OBJECT_BYTES_MAX {
            let (operation, limit) = (Operation::Put, OBJECT_BYTES_MAX);
            return Err(StoreError::TooLarge { operation, path: path.clone(), length, limit });
        }
        if let Some(until) = options.retain_until {
            self.require(self.capabilities.object_lock, Operation::Put, Feature::ObjectLock)?;
            self.check_retention(path, until)?;
        }
        let overwrites = options.mode == PutMode::Overwrite;
        self.require(self.capabilities.overwrite || !overwrites, Operation::Put, Feature::Overwrite)
    }

    /// A create met a key that is taken. By our own bytes: a repeated request met the one before.
    async fn settle(
        &self,
        path: &StorePath,
        body: &Bytes,
        options: PutOptions,
    ) -> Result<Written, StoreError> {
        let found = match self.head(path, None).await {
            // Taken a moment ago, gone now: the caller may ask again.
            Err(StoreError::NotFound { .. }) => {
                let (operation, path, location) = (Operation::Put, path.clone(), self.location.clone());
                let source = "the key was taken and is free again".into();
                return Err(StoreError::Busy { operation, path, location, retry_after: None, source });
            }
            other => other?,
        };
        let same_length = found.length == body.len() as u64;
        if !same_length || self.fetch(path, Read::all().of_version(found.version.clone())).await? != *body {
            return Err(StoreError::AlreadyExists { path: path.clone() });
        }
        if let Some(until) = options.retain_until {
            self.extend_retention(path, found.version.as_ref(), until).await?;
        }
        Ok(Written { version: found.version, stored_at: found.modified })
    }

    /// The version to read: the recorded one, or the first.
    async fn resolve(
        &self,
        operation: Operation,
        path: &StorePath,
        version: Option<VersionId>,
    ) -> Result<(Option<VersionId>, bool), StoreError> {
        if !self.capabilities.versions {
            return Ok((None, false));
        }
        if version.is_some() {
            return Ok((version, false));
        }
        let first = self.find_first(operation, path).await?;
        Ok((first.version, first.altered))
    }

    async fn describe(
        &self,
        operation: Operation,
        path: &StorePath,
        version: Option<&VersionId>,
    ) -> Result<(ObjectMeta, Option<LockMode>), StoreError> {
        let (version, altered) = self.resolve(operation, path, version.cloned()).await?;
        let request = self.client.head_object().bucket(&self.bucket).key(path.as_str());
        let request = request.set_version_id(version.as_ref().map(|version| version.as_str().to_owned()));
        let answer = request.send().await.map_err(|error| self.fault(operation, path, error))?;
        let mode = match answer.object_lock_mode() {
            Some(aws_sdk_s3::types::ObjectLockMode::Compliance) => Some(LockMode::Compliance),
            Some(_) => Some(LockMode::Governance),
            None => None,
        };
        let retain_until = answer.object_lock_retain_until_date.as_ref();
        let meta = ObjectMeta {
            path: path.clone(),
            length: answer.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
            version,
            modified: timestamp(answer.last_modified.as_ref()),
            retain_until: retain_until.map(|until| timestamp(Some(until))),
            altered,
        };
        Ok((meta, mode))
    }

    async fn delete_one(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(path.as_str());
        let request = request.set_version_id(version.map(|version| version.as_str().to_owned()));
        // A lock that ends while the answer is under way was one. Servers tell whole seconds.
        let asked = self.transport.server_time().map(|time| time - Duration::from_secs(1));
        let failure = match request.send().await {
            Ok(_) => return Ok(()),
            Err(error) => Failure::of(error),
        };
        // Servers refuse a locked delete with different codes, some of them the same as for a missing right.
        let refused = failure.refusal().is_some_and(|refusal| matches!(refusal.status, 400 | 403));
        if refused && version.is_some() && self.is_locked(path, version, asked).await {
            return Err(StoreError::Locked { operation: Operation::Delete, path: path.clone() });
        }
        match self.explain(Operation::Delete, path, failure) {
            StoreError::NotFound { .. } => Ok(()),
            error => Err(error),
        }
    }

    async fn is_locked(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        asked: Option<Timestamp>,
    ) -> bool {
        let until = match self.describe(Operation::Delete, path, version).await {
            Ok((meta, _)) => meta.retain_until,
            Err(_) => None,
        };
        until.is_some_and(|until| asked.is_none_or(|asked| until > asked))
    }

    /// Newest first, so that what is left of an interrupted delete is still led by the first version.
    async fn delete_all(&self, path: &StorePath) -> Result<(), StoreError> {
        let scope = VersionScope::Object(path.clone());
        let mut page = VersionPage::first();
        loop {
            let VersionListing { mut versions, next } = self.list_versions(&scope, &page).await?;
            versions.sort_by_key(|version| version.kind == VersionKind::Data);
            for version in versions {
                self.delete_one(path, Some(&version.version)).await?;
            }
            match next {
                Some(after) => page.after = Some(after),
                None => return Ok(()),
            }
        }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        self.check_put(path, &body, options)?;
        let checksum = sha256(body.clone()).await;
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(path.as_str())
            .content_length(body.len() as i64)
            .set_checksum_sha256(checksum)
            .body(ByteStream::from(body.clone()));
        if let Some(until) = options.retain_until {
            let mode = match self.lock_mode {
                LockMode::Governance => aws_sdk_s3::types::ObjectLockMode::Governance,
                LockMode::Compliance => aws_sdk_s3::types::ObjectLockMode::Compliance,
            };
            request = request.object_lock_mode(mode).object_lock_retain_until_date(date_time(until));
        }
        request = match options.mode {
            PutMode::Create | PutMode::CreateUnique => request.if_none_match("*"),
            PutMode::Overwrite => request,
        };
        let answer = match request.send().await.map_err(Failure::of) {
            Ok(answer) => answer,
            Err(failure)
                if failure.refusal().is_some_and(|refusal| refusal.status == PRECONDITION_FAILED) =>
            {
                return self.settle(path, &body, options).await;
            }
            Err(failure) => return Err(self.explain(Operation::Put, path, failure)),
        };
        let version = answer.version_id.filter(|_| self.capabilities.versions).map(VersionId::new);
        if options.mode == PutMode::Create && self.capabilities.versions {
            let first = self.find_first(Operation::Put, path).await?;
            if first.version != version {
                return self.settle(path, &body, options).await;
            }
        }
        let stored_at = self.transport.server_time().unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Written { version, stored_at })
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        let range = match read.range {
            ByteRange::All => None,
            ByteRange::Span { length: 0, .. } | ByteRange::Last(0) => {
                let meta = self.head(path, read.version.as_ref()).await?;
                let fits = read.range.resolve(meta.length).is_some();
                return match fits {
                    true => Ok(Bytes::new()),
                    false => Err(StoreError::OutOfRange { path: path.clone(), length: meta.length }),
                };
            }
            ByteRange::Span { offset, length } => {
                Some(format!("bytes={offset}-{}", offset.saturating_add(length - 1)))
            }
            ByteRange::Last(length) => Some(format!("bytes=-{length}")),
        };
        let (version, _) = self.resolve(Operation::Fetch, path, read.version).await?;
        let request = self.client.get_object().bucket(&self.bucket).key(path.as_str()).set_range(range);
        let request = request.set_version_id(version.as_ref().map(|version| version.as_str().to_owned()));
        let answer = match request.send().await.map_err(Failure::of) {
            Ok(answer) => answer,
            Err(failure)
                if failure.refusal().is_some_and(|refusal| refusal.status == RANGE_NOT_SATISFIABLE) =>
            {
                let length = self.head(path, version.as_ref()).await?.length;
                return match read.range {
                    ByteRange::Last(_) if length == 0 => Ok(Bytes::new()),
                    _ => Err(StoreError::OutOfRange { path: path.clone(), length }),
                };
            }
            Err(failure) => return Err(self.explain(Operation::Fetch, path, failure)),
        };
        let whole = answer.content_range.as_deref().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let body = answer.body.collect().await.map_err(|error| StoreError::Transfer {
            operation: Operation::Fetch,
            path: path.clone(),
            location: self.location.clone(),
            source: error.into(),
        })?;
        check_range(path, read.range, body.into_bytes(), whole)
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        Ok(self.describe(Operation::Head, path, version).await?.0)
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        match self.capabilities.versions {
            true => self.list_firsts(folder, page).await,
            false => self.list_current(folder, page).await,
        }
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.list_folder_names(folder).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.require(self.capabilities.versions, Operation::ListVersions, Feature::Versions)?;
        self.list_version_page(scope, page).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        match version {
            Some(_) => {
                self.require(self.capabilities.versions, Operation::Delete, Feature::Versions)?;
                self.delete_one(path, version).await
            }
            None if self.capabilities.versions => self.delete_all(path).await,
            None => self.delete_one(path, None).await,
        }
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.require(self.capabilities.object_lock, Operation::ExtendRetention, Feature::ObjectLock)?;
        self.check_retention(path, until)?;
        let (meta, mode) = self.describe(Operation::ExtendRetention, path, version).await?;
        if meta.retain_until.is_some_and(|retained| retained >= until) {
            return Ok(());
        }
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(mode.unwrap_or(self.lock_mode)))
            .retain_until_date(date_time(until))
            .build();
        self.client
            .put_object_retention()
            .bucket(&self.bucket)
            .key(path.as_str())
            .set_version_id(meta.version.map(|version| version.as_str().to_owned()))
            .retention(retention)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .send()
            .await
            .map(drop)
            .map_err(|error| self.fault(Operation::ExtendRetention, path, error))
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        let root = StorePath::root();
        let answer = self.client.head_bucket().bucket(&self.bucket).send().await;
        answer.map_err(|error| self.fault(Operation::ReadTime, &root, error))?;
        self.transport.server_time().ok_or_else(|| StoreError::Refused {
            operation: Operation::ReadTime,
            path: root,
            location: self.location.clone(),
            source: "the answer has no date".into(),
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn location(&self) -> &str {
        &self.location
    }
}

/// Beside the runtime: an object is large enough to hold up others. Without it the request goes unchecked by it but
/// not unsigned; the blocking pool only fails when the runtime ends.
async fn sha256(body: Bytes) -> Option<String> {
    let digest = move || STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body));
    tokio::task::spawn_blocking(digest).await.ok()
}

/// A server may cut a range short at the object's end, or not know ranges at all.
fn check_range(
    path: &StorePath,
    range: ByteRange,
    body: Bytes,
    whole: Option<u64>,
) -> Result<Bytes, StoreError> {
    let found = body.len() as u64;
    let length = whole.unwrap_or(found);
    let Some(expected) = range.resolve(length) else {
        return Err(StoreError::OutOfRange { path: path.clone(), length });
    };
    if whole.is_none() && !matches!(range, ByteRange::All) {
        return Ok(body.slice(expected.start as usize..expected.end as usize));
    }
    let expected = expected.end - expected.start;
    match found == expected {
        true => Ok(body),
        false => Err(StoreError::Incomplete { path: path.clone(), expected, found }),
    }
}

/// Rounded up: servers keep whole seconds, and a retention may end late but not early.
fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_secs(time.as_second() + i64::from(time.subsec_nanosecond() > 0))
}
