//! Thirty-two secret bytes, and what may be derived from them.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

/// Length of every key of ours, in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// Fills an array from the operating system's generator, through the cipher module.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the module aborts rather than run without randomness");
    bytes
}

/// Key material of a length that is not ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key has {found} bytes instead of 32")]
pub struct KeyLengthError {
    found: usize,
}

/// A public name of a key: it tells two keys apart and says nothing about either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; Self::LENGTH]);

impl Fingerprint {
    /// Length in bytes.
    pub const LENGTH: usize = 16;

    /// Reads a fingerprint that was stored.
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A key. It is wiped when dropped and cannot be printed or copied.
pub(crate) struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl Secret {
    pub(crate) fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice())
            .expect("the module aborts rather than run without randomness");
        Self(bytes)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, KeyLengthError> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return Err(KeyLengthError { found: bytes.len() });
        }
        secret.copy_from_slice(bytes);
        Ok(Self(secret))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// HKDF-SHA256 with a salt. `purpose` keeps keys that serve different ends apart.
    pub(crate) fn derive_salted(&self, salt: &[u8], purpose: &[&[u8]]) -> Self {
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        self.expand(salt, purpose, derived.as_mut_slice());
        Self(derived)
    }

    pub(crate) fn derive(&self, purpose: &[&[u8]]) -> Self {
        self.derive_salted(&[], purpose)
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; Fingerprint::LENGTH];
        self.expand(&[], &[b"keelson/0/fingerprint"], &mut bytes);
        Fingerprint(bytes)
    }

    pub(crate) fn expand(&self, salt: &[u8], purpose: &[&[u8]], out: &mut [u8]) {
        let length = OutputLength(out.len());
        assert!(length.0 <= 255 * 32, "HKDF-SHA256 yields at most 8160 bytes");
        Salt::new(HKDF_SHA256, salt)
            .extract(self.expose())
            .expand(purpose, length)
            .and_then(|material| material.fill(out))
            .expect("the length is within HKDF's bound and equals the buffer's");
    }
}

struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_is_hkdf_sha256() {
        let secret = Secret::from_slice(&[1; 32]).unwrap();
        let derived = secret.derive_salted(&[2; 32], &[b"keelson/0/", b"test"]);
        assert_eq!(
            hex::encode(derived.expose()),
            "eb3bd96581e13b149b2df2ff141317131b0898e1b16fe1e925d1cb946cc242f1"
        );
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(Secret::from_slice(&[0; 31]).is_err());
        assert!(Secret::from_slice(&[0; 33]).is_err());
    }
}
