//! Stores that take a rule of the protocol out of the code above them, by answering what is not so.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind, Sealer, open_object};
use keelson_model::SessionId;
use keelson_repository::{Open, Repository, SessionPurpose, SessionResult};
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError, StoreExt,
    StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

use crate::world::*;

/// Which rule is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// A session is announced only after marks and index were listed.
    AnnounceLate,
    /// A session is announced only after it was listed what is retired.
    AnnounceAfterRetired,
    /// There never is a mark.
    HideMarks,
    /// Nothing commits after the first look at the outcomes.
    FreezeOutcomes,
    /// There never is a session.
    HideSessions,
    /// Nobody begins after the first look at the sessions, which comes before the mark.
    FreezeSessions,
    /// The outcome that ends a session replaces whatever is there.
    OverwriteOutcomes,
    /// There never is a verdict, and ours always wins.
    HideVerdicts,
    /// A verdict is created only when the dead packs have gone.
    DeleteBeforeVerdict,
    /// Nothing was ever retired.
    HideRetired,
    /// Nothing was ever moved.
    HideRepacks,
    /// What is moved is moved for whoever runs, too.
    MoveForAll,
}

#[derive(Debug)]
pub(super) struct Liar {
    inner: Arc<dyn Store>,
    lie: Lie,
    /// The same repository, past the stage.
    raw: Repository<Open>,
    held_back: Mutex<Vec<(StorePath, Bytes, PutOptions)>>,
    frozen: Mutex<Option<Vec<StorePath>>>,
}

impl Liar {
    pub(super) fn new(inner: Arc<dyn Store>, lie: Lie, raw: Repository<Open>) -> Self {
        Self { inner, lie, raw, held_back: Mutex::default(), frozen: Mutex::default() }
    }

    fn lies(&self, lie: Lie, path: &StorePath, folder: &str) -> bool {
        let folder = root().join(folder).unwrap();
        self.lie == lie && (*path == folder || path.strip_prefix(&folder).is_some())
    }

    fn holds_back(&self, path: &StorePath) -> bool {
        self.lies(Lie::AnnounceLate, path, "sessions")
            || self.lies(Lie::AnnounceAfterRetired, path, "sessions")
            || self.lies(Lie::DeleteBeforeVerdict, path, "verdicts")
    }

    async fn let_go(&self) -> Result<(), StoreError> {
        let held_back = std::mem::take(&mut *self.held_back.lock().unwrap());
        for (path, body, options) in held_back {
            match self.inner.put(&path, body, options).await {
                Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn is_repack(&self, path: &StorePath) -> bool {
        let outcome = self.raw.fetch_outcome(session_of(path)).await;
        outcome.is_ok_and(|outcome| outcome.purpose() == SessionPurpose::Repack)
    }

    /// The record of a repack ends with the number of the outcomes for which its moves hold, and their ids.
    async fn move_for_all(&self, path: &StorePath, sealed: Bytes) -> Bytes {
        let (keys, kind) = (self.raw.keyring(), ObjectKind::Outcome);
        let mut record = open_object(keys, kind, &sealed).unwrap().part(0).unwrap();
        if record[2..4] != [SessionResult::Committed as u8, SessionPurpose::Repack as u8] {
            return sealed;
        }
        let start_of = |count: usize| record.len() - 4 - count * SessionId::LENGTH;
        let is_stated = |count: &usize| {
            let start = start_of(*count);
            record[start..start + 4] == (*count as u32).to_le_bytes()
        };
        let known = (0..record.len() / SessionId::LENGTH).find(is_stated).unwrap();
        let start = start_of(known);
        let running = self.raw.store().list_all(&root().join("sessions").unwrap()).await.unwrap();
        let count = (known + running.len()) as u32;
        record[start..start + 4].copy_from_slice(&count.to_le_bytes());
        for session in running {
            record.extend_from_slice(session_of(&session.path.parent().unwrap()).as_bytes());
        }
        let id = ObjectId::from_bytes(*session_of(path).as_bytes());
        let mut sealer = Sealer::with_id(keys.newest(), kind, id);
        sealer.part(&record).unwrap();
        sealer.finish(&[]).unwrap().bytes
    }
}

/// The session by whose id an object is named.
fn session_of(path: &StorePath) -> SessionId {
    path.name().parse().unwrap()
}

fn written() -> Written {
    Written { version: None, stored_at: now() }
}

#[async_trait]
impl Store for Liar {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        if self.holds_back(path) {
            self.held_back.lock().unwrap().push((path.clone(), body, options));
            return Ok(written());
        }
        self.let_go().await?;
        if self.lies(Lie::MoveForAll, path, "outcomes") {
            let body = self.move_for_all(path, body).await;
            return self.inner.put(path, body, options).await;
        }
        if self.lies(Lie::OverwriteOutcomes, path, "outcomes") {
            return self.inner.put(path, body, PutOptions::overwrite()).await;
        }
        match self.inner.put(path, body, options).await {
            Err(StoreError::AlreadyExists { .. }) if self.lies(Lie::HideVerdicts, path, "verdicts") => {
                Ok(written())
            }
            answer => answer,
        }
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        if self.lies(Lie::HideVerdicts, path, "verdicts") {
            return Err(StoreError::NotFound { operation: Operation::Fetch, path: path.clone() });
        }
        self.inner.fetch(path, read).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        // A clock that is ahead makes it end the session; whether it has ended is not looked at.
        if self.lies(Lie::OverwriteOutcomes, path, "outcomes") {
            return Err(StoreError::NotFound { operation: Operation::Head, path: path.clone() });
        }
        self.inner.head(path, version).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(folder, page).await?;
        let hidden = self.lies(Lie::HideMarks, folder, "marks")
            || self.lies(Lie::HideSessions, folder, "sessions")
            || self.lies(Lie::HideVerdicts, folder, "verdicts")
            || self.lies(Lie::HideRetired, folder, "retired");
        if hidden {
            listing.objects.clear();
        }
        if self.lies(Lie::HideRepacks, folder, "outcomes") {
            let mut kept = Vec::new();
            for object in listing.objects {
                if !self.is_repack(&object.path).await {
                    kept.push(object);
                }
            }
            listing.objects = kept;
        }
        let freezes = self.lies(Lie::FreezeOutcomes, folder, "outcomes")
            || self.lies(Lie::FreezeSessions, folder, "sessions");
        if freezes {
            let mut frozen = self.frozen.lock().unwrap();
            let names = || listing.objects.iter().map(|object| object.path.clone()).collect();
            let known = frozen.get_or_insert_with(names);
            listing.objects.retain(|object| known.contains(&object.path));
        }
        let looked = self.lies(Lie::AnnounceLate, folder, "index")
            || self.lies(Lie::AnnounceAfterRetired, folder, "retired");
        if looked {
            self.let_go().await?;
        }
        Ok(listing)
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.inner.list_folders(folder).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        self.inner.list_versions(scope, page).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        // Index objects go after the packs.
        if self.lies(Lie::DeleteBeforeVerdict, path, "index") {
            self.let_go().await?;
        }
        self.inner.delete(path, version).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.extend_retention(path, version, until).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
