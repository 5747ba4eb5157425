//! Reading and writing single objects of a repository, and what may be wrong with one.

use std::panic::resume_unwind;

use bytes::Bytes;
use jiff::Timestamp;
use keelson_crypto::{
    Keyring, ObjectId, ObjectKind, OpenObjectError, OpenedObject, SealObjectError, SealedObject, Sealer,
    open_object, peek_object_id,
};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{ObjectMeta, Read, Store, StoreError, StorePath, VersionId};

use crate::chunk::ChunkFault;
use crate::format::DecodeError;

/// Why an object could not be read. Except for `Fetch`, the object itself is damaged or lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The store did not give it.
    #[error("read '{path}'")]
    Fetch {
        /// The object.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// It was deleted, or never arrived.
    #[error("{kind} '{path}' is missing")]
    Missing {
        /// What it is.
        kind: ObjectKind,
        /// The object.
        path: StorePath,
    },
    /// It is not as long as it was written.
    #[error("{kind} '{path}' has {found} bytes instead of {expected}: it was cut short or overwritten")]
    Length {
        /// What it is.
        kind: ObjectKind,
        /// The object.
        path: StorePath,
        /// As the index has it.
        expected: u64,
        /// As the store has it.
        found: u64,
    },
    /// Its bytes are not those that were written.
    #[error("{kind} '{path}' was changed: its hash is not the one in the index")]
    Hash {
        /// What it is.
        kind: ObjectKind,
        /// The object.
        path: StorePath,
    },
    /// Another object of ours lies in its place.
    #[error("{kind} '{path}' was swapped: object '{found}' lies in its place")]
    Swapped {
        /// What it should be.
        kind: ObjectKind,
        /// The object.
        path: StorePath,
        /// What lies there.
        found: ObjectId,
    },
    /// The envelope does not open.
    #[error("'{path}' is damaged")]
    Open {
        /// The object.
        path: StorePath,
        /// What the envelope says.
        source: OpenObjectError,
    },
    /// It opened, and its content makes no sense.
    #[error("'{path}' cannot be understood")]
    Decode {
        /// The object.
        path: StorePath,
        /// What is wrong.
        source: DecodeError,
    },
    /// A chunk in it is not what its id says.
    #[error("'{path}' holds a wrong chunk")]
    Chunk {
        /// The object.
        path: StorePath,
        /// What is wrong.
        source: ChunkFault,
    },
    /// Its own directory and the index do not agree.
    #[error("pack '{path}' does not hold the chunks that the index says")]
    Contents {
        /// The object.
        path: StorePath,
    },
    /// No index object tells where the chunks of a pack lie.
    #[error("pack '{path}' is in no index: the index object that described it is lost")]
    NotIndexed {
        /// The pack.
        path: StorePath,
    },
    /// Somebody without the repository's keys put it there.
    #[error(
        "'{path}' was not written with this repository's keys: it counts for nothing, and tells of tampering"
    )]
    Stranger {
        /// The object.
        path: StorePath,
    },
    /// Later versions or delete markers lie over it.
    #[error("'{path}' was overwritten or deleted after it was written; its first version is still there")]
    Altered {
        /// The object.
        path: StorePath,
    },
}

impl ObjectError {
    /// It does not open under the repository's keys, or not in this place: somebody without the keys put it there, or
    /// it was damaged. What a later release wrote is not among these.
    pub(crate) fn is_strangers(&self) -> bool {
        match self {
            Self::Open { source, .. } => !matches!(source, OpenObjectError::NewerFormat { .. }),
            Self::Swapped { .. } => true,
            _ => false,
        }
    }

    /// The object is damaged or lost, as opposed to out of reach for now.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Fetch { .. } => self.class() == ErrorClass::Corrupt,
            _ => true,
        }
    }

    /// The object's place.
    pub fn path(&self) -> &StorePath {
        match self {
            Self::Fetch { path, .. }
            | Self::Missing { path, .. }
            | Self::Length { path, .. }
            | Self::Hash { path, .. }
            | Self::Swapped { path, .. }
            | Self::Open { path, .. }
            | Self::Decode { path, .. }
            | Self::Chunk { path, .. }
            | Self::Contents { path }
            | Self::NotIndexed { path }
            | Self::Stranger { path }
            | Self::Altered { path } => path,
        }
    }
}

impl Classified for ObjectError {
    fn class(&self) -> ErrorClass {
        match self {
            // None of ours is as large as what the store does not hand out.
            Self::Fetch { source: StoreError::TooLarge { .. }, .. } => ErrorClass::Corrupt,
            Self::Fetch { source, .. } => source.class(),
            Self::Open { source, .. } => source.class(),
            Self::Decode { source, .. } => source.class(),
            Self::Missing { .. }
            | Self::Length { .. }
            | Self::Hash { .. }
            | Self::Swapped { .. }
            | Self::Chunk { .. }
            | Self::Contents { .. }
            | Self::NotIndexed { .. }
            | Self::Stranger { .. }
            | Self::Altered { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Fetch { source, .. } => source.code(),
            Self::Missing { .. } => "repository.object.missing",
            Self::Length { .. } => "repository.object.length",
            Self::Hash { .. } => "repository.object.hash",
            Self::Swapped { .. } => "repository.object.swapped",
            Self::Open { source, .. } => source.code(),
            Self::Decode { source, .. } => source.code(),
            Self::Chunk { source, .. } => source.code(),
            Self::Contents { .. } => "repository.pack.contents",
            Self::NotIndexed { .. } => "repository.pack.not_indexed",
            Self::Stranger { .. } => "repository.object.stranger",
            Self::Altered { .. } => "repository.object.altered",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch { source, .. } => source.hint(),
            Self::Open { source, .. } => source.hint(),
            Self::Decode { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// A record could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteObjectError {
    /// It cannot be sealed.
    #[error("seal '{path}'")]
    Seal {
        /// The object.
        path: StorePath,
        /// Why not.
        source: SealObjectError,
    },
    /// The store did not take it.
    #[error("write '{path}'")]
    Put {
        /// The object.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
}

impl Classified for WriteObjectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Seal { source, .. } => source.class(),
            Self::Put { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Seal { source, .. } => source.code(),
            Self::Put { source, .. } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Seal { .. } => None,
            Self::Put { source, .. } => source.hint(),
        }
    }
}

/// Seals a record of one part.
pub(crate) fn seal_record(
    keys: &Keyring,
    kind: ObjectKind,
    id: ObjectId,
    body: &[u8],
) -> Result<SealedObject, SealObjectError> {
    let mut sealer = Sealer::with_id(keys.newest(), kind, id);
    sealer.part(body)?;
    sealer.finish(&[])
}

/// Which object is expected where.
#[derive(Clone)]
pub(crate) struct Expected {
    pub(crate) kind: ObjectKind,
    pub(crate) id: ObjectId,
    pub(crate) path: StorePath,
}

impl Expected {
    /// Reads all of it; its absence is an error of its own.
    pub(crate) async fn fetch(
        &self,
        store: &dyn Store,
        version: Option<VersionId>,
    ) -> Result<Bytes, ObjectError> {
        let read = Read::all().of_version(version);
        fetch_recorded(store, &self.path, read).await.map_err(|source| match source {
            StoreError::NotFound { .. } => ObjectError::Missing { kind: self.kind, path: self.path.clone() },
            source => ObjectError::Fetch { path: self.path.clone(), source },
        })
    }

    /// Authenticates header and directory, and that it is this object and no other.
    pub(crate) fn open<'b>(&self, keys: &Keyring, bytes: &'b [u8]) -> Result<OpenedObject<'b>, ObjectError> {
        let opened = open_object(keys, self.kind, bytes);
        match opened {
            Ok(opened) if opened.id() == self.id => Ok(opened),
            Ok(opened) => Err(self.swapped(opened.id())),
            Err(source) => Err(self.explain(source, bytes)),
        }
    }

    /// Opens a record of one part.
    pub(crate) fn open_record(&self, keys: &Keyring, bytes: &[u8]) -> Result<Vec<u8>, ObjectError> {
        let opened = self.open(keys, bytes)?;
        opened.part(0).map_err(|source| ObjectError::Open { path: self.path.clone(), source })
    }

    pub(crate) fn decode_error(&self, source: DecodeError) -> ObjectError {
        ObjectError::Decode { path: self.path.clone(), source }
    }

    /// Bytes that do not open here may be another object that was put in this one's place.
    pub(crate) fn explain(&self, source: OpenObjectError, bytes: &[u8]) -> ObjectError {
        match peek_object_id(bytes) {
            Some(found) if found != self.id && source.class() == ErrorClass::Corrupt => self.swapped(found),
            _ => ObjectError::Open { path: self.path.clone(), source },
        }
    }

    fn swapped(&self, found: ObjectId) -> ObjectError {
        ObjectError::Swapped { kind: self.kind, path: self.path.clone(), found }
    }
}

/// Reads by the recorded version and, where the store has none of that name, the first: a copy of a repository in another
/// bucket has versions of its own. What was read is proven by its tag, whichever version it is.
pub(crate) async fn fetch_recorded(
    store: &dyn Store,
    path: &StorePath,
    read: Read,
) -> Result<Bytes, StoreError> {
    let first = read.version.is_some().then(|| read.clone().of_version(None));
    match (store.fetch(path, read).await, first) {
        (Err(error), Some(first)) if is_other_version(&error) => store.fetch(path, first).await,
        (fetched, _) => fetched,
    }
}

/// Looks at the recorded version and, where the store has none of that name, the first.
pub(crate) async fn head_recorded(
    store: &dyn Store,
    path: &StorePath,
    version: Option<VersionId>,
) -> Result<ObjectMeta, StoreError> {
    match store.head(path, version.as_ref()).await {
        Err(error) if version.is_some() && is_other_version(&error) => store.head(path, None).await,
        found => found,
    }
}

/// Retains the recorded version and, where the store has none of that name, the first.
pub(crate) async fn extend_recorded(
    store: &dyn Store,
    path: &StorePath,
    version: Option<VersionId>,
    until: Timestamp,
) -> Result<(), StoreError> {
    match store.extend_retention(path, version.as_ref(), until).await {
        Err(error) if version.is_some() && is_other_version(&error) => {
            store.extend_retention(path, None, until).await
        }
        extended => extended,
    }
}

/// Servers find nothing under a version id of another bucket, or refuse to read it as one of theirs.
fn is_other_version(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. } | StoreError::Refused { .. })
}

/// Runs what computes for longer than half a millisecond on the blocking pool.
pub(crate) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is going down and drops this future next.
            Err(_) => std::future::pending().await,
        },
    }
}
