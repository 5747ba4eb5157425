//! Stores that take a rule of the protocol out of the code above them, by answering what is not so.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind, Sealer, open_object};
use keelson_model::{PackId, SessionId};
use keelson_repository::{Open, Repository, SessionPurpose, SessionResult};
use keelson_store::{
    Capabilities, ListPage, Listing, ObjectMeta, Operation, PutOptions, Read, Store, StoreError, StoreExt,
    StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

use crate::upkeep::LATE_EFFECTS;
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
    /// A session is announced only when its outcome is created.
    AnnounceWithOutcome,
    /// Outcomes are listed before a session is announced, and are those until its repack is over.
    ListOutcomesFirst,
    /// There is no mark each pack of which some verdict keeps, be it that on another mark.
    HeedAnyVerdict,
    /// What was retired after the first look at the outcomes is none.
    HideRetiredSince,
    /// With the first pack every repack goes, whether it holds for somebody or not.
    RemoveRepacks,
    /// What lies in this folder was stored long ago.
    Aged(&'static str),
    /// Marks are told to be there, whether they are or not.
    ShowMarks,
    /// The store's clock stands still.
    StopClock,
    /// Renewals are sent and do not arrive.
    DropRenewals,
    /// Nobody renews a session.
    HideRenewals,
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
            || self.lies(Lie::AnnounceWithOutcome, path, "sessions")
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

    /// What was held back goes before anything else is put, or before the outcome.
    fn is_let_go_by(&self, path: &StorePath) -> bool {
        self.lie != Lie::AnnounceWithOutcome || self.lies(Lie::AnnounceWithOutcome, path, "outcomes")
    }

    async fn is_repack(&self, path: &StorePath) -> bool {
        let outcome = self.raw.fetch_outcome(session_of(path)).await;
        outcome.is_ok_and(|outcome| outcome.purpose() == SessionPurpose::Repack)
    }

    /// Whether every pack of a mark is among those that some verdict keeps.
    async fn is_kept_by_any(&self, mark: &StorePath) -> bool {
        let mut kept = Vec::new();
        for verdict in self.raw.store().list_all(&root().join("verdicts").unwrap()).await.unwrap() {
            let record = self.record(ObjectKind::Verdict, &verdict.path).await;
            let (_dead, rest) = packs_of(&record[2..]);
            kept.extend(packs_of(rest).0.into_iter().map(<[u8]>::to_vec));
        }
        let record = self.record(ObjectKind::Mark, mark).await;
        let (packs, _outcomes) = packs_of(&record[2..]);
        packs.into_iter().all(|pack| kept.iter().any(|kept| kept == pack))
    }

    async fn record(&self, kind: ObjectKind, path: &StorePath) -> Vec<u8> {
        let sealed = self.raw.store().fetch_all(path).await.unwrap();
        open_object(self.raw.keyring(), kind, &sealed).unwrap().part(0).unwrap()
    }

    /// Whether the outcome was not there at the first look and there is a retirement of it now.
    async fn is_retired_since(&self, outcome: &StorePath) -> bool {
        if self.frozen.lock().unwrap().as_ref().is_none_or(|known| known.contains(outcome)) {
            return false;
        }
        let retirement = root().join(&format!("retired/{}", outcome.name())).unwrap();
        self.raw.store().exists(&retirement).await.unwrap()
    }

    /// Those that a lie does not hide for what they say.
    async fn hide_some(&self, folder: &StorePath, objects: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
        let mut kept = Vec::new();
        for object in objects {
            let path = &object.path;
            let hidden = self.lies(Lie::HideRepacks, folder, "outcomes") && self.is_repack(path).await
                || self.lies(Lie::HeedAnyVerdict, folder, "marks") && self.is_kept_by_any(path).await
                || self.lies(Lie::HideRetiredSince, folder, "outcomes") && self.is_retired_since(path).await;
            if !hidden {
                kept.push(object);
            }
        }
        kept
    }

    async fn remove_repacks(&self) -> Result<(), StoreError> {
        for outcome in self.raw.store().list_all(&root().join("outcomes").unwrap()).await? {
            if self.is_repack(&outcome.path).await {
                self.raw.store().delete(&outcome.path, None).await?;
            }
        }
        Ok(())
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

/// `sessions/<id>/<n>`, and not the first.
fn is_renewal(path: &StorePath) -> bool {
    path.name() != "0"
}

/// A list of packs as marks and verdicts have it, and what follows.
fn packs_of(record: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (count, rest) = record.split_at(4);
    let bytes = u32::from_le_bytes(count.try_into().unwrap()) as usize * PackId::LENGTH;
    (rest[..bytes].chunks(PackId::LENGTH).collect(), &rest[bytes..])
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
        if self.lies(Lie::DropRenewals, path, "sessions") && is_renewal(path) {
            return Ok(written());
        }
        if self.is_let_go_by(path) {
            self.let_go().await?;
        }
        if self.lies(Lie::ListOutcomesFirst, path, "sessions") {
            let outcomes = self.inner.list(&root().join("outcomes").unwrap(), &ListPage::first()).await?;
            let names = outcomes.objects.into_iter().map(|object| object.path);
            *self.frozen.lock().unwrap() = Some(names.collect());
        }
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
        if self.lies(Lie::ShowMarks, path, "marks") {
            return self.inner.head(&root().join("format").unwrap(), None).await;
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
        if self.lies(Lie::HideRenewals, folder, "sessions") {
            listing.objects.retain(|object| !is_renewal(&object.path));
        }
        if let Lie::Aged(aged) = self.lie
            && self.lies(self.lie, folder, aged)
        {
            listing.objects.iter_mut().for_each(|object| object.modified = now() - LATE_EFFECTS);
        }
        listing.objects = self.hide_some(folder, listing.objects).await;
        // Whoever prunes looks there first.
        if self.lies(Lie::ListOutcomesFirst, folder, "retired") {
            *self.frozen.lock().unwrap() = None;
        }
        if self.lies(Lie::ListOutcomesFirst, folder, "outcomes")
            && let Some(known) = &*self.frozen.lock().unwrap()
        {
            listing.objects.retain(|object| known.contains(&object.path));
        }
        let freezes = self.lies(Lie::FreezeOutcomes, folder, "outcomes")
            || self.lies(Lie::FreezeSessions, folder, "sessions");
        if freezes || self.lies(Lie::HideRetiredSince, folder, "outcomes") {
            let mut frozen = self.frozen.lock().unwrap();
            let names = || listing.objects.iter().map(|object| object.path.clone()).collect();
            let known = frozen.get_or_insert_with(names);
            listing.objects.retain(|object| !freezes || known.contains(&object.path));
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
        if self.lies(Lie::RemoveRepacks, path, "packs") {
            self.remove_repacks().await?;
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
        if self.lie == Lie::StopClock {
            return Ok(now());
        }
        self.inner.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
