//! Takes away what lies over first versions: delete markers and later versions, which mean nothing to us but hide the
//! objects from everybody else.
//!
//! Guarantees: no first version is touched; doing it again is harmless. Limits: a key that is first written by a
//! stranger is his object and stays; a version that is locked stays until its lock ends, and is counted.

use keelson_model::{Classified, ErrorClass};
use serde::Serialize;

use crate::{
    Feature, Operation, Store, StoreError, StorePath, VersionId, VersionKind, VersionMeta, VersionPage,
    VersionScope,
};

/// So many objects are named in a report.
pub const NAMED_MAX: usize = 20;

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelete {
    /// Only looks.
    DryRun,
    /// Removes what lies over first versions.
    Execute,
}

/// What lies over the first versions of a folder, and what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndeleteReport {
    /// Keys with a first version.
    pub objects: u64,
    /// Those of them over which something lies.
    pub altered: u64,
    /// Delete markers found.
    pub markers: u64,
    /// Later versions found.
    pub later_versions: u64,
    /// How many of both were removed.
    pub removed: u64,
    /// How many of them are locked and stay.
    pub locked: u64,
    /// Some of the altered objects.
    pub named: Vec<String>,
}

/// First versions cannot be laid bare.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum UndeleteError {
    #[error("find out what lies over the objects")]
    Require { source: StoreError },
    #[error("list the versions beneath '{folder}'")]
    List { folder: StorePath, source: StoreError },
    #[error("remove what lies over '{path}'")]
    Remove { path: StorePath, source: StoreError },
}

impl UndeleteError {
    fn store_error(&self) -> &StoreError {
        match self {
            Self::Require { source } | Self::List { source, .. } | Self::Remove { source, .. } => source,
        }
    }
}

impl Classified for UndeleteError {
    fn class(&self) -> ErrorClass {
        self.store_error().class()
    }

    fn code(&self) -> &'static str {
        self.store_error().code()
    }

    fn hint(&self) -> Option<String> {
        self.store_error().hint()
    }
}

/// Looks at everything beneath a folder, a page in memory at a time.
pub async fn undelete(
    store: &dyn Store,
    folder: &StorePath,
    mode: Undelete,
) -> Result<UndeleteReport, UndeleteError> {
    if !store.capabilities().versions {
        let (operation, location) = (Operation::ListVersions, store.location().to_owned());
        let source = StoreError::Unsupported { operation, location, feature: Feature::Versions };
        return Err(UndeleteError::Require { source });
    }
    let scope = VersionScope::Beneath(folder.clone());
    let mut page = VersionPage::first();
    let mut work = Work { store, mode, report: UndeleteReport::default(), key: None };
    loop {
        let listing = store.list_versions(&scope, &page).await;
        let listing = listing.map_err(|source| UndeleteError::List { folder: folder.clone(), source })?;
        for version in listing.versions {
            work.take(version).await?;
        }
        match listing.next {
            Some(after) => page.after = Some(after),
            None => {
                work.close().await?;
                return Ok(work.report);
            }
        }
    }
}

struct Work<'a> {
    store: &'a dyn Store,
    mode: Undelete,
    report: UndeleteReport,
    /// The key whose versions are coming.
    key: Option<Key>,
}

struct Key {
    path: StorePath,
    /// The oldest version with bytes so far.
    first: Option<VersionMeta>,
    over: Vec<(VersionId, VersionKind)>,
}

impl Work<'_> {
    async fn take(&mut self, version: VersionMeta) -> Result<(), UndeleteError> {
        if self.key.as_ref().is_none_or(|key| key.path != version.path) {
            self.close().await?;
        }
        let key =
            self.key.get_or_insert_with(|| Key { path: version.path.clone(), first: None, over: Vec::new() });
        match version.kind {
            VersionKind::DeleteMarker => key.over.push((version.version, version.kind)),
            // Newest first: each further one with bytes is older.
            VersionKind::Data => {
                if let Some(later) = key.first.replace(version) {
                    key.over.push((later.version, later.kind));
                }
            }
        }
        Ok(())
    }

    /// Of a key without bytes nothing can be laid bare.
    async fn close(&mut self) -> Result<(), UndeleteError> {
        let Some(Key { path, first: Some(_), over }) = self.key.take() else { return Ok(()) };
        self.report.objects += 1;
        if over.is_empty() {
            return Ok(());
        }
        self.report.altered += 1;
        if self.report.named.len() < NAMED_MAX {
            self.report.named.push(path.to_string());
        }
        for (version, kind) in over {
            match kind {
                VersionKind::DeleteMarker => self.report.markers += 1,
                VersionKind::Data => self.report.later_versions += 1,
            }
            if self.mode == Undelete::DryRun {
                continue;
            }
            match self.store.delete(&path, Some(&version)).await {
                Ok(()) => self.report.removed += 1,
                Err(StoreError::Locked { .. }) => self.report.locked += 1,
                Err(source) => return Err(UndeleteError::Remove { path, source }),
            }
        }
        Ok(())
    }
}
