//! Making a repository, and giving it further keys and slots.
//!
//! Order: 1 `keys/<n>`, 2 `slots/<id>`, 3 `format`; packs only afterwards. Without `format` there is no repository,
//! so none is ever half made; a key precedes the slots that open it, so that no slot promises what is not there.

use keelson_crypto::{DataKey, Sha256, Slot, VaultKey, VaultKeyring};
use keelson_model::{Classified, ErrorClass, RepositoryId};
use keelson_store::{PutOptions, Store, StoreError, StoreExt, StorePath};

use super::{Locked, Open, OpenRepositoryError, Repository, Unlock};
use crate::chunk::ChunkSizes;
use crate::format::key_file::KeyFile;
use crate::format::repository_file::RepositorySummary;
use crate::paths::Paths;

/// What a new repository is made of.
#[derive(Clone)]
pub struct NewRepository<'a> {
    /// Its random id.
    pub id: RepositoryId,
    /// The installation's vault keys; the newest wraps the first data key.
    pub vault: &'a VaultKeyring,
    /// Slots of the newest vault key. None before a passphrase exists.
    pub slots: &'a [Slot],
    /// How its chunks are cut.
    pub chunks: ChunkSizes,
}

/// A repository could not be made, or given a key or slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateRepositoryError {
    /// There is a repository already.
    #[error("there is already a repository in '{root}'")]
    Exists {
        /// Where.
        root: StorePath,
    },
    /// What may be there already could not be read.
    #[error("read '{path}'")]
    Read {
        /// Which.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// An object could not be written. What was made so far opens nothing and harms nothing.
    #[error("write '{path}'")]
    Write {
        /// Which.
        path: StorePath,
        /// Why not.
        source: StoreError,
    },
    /// A slot of another vault key than the newest.
    #[error("a slot wraps vault key {found} instead of {newest}, the newest")]
    StaleSlot {
        /// The number in the slot.
        found: u32,
        /// The newest.
        newest: u32,
    },
    /// The new key does not follow the newest one.
    #[error("vault key {found} does not follow {newest}, the newest of the repository")]
    Sequence {
        /// The number offered.
        found: u32,
        /// The newest.
        newest: u32,
    },
    /// What was made, or an earlier try has left, could not be opened.
    #[error("open the repository with its new key")]
    Reopen {
        /// Why not.
        source: OpenRepositoryError,
    },
}

impl Classified for CreateRepositoryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Exists { .. } => ErrorClass::Conflict,
            Self::Read { source, .. } | Self::Write { source, .. } => source.class(),
            Self::StaleSlot { .. } | Self::Sequence { .. } => ErrorClass::Invalid,
            Self::Reopen { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "repository.create.exists",
            Self::Read { source, .. } | Self::Write { source, .. } => source.code(),
            Self::StaleSlot { .. } => "repository.create.stale_slot",
            Self::Sequence { .. } => "repository.create.sequence",
            Self::Reopen { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.hint(),
            Self::Reopen { source } => source.hint(),
            Self::Exists { .. } | Self::StaleSlot { .. } | Self::Sequence { .. } => None,
        }
    }
}

impl Repository<Locked> {
    /// Makes the repository. Before the first pack everything is there that opens it. What an earlier try with the
    /// same id and vault keys left behind is completed.
    pub async fn create(self, new: NewRepository<'_>) -> Result<Repository<Open>, CreateRepositoryError> {
        let NewRepository { id, vault, slots, chunks } = new;
        let Locked { store, paths, index_cache: _ } = &self.state;
        let number = vault.newest().number();
        check_slots(slots, number)?;
        let format = RepositorySummary::new(id, number, chunks).encode();
        let bound_to = Sha256::of(&format);

        let path = paths.format();
        let there = store.fetch_if_present(&path).await;
        match there.map_err(|source| CreateRepositoryError::Read { path, source })? {
            Some(there) if there != format => {
                return Err(CreateRepositoryError::Exists { root: paths.root().clone() });
            }
            _ => {}
        }
        // Each key file opens the vault key before it: without the older ones the newest would not reach the first.
        for older in vault.iter().filter(|key| key.number() > VaultKey::FIRST && key.number() < number) {
            write_key(store.as_ref(), paths, id, (vault, older), &bound_to).await?;
        }
        write_key(store.as_ref(), paths, id, (vault, vault.newest()), &bound_to).await?;
        for slot in slots {
            write(store.as_ref(), paths.slot(slot.id()), slot.to_bytes()).await?;
        }
        if !write_new(store.as_ref(), paths.format(), format).await? {
            return Err(CreateRepositoryError::Exists { root: paths.root().clone() });
        }
        let opened = self.open(Unlock::Vault(vault)).await;
        opened.map_err(|source| CreateRepositoryError::Reopen { source })
    }
}

impl Repository<Open> {
    /// Adds a passphrase. The slot must wrap the newest vault key; adding it again changes nothing.
    pub async fn add_slot(&self, slot: &Slot) -> Result<(), CreateRepositoryError> {
        let core = self.core();
        check_slots(std::slice::from_ref(slot), core.newest_key)?;
        write(core.store.as_ref(), core.paths.slot(slot.id()), slot.to_bytes()).await
    }

    /// Gives the repository the key of a changed passphrase: vault key n+1 wraps a new data key and vault key n. One
    /// that was out of reach during several changes gets all keys that it lacks.
    /// Later data cannot be opened with the old passphrase; older data still can. Running it again completes it.
    pub async fn add_key(
        &self,
        vault: &VaultKeyring,
        slots: &[Slot],
    ) -> Result<Repository<Open>, CreateRepositoryError> {
        let core = self.core();
        let (found, newest) = (vault.newest().number(), core.newest_key);
        let lacking: Vec<_> = vault.iter().filter(|key| key.number() > newest).collect();
        let follows =
            lacking.iter().zip(1..).all(|(key, step)| Some(key.number()) == newest.checked_add(step));
        if found < newest || !follows || !self.holds_newest_key() {
            return Err(CreateRepositoryError::Sequence { found, newest });
        }
        check_slots(slots, found)?;
        if lacking.is_empty() && slots.is_empty() {
            return Ok(self.clone());
        }
        let bound_to = Sha256::of(&core.summary.encode());
        for key in lacking {
            write_key(core.store.as_ref(), &core.paths, core.summary.id, (vault, key), &bound_to).await?;
        }
        for slot in slots {
            write(core.store.as_ref(), core.paths.slot(slot.id()), slot.to_bytes()).await?;
        }
        let (store, paths) = (core.store.clone(), core.paths.clone());
        let locked = Locked { store, paths, index_cache: core.index_cache.clone() };
        let open = Repository { state: locked }.open(Unlock::Vault(vault)).await;
        let open = open.map_err(|source| CreateRepositoryError::Reopen { source })?;
        // Somebody else's key of that number may have been there before ours.
        if !open.holds_newest_key() {
            return Err(CreateRepositoryError::Sequence { found, newest });
        }
        Ok(open)
    }
}

fn check_slots(slots: &[Slot], newest: u32) -> Result<(), CreateRepositoryError> {
    match slots.iter().map(Slot::vault_key_number).find(|number| *number != newest) {
        Some(found) => Err(CreateRepositoryError::StaleSlot { found, newest }),
        None => Ok(()),
    }
}

/// Writes `keys/<n>` with a new data key. One that an earlier try made is kept, and must open afterwards.
async fn write_key(
    store: &dyn Store,
    paths: &Paths,
    repository: RepositoryId,
    (vault, key): (&VaultKeyring, &VaultKey),
    bound_to: &Sha256,
) -> Result<(), CreateRepositoryError> {
    let number = key.number();
    let previous = number.checked_sub(1).and_then(|number| vault.find(number));
    let file = KeyFile {
        repository,
        number,
        vault: key.fingerprint(),
        data_key: DataKey::generate(repository, number).wrap(key, bound_to),
        previous_vault_key: previous.map(|previous| key.wrap_previous(previous)),
    };
    write_new(store, paths.key(number), file.encode()).await.map(drop)
}

async fn write(store: &dyn Store, path: StorePath, bytes: Vec<u8>) -> Result<(), CreateRepositoryError> {
    match store.put(&path, bytes.into(), PutOptions::create()).await {
        Ok(_) => Ok(()),
        Err(source) => Err(CreateRepositoryError::Write { path, source }),
    }
}

/// `false` if something else is there.
async fn write_new(
    store: &dyn Store,
    path: StorePath,
    bytes: Vec<u8>,
) -> Result<bool, CreateRepositoryError> {
    match write(store, path, bytes).await {
        Ok(()) => Ok(true),
        Err(CreateRepositoryError::Write { source: StoreError::AlreadyExists { .. }, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
