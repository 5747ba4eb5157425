//! Small sealed objects of ours in a location: one JSON document in the directory of an envelope.

use bytes::Bytes;
use keelson_crypto::{DataKey, Keyring, ObjectKind, OpenObjectError, SealObjectError, Sealer, open_object};
use keelson_model::{Classified, ErrorClass};
use keelson_store::StorePath;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object in a location that does not open, or opens to something else.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("open '{path}'")]
    Open { path: StorePath, source: OpenObjectError },
    #[error("decode '{path}'")]
    Decode { path: StorePath, source: serde_json::Error },
    #[error("'{path}' was written as '{name}' and copied there")]
    OtherName { path: StorePath, name: String },
    #[error("seal '{path}'")]
    Seal { path: StorePath, source: SealObjectError },
}

impl Classified for DocumentError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Open { source, .. } => source.class(),
            Self::Decode { .. } | Self::OtherName { .. } => ErrorClass::Corrupt,
            Self::Seal { .. } => ErrorClass::Bug,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "document.open",
            Self::Decode { .. } => "document.decode",
            Self::OtherName { .. } => "document.other_name",
            Self::Seal { .. } => "document.seal",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } => source.hint(),
            Self::Decode { .. } | Self::OtherName { .. } | Self::Seal { .. } => None,
        }
    }
}

pub(crate) fn seal<T: Serialize>(
    key: &DataKey,
    kind: ObjectKind,
    path: &StorePath,
    document: &T,
) -> Result<Bytes, DocumentError> {
    let json = serde_json::to_vec(document).expect("our documents are plain data");
    let sealed = Sealer::new(key, kind)
        .finish(&json)
        .map_err(|source| DocumentError::Seal { path: path.clone(), source })?;
    Ok(sealed.bytes)
}

/// Authenticates first, parses then.
pub(crate) fn open<T: DeserializeOwned>(
    keys: &Keyring,
    kind: ObjectKind,
    path: &StorePath,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    let opened = open_object(keys, kind, bytes)
        .map_err(|source| DocumentError::Open { path: path.clone(), source })?;
    serde_json::from_slice(opened.directory())
        .map_err(|source| DocumentError::Decode { path: path.clone(), source })
}
