//! Reads the objects of a shipped chain. What does not open, or lies under a name that is not its own, was damaged or
//! written by a stranger: it is passed over with a warning and never followed.

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use keelson_crypto::{ObjectKind, open_object};
use keelson_model::Chain;
use keelson_repository::{Open, Repository};
use keelson_store::{ListPage, Store, StoreError, StoreExt, StorePath};
use serde::de::DeserializeOwned;

use crate::documents::{self, DocumentError};
use crate::layout::{DrFolder, Position, name_of};
use crate::recovery::RecoveryError;
use crate::recovery::documents::{BaseDocument, Named, SegmentDirectory};

/// A week of segments, one a second, three times over. More names than this in a folder are not our work.
const NAMES_MAX: usize = 2_000_000;
/// So many of the objects that were passed over are named in warnings.
const NAMED_MAX: usize = 10;
/// And each of so many is told in the log.
const TOLD_EVERY: usize = 1_000;

/// A chain as an opened repository shows it.
#[derive(Clone, Copy)]
pub(crate) struct Shelf<'a> {
    pub store: &'a dyn Store,
    pub repository: &'a Repository<Open>,
    pub folder: &'a DrFolder,
}

/// An object, known from a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredName {
    pub at: Position,
    pub bytes: u64,
    pub stored_at: Timestamp,
}

impl Shelf<'_> {
    pub(crate) async fn bases(&self) -> Result<Vec<StoredName>, RecoveryError> {
        list_names(self.store, &self.folder.bases(), None).await
    }

    pub(crate) async fn manifests(&self) -> Result<Vec<StoredName>, RecoveryError> {
        list_names(self.store, &self.folder.manifests(), None).await
    }

    /// The segments that begin behind a position; all of them without one.
    pub(crate) async fn segments(&self, behind: Option<Position>) -> Result<Vec<StoredName>, RecoveryError> {
        let after = behind.map(|at| self.folder.segment(at));
        list_names(self.store, &self.folder.segments(), after).await
    }

    /// The segments from the oldest on that begin at or before a position; what comes after is not listed.
    pub(crate) async fn segments_through(&self, end: Position) -> Result<Vec<Position>, RecoveryError> {
        let folder = self.folder.segments();
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let mut objects = self.store.stream(&folder);
        let mut names = Vec::new();
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            match name_of::<Position>(&object.path) {
                Some(at) if at > end || names.len() == NAMES_MAX => break,
                Some(at) => names.push(at),
                None => {}
            }
        }
        Ok(names)
    }

    pub(crate) async fn bytes(&self, path: &StorePath) -> Result<Bytes, RecoveryError> {
        let fetched = self.store.fetch_all(path).await;
        fetched.map_err(|source| RecoveryError::Fetch { path: path.clone(), source })
    }

    pub(crate) async fn document<T: DeserializeOwned>(
        &self,
        kind: ObjectKind,
        path: &StorePath,
    ) -> Result<T, RecoveryError> {
        let bytes = self.bytes(path).await?;
        documents::open(self.repository.keyring(), kind, path, &bytes)
            .map_err(|source| RecoveryError::Document { source })
    }

    async fn named<T: DeserializeOwned + Named>(
        &self,
        kind: ObjectKind,
        path: &StorePath,
        at: Position,
    ) -> Result<T, RecoveryError> {
        let document: T = self.document(kind, path).await?;
        if document.name() != at {
            return Err(RecoveryError::Document {
                source: DocumentError::OtherName { path: path.clone(), name: document.name().to_string() },
            });
        }
        Ok(document)
    }

    pub(crate) async fn base(&self, at: Position) -> Result<BaseDocument, RecoveryError> {
        self.named(ObjectKind::Base, &self.folder.base(at), at).await
    }

    pub(crate) async fn manifest(
        &self,
        at: Position,
    ) -> Result<crate::recovery::ManifestDocument, RecoveryError> {
        self.named(ObjectKind::Manifest, &self.folder.manifest(at), at).await
    }

    pub(crate) async fn segment(&self, first: Position) -> Result<SegmentDirectory, RecoveryError> {
        self.named(ObjectKind::Segment, &self.folder.segment(first), first).await
    }

    /// What a segment says of itself, and its entries.
    pub(crate) fn open_segment(
        &self,
        at: Position,
        bytes: &[u8],
    ) -> Result<(SegmentDirectory, Vec<u8>), RecoveryError> {
        let path = self.folder.segment(at);
        let broken =
            |source| RecoveryError::Document { source: DocumentError::Open { path: path.clone(), source } };
        let opened = open_object(self.repository.keyring(), ObjectKind::Segment, bytes).map_err(broken)?;
        let directory: Result<SegmentDirectory, _> = serde_json::from_slice(opened.directory());
        let directory = directory.map_err(|source| RecoveryError::Document {
            source: DocumentError::Decode { path: path.clone(), source },
        })?;
        if directory.first != at {
            let name = directory.first.to_string();
            return Err(RecoveryError::Document { source: DocumentError::OtherName { path, name } });
        }
        Ok((directory, opened.part(0).map_err(broken)?))
    }

    /// The newest base that can be used. However many do not open are passed over, each for one request: whoever can
    /// write may leave any number of them.
    pub(crate) async fn newest_base(
        &self,
        bases: &[StoredName],
        warnings: &mut Vec<String>,
    ) -> Result<Option<BaseDocument>, RecoveryError> {
        let (mut passed_over, mut newest) = (PassedOver::default(), None);
        for name in bases.iter().rev() {
            match self.base(name.at).await {
                Ok(base) => {
                    passed_over.tell(warnings);
                    return Ok(Some(base));
                }
                Err(error) if is_damage(&error) => {
                    passed_over.note(warning(&error));
                    newest.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // Where none was good, the newest one's error says why.
        newest.map_or(Ok(None), Err)
    }

    /// The last segment that can be read, found in the same way.
    pub(crate) async fn last_segment(
        &self,
        segments: &[StoredName],
        warnings: &mut Vec<String>,
    ) -> Result<Option<SegmentDirectory>, RecoveryError> {
        let (mut passed_over, mut last) = (PassedOver::default(), None);
        for name in segments.iter().rev() {
            match self.segment(name.at).await {
                Ok(directory) => {
                    last = Some(directory);
                    break;
                }
                Err(error) if is_damage(&error) => passed_over.note(warning(&error)),
                Err(error) => return Err(error),
            }
        }
        // Without one the base before them is still a point.
        passed_over.tell(warnings);
        Ok(last)
    }
}

/// The positions that name objects of a folder, in order, a page at a time. Other names are not ours.
async fn list_names(
    store: &dyn Store,
    folder: &StorePath,
    after: Option<StorePath>,
) -> Result<Vec<StoredName>, RecoveryError> {
    let failed = |source| RecoveryError::List { folder: folder.clone(), source };
    let page = after.map_or(ListPage::first(), ListPage::after);
    let mut objects = store.stream_from(folder, page);
    let mut names = Vec::new();
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        let Some(at) = name_of(&object.path) else { continue };
        if names.len() == NAMES_MAX {
            return Err(failed(StoreError::TooMany { folder: folder.clone(), limit: NAMES_MAX }));
        }
        names.push(StoredName { at, bytes: object.length, stored_at: object.modified });
    }
    Ok(names)
}

/// Warnings of what was passed over: the first of them, and how many there were.
#[derive(Default)]
pub(crate) struct PassedOver {
    count: usize,
    warnings: Vec<String>,
}

impl PassedOver {
    pub(crate) fn note(&mut self, warning: String) {
        self.count += 1;
        if self.count <= NAMED_MAX {
            self.warnings.push(warning);
        } else if self.count.is_multiple_of(TOLD_EVERY) {
            tracing::warn!(count = self.count, "tampering: a flood of objects is passed over; still looking");
        }
    }

    pub(crate) fn tell(self, warnings: &mut Vec<String>) {
        let unnamed = self.count - self.warnings.len();
        warnings.extend(self.warnings);
        if unnamed > 0 {
            warnings.push(format!("not used: {unnamed} more like these"));
        }
    }
}

/// The object itself is bad, as opposed to out of reach for now.
pub(crate) fn is_damage(error: &RecoveryError) -> bool {
    match error {
        RecoveryError::Document { .. } => true,
        RecoveryError::Fetch { source, .. } => {
            matches!(source, StoreError::NotFound { .. } | StoreError::Incomplete { .. })
        }
        _ => false,
    }
}

pub(crate) fn warning(error: &RecoveryError) -> String {
    format!("not used: {}", Chain(error))
}
