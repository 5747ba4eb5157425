//! What an open repository consists of, shared by its sessions and readers.

use std::sync::Arc;

use keelson_crypto::{ChunkIdentity, Keyring, Slot, VaultKeyring};
use keelson_store::{Store, StorePath};

use crate::chunk::Chunker;
use crate::format::repository_file::RepositorySummary;
use crate::index::IndexCache;
use crate::paths::Paths;

pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) paths: Paths,
    pub(crate) summary: RepositorySummary,
    pub(crate) vault: VaultKeyring,
    /// That which a passphrase has opened.
    pub(crate) slot: Option<Slot>,
    pub(crate) keys: Keyring,
    /// The highest number in `keys/` that may be ours; its key may not be at hand.
    pub(crate) newest_key: u32,
    /// The highest number in `keys/`, whoever wrote it.
    pub(crate) newest_named: u32,
    /// What lies among keys and slots and is none of ours.
    pub(crate) strangers: Vec<StorePath>,
    pub(crate) chunker: Chunker,
    pub(crate) identity: ChunkIdentity,
    pub(crate) index_cache: IndexCache,
}
