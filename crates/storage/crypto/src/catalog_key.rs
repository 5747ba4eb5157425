//! The key of a catalog: constant for its life, so that source and copy are the same bytes.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::row_digest::RowDigestKey;
use crate::sealed_box::{OpenBoxError, open_box, seal_box};
use crate::secret::{Fingerprint, Secret};
use crate::vault_key::{InstanceKey, WrappingKey};

const WRAPPED: &str = "catalog key";
const FIELD: &str = "secret field";

/// Seals a catalog's secret fields and is the root of its chain and digests. Wrapped by the instance key and,
/// in every base, by the vault key; rotating a wrapper rewrites nothing.
pub struct CatalogKey(Secret);

impl CatalogKey {
    /// Makes the key of a new catalog.
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// The key of the instance file, which is never shipped: the instance Secret alone opens it.
    pub fn derive_instance(instance: &InstanceKey) -> Self {
        Self(instance.derive_catalog_secret())
    }

    /// Tells catalog keys apart in public; a catalog stores it to notice a wrong key before reading on.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    /// Wraps the key. It unwraps only where `context` (which catalog, which base) is the same.
    pub fn wrap<'a>(&self, under: impl Into<WrappingKey<'a>>, context: &[u8]) -> Vec<u8> {
        seal_box(under.into().0, WRAPPED, context, self.0.expose())
    }

    /// Opens what [`Self::wrap`] made.
    pub fn unwrap<'a>(
        under: impl Into<WrappingKey<'a>>,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Self, OpenBoxError> {
        let bytes = open_box(under.into().0, WRAPPED, context, wrapped)?;
        Secret::from_slice(&bytes)
            .map(Self)
            .map_err(|_| OpenBoxError::Length { purpose: WRAPPED, length: bytes.len() })
    }

    /// Seals a secret field. It opens only at the same place, which `context` names (row and field).
    pub fn seal_field(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_box(&self.0, FIELD, context, plain)
    }

    /// Opens what [`Self::seal_field`] made.
    pub fn open_field(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenBoxError> {
        open_box(&self.0, FIELD, context, sealed)
    }

    /// The key of the journal's chain.
    pub fn chain_key(&self) -> ChainKey {
        let secret = self.0.derive(&[b"keelson/0/journal-chain"]);
        ChainKey(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// The key of the digest of one class of rows.
    pub fn row_digest_key(&self, class: u8) -> RowDigestKey {
        RowDigestKey::new(&self.0.derive(&[b"keelson/0/row-digest", &[class]]))
    }
}

/// Authenticates journal entries.
pub struct ChainKey(hmac::Key);

impl ChainKey {
    /// HMAC-SHA256 over the parts, each preceded by its length (u64, little-endian), so that no two lists of
    /// parts look alike.
    pub fn authenticate(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstanceKey, RowDigest, VaultKey};

    #[test]
    fn a_catalog_key_is_the_same_under_every_wrapper() {
        let (key, instance, vault) = (CatalogKey::generate(), InstanceKey::generate(), VaultKey::generate(1));
        let local = CatalogKey::unwrap(&instance, b"local", &key.wrap(&instance, b"local")).unwrap();
        let shipped = CatalogKey::unwrap(&vault, b"base", &key.wrap(&vault, b"base")).unwrap();
        assert_eq!(local.fingerprint(), shipped.fingerprint());
        assert!(CatalogKey::unwrap(&vault, b"base 2", &key.wrap(&vault, b"base")).is_err());
    }

    #[test]
    fn a_secret_field_opens_only_in_its_place() {
        let key = CatalogKey::generate();
        let sealed = key.seal_field(b"profile/a", b"token");
        assert_eq!(key.open_field(b"profile/a", &sealed).unwrap().as_slice(), b"token");
        assert!(key.open_field(b"profile/b", &sealed).is_err());
    }

    #[test]
    fn the_chain_tells_apart_parts_of_the_same_bytes() {
        let key = CatalogKey::generate().chain_key();
        assert_ne!(key.authenticate(&[b"ab", b"c"]), key.authenticate(&[b"a", b"bc"]));
        assert_eq!(key.authenticate(&[b"ab", b"c"]), key.authenticate(&[b"ab", b"c"]));
    }

    #[test]
    fn chain_and_digest_values_never_change_for_a_key() {
        let key = CatalogKey(Secret::from_slice(&[3; 32]).unwrap());
        assert_eq!(
            hex::encode(key.chain_key().authenticate(&[b"entry"])),
            "33cdab6ebde54d0300fc14c1e05de943e3c6f967947385880a2564027ccdd95d"
        );
        let mut digest = RowDigest::default();
        digest.add(&key.row_digest_key(1), b"row");
        assert_eq!(digest.to_string(), "07ba5858bc6cafd9a9c97505c3107e901c8eea904cdb4a7110804a74ceb409f7");
    }

    #[test]
    fn classes_have_keys_of_their_own() {
        let key = CatalogKey::generate();
        let (mut one, mut two) = (RowDigest::default(), RowDigest::default());
        one.add(&key.row_digest_key(1), b"row");
        two.add(&key.row_digest_key(2), b"row");
        assert_ne!(one, two);
    }
}
