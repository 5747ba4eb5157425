//! Whether a bucket and the credentials can keep objects from being removed: asked and tried, one answer a check.
//!
//! 1. versioning, Object Lock and lifecycle rules of the bucket
//! 2. write a locked object, read it, list it, read and extend its retention
//! 3. lay a delete marker over it, and try to delete it with and without the right to bypass
//! 4. wait until its lock has ended and remove it

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use bytes::Bytes;
use jiff::Timestamp;

use super::connect::LockMode;
use super::listing::timestamp;
use super::{S3Store, date_time, sha256};
use crate::{Operation, Store, StoreError, StorePath, VersionId};

const FOLDER: &str = "keelson-probe";
/// Long enough to try a delete, short enough to wait for; and for a store that answers too slowly for that.
const LOCKS: [(&str, Duration); 2] =
    [("protected", Duration::from_secs(6)), ("protected-longer", Duration::from_secs(60))];
const TICK: Duration = Duration::from_millis(1100);
/// By how much the lock is extended, to see that it can be.
const EXTENSION: Duration = Duration::from_secs(1);
/// How often the removal is tried a second apart, beyond one for each second of the lock.
const UNLOCK_TRIES: u64 = 4;

/// Why objects in a bucket would not stay for a period of protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProtectionFault {
    /// The bucket keeps no versions.
    VersioningOff,
    /// The bucket cannot lock.
    ObjectLockOff,
    /// A rule of the bucket removes what an object is.
    RuleRemovesVersions {
        /// The rule's id.
        rule: String,
    },
    /// The server says of nothing that was written which version it is.
    NoVersionId,
    /// The credentials may not do what is needed.
    MissingRight {
        /// As a policy spells it.
        right: &'static str,
    },
    /// The server took a retention and keeps another or none.
    RetentionNotKept,
    /// The server deleted what was locked.
    LockNotEnforced,
}

impl fmt::Display for ProtectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VersioningOff => f.write_str("versioning of the bucket is not on"),
            Self::ObjectLockOff => f.write_str("Object Lock of the bucket is not on"),
            Self::RuleRemovesVersions { rule } => {
                write!(f, "lifecycle rule '{rule}' of the bucket removes noncurrent versions")
            }
            Self::NoVersionId => f.write_str("the store does not say which version it has written"),
            Self::MissingRight { right } => write!(f, "the credentials lack the right {right}"),
            Self::RetentionNotKept => f.write_str("the store does not keep the retention that it was given"),
            Self::LockNotEnforced => f.write_str("the store deletes objects in spite of their retention"),
        }
    }
}

/// What was found about a bucket that is to protect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectionCheck {
    /// All that stands against it; nothing if objects stay.
    pub faults: Vec<ProtectionFault>,
    /// How firmly objects are locked.
    pub mode: LockMode,
    /// These very credentials may take a lock away: whoever steals them removes everything.
    pub bypassed: bool,
    /// An object that something was laid over says that it was written then. Of such a store nobody can tell what it
    /// held at an instant (`AsOf`).
    pub times_move: bool,
}

impl S3Store {
    /// Asks and tries all that an immutable location needs. `nonce` names the test object: no two checks may share one.
    ///
    /// # Errors
    ///
    /// Where the server does not answer, or answers what nobody can understand.
    pub async fn check_protection(&self, nonce: &str) -> Result<ProtectionCheck, StoreError> {
        let mut check =
            ProtectionCheck { faults: Vec::new(), mode: self.lock_mode, bypassed: false, times_move: false };
        self.check_bucket(&mut check).await?;
        // Without versions and locks nothing can be tried.
        let off = |fault: &ProtectionFault| {
            matches!(fault, ProtectionFault::VersioningOff | ProtectionFault::ObjectLockOff)
        };
        if !check.faults.iter().any(off) {
            let name = |source| StoreError::NameObject { source };
            let folder = self.path.join(FOLDER).map_err(name)?.join(nonce).map_err(name)?;
            let found = check.clone();
            for (object, lock) in LOCKS {
                check.clone_from(&found);
                let path = folder.join(object).map_err(name)?;
                if (Trial { store: self, path, lock, check: &mut check }).run().await? {
                    break;
                }
            }
        }
        Ok(check)
    }

    async fn check_bucket(&self, check: &mut ProtectionCheck) -> Result<(), StoreError> {
        match check.hear("s3:GetBucketVersioning", self.ask_versions().await)? {
            Told::Yes(true) | Told::Denied => {}
            Told::Yes(false) | Told::Nothing => check.faults.push(ProtectionFault::VersioningOff),
        }
        match check.hear("s3:GetBucketObjectLockConfiguration", self.ask_lock().await)? {
            Told::Yes(Some(default)) => check.mode = default.unwrap_or(self.lock_mode),
            Told::Yes(None) | Told::Nothing => check.faults.push(ProtectionFault::ObjectLockOff),
            Told::Denied => {}
        }
        // A server that knows no lifecycle rules has none that could remove anything.
        let rules = check.hear("s3:GetLifecycleConfiguration", self.ask_removing_rules().await)?;
        if let Told::Yes(rules) = rules {
            check.faults.extend(rules.into_iter().map(|rule| ProtectionFault::RuleRemovesVersions { rule }));
        }
        Ok(())
    }
}

/// What became of a question.
enum Told<T> {
    Yes(T),
    /// The server does not know the question, or nothing is set.
    Nothing,
    /// A right is missing, which was noted.
    Denied,
}

impl ProtectionCheck {
    fn hear<T>(&mut self, right: &'static str, answer: Result<T, StoreError>) -> Result<Told<T>, StoreError> {
        match answer {
            Ok(answer) => Ok(Told::Yes(answer)),
            Err(StoreError::Forbidden { .. }) => {
                self.lacks(right);
                Ok(Told::Denied)
            }
            Err(StoreError::Refused { .. } | StoreError::NotFound { .. }) => Ok(Told::Nothing),
            Err(error) => Err(error),
        }
    }

    fn lacks(&mut self, right: &'static str) {
        let fault = ProtectionFault::MissingRight { right };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The part that writes. A crash leaves one small object, locked for seconds.
struct Trial<'a> {
    store: &'a S3Store,
    path: StorePath,
    lock: Duration,
    check: &'a mut ProtectionCheck,
}

impl Trial<'_> {
    /// Says whether the lock lasted until its end: otherwise what was found says nothing.
    async fn run(mut self) -> Result<bool, StoreError> {
        let until = self.store.time().await?.saturating_add(self.lock).unwrap_or(Timestamp::MAX);
        let Some(version) = self.write_locked(until).await? else { return Ok(true) };
        self.read(&version).await?;
        self.extend(&version, until).await?;
        let before = self.written_at().await?;
        // Some servers tell whole seconds: a time that moves must be seen to.
        tokio::time::sleep(TICK).await;
        let marker = self.lay_marker().await?;
        self.check.times_move = self.written_at().await? != before;
        let gone = self.attack(&version).await?;
        let lasted = !gone || self.store.time().await? < until;
        self.remove(&version, gone, marker).await?;
        Ok(lasted)
    }

    /// What the server answered; nothing where a right is missing, which is noted.
    fn judge<T, E>(
        &mut self,
        operation: Operation,
        right: &'static str,
        answer: Result<T, SdkError<E>>,
    ) -> Result<Option<T>, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match answer.map_err(|error| self.store.fault(operation, &self.path, error)) {
            Ok(answer) => Ok(Some(answer)),
            Err(StoreError::Forbidden { .. }) => {
                self.check.lacks(right);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn write_locked(&mut self, until: Timestamp) -> Result<Option<String>, StoreError> {
        let mode = match self.check.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        };
        let S3Store { client, bucket, .. } = self.store;
        let body = Bytes::from_static(b"protected\n");
        let checksum = sha256(body.clone()).await;
        let put = || {
            let put = client.put_object().bucket(bucket).key(self.path.as_str());
            put.set_checksum_sha256(checksum.clone()).body(ByteStream::from(body.clone()))
        };
        let locked = put().object_lock_mode(mode).object_lock_retain_until_date(date_time(until));
        let locked = locked.send().await;
        let locked = locked.map_err(|error| self.store.fault(Operation::Put, &self.path, error));
        match locked {
            Ok(written) => {
                if written.version_id.is_none() {
                    self.check.faults.push(ProtectionFault::NoVersionId);
                }
                Ok(written.version_id)
            }
            Err(StoreError::Forbidden { .. }) => {
                // Which of the two rights is it?
                let plain = put().send().await;
                let written = self.judge(Operation::Put, "s3:PutObject", plain)?;
                if let Some(version) = written.and_then(|written| written.version_id) {
                    self.check.lacks("s3:PutObjectRetention");
                    self.delete(&version, false).await?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self, version: &str) -> Result<(), StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        let key = self.path.as_str().to_owned();
        let current = client.get_object().bucket(bucket).key(&key).send().await;
        self.judge(Operation::Fetch, "s3:GetObject", current)?;
        let recorded = client.get_object().bucket(bucket).key(&key).version_id(version).send().await;
        self.judge(Operation::Fetch, "s3:GetObjectVersion", recorded)?;
        Ok(())
    }

    /// When the object was written, by a listing.
    async fn written_at(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        let listed = client.list_object_versions().bucket(bucket).prefix(self.path.as_str()).send().await;
        let listed = self.judge(Operation::ListVersions, "s3:ListBucketVersions", listed)?;
        let versions = listed.and_then(|listed| listed.versions).unwrap_or_default();
        Ok(versions.last().map(|first| timestamp(first.last_modified.as_ref())))
    }

    async fn extend(&mut self, version: &str, until: Timestamp) -> Result<(), StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        let key = self.path.as_str().to_owned();
        let longer = until.saturating_add(EXTENSION).unwrap_or(until);
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(self.check.mode))
            .retain_until_date(date_time(longer))
            .build();
        let extended = client.put_object_retention().bucket(bucket).key(&key).version_id(version);
        let extended = extended.checksum_algorithm(ChecksumAlgorithm::Sha256).retention(retention);
        let extended =
            self.judge(Operation::ExtendRetention, "s3:PutObjectRetention", extended.send().await)?.is_some();
        let asked = client.get_object_retention().bucket(bucket).key(&key).version_id(version).send().await;
        match self.judge(Operation::Head, "s3:GetObjectRetention", asked) {
            Ok(None) => return Ok(()),
            // One server answers in a shape of its own. The value is read as it is read later.
            Ok(Some(_)) | Err(StoreError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let kept = match self.store.head(&self.path, Some(&VersionId::new(version))).await {
            // The right to read versions is missing, which was noted.
            Err(StoreError::Forbidden { .. }) => return Ok(()),
            head => head?.retain_until,
        };
        let expected = if extended { longer } else { until };
        if kept.is_none_or(|kept| kept < expected) {
            self.check.faults.push(ProtectionFault::RetentionNotKept);
        }
        Ok(())
    }

    /// Says whether the object is gone.
    async fn attack(&mut self, version: &str) -> Result<bool, StoreError> {
        if self.delete(version, false).await? {
            self.check.faults.push(ProtectionFault::LockNotEnforced);
            return Ok(true);
        }
        if self.delete(version, true).await? {
            match self.check.mode {
                LockMode::Governance => self.check.bypassed = true,
                LockMode::Compliance => self.check.faults.push(ProtectionFault::LockNotEnforced),
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A plain delete lays a marker over the object.
    async fn lay_marker(&mut self) -> Result<Option<String>, StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        let plain = client.delete_object().bucket(bucket).key(self.path.as_str()).send().await;
        let marker =
            self.judge(Operation::Delete, "s3:DeleteObject", plain)?.and_then(|deleted| deleted.version_id);
        Ok(marker)
    }

    async fn remove(
        &mut self,
        version: &str,
        mut gone: bool,
        marker: Option<String>,
    ) -> Result<(), StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        for _ in 0..self.lock.as_secs() + UNLOCK_TRIES {
            if gone {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            gone = self.delete(version, false).await?;
        }
        if !gone {
            self.check.lacks("s3:DeleteObjectVersion");
        } else if let Some(marker) = marker {
            let removed = client.delete_object().bucket(bucket).key(self.path.as_str());
            self.judge(Operation::Delete, "s3:DeleteObjectVersion", removed.version_id(marker).send().await)?;
        }
        Ok(())
    }

    /// Says whether it is gone. Servers refuse a locked delete with different codes, some the same as for a missing
    /// right.
    async fn delete(&self, version: &str, bypass: bool) -> Result<bool, StoreError> {
        let S3Store { client, bucket, .. } = self.store;
        let delete = client.delete_object().bucket(bucket).key(self.path.as_str()).version_id(version);
        let delete = if bypass { delete.bypass_governance_retention(true) } else { delete };
        let deleted = delete.send().await;
        match deleted.map_err(|error| self.store.fault(Operation::Delete, &self.path, error)) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(true),
            Err(StoreError::Forbidden { .. } | StoreError::Refused { .. } | StoreError::Busy { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
