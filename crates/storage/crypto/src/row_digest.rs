//! The digest of a set of rows that changes in O(changes): the sum, modulo 2^256, of the rows' keyed hashes.
//!
//! Order does not matter and a row can be taken out again. Without the key nobody can find rows whose hashes
//! cancel out, which an unkeyed sum would allow.

use std::fmt;

use aws_lc_rs::hmac;

use crate::secret::Secret;

/// The key under which the rows of one class are hashed.
pub struct RowDigestKey(hmac::Key);

impl RowDigestKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    fn hash(&self, row: &[u8]) -> [u64; 4] {
        let tag = hmac::sign(&self.0, row);
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(tag.as_ref().chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().expect("eight bytes a chunk"));
        }
        limbs
    }
}

/// The accumulated digest of a set of rows. The empty set is zero.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RowDigest([u64; 4]);

impl RowDigest {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// Reads a digest that was stored (little-endian).
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().expect("eight bytes a chunk"));
        }
        Self(limbs)
    }

    /// The bytes to store (little-endian).
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        for (limb, bytes) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// Puts a row into the set. A row that is in the set twice counts twice.
    pub fn add(&mut self, key: &RowDigestKey, row: &[u8]) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(key.hash(row)) {
            let (sum, first) = limb.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first | second;
        }
    }

    /// Takes a row out of the set.
    pub fn remove(&mut self, key: &RowDigestKey, row: &[u8]) {
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(key.hash(row)) {
            let (rest, first) = limb.overflowing_sub(other);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            *limb = rest;
            borrow = first | second;
        }
    }
}

impl fmt::Display for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> RowDigestKey {
        RowDigestKey::new(&Secret::from_slice(&[7; 32]).unwrap())
    }

    #[test]
    fn a_row_digest_is_the_sum_of_the_rows_hmacs() {
        let mut digest = RowDigest::default();
        digest.add(&key(), b"one");
        digest.add(&key(), b"two");
        assert_eq!(digest.to_string(), "f8646660b220cab000d2d36b4605bf5fb619f725f5677e9665b57d7a871a8cbe");
    }

    proptest! {
        #[test]
        fn a_row_digest_depends_on_the_set_alone(
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
            removed in prop::collection::vec(any::<bool>(), 20),
        ) {
            let key = key();
            let (mut changed, mut direct) = (RowDigest::default(), RowDigest::default());
            for row in &rows {
                changed.add(&key, row);
            }
            for (row, removed) in rows.iter().zip(&removed).rev() {
                if *removed { changed.remove(&key, row) } else { direct.add(&key, row) }
            }
            prop_assert_eq!(changed, direct);
            prop_assert_eq!(RowDigest::from_bytes(changed.to_bytes()), changed);
        }
    }
}
