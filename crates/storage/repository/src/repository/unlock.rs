//! Opening a repository: by passphrase through its slots, or by vault keys that are at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelson_crypto::{
    DataKey, DecodeSlotError, Keyring, OpenBoxError, OpenSlotError, Passphrase, Sha256, Slot, VaultKey,
    VaultKeyring,
};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{ObjectMeta, Store, StoreError, StoreExt, StorePath};

use super::{Locked, Open, Repository};
use crate::chunk::Chunker;
use crate::core::Core;
use crate::format::DecodeError;
use crate::format::key_file::KeyFile;
use crate::format::repository_file::RepositorySummary;
use crate::limits::{KEYS_MAX, SLOTS_MAX};
use crate::object::offload;
use crate::paths::{self, Paths};

/// What opens a repository.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// What a person knows. Costly on purpose.
    Passphrase(&'a Arc<Passphrase>),
    /// What the installation keeps.
    Vault(&'a VaultKeyring),
}

/// A repository that does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRepositoryError {
    /// There is no `format`.
    #[error("there is no repository in '{root}'")]
    Absent {
        /// Where.
        root: StorePath,
    },
    /// An object could not be read.
    #[error("read '{path}'")]
    Fetch {
        /// Which, or which folder.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// `format` or a key file is damaged, or of a later release.
    #[error("'{path}' cannot be used")]
    Decode {
        /// Which.
        path: StorePath,
        /// Why not.
        source: DecodeError,
    },
    /// A slot is damaged, or of a later release, and no other opens.
    #[error("passphrase slot '{path}' cannot be used")]
    DecodeSlot {
        /// Which.
        path: StorePath,
        /// Why not.
        source: DecodeSlotError,
    },
    /// The passphrase belongs to a slot that was tampered with.
    #[error("passphrase slot '{path}' does not open")]
    OpenSlot {
        /// Which.
        path: StorePath,
        /// Why not.
        source: OpenSlotError,
    },
    /// No slot: it was made before a passphrase existed, or they were deleted.
    #[error("the repository in '{root}' has no passphrase slot")]
    NoSlots {
        /// Where.
        root: StorePath,
    },
    /// The slots are whole and were made with other passphrases.
    #[error("the passphrase opens none of the {slots} slots of the repository in '{root}'")]
    WrongPassphrase {
        /// Where.
        root: StorePath,
        /// How many were tried.
        slots: usize,
    },
    /// More slots or keys than we make.
    #[error("'{folder}' holds more objects than a repository has")]
    TooMany {
        /// Which folder.
        folder: StorePath,
    },
    /// No key file matches the vault keys at hand.
    #[error("the repository in '{root}' belongs to another installation")]
    ForeignKey {
        /// Where.
        root: StorePath,
    },
    /// The key file of a vault key that opened is missing.
    #[error("key file '{path}' is missing")]
    MissingKey {
        /// Which.
        path: StorePath,
    },
    /// A wrapped key does not open under the right vault key, or not beside this `format`.
    #[error("key file '{path}' was tampered with, or belongs to another 'format'")]
    Unwrap {
        /// Which.
        path: StorePath,
        /// Why not.
        source: OpenBoxError,
    },
    /// A key file of another repository or number.
    #[error("key file '{path}' was swapped: it is that of another repository or another number")]
    SwappedKey {
        /// Which.
        path: StorePath,
    },
}

impl Classified for OpenRepositoryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Fetch { source, .. } => source.class(),
            Self::Decode { source, .. } => source.class(),
            Self::DecodeSlot { source, .. } => source.class(),
            Self::OpenSlot { source, .. } => source.class(),
            Self::NoSlots { .. } | Self::WrongPassphrase { .. } | Self::ForeignKey { .. } => {
                ErrorClass::Denied
            }
            Self::TooMany { .. }
            | Self::MissingKey { .. }
            | Self::Unwrap { .. }
            | Self::SwappedKey { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "repository.open.absent",
            Self::Fetch { source, .. } => source.code(),
            Self::Decode { source, .. } => source.code(),
            Self::DecodeSlot { source, .. } => source.code(),
            Self::OpenSlot { source, .. } => source.code(),
            Self::NoSlots { .. } => "repository.open.no_slots",
            Self::WrongPassphrase { .. } => "repository.open.wrong_passphrase",
            Self::TooMany { .. } => "repository.open.too_many",
            Self::ForeignKey { .. } => "repository.open.foreign_key",
            Self::MissingKey { .. } => "repository.open.missing_key",
            Self::Unwrap { .. } => "repository.open.unwrap",
            Self::SwappedKey { .. } => "repository.open.swapped_key",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { .. } => Some("check the profile's path and the cluster id".to_owned()),
            Self::Fetch { source, .. } => source.hint(),
            Self::Decode { source, .. } => source.hint(),
            Self::DecodeSlot { source, .. } => source.hint(),
            Self::WrongPassphrase { .. } => Some(
                "give the passphrase that was in force when disaster recovery was last enabled".to_owned(),
            ),
            Self::NoSlots { .. } => Some(
                "only the installation that made it can open it; enable disaster recovery there".to_owned(),
            ),
            Self::OpenSlot { .. }
            | Self::TooMany { .. }
            | Self::ForeignKey { .. }
            | Self::MissingKey { .. }
            | Self::Unwrap { .. }
            | Self::SwappedKey { .. } => None,
        }
    }
}

impl Repository<Locked> {
    /// Reads what anybody may know of it.
    pub async fn summary(&self) -> Result<RepositorySummary, OpenRepositoryError> {
        fetch_format(&self.state).await.map(|(summary, _)| summary)
    }

    /// Opens it. A passphrase that is no longer in force opens what was written under it, and no session.
    pub async fn open(self, unlock: Unlock<'_>) -> Result<Repository<Open>, OpenRepositoryError> {
        let (summary, bound_to) = fetch_format(&self.state).await?;
        let Locked { store, paths, index_cache } = self.state;
        let mut files = fetch_key_files(store.as_ref(), &paths).await?;
        let newest_key = files.keys().next_back().copied().unwrap_or(0);
        let (mut vault, slot) = match unlock {
            Unlock::Passphrase(passphrase) => {
                let (key, slot) = open_slots(store.as_ref(), &paths, passphrase).await?;
                (VaultKeyring::new(key), Some(slot))
            }
            Unlock::Vault(keys) => (keys.clone(), None),
        };
        let keys = unwrap_keys(&paths, &summary, &bound_to, &mut files, &mut vault)?;
        let first = keys
            .find(summary.first_key)
            .ok_or_else(|| OpenRepositoryError::MissingKey { path: paths.key(summary.first_key) })?;
        let (identity, gear) = (first.chunk_identity(), first.gear_table());
        let chunker = Chunker::new(summary.chunks, gear);
        Ok(Repository::opened(Core {
            store,
            paths,
            summary,
            vault,
            slot,
            keys,
            newest_key,
            chunker,
            identity,
            index_cache,
        }))
    }
}

async fn fetch_format(place: &Locked) -> Result<(RepositorySummary, Sha256), OpenRepositoryError> {
    let path = place.paths.format();
    let bytes = match place.store.fetch_if_present(&path).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(OpenRepositoryError::Absent { root: place.paths.root().clone() }),
        Err(source) => return Err(OpenRepositoryError::Fetch { path, source }),
    };
    let summary =
        RepositorySummary::decode(&bytes).map_err(|source| OpenRepositoryError::Decode { path, source })?;
    Ok((summary, Sha256::of(&bytes)))
}

/// Lists a folder that never holds more than `limit` objects.
async fn list_few(
    store: &dyn Store,
    folder: StorePath,
    limit: usize,
) -> Result<Vec<ObjectMeta>, OpenRepositoryError> {
    let objects = store.list_all(&folder).await;
    let objects = objects.map_err(|source| OpenRepositoryError::Fetch { path: folder.clone(), source })?;
    if objects.len() > limit {
        return Err(OpenRepositoryError::TooMany { folder });
    }
    Ok(objects)
}

async fn fetch(store: &dyn Store, object: &ObjectMeta) -> Result<bytes::Bytes, OpenRepositoryError> {
    let fetched = store.fetch_all(&object.path).await;
    fetched.map_err(|source| OpenRepositoryError::Fetch { path: object.path.clone(), source })
}

async fn fetch_key_files(
    store: &dyn Store,
    paths: &Paths,
) -> Result<BTreeMap<u32, KeyFile>, OpenRepositoryError> {
    let mut files = BTreeMap::new();
    for object in list_few(store, paths.join(paths::KEYS), KEYS_MAX).await? {
        let Ok(number) = object.path.name().parse::<u32>() else { continue };
        let bytes = fetch(store, &object).await?;
        let file = KeyFile::decode(&bytes)
            .map_err(|source| OpenRepositoryError::Decode { path: object.path.clone(), source })?;
        if file.number != number {
            return Err(OpenRepositoryError::SwappedKey { path: object.path });
        }
        files.insert(number, file);
    }
    Ok(files)
}

/// Tries the slots of the newest vault key first. A damaged slot is reported only if none opens.
async fn open_slots(
    store: &dyn Store,
    paths: &Paths,
    passphrase: &Arc<Passphrase>,
) -> Result<(VaultKey, Slot), OpenRepositoryError> {
    let objects = list_few(store, paths.join(paths::SLOTS), SLOTS_MAX).await?;
    let (mut slots, mut fault) = (Vec::new(), None);
    for object in objects {
        match Slot::from_bytes(&fetch(store, &object).await?) {
            Ok(slot) => slots.push((object.path, slot)),
            Err(source) => fault = Some(OpenRepositoryError::DecodeSlot { path: object.path, source }),
        }
    }
    slots.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.vault_key_number()));
    let tried = slots.len();
    for (path, slot) in slots {
        let (passphrase, tried) = (Arc::clone(passphrase), slot.clone());
        match offload(move || tried.open(&passphrase)).await {
            Ok(key) => return Ok((key, slot)),
            Err(OpenSlotError::WrongPassphrase { .. }) => {}
            Err(source) => fault = Some(OpenRepositoryError::OpenSlot { path, source }),
        }
    }
    let root = paths.root().clone();
    Err(match (fault, tried) {
        (Some(fault), _) => fault,
        (None, 0) => OpenRepositoryError::NoSlots { root },
        (None, slots) => OpenRepositoryError::WrongPassphrase { root, slots },
    })
}

/// From the newest vault key at hand down: each opens its data key and the vault key before it.
fn unwrap_keys(
    paths: &Paths,
    summary: &RepositorySummary,
    bound_to: &Sha256,
    files: &mut BTreeMap<u32, KeyFile>,
    vault: &mut VaultKeyring,
) -> Result<Keyring, OpenRepositoryError> {
    let mut keyring: Option<Keyring> = None;
    while let Some((number, file)) = files.pop_last() {
        let Some(wrapping) = vault.find(number) else { continue };
        let path = paths.key(number);
        if file.repository != summary.id {
            return Err(OpenRepositoryError::SwappedKey { path });
        }
        if file.vault != wrapping.fingerprint() {
            return Err(OpenRepositoryError::ForeignKey { root: paths.root().clone() });
        }
        // Below the first key nothing was ever sealed: those files only lead to the older vault keys.
        let data_key = (number >= summary.first_key)
            .then(|| DataKey::unwrap(wrapping, summary.id, bound_to, &file.data_key))
            .transpose()
            .map_err(|source| OpenRepositoryError::Unwrap { path: path.clone(), source })?;
        let previous = match file.previous_vault_key {
            Some(wrapped) if vault.find(number - 1).is_none() => Some(
                wrapping
                    .unwrap_previous(&wrapped)
                    .map_err(|source| OpenRepositoryError::Unwrap { path, source })?,
            ),
            _ => None,
        };
        if let Some(previous) = previous {
            vault.insert(previous);
        }
        match (&mut keyring, data_key) {
            (Some(keyring), Some(data_key)) => keyring.insert(data_key),
            (None, Some(data_key)) => keyring = Some(Keyring::new(data_key)),
            (_, None) => {}
        }
    }
    keyring.ok_or_else(|| match vault.newest().number() {
        // The passphrase opened a slot whose key file should be there.
        number if number >= summary.first_key => OpenRepositoryError::MissingKey { path: paths.key(number) },
        _ => OpenRepositoryError::ForeignKey { root: paths.root().clone() },
    })
}
