//! A small secret sealed for one place: wrapped keys and secret fields. Objects use the envelope instead.
//!
//! Layout: salt (32) · nonce (12) · ciphertext · tag (16). Each box has a key of its own, so that a key which
//! seals a million fields never nears the cipher's message limit.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use keelson_model::{Classified, ErrorClass};
use zeroize::Zeroizing;

use crate::secret::{KEY_BYTES, Secret, random_bytes};

const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// What a box adds to its content, in bytes.
const BOX_OVERHEAD_BYTES: usize = SALT_BYTES + NONCE_LEN + TAG_BYTES;

/// Length of a wrapped key, in bytes.
pub const WRAPPED_KEY_BYTES: usize = BOX_OVERHEAD_BYTES + KEY_BYTES;

/// A small sealed value that does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenBoxError {
    /// Fewer bytes than an empty box has, or more than the content may have.
    #[error("sealed value '{purpose}' has an impossible length of {length} bytes")]
    Length {
        /// What the box is for.
        purpose: &'static str,
        /// The length found.
        length: usize,
    },
    /// Another key, another place, or damaged bytes: the cipher cannot tell which.
    #[error("sealed value '{purpose}' is damaged, or was sealed under another key or for another place")]
    Authenticate {
        /// What the box is for.
        purpose: &'static str,
    },
}

impl Classified for OpenBoxError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "crypto.box.length",
            Self::Authenticate { .. } => "crypto.box.authenticate",
        }
    }
}

/// Seals `plain` under a key derived for `purpose`. The box opens only where `context` is the same.
pub(crate) fn seal_box(secret: &Secret, purpose: &'static str, context: &[u8], plain: &[u8]) -> Vec<u8> {
    let salt: [u8; SALT_BYTES] = random_bytes();
    let body = SALT_BYTES + NONCE_LEN;
    let mut bytes = Vec::with_capacity(BOX_OVERHEAD_BYTES + plain.len());
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(&[0; NONCE_LEN]);
    bytes.extend_from_slice(plain);
    let (nonce, tag) = box_key(secret, &salt, purpose)
        .seal_in_place_separate_tag(Aad::from(associated_data(purpose, context)), &mut bytes[body..])
        .expect("a value in memory is shorter than the cipher's bound");
    bytes[SALT_BYTES..body].copy_from_slice(nonce.as_ref());
    bytes.extend_from_slice(tag.as_ref());
    bytes
}

/// Opens what [`seal_box`] made for the same purpose and context.
pub(crate) fn open_box(
    secret: &Secret,
    purpose: &'static str,
    context: &[u8],
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenBoxError> {
    let length_error = OpenBoxError::Length { purpose, length: bytes.len() };
    if bytes.len() < BOX_OVERHEAD_BYTES {
        return Err(length_error);
    }
    let (salt, rest) = bytes.split_at(SALT_BYTES);
    let (nonce, sealed) = rest.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| length_error)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let length = box_key(secret, salt, purpose)
        .open_in_place(nonce, Aad::from(associated_data(purpose, context)), &mut plain)
        .map_err(|_| OpenBoxError::Authenticate { purpose })?
        .len();
    plain.truncate(length);
    Ok(plain)
}

fn box_key(secret: &Secret, salt: &[u8], purpose: &'static str) -> RandomizedNonceKey {
    let key = secret.derive_salted(salt, &[b"keelson/0/box/", purpose.as_bytes()]);
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).expect("the key has the cipher's length")
}

fn associated_data(purpose: &'static str, context: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + purpose.len() + context.len());
    data.extend_from_slice(&(purpose.len() as u64).to_le_bytes());
    data.extend_from_slice(purpose.as_bytes());
    data.extend_from_slice(context);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_only_with_its_key_purpose_and_context() {
        let secret = Secret::generate();
        let sealed = seal_box(&secret, "field", b"row 1", b"hunter2");
        assert_eq!(open_box(&secret, "field", b"row 1", &sealed).unwrap().as_slice(), b"hunter2");
        assert!(open_box(&secret, "field", b"row 2", &sealed).is_err());
        assert!(open_box(&secret, "other", b"row 1", &sealed).is_err());
        assert!(open_box(&Secret::generate(), "field", b"row 1", &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_box_is_refused() {
        let secret = Secret::generate();
        let sealed = seal_box(&secret, "field", b"", b"abc");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open_box(&secret, "field", b"", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open_box(&secret, "field", b"", &sealed[..length]).is_err(), "length {length}");
        }
    }
}
