//! Sealing an object: parts one after the other, then the directory.

use aws_lc_rs::aead::Aad;
use bytes::Bytes;
use keelson_model::{Classified, ErrorClass};

use super::layout::{
    COUNT_BYTES, END_MAGIC, HEADER_BYTES, Header, NONCE_BYTES, ObjectCipher, Piece, SALT_BYTES, TRAILER_BYTES,
};
use super::{OBJECT_BYTES_MAX, ObjectId, ObjectKind, PART_OVERHEAD_BYTES, PARTS_MAX, PartLocation};
use crate::data_key::DataKey;
use crate::digest::Sha256;
use crate::secret::random_bytes;

/// An object that cannot be sealed. Its maker asked for more than an object holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealObjectError {
    /// It would exceed [`OBJECT_BYTES_MAX`].
    #[error("a {kind} would have more than {OBJECT_BYTES_MAX} bytes")]
    Size {
        /// What was being sealed.
        kind: ObjectKind,
    },
    /// It would exceed [`PARTS_MAX`].
    #[error("a {kind} would have more than {PARTS_MAX} parts")]
    Parts {
        /// What was being sealed.
        kind: ObjectKind,
    },
    /// The cipher module refused.
    #[error("the cipher refused to seal a {kind}")]
    Cipher {
        /// What was being sealed.
        kind: ObjectKind,
    },
}

impl Classified for SealObjectError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Size { .. } => "crypto.object.seal_size",
            Self::Parts { .. } => "crypto.object.seal_parts",
            Self::Cipher { .. } => "crypto.object.seal_cipher",
        }
    }
}

/// A finished object: the bytes to store, and what an index keeps to read single parts.
#[derive(Clone)]
pub struct SealedObject {
    /// The random id in the header.
    pub id: ObjectId,
    /// The data key it was sealed under.
    pub key_number: u32,
    /// The salt in the header.
    pub salt: [u8; SALT_BYTES],
    /// Where the parts lie, in order.
    pub parts: Vec<PartLocation>,
    /// The hash of all bytes.
    pub sha256: Sha256,
    /// The object. A retried upload sends these same bytes.
    pub bytes: Bytes,
}

impl std::fmt::Debug for SealedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedObject({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// Seals one object.
pub struct Sealer {
    header: Header,
    cipher: ObjectCipher,
    parts: Vec<PartLocation>,
    bytes: Vec<u8>,
}

impl Sealer {
    /// Starts an object with a random id and a key of its own.
    pub fn new(key: &DataKey, kind: ObjectKind) -> Self {
        Self::with_id(key, kind, ObjectId::from_bytes(random_bytes()))
    }

    /// Starts an object under an id that was drawn before, so that it can be named first.
    pub fn with_id(key: &DataKey, kind: ObjectKind, id: ObjectId) -> Self {
        let header = Header { kind, key_number: key.number(), id, salt: random_bytes() };
        let cipher = ObjectCipher::new(key, &header);
        Self { cipher, parts: Vec::new(), bytes: header.encode().to_vec(), header }
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.header.id
    }

    /// How long the object will be with the parts so far and a directory of `directory_bytes`.
    pub fn object_bytes(&self, directory_bytes: usize) -> usize {
        let lengths = COUNT_BYTES + 4 * self.parts.len();
        self.bytes.len() + PART_OVERHEAD_BYTES + lengths + directory_bytes + TRAILER_BYTES
    }

    /// Seals the next part and says where it lies.
    pub fn part(&mut self, plain: &[u8]) -> Result<PartLocation, SealObjectError> {
        let kind = self.header.kind;
        if self.parts.len() >= PARTS_MAX {
            return Err(SealObjectError::Parts { kind });
        }
        if self.object_bytes(0) + PART_OVERHEAD_BYTES + COUNT_BYTES + plain.len() > OBJECT_BYTES_MAX {
            return Err(SealObjectError::Size { kind });
        }
        let location = self.append(Piece::Part(self.parts.len() as u32), plain)?;
        self.parts.push(location);
        Ok(location)
    }

    /// Seals the directory, which also holds the lengths of the parts, and ends the object.
    pub fn finish(mut self, directory: &[u8]) -> Result<SealedObject, SealObjectError> {
        if self.object_bytes(directory.len()) > OBJECT_BYTES_MAX {
            return Err(SealObjectError::Size { kind: self.header.kind });
        }
        let count = self.parts.len() as u32;
        let mut plain = Vec::with_capacity(COUNT_BYTES + 4 * self.parts.len() + directory.len());
        plain.extend_from_slice(&count.to_le_bytes());
        for part in &self.parts {
            plain.extend_from_slice(&part.length.to_le_bytes());
        }
        plain.extend_from_slice(directory);
        let location = self.append(Piece::Directory, &plain)?;
        self.bytes.extend_from_slice(&location.length.to_le_bytes());
        self.bytes.extend_from_slice(END_MAGIC);

        debug_assert!(self.bytes.len() >= HEADER_BYTES + TRAILER_BYTES);
        Ok(SealedObject {
            id: self.header.id,
            key_number: self.header.key_number,
            salt: self.header.salt,
            parts: self.parts,
            sha256: Sha256::of(&self.bytes),
            bytes: Bytes::from(self.bytes),
        })
    }

    /// An authentic object whose directory says whatever `directory` says, true or not.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn finish_falsely(mut self, parts: &[u8], directory: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(parts);
        let location = self.append(Piece::Directory, directory).expect("a directory is short");
        self.bytes.extend_from_slice(&location.length.to_le_bytes());
        self.bytes.extend_from_slice(END_MAGIC);
        self.bytes
    }

    fn append(&mut self, piece: Piece, plain: &[u8]) -> Result<PartLocation, SealObjectError> {
        let offset = self.bytes.len();
        let body = offset + NONCE_BYTES;
        self.bytes.extend_from_slice(&[0; NONCE_BYTES]);
        self.bytes.extend_from_slice(plain);
        let associated = Aad::from(self.cipher.associated_data(piece));
        let (nonce, tag) = self
            .cipher
            .key
            .seal_in_place_separate_tag(associated, &mut self.bytes[body..])
            .map_err(|_| SealObjectError::Cipher { kind: self.header.kind })?;
        self.bytes[offset..body].copy_from_slice(nonce.as_ref());
        self.bytes.extend_from_slice(tag.as_ref());
        Ok(PartLocation { offset: offset as u32, length: (self.bytes.len() - offset) as u32 })
    }
}
