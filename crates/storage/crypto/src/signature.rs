//! Ed25519 signatures of a platform, for what is checked far from it and later than it lives.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use keelson_model::{Classified, ErrorClass, LineageId};

use crate::secret::KEY_BYTES;
use crate::vault_key::{VaultKey, VaultKeyring};

/// Signs for a lineage. Derived from its first vault key, so that it outlives every instance and is stored nowhere.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a lineage. `None` if its first vault key is not at hand.
    pub fn of_lineage(vault: &VaultKeyring, lineage: LineageId) -> Option<Self> {
        let first = vault.find(VaultKey::FIRST)?;
        let seed = first.secret().derive_salted(lineage.as_bytes(), &[b"keelson/0/signature"]);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose());
        Some(Self(pair.expect("a seed of Ed25519 has a key's length")))
    }

    /// What checks its signatures.
    pub fn public(&self) -> VerifyingKey {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; Signature::LENGTH];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        Signature(bytes)
    }
}

/// The public half of a [`SigningKey`]: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; KEY_BYTES]);

/// A signature: 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; Self::LENGTH]);

impl Signature {
    const LENGTH: usize = 64;
}

/// Not the digits of a key or a signature.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{what}' is not {} hexadecimal digits", 2 * bytes)]
pub struct ParseSignatureError {
    what: &'static str,
    bytes: usize,
}

impl Classified for ParseSignatureError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "crypto.signature.parse"
    }
}

/// Another key signed, or something was changed since.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature is not of this key over these bytes")]
pub struct VerifySignatureError;

impl Classified for VerifySignatureError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        "crypto.signature.verify"
    }
}

impl VerifyingKey {
    /// Whether the key's owner signed this message.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), VerifySignatureError> {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, &signature.0)
            .map_err(|_| VerifySignatureError)
    }
}

fn parse<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], ParseSignatureError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseSignatureError { what, bytes: N })?;
    Ok(bytes)
}

impl FromStr for VerifyingKey {
    type Err = ParseSignatureError;

    fn from_str(text: &str) -> Result<Self, ParseSignatureError> {
        parse("key", text).map(Self)
    }
}

impl FromStr for Signature {
    type Err = ParseSignatureError;

    fn from_str(text: &str) -> Result<Self, ParseSignatureError> {
        parse("signature", text).map(Self)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGE: LineageId = LineageId::from_bytes([5; 16]);

    fn vault() -> VaultKeyring {
        VaultKeyring::new(VaultKey::from_slice(VaultKey::FIRST, &[9; 32]).unwrap())
    }

    #[test]
    fn a_signature_stands_for_its_bytes_and_its_key_alone() {
        let key = SigningKey::of_lineage(&vault(), LINEAGE).unwrap();
        let signature = key.sign(b"report");
        assert_eq!(key.public().verify(b"report", &signature), Ok(()));
        assert_eq!(key.public().verify(b"Report", &signature), Err(VerifySignatureError));
        let other = SigningKey::of_lineage(&vault(), LineageId::from_bytes([6; 16])).unwrap();
        assert_eq!(other.public().verify(b"report", &signature), Err(VerifySignatureError));
    }

    /// Keys and signatures are kept by people: what was written once reads for ever.
    #[test]
    fn key_and_signature_of_a_lineage_never_change() {
        let key = SigningKey::of_lineage(&vault(), LINEAGE).unwrap();
        assert_eq!(
            key.public().to_string(),
            "c5d281549786279c9baf3c7ae50ea68d8ce9d440816ae731adb5fb7ecfb21ba0"
        );
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let signature = key.sign(b"report");
        assert_eq!(signature.to_string().parse(), Ok(signature));
        assert!("00".parse::<VerifyingKey>().is_err() && "xy".repeat(64).parse::<Signature>().is_err());
    }
}
