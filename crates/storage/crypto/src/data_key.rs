//! Data keys, under which objects are sealed, and the keys derived from them for chunking.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use keelson_model::{ChunkId, LineageId, RepositoryId, SlotId};

use crate::digest::Sha256;
use crate::sealed_box::{OpenBoxError, open_box, seal_box};
use crate::secret::Secret;
use crate::vault_key::{VaultKey, VaultKeyring};

const WRAPPED: &str = "data key";

/// What a data key belongs to. It is associated data of every object, so that none can be moved elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A repository and what lies beside it in the same folder.
    Repository(RepositoryId),
    /// The epochs of a lineage.
    Lineage(LineageId),
    /// A recovery kit, by the id of its slot.
    Kit(SlotId),
}

impl Scope {
    pub(crate) const LENGTH: usize = 17;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (code, id) = match self {
            Self::Repository(id) => (1, *id.as_bytes()),
            Self::Lineage(id) => (2, *id.as_bytes()),
            Self::Kit(id) => (3, *id.as_bytes()),
        };
        let mut bytes = [code; Self::LENGTH];
        bytes[1..].copy_from_slice(&id);
        bytes
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(id) => write!(f, "repository {id}"),
            Self::Lineage(id) => write!(f, "lineage {id}"),
            Self::Kit(id) => write!(f, "kit {id}"),
        }
    }
}

/// Data key number n: random for a repository and wrapped by vault key n; derived for a lineage.
pub struct DataKey {
    scope: Scope,
    number: u32,
    secret: Secret,
}

impl DataKey {
    /// Makes a repository's key number `number`.
    pub fn generate(repository: RepositoryId, number: u32) -> Self {
        Self { scope: Scope::Repository(repository), number, secret: Secret::generate() }
    }

    /// What it belongs to.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The number that object headers name.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Wraps the key for `keys/<n>` of its repository. `bound_to` is the digest of the repository's cleartext
    /// `format`: a key opens only beside the format that it was made with.
    pub fn wrap(&self, vault: &VaultKey, bound_to: &Sha256) -> Vec<u8> {
        let context = Self::context(self.scope, self.number, bound_to);
        seal_box(vault.secret(), WRAPPED, &context, self.secret.expose())
    }

    /// Opens what [`Self::wrap`] made. The key has the number of the vault key that wrapped it.
    pub fn unwrap(
        vault: &VaultKey,
        repository: RepositoryId,
        bound_to: &Sha256,
        wrapped: &[u8],
    ) -> Result<Self, OpenBoxError> {
        let (scope, number) = (Scope::Repository(repository), vault.number());
        let bytes = open_box(vault.secret(), WRAPPED, &Self::context(scope, number, bound_to), wrapped)?;
        let secret = Secret::from_slice(&bytes)
            .map_err(|_| OpenBoxError::Length { purpose: WRAPPED, length: bytes.len() })?;
        Ok(Self { scope, number, secret })
    }

    fn context(scope: Scope, number: u32, bound_to: &Sha256) -> Vec<u8> {
        [scope.to_bytes().as_slice(), &number.to_le_bytes(), bound_to.as_bytes()].concat()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The key that names chunks by their content.
    pub fn chunk_identity(&self) -> ChunkIdentity {
        let secret = self.secret.derive(&[b"keelson/0/chunk-id"]);
        ChunkIdentity(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// The table that decides where chunks end. Without it nobody can tell content by its chunk lengths.
    pub fn gear_table(&self) -> GearTable {
        let mut bytes = zeroize::Zeroizing::new([0; 256 * 8]);
        self.secret.expand(&[], &[b"keelson/0/gear"], bytes.as_mut_slice());
        let mut table = Box::new([0; 256]);
        for (entry, bytes) in table.iter_mut().zip(bytes.chunks_exact(8)) {
            *entry = u64::from_le_bytes(bytes.try_into().expect("eight bytes a chunk"));
        }
        GearTable(table)
    }
}

/// The data keys of one scope that are at hand, at least one. Copies share the keys.
#[derive(Clone)]
pub struct Keyring {
    keys: BTreeMap<u32, Arc<DataKey>>,
    newest: Arc<DataKey>,
    scope: Scope,
}

impl Keyring {
    /// A keyring of one key.
    pub fn new(key: DataKey) -> Self {
        let (scope, newest) = (key.scope, Arc::new(key));
        Self { keys: BTreeMap::from([(newest.number, Arc::clone(&newest))]), newest, scope }
    }

    /// The key under which the epochs of a lineage are sealed: derived from the installation's first vault
    /// key, so that every later passphrase opens them too. `None` if that vault key is not at hand.
    pub fn of_lineage(vault: &VaultKeyring, lineage: LineageId) -> Option<Self> {
        let first = vault.find(VaultKey::FIRST)?;
        let secret = first.secret().derive_salted(lineage.as_bytes(), &[b"keelson/0/lineage"]);
        Some(Self::new(DataKey { scope: Scope::Lineage(lineage), number: VaultKey::FIRST, secret }))
    }

    /// The key that the content of a recovery kit is sealed under: derived from the key that the kit's slot wraps.
    pub(crate) fn of_kit(key: &VaultKey, kit: SlotId) -> Self {
        let secret = key.secret().derive_salted(kit.as_bytes(), &[b"keelson/0/kit"]);
        Self::new(DataKey { scope: Scope::Kit(kit), number: VaultKey::FIRST, secret })
    }

    /// Adds a key of the same scope.
    pub fn insert(&mut self, key: DataKey) {
        debug_assert_eq!(key.scope, self.scope, "a keyring holds the keys of one scope");
        let key = Arc::new(key);
        if key.number >= self.newest.number {
            self.newest = Arc::clone(&key);
        }
        self.keys.insert(key.number, key);
    }

    /// All keys, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &DataKey> {
        self.keys.values().map(Arc::as_ref)
    }

    /// What all keys belong to.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The key that new objects are sealed under.
    pub fn newest(&self) -> &DataKey {
        &self.newest
    }

    /// The key of that number, if it is at hand.
    pub fn find(&self, number: u32) -> Option<&DataKey> {
        self.keys.get(&number).map(Arc::as_ref)
    }
}

/// Names chunks: HMAC-SHA256 of the plaintext.
pub struct ChunkIdentity(hmac::Key);

impl ChunkIdentity {
    /// The id of the chunk with this content.
    pub fn identify(&self, plain: &[u8]) -> ChunkId {
        let mut bytes = [0; ChunkId::LENGTH];
        bytes.copy_from_slice(hmac::sign(&self.0, plain).as_ref());
        ChunkId::from_bytes(bytes)
    }
}

/// 256 secret numbers, one for each byte value.
pub struct GearTable(Box<[u64; 256]>);

impl GearTable {
    /// The numbers, by byte value.
    pub fn entries(&self) -> &[u64; 256] {
        &self.0
    }
}

impl Drop for GearTable {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(self.0.as_mut_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(byte: u8) -> RepositoryId {
        RepositoryId::from_bytes([byte; 16])
    }

    impl DataKey {
        /// The key of the golden values.
        pub(crate) fn known() -> Self {
            let secret = Secret::from_slice(&[9; 32]).unwrap();
            Self { scope: Scope::Repository(repository(1)), number: 1, secret }
        }
    }

    #[test]
    fn a_data_key_unwraps_only_beside_its_format_and_under_its_vault_key() {
        let vault = VaultKey::generate(3);
        let key = DataKey::generate(repository(1), 3);
        let format = Sha256::of(b"format");
        let wrapped = key.wrap(&vault, &format);
        let opened = DataKey::unwrap(&vault, repository(1), &format, &wrapped).unwrap();
        assert_eq!(opened.secret.expose(), key.secret.expose());
        assert!(DataKey::unwrap(&vault, repository(2), &format, &wrapped).is_err());
        assert!(DataKey::unwrap(&vault, repository(1), &Sha256::of(b"other"), &wrapped).is_err());
        assert!(DataKey::unwrap(&VaultKey::generate(3), repository(1), &format, &wrapped).is_err());
    }

    #[test]
    fn chunk_ids_and_gear_table_never_change_for_a_key() {
        let id = DataKey::known().chunk_identity().identify(b"chunk");
        assert_eq!(id.to_string(), "c47bfa4e1ce42bf8839891f68e454bb5ae927b5fc3e7e6bf0eb68e604fd945d1");
        assert_eq!(DataKey::known().gear_table().entries()[0], 0xec62_dffb_45e5_5f53);
        assert_eq!(DataKey::known().gear_table().entries()[255], 0x0023_f96d_5d34_eddf);
    }

    #[test]
    fn a_lineage_key_needs_the_first_vault_key() {
        let lineage = LineageId::from_bytes([5; 16]);
        let mut vault = VaultKeyring::new(VaultKey::generate(2));
        assert!(Keyring::of_lineage(&vault, lineage).is_none());
        vault.insert(VaultKey::generate(1));
        let keys = Keyring::of_lineage(&vault, lineage).unwrap();
        assert_eq!(keys.scope(), Scope::Lineage(lineage));
    }
}
