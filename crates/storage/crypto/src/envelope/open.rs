//! Opening an object: authenticate first, parse afterwards.

use aws_lc_rs::aead::{Aad, Nonce};
use keelson_model::{Classified, ErrorClass};

use super::layout::{
    self, COUNT_BYTES, END_MAGIC, HEADER_BYTES, Header, HeaderFault, NONCE_BYTES, ObjectCipher, Piece,
    SALT_BYTES, TRAILER_BYTES,
};
use super::{OBJECT_BYTES_MAX, ObjectId, ObjectKind, PART_OVERHEAD_BYTES, PARTS_MAX, PartLocation};
use crate::data_key::Keyring;

/// Bytes that are not the sealed object they should be. The caller knows its path and adds it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenObjectError {
    /// It ends too early, or is longer than any object.
    #[error("the {kind} is cut short or has an impossible length ({length} bytes)")]
    Length {
        /// What it should be.
        kind: ObjectKind,
        /// The length found.
        length: usize,
    },
    /// Its first or last bytes are not those of a sealed object.
    #[error("the {kind} does not begin and end as a sealed object does")]
    Frame {
        /// What it should be.
        kind: ObjectKind,
    },
    /// A later release wrote it.
    #[error("the {kind} has format version {found}, newer than this release knows")]
    NewerFormat {
        /// What it should be.
        kind: ObjectKind,
        /// The version found.
        found: u16,
    },
    /// It says that it is something else.
    #[error("an object of kind {found} stands where a {kind} should be")]
    OtherKind {
        /// What it should be.
        kind: ObjectKind,
        /// The code found.
        found: u8,
    },
    /// No key of that number is at hand.
    #[error("the {kind} names data key {number}, which this repository does not have")]
    MissingKey {
        /// What it should be.
        kind: ObjectKind,
        /// The number it names.
        number: u32,
    },
    /// A part is not what was sealed at this place of this object.
    #[error("part {part} of the {kind} was changed, swapped or sealed under another key")]
    AuthenticatePart {
        /// What it should be.
        kind: ObjectKind,
        /// The part's position.
        part: u32,
    },
    /// The directory is not what was sealed with this object.
    #[error("the directory of the {kind} was changed, swapped or sealed under another key")]
    AuthenticateDirectory {
        /// What it should be.
        kind: ObjectKind,
    },
    /// The directory is authentic, yet does not describe the object.
    #[error("the directory of the {kind} does not describe it")]
    Directory {
        /// What it should be.
        kind: ObjectKind,
    },
    /// There is no part of that number.
    #[error("the {kind} has no part {part}")]
    MissingPart {
        /// What it should be.
        kind: ObjectKind,
        /// The part asked for.
        part: u32,
    },
}

impl Classified for OpenObjectError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NewerFormat { .. } => ErrorClass::Invalid,
            Self::Length { .. }
            | Self::Frame { .. }
            | Self::OtherKind { .. }
            | Self::MissingKey { .. }
            | Self::AuthenticatePart { .. }
            | Self::AuthenticateDirectory { .. }
            | Self::Directory { .. }
            | Self::MissingPart { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "crypto.object.length",
            Self::Frame { .. } => "crypto.object.frame",
            Self::NewerFormat { .. } => "crypto.object.newer_format",
            Self::OtherKind { .. } => "crypto.object.other_kind",
            Self::MissingKey { .. } => "crypto.object.missing_key",
            Self::AuthenticatePart { .. } => "crypto.object.authenticate_part",
            Self::AuthenticateDirectory { .. } => "crypto.object.authenticate_directory",
            Self::Directory { .. } => "crypto.object.directory",
            Self::MissingPart { .. } => "crypto.object.missing_part",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NewerFormat { .. } => Some("use the release that wrote it, or a later one".to_owned()),
            _ => None,
        }
    }
}

/// An object whose directory is authentic. Each part is authenticated when it is opened.
pub struct OpenedObject<'a> {
    opener: PartOpener,
    parts: Vec<PartLocation>,
    directory: Vec<u8>,
    bytes: &'a [u8],
}

impl OpenedObject<'_> {
    /// The id in its header.
    pub fn id(&self) -> ObjectId {
        self.opener.id
    }

    /// What the maker put into the directory.
    pub fn directory(&self) -> &[u8] {
        &self.directory
    }

    /// Where the parts lie, in order.
    pub fn parts(&self) -> &[PartLocation] {
        &self.parts
    }

    /// Opens one part.
    pub fn part(&self, part: u32) -> Result<Vec<u8>, OpenObjectError> {
        let kind = self.opener.kind;
        let location = self.parts.get(part as usize).ok_or(OpenObjectError::MissingPart { kind, part })?;
        let start = location.offset as usize;
        self.opener.open(part, &self.bytes[start..start + location.length as usize])
    }
}

/// Reads header and directory of an object of the given kind, sealed under one of `keys`.
pub fn open_object<'a>(
    keys: &Keyring,
    kind: ObjectKind,
    bytes: &'a [u8],
) -> Result<OpenedObject<'a>, OpenObjectError> {
    let length_error = OpenObjectError::Length { kind, length: bytes.len() };
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(length_error);
    }
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(length_error);
    };
    let header = Header::decode(kind, header).map_err(|fault| match fault {
        HeaderFault::Magic | HeaderFault::Reserved => OpenObjectError::Frame { kind },
        HeaderFault::Version(found) => OpenObjectError::NewerFormat { kind, found },
        HeaderFault::Kind(found) => OpenObjectError::OtherKind { kind, found },
    })?;
    let Some((body, trailer)) = bytes[HEADER_BYTES..].split_last_chunk::<TRAILER_BYTES>() else {
        return Err(length_error);
    };
    if &trailer[4..] != END_MAGIC {
        return Err(OpenObjectError::Frame { kind });
    }
    let directory_bytes = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]) as usize;
    let Some(parts_bytes) = body.len().checked_sub(directory_bytes) else {
        return Err(length_error);
    };
    let (sealed_parts, sealed_directory) = body.split_at(parts_bytes);

    let opener = PartOpener::with_header(keys, header)?;
    let (parts, directory) = opener.open_directory(sealed_parts, sealed_directory)?;
    Ok(OpenedObject { opener, parts, directory, bytes })
}

/// The id that an object's first bytes state, without any proof: says *which* other object lies at a place, once
/// the right one failed to open there.
pub fn peek_object_id(bytes: &[u8]) -> Option<ObjectId> {
    layout::peek_id(bytes.first_chunk::<HEADER_BYTES>()?)
}

/// Opens single parts of an object from what an index keeps of it, without its header or directory.
pub struct PartOpener {
    kind: ObjectKind,
    id: ObjectId,
    cipher: ObjectCipher,
}

impl PartOpener {
    /// For the object with this kind, id, key number and salt.
    pub fn new(
        keys: &Keyring,
        kind: ObjectKind,
        id: ObjectId,
        key_number: u32,
        salt: [u8; SALT_BYTES],
    ) -> Result<Self, OpenObjectError> {
        Self::with_header(keys, Header { kind, key_number, id, salt })
    }

    fn with_header(keys: &Keyring, header: Header) -> Result<Self, OpenObjectError> {
        let Header { kind, key_number: number, id, salt: _ } = header;
        let key = keys.find(number).ok_or(OpenObjectError::MissingKey { kind, number })?;
        Ok(Self { kind, id, cipher: ObjectCipher::new(key, &header) })
    }

    /// Authenticates and opens the part at `position`, given its sealed bytes.
    pub fn open(&self, position: u32, sealed: &[u8]) -> Result<Vec<u8>, OpenObjectError> {
        self.open_piece(Piece::Part(position), sealed)
    }

    fn open_piece(&self, piece: Piece, sealed: &[u8]) -> Result<Vec<u8>, OpenObjectError> {
        let kind = self.kind;
        let fault = match piece {
            Piece::Part(part) => OpenObjectError::AuthenticatePart { kind, part },
            Piece::Directory => OpenObjectError::AuthenticateDirectory { kind },
        };
        let Some((nonce, body)) = sealed.split_first_chunk::<NONCE_BYTES>() else {
            return Err(fault);
        };
        let mut plain = body.to_vec();
        let associated = Aad::from(self.cipher.associated_data(piece));
        let opened = self.cipher.key.open_in_place(Nonce::from(nonce), associated, &mut plain);
        let length = match opened {
            Ok(opened) => opened.len(),
            Err(_) => return Err(fault),
        };
        plain.truncate(length);
        Ok(plain)
    }

    /// `sealed_parts` are the bytes between header and directory: the lengths must fill them exactly.
    fn open_directory(
        &self,
        sealed_parts: &[u8],
        sealed: &[u8],
    ) -> Result<(Vec<PartLocation>, Vec<u8>), OpenObjectError> {
        let mut plain = self.open_piece(Piece::Directory, sealed)?;
        let fault = || OpenObjectError::Directory { kind: self.kind };
        let (count, rest) = plain.split_first_chunk::<COUNT_BYTES>().ok_or_else(fault)?;
        let count = u32::from_le_bytes(*count) as usize;
        if count > PARTS_MAX {
            return Err(fault());
        }
        let lengths = rest.get(..4 * count).ok_or_else(fault)?;
        let mut parts = Vec::with_capacity(count);
        let mut offset = 0;
        for length in lengths.chunks_exact(4) {
            let length = u32::from_le_bytes(length.try_into().expect("four bytes a chunk"));
            let fits = (length as usize) <= sealed_parts.len() - offset;
            if (length as usize) < PART_OVERHEAD_BYTES || !fits {
                return Err(fault());
            }
            parts.push(PartLocation { offset: (HEADER_BYTES + offset) as u32, length });
            offset += length as usize;
        }
        if offset != sealed_parts.len() {
            return Err(fault());
        }
        plain.drain(..COUNT_BYTES + 4 * count);
        Ok((parts, plain))
    }
}
