//! The byte layout of an object, and the associated data of its parts.

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};

use super::{ObjectId, ObjectKind};
use crate::data_key::{DataKey, Scope};

pub(super) const MAGIC: &[u8; 8] = b"KEELSON\0";
pub(super) const END_MAGIC: &[u8; 4] = b"KEND";
pub(super) const VERSION: u16 = 0;

pub(super) const SALT_BYTES: usize = 32;
pub(super) const NONCE_BYTES: usize = 12;
pub(super) const TAG_BYTES: usize = 16;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const COUNT_BYTES: usize = 4;
pub(super) const TRAILER_BYTES: usize = 8;

const AT_VERSION: usize = 8;
const AT_KIND: usize = 10;
const AT_RESERVED: usize = 11;
const AT_KEY: usize = 12;
const AT_ID: usize = 16;
const AT_SALT: usize = 32;

/// The number of parts is secret until the directory is open, so its position cannot be that number.
pub(super) const DIRECTORY_POSITION: u32 = u32::MAX;

const ASSOCIATED_BYTES: usize = HEADER_BYTES + Scope::LENGTH + 4 + 1;

/// Why 64 bytes are not a header of ours.
pub(super) enum HeaderFault {
    Magic,
    Version(u16),
    Kind(u8),
    Reserved,
}

/// The cleartext start of an object.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: ObjectKind,
    pub(super) key_number: u32,
    pub(super) id: ObjectId,
    pub(super) salt: [u8; SALT_BYTES],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..AT_VERSION].copy_from_slice(MAGIC);
        bytes[AT_VERSION..AT_KIND].copy_from_slice(&VERSION.to_le_bytes());
        bytes[AT_KIND] = self.kind.code();
        bytes[AT_KEY..AT_ID].copy_from_slice(&self.key_number.to_le_bytes());
        bytes[AT_ID..AT_SALT].copy_from_slice(self.id.as_bytes());
        bytes[AT_SALT..].copy_from_slice(&self.salt);
        bytes
    }

    pub(super) fn decode(expected: ObjectKind, bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderFault> {
        if &bytes[..AT_VERSION] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let version = u16::from_le_bytes([bytes[AT_VERSION], bytes[AT_VERSION + 1]]);
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        if bytes[AT_KIND] != expected.code() {
            return Err(HeaderFault::Kind(bytes[AT_KIND]));
        }
        if bytes[AT_RESERVED] != 0 {
            return Err(HeaderFault::Reserved);
        }
        let mut key_number = [0; 4];
        key_number.copy_from_slice(&bytes[AT_KEY..AT_ID]);
        let mut id = [0; ObjectId::LENGTH];
        id.copy_from_slice(&bytes[AT_ID..AT_SALT]);
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&bytes[AT_SALT..]);
        let key_number = u32::from_le_bytes(key_number);
        Ok(Self { kind: expected, key_number, id: ObjectId::from_bytes(id), salt })
    }
}

/// The id in what may be a header; nothing is authentic yet.
pub(super) fn peek_id(bytes: &[u8; HEADER_BYTES]) -> Option<ObjectId> {
    let (head, rest) = bytes.split_at(AT_ID);
    let id = rest.first_chunk::<{ ObjectId::LENGTH }>()?;
    (&head[..AT_VERSION] == MAGIC).then_some(ObjectId::from_bytes(*id))
}

/// The key of one object and what binds its parts to their places.
pub(super) struct ObjectCipher {
    pub(super) key: RandomizedNonceKey,
    header: [u8; HEADER_BYTES],
    scope: [u8; Scope::LENGTH],
}

/// Which sealed piece of an object is meant.
#[derive(Clone, Copy)]
pub(super) enum Piece {
    Part(u32),
    Directory,
}

impl ObjectCipher {
    pub(super) fn new(key: &DataKey, header: &Header) -> Self {
        let purpose: [&[u8]; 2] = [b"keelson/0/object/", &[header.kind.code()]];
        let secret = key.secret().derive_salted(&header.salt, &purpose);
        Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, secret.expose())
                .expect("the key has the cipher's length"),
            header: header.encode(),
            scope: key.scope().to_bytes(),
        }
    }

    pub(super) fn associated_data(&self, piece: Piece) -> [u8; ASSOCIATED_BYTES] {
        let (position, last) = match piece {
            Piece::Part(position) => (position, 0),
            Piece::Directory => (DIRECTORY_POSITION, 1),
        };
        let mut data = [0; ASSOCIATED_BYTES];
        let (header, rest) = data.split_at_mut(HEADER_BYTES);
        let (scope, rest) = rest.split_at_mut(Scope::LENGTH);
        header.copy_from_slice(&self.header);
        scope.copy_from_slice(&self.scope);
        rest[..4].copy_from_slice(&position.to_le_bytes());
        rest[4] = last;
        data
    }
}
