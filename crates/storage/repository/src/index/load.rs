//! Bringing an index up to date with the index objects in the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{StoreError, StoreExt, StorePath};

use super::{DecodedIndex, Index, IndexSource};
use crate::core::Core;
use crate::format::index_record;
use crate::limits::INDEX_READS_IN_FLIGHT;
use crate::object::{Expected, ObjectError, offload};
use crate::paths;

/// The index could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadIndexError {
    /// The index objects could not be listed.
    #[error("list the index objects in '{folder}'")]
    List {
        /// Their folder.
        folder: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// One is out of reach, or was written by a later release. Damaged ones are no error: what they describe is
    /// looked for elsewhere.
    #[error("load an index object")]
    Load {
        /// Which and why.
        source: ObjectError,
    },
}

impl Classified for LoadIndexError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } => source.class(),
            Self::Load { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { source, .. } => source.code(),
            Self::Load { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } => source.hint(),
            Self::Load { source } => source.hint(),
        }
    }
}

/// Lists the index objects and reads those that `current` does not have.
pub(crate) async fn refresh(core: &Arc<Core>, current: &Arc<Index>) -> Result<Arc<Index>, LoadIndexError> {
    let folder = core.paths.join(paths::INDEX);
    let mut listed = BTreeSet::new();
    let mut missing = Vec::new();
    let mut objects = core.store.stream(&folder);
    while let Some(object) = objects.next().await {
        let object = object.map_err(|source| LoadIndexError::List { folder: folder.clone(), source })?;
        let Some(id) = paths::parse_object_id(&object.path) else { continue };
        listed.insert(id);
        if !current.contains_source(&id) {
            missing.push(IndexSource { id, version: object.version });
        }
    }
    let gone: BTreeSet<ObjectId> = current.sources.difference(&listed).copied().collect();
    if missing.is_empty() && gone.is_empty() && current.damaged.is_empty() {
        return Ok(Arc::clone(current));
    }

    let mut added = Vec::with_capacity(missing.len());
    let mut damaged = Vec::new();
    let reads = stream::iter(missing).map(|source| fetch(core, source));
    let mut reads = reads.buffer_unordered(INDEX_READS_IN_FLIGHT);
    while let Some(read) = reads.next().await {
        match read {
            Ok(decoded) => added.push(decoded),
            Err(error) if error.class() == ErrorClass::Corrupt => {
                tracing::warn!(error = &error as &dyn std::error::Error, "index object skipped");
                damaged.push(Arc::new(error));
            }
            Err(source) => return Err(LoadIndexError::Load { source }),
        }
    }
    let current = Arc::clone(current);
    Ok(Arc::new(offload(move || current.with_changes(&gone, added, damaged)).await))
}

async fn fetch(core: &Arc<Core>, source: IndexSource) -> Result<DecodedIndex, ObjectError> {
    let path = core.paths.index(source.id);
    let expected = Expected { kind: ObjectKind::Index, id: source.id, path };
    let bytes = expected.fetch(core.store.as_ref(), source.version.clone()).await?;
    let core = Arc::clone(core);
    offload(move || {
        let opened = expected.open(&core.keys, &bytes)?;
        let mut packs = Vec::with_capacity(opened.parts().len());
        for part in 0..opened.parts().len() as u32 {
            let body = opened.part(part).map_err(|source| expected.explain(source, &bytes))?;
            packs.push(index_record::decode(&body).map_err(|source| expected.decode_error(source))?);
        }
        Ok(DecodedIndex { source, packs })
    })
    .await
}
