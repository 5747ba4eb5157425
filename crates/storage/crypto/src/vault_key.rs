//! Vault keys, which open repositories, and the instance's own key, which keeps them between restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::sealed_box::{OpenBoxError, open_box, seal_box};
use crate::secret::{Fingerprint, KeyLengthError, Secret};

const PREVIOUS: &str = "previous vault key";
const LOCAL_COPY: &str = "vault key";
const INSTANCE: &str = "instance key";

/// A key under which other keys are wrapped: `&VaultKey` and `&InstanceKey` convert into it.
#[derive(Clone, Copy)]
pub struct WrappingKey<'a>(pub(crate) &'a Secret);

impl<'a> From<&'a VaultKey> for WrappingKey<'a> {
    fn from(key: &'a VaultKey) -> Self {
        Self(&key.secret)
    }
}

impl<'a> From<&'a InstanceKey> for WrappingKey<'a> {
    fn from(key: &'a InstanceKey) -> Self {
        Self(&key.0)
    }
}

/// Vault key number n of an installation. Passphrase slots wrap the newest one.
///
/// It exists before any passphrase does: made at install and kept under the [`InstanceKey`].
pub struct VaultKey {
    number: u32,
    secret: Secret,
}

impl VaultKey {
    /// The number of an installation's first vault key.
    pub const FIRST: u32 = 1;

    /// Makes a random key.
    pub fn generate(number: u32) -> Self {
        Self { number, secret: Secret::generate() }
    }

    /// The key of the repository on the platform's own volume, which needs no passphrase and outlives nothing.
    pub fn derive_local(instance: &InstanceKey) -> Self {
        Self { number: Self::FIRST, secret: instance.0.derive(&[b"keelson/0/local-vault"]) }
    }

    pub(crate) fn from_slice(number: u32, bytes: &[u8]) -> Result<Self, KeyLengthError> {
        Ok(Self { number, secret: Secret::from_slice(bytes)? })
    }

    /// Its place in the row of vault keys, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Tells vault keys apart in public.
    pub fn fingerprint(&self) -> Fingerprint {
        self.secret.fingerprint()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Wraps the key before this one, so that the newest opens all older ones.
    pub fn wrap_previous(&self, previous: &VaultKey) -> Vec<u8> {
        seal_box(&self.secret, PREVIOUS, &previous.number.to_le_bytes(), previous.secret.expose())
    }

    /// Opens what [`Self::wrap_previous`] made.
    pub fn unwrap_previous(&self, wrapped: &[u8]) -> Result<VaultKey, OpenBoxError> {
        let number = self.number.saturating_sub(1);
        let bytes = open_box(&self.secret, PREVIOUS, &number.to_le_bytes(), wrapped)?;
        Self::from_box(PREVIOUS, number, &bytes)
    }

    /// Wraps this key to be kept, for instance under the [`InstanceKey`].
    pub fn wrap<'a>(&self, under: impl Into<WrappingKey<'a>>) -> Vec<u8> {
        seal_box(under.into().0, LOCAL_COPY, &self.number.to_le_bytes(), self.secret.expose())
    }

    /// Opens what [`Self::wrap`] made.
    pub fn unwrap<'a>(
        number: u32,
        under: impl Into<WrappingKey<'a>>,
        wrapped: &[u8],
    ) -> Result<VaultKey, OpenBoxError> {
        let bytes = open_box(under.into().0, LOCAL_COPY, &number.to_le_bytes(), wrapped)?;
        Self::from_box(LOCAL_COPY, number, &bytes)
    }

    fn from_box(
        purpose: &'static str,
        number: u32,
        bytes: &Zeroizing<Vec<u8>>,
    ) -> Result<VaultKey, OpenBoxError> {
        Self::from_slice(number, bytes).map_err(|_| OpenBoxError::Length { purpose, length: bytes.len() })
    }
}

/// The vault keys at hand, at least one. Copies share the keys; no key is ever duplicated in memory.
#[derive(Clone)]
pub struct VaultKeyring {
    keys: BTreeMap<u32, Arc<VaultKey>>,
    newest: Arc<VaultKey>,
}

impl VaultKeyring {
    /// A keyring of one key.
    pub fn new(key: VaultKey) -> Self {
        let newest = Arc::new(key);
        Self { keys: BTreeMap::from([(newest.number, Arc::clone(&newest))]), newest }
    }

    /// Adds a key, older or newer than those it has.
    pub fn insert(&mut self, key: VaultKey) {
        let key = Arc::new(key);
        if key.number >= self.newest.number {
            self.newest = Arc::clone(&key);
        }
        self.keys.insert(key.number, key);
    }

    /// The key that new data is written under.
    pub fn newest(&self) -> &VaultKey {
        &self.newest
    }

    /// The key of that number, if it is at hand.
    pub fn find(&self, number: u32) -> Option<&VaultKey> {
        self.keys.get(&number).map(Arc::as_ref)
    }

    /// All keys, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &VaultKey> {
        self.keys.values().map(Arc::as_ref)
    }
}

/// The 32 bytes that keep an installation's keys between restarts. The instance Secret wraps them, or is them.
pub struct InstanceKey(Secret);

impl InstanceKey {
    /// Makes the key of a new installation.
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// Takes the bytes out of the Secret.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        Secret::from_slice(bytes).map(Self)
    }

    /// The bytes to put into the Secret, and nowhere else.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Wraps this key under the Secret's, so that the Secret can change and nothing else has to.
    pub fn wrap(&self, under: &InstanceKey) -> Vec<u8> {
        seal_box(&under.0, INSTANCE, &[], self.0.expose())
    }

    /// Opens what [`Self::wrap`] made.
    pub fn unwrap(under: &InstanceKey, wrapped: &[u8]) -> Result<Self, OpenBoxError> {
        let bytes = open_box(&under.0, INSTANCE, &[], wrapped)?;
        Self::from_slice(&bytes).map_err(|_| OpenBoxError::Length { purpose: INSTANCE, length: bytes.len() })
    }

    pub(crate) fn derive_catalog_secret(&self) -> Secret {
        self.0.derive(&[b"keelson/0/instance-catalog"])
    }

    /// Tells instance keys apart in public.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_vault_key_opens_the_one_before_it() {
        let (first, second) = (VaultKey::generate(1), VaultKey::generate(2));
        let opened = second.unwrap_previous(&second.wrap_previous(&first)).unwrap();
        assert_eq!((opened.number(), opened.fingerprint()), (1, first.fingerprint()));
        assert!(VaultKey::generate(2).unwrap_previous(&second.wrap_previous(&first)).is_err());
    }

    #[test]
    fn a_vault_key_is_kept_under_the_instance_key() {
        let (instance, key) = (InstanceKey::generate(), VaultKey::generate(1));
        let wrapped = key.wrap(&instance);
        let opened = VaultKey::unwrap(1, &instance, &wrapped).unwrap();
        assert_eq!(opened.fingerprint(), key.fingerprint());
        assert!(VaultKey::unwrap(2, &instance, &wrapped).is_err());
        assert!(VaultKey::unwrap(1, &InstanceKey::generate(), &wrapped).is_err());
    }

    #[test]
    fn an_instance_key_opens_only_under_the_key_that_wrapped_it() {
        let (secret, key) = (InstanceKey::generate(), InstanceKey::generate());
        let wrapped = key.wrap(&secret);
        assert_eq!(InstanceKey::unwrap(&secret, &wrapped).unwrap().fingerprint(), key.fingerprint());
        assert!(InstanceKey::unwrap(&key, &wrapped).is_err());
    }

    #[test]
    fn the_newest_key_of_a_keyring_is_the_highest() {
        let mut keys = VaultKeyring::new(VaultKey::generate(2));
        keys.insert(VaultKey::generate(1));
        assert_eq!(keys.newest().number(), 2);
        keys.insert(VaultKey::generate(3));
        assert_eq!(keys.newest().number(), 3);
        assert_eq!(keys.iter().map(VaultKey::number).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
