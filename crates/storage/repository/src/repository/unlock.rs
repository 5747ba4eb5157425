//! Opening a repository: by passphrase through its slots, or by vault keys that are at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use keelson_crypto::{
    DataKey, DecodeSlotError, GrantKey, Keyring, OpenBoxError, OpenSlotError, Passphrase, Sha256,
    VaultKeyring,
};
use keelson_model::{Classified, ErrorClass, RepositoryId};
use keelson_store::{ObjectMeta, Store, StoreError, StoreExt, StorePath};

use super::slots::open_slots;
use super::{Locked, Open, Repository};
use crate::chunk::Chunker;
use crate::core::Core;
use crate::format::DecodeError;
use crate::format::key_file::KeyFile;
use crate::format::repository_file::RepositorySummary;
use crate::limits::{KEY_FILE_BYTES_MAX, KEYS_MAX, STRANGERS_LOGGED_MAX, STRANGERS_NAMED_MAX};
use crate::paths::{self, Paths};

/// What opens a repository.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// What a person knows. Costly on purpose.
    Passphrase(&'a Arc<Passphrase>),
    /// What the installation keeps.
    Vault(&'a VaultKeyring),
    /// What another installation was given, and the folder where the data keys lie that were wrapped for it.
    Granted(&'a GrantKey, &'a StorePath),
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
    #[error(
        "the passphrase opens none of the {slots} slots of the repository in '{root}'{}",
        .beside.as_ref().map(|beside| format!("; {beside}")).unwrap_or_default()
    )]
    WrongPassphrase {
        /// Where.
        root: StorePath,
        /// How many were tried.
        slots: usize,
        /// A slot that could not be tried, if there is one: it may have been this passphrase's.
        beside: Option<String>,
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
            Self::MissingKey { .. } | Self::Unwrap { .. } | Self::SwappedKey { .. } => ErrorClass::Corrupt,
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
                "only the installation that made it can open it: enable disaster recovery there; slots that were deleted \
                 come back from a recovery kit by keelson tools repair slots"
                    .to_owned(),
            ),
            Self::OpenSlot { .. }
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
        let folder = match unlock {
            Unlock::Passphrase(_) | Unlock::Vault(_) => paths.join(paths::KEYS),
            Unlock::Granted(_, folder) => folder.clone(),
        };
        let mut files = KeyFiles::fetch(store.as_ref(), &folder, summary.id).await?;
        let (mut vault, slot) = match unlock {
            Unlock::Passphrase(passphrase) => {
                let opened = open_slots(store.as_ref(), &paths, passphrase, &mut files.strangers).await?;
                (VaultKeyring::new(opened.0), Some(opened.1))
            }
            Unlock::Vault(keys) => (keys.clone(), None),
            Unlock::Granted(grant, _) => {
                let root = paths.root().clone();
                (files.granted_by(grant).ok_or(OpenRepositoryError::ForeignKey { root })?, None)
            }
        };
        // Who holds the installation's keys knows the newest: what lies beyond was put there by somebody else. A
        // passphrase may be an old one, so there it counts, and whoever writes is told.
        let newest_named = files.newest_sound();
        if matches!(unlock, Unlock::Vault(_)) {
            files.leave_out_after(vault.newest().number());
        }
        let newest_key = match unlock {
            Unlock::Passphrase(_) | Unlock::Vault(_) => files.newest_sound(),
            // Whoever was given keys reads: a key that may not be used counts as a newer one.
            Unlock::Granted(..) => u32::MAX,
        };
        let keys = unwrap_keys(&paths, &summary, &bound_to, &mut files, &mut vault)?;
        files.strangers.tell();
        let strangers = files.strangers.named;
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
            newest_named,
            strangers,
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

pub(super) async fn fetch(
    store: &dyn Store,
    object: &ObjectMeta,
) -> Result<bytes::Bytes, OpenRepositoryError> {
    let fetched = store.fetch_all(&object.path).await;
    fetched.map_err(|source| OpenRepositoryError::Fetch { path: object.path.clone(), source })
}

/// Objects among keys and slots that are not this repository's; the first of them by name.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    named: Vec<StorePath>,
    count: usize,
}

impl Strangers {
    pub(super) fn note(&mut self, path: StorePath) {
        self.count += 1;
        if self.named.len() < STRANGERS_NAMED_MAX {
            self.named.push(path);
        }
    }

    pub(super) fn tell(&self) {
        for stranger in self.named.iter().take(STRANGERS_LOGGED_MAX) {
            tracing::warn!(path = %stranger, "tampering: an object that is not of this repository lies among its keys");
        }
        if self.count > STRANGERS_LOGGED_MAX {
            tracing::warn!(count = self.count, "tampering: there are more objects like these");
        }
    }
}

/// What lies in `keys/`: anybody who can write there can put something, so only what a vault key opens counts.
struct KeyFiles {
    folder: StorePath,
    files: BTreeMap<u32, Result<KeyFile, OpenRepositoryError>>,
    strangers: Strangers,
}

impl KeyFiles {
    async fn fetch(
        store: &dyn Store,
        folder: &StorePath,
        repository: RepositoryId,
    ) -> Result<Self, OpenRepositoryError> {
        let (mut files, mut strangers) = (BTreeMap::new(), Strangers::default());
        let failed = |source| OpenRepositoryError::Fetch { path: folder.clone(), source };
        let mut listed = store.stream(folder);
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let number = object.path.name().parse::<u32>().ok().filter(|number| *number <= KEYS_MAX);
            let is_its_name = |number: &u32| key_in(folder, *number).as_ref() == Some(&object.path);
            let Some(number) = number.filter(is_its_name) else {
                strangers.note(object.path);
                continue;
            };
            if object.length > KEY_FILE_BYTES_MAX {
                strangers.note(object.path);
                continue;
            }
            let bytes = fetch(store, &object).await?;
            let path = object.path;
            let file = match KeyFile::decode(&bytes) {
                Err(source) => Err(OpenRepositoryError::Decode { path, source }),
                Ok(file) if file.number != number || file.repository != repository => {
                    Err(OpenRepositoryError::SwappedKey { path })
                }
                Ok(file) => Ok(file),
            };
            files.insert(number, file);
        }
        Ok(Self { folder: folder.clone(), files, strangers })
    }

    /// The key of each file that is whole, as the grant has it; none where there is no file.
    fn granted_by(&self, grant: &GrantKey) -> Option<VaultKeyring> {
        let sound = self.files.iter().filter(|(_, file)| file.is_ok());
        let mut keys = sound.map(|(number, _)| grant.vault_key(*number));
        let mut ring = VaultKeyring::new(keys.next()?);
        keys.for_each(|key| ring.insert(key));
        Some(ring)
    }

    /// Where the file of a number lies.
    fn path(&self, number: u32) -> StorePath {
        key_in(&self.folder, number).expect("the folder leaves room for the names of keys")
    }

    /// The highest number of a file that is whole; 0 if there is none.
    fn newest_sound(&self) -> u32 {
        let sound = self.files.iter().filter(|(_, file)| file.is_ok());
        sound.map(|(number, _)| *number).next_back().unwrap_or(0)
    }

    fn leave_out_after(&mut self, newest: u32) {
        let beyond = self.files.split_off(&newest.saturating_add(1));
        for number in beyond.into_keys() {
            let path = self.path(number);
            self.strangers.note(path);
        }
    }
}

/// None where the folder leaves no room for it.
fn key_in(folder: &StorePath, number: u32) -> Option<StorePath> {
    folder.join(&number.to_string()).ok()
}

/// From the newest vault key at hand down: each opens its data key and the vault key before it.
fn unwrap_keys(
    paths: &Paths,
    summary: &RepositorySummary,
    bound_to: &Sha256,
    found: &mut KeyFiles,
    vault: &mut VaultKeyring,
) -> Result<Keyring, OpenRepositoryError> {
    let (mut keyring, mut is_foreign): (Option<Keyring>, _) = (None, false);
    let newest = vault.newest().number();
    while let Some((number, file)) = found.files.pop_last() {
        let Some(wrapping) = vault.find(number) else {
            if file.is_err() {
                let path = found.path(number);
                found.strangers.note(path);
            }
            continue;
        };
        let path = found.path(number);
        let file = match file {
            Ok(file) => file,
            // Without the newest nothing can be written, without the first nothing be named.
            Err(fault) if number == newest || number == summary.first_key => return Err(fault),
            Err(_) => {
                found.strangers.note(path);
                continue;
            }
        };
        // Another vault key of that number: what an older one leads to is still ours to read, and no more than that.
        if file.vault != wrapping.fingerprint() {
            is_foreign = true;
            found.strangers.note(path);
            continue;
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
        number if number >= summary.first_key && !is_foreign => {
            OpenRepositoryError::MissingKey { path: found.path(number) }
        }
        _ => OpenRepositoryError::ForeignKey { root: paths.root().clone() },
    })
}
