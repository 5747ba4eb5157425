//! Grant keys, by which an installation lets others read some of its repositories.

use crate::secret::{KeyLengthError, Secret};
use crate::vault_key::VaultKey;

/// Opens the repositories that were granted under it, and nothing else of the installation that gave it.
///
/// A policy has one; what is of one application alone is derived from it, so that the part says nothing of the whole.
pub struct GrantKey(Secret);

impl GrantKey {
    /// Makes the key of a new grant.
    pub fn generate() -> Self {
        Self(Secret::generate())
    }

    /// Takes the bytes out of where they are kept.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        Secret::from_slice(bytes).map(Self)
    }

    /// The bytes to keep, sealed, or to hand to another installation, and nowhere else.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The part of it that is of one application.
    pub fn of_application(&self, application: &str) -> Self {
        Self(self.0.derive(&[b"keelson/0/grant/application/", application.as_bytes()]))
    }

    /// The key that wraps data key `number` of whatever repository is granted, in the place of the vault key of that number.
    pub fn vault_key(&self, number: u32) -> VaultKey {
        let secret = self.0.derive(&[b"keelson/0/grant/vault-key", &number.to_le_bytes()]);
        VaultKey::from_slice(number, secret.expose()).expect("a derived key has the length of a key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_one_application_opens_nothing_of_another() {
        let grant = GrantKey::generate();
        let fingerprint = |grant: &GrantKey, number: u32| grant.vault_key(number).fingerprint();
        let shop = grant.of_application("shop");
        assert_eq!(fingerprint(&shop, 1), fingerprint(&grant.of_application("shop"), 1));
        let others = [&grant, &grant.of_application("bank"), &shop.of_application("shop")];
        assert!(others.iter().all(|other| fingerprint(other, 1) != fingerprint(&shop, 1)));
        assert!(fingerprint(&shop, 1) != fingerprint(&shop, 2) && shop.vault_key(7).number() == 7);
    }

    #[test]
    fn what_derives_from_a_grant_never_changes() {
        let grant = GrantKey::from_slice(&[3; 32]).unwrap().of_application("shop");
        let kept = GrantKey::from_slice(grant.expose()).unwrap();
        assert_eq!(kept.vault_key(1).fingerprint(), grant.vault_key(1).fingerprint());
    }
}
