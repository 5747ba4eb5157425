//! The bytes of a base: a header, frames of rows in key order, and an end that counts them.

use std::io::{self, Read};

use keelson_model::Revision;

use super::bytes::{Reader, Writer};
use super::head::{read_head, write_head};
use super::record::{Record, decode_revision};
use super::{Malformed, SHIPPED_VERSION, check_version};
use crate::digest::{Counts, Head};
use crate::error::ReadBaseError;
use crate::limits::{BASE_FRAME_BYTES, BASE_RECORD_BYTES_MAX, WRAPPED_KEY_BYTES_MAX};
use crate::row::Scope;

const MAGIC: &[u8; 8] = b"KLSNBASE";
const WHAT: &str = "base";
const ROWS: u8 = 1;
const END: u8 = 2;

/// Frame type, one record over the aim, and its length.
const FRAME_BYTES_MAX: usize = BASE_FRAME_BYTES + BASE_RECORD_BYTES_MAX + 8;

/// Head, origin, wrapped key and tag.
const HEADER_BYTES_MAX: usize = (1 << 10) + WRAPPED_KEY_BYTES_MAX;

/// Where a recovered catalog came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The last revision taken over.
    pub revision: Revision,
    /// The source's chain there.
    pub chain: [u8; 32],
}

/// What a base says of itself before its rows. Unproven until the base is put: `tag` needs the catalog key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseHeader {
    /// The classes whose rows follow.
    pub scope: Scope,
    /// Of the snapshot that the rows are from.
    pub head: Head,
    /// What the source was itself recovered from, if it was.
    pub origin: Option<Origin>,
    /// The catalog key as the caller wrapped it.
    pub wrapped_key: Vec<u8>,
}

impl BaseHeader {
    /// Reads the header from the start of a base.
    pub fn read(base: &mut dyn Read) -> Result<Self, ReadBaseError> {
        Ok(read_header(base)?.0)
    }

    /// What `tag` authenticates.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { scope, head, origin, wrapped_key } = self;
        let mut writer = Writer::default();
        writer.raw(MAGIC);
        writer.u16(SHIPPED_VERSION);
        writer.u8(scope.to_byte());
        write_origin(&mut writer, origin.as_ref());
        write_head(&mut writer, head);
        writer.blob(wrapped_key);
        writer.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(WHAT, bytes);
        if &reader.array()? != MAGIC {
            return Err(reader.malformed());
        }
        check_version(WHAT, reader.u16()?)?;
        let scope = Scope::from_byte(reader.u8()?).ok_or(reader.malformed())?;
        let origin = read_origin(&mut reader)?;
        let head = read_head(&mut reader)?;
        let wrapped_key = reader.blob()?.to_vec();
        if wrapped_key.len() > WRAPPED_KEY_BYTES_MAX {
            return Err(reader.malformed());
        }
        reader.end()?;
        Ok(Self { scope, head, origin, wrapped_key })
    }
}

fn malformed() -> ReadBaseError {
    decode(Malformed::bytes(WHAT))
}

fn decode(source: Malformed) -> ReadBaseError {
    ReadBaseError::Decode { source }
}

fn write_origin(writer: &mut Writer, origin: Option<&Origin>) {
    match origin {
        None => writer.u8(0),
        Some(Origin { revision, chain }) => {
            writer.u8(1);
            writer.u64(revision.as_u64());
            writer.raw(chain);
        }
    }
}

fn read_origin(reader: &mut Reader<'_>) -> Result<Option<Origin>, Malformed> {
    match reader.u8()? {
        0 => Ok(None),
        1 => {
            let revision = decode_revision(reader.u64()?).ok_or(reader.malformed())?;
            Ok(Some(Origin { revision, chain: reader.array()? }))
        }
        _ => Err(reader.malformed()),
    }
}

pub(crate) fn encode_origin(origin: Option<&Origin>) -> Vec<u8> {
    let mut writer = Writer::default();
    write_origin(&mut writer, origin);
    writer.0
}

pub(crate) fn decode_origin(bytes: &[u8]) -> Result<Option<Origin>, Malformed> {
    let mut reader = Reader::new("origin", bytes);
    let origin = read_origin(&mut reader)?;
    reader.end()?;
    Ok(origin)
}

/// The first bytes of a base: the header with its length before it and its tag behind it.
pub(crate) fn frame_header(header: &[u8], tag: &[u8; 32]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.blob(header);
    writer.raw(tag);
    writer.0
}

/// Gathers rows into frames.
#[derive(Debug)]
pub(crate) struct FrameWriter(Writer);

impl FrameWriter {
    pub(crate) fn new() -> Self {
        Self(Writer(Vec::with_capacity(BASE_FRAME_BYTES + (64 << 10))))
    }

    /// Takes a row; gives the frame back when it is full.
    pub(crate) fn push(&mut self, record: &Record) -> Option<Vec<u8>> {
        if self.0.0.is_empty() {
            self.0.u8(ROWS);
        }
        self.0.blob(&record.encode());
        (self.0.0.len() >= BASE_FRAME_BYTES).then(|| self.take())
    }

    /// The frame that is not full, if it holds a row.
    pub(crate) fn flush(&mut self) -> Option<Vec<u8>> {
        (!self.0.0.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        let mut framed = Writer(Vec::with_capacity(self.0.0.len() + 4));
        framed.blob(&self.0.0);
        self.0.0.clear();
        framed.0
    }
}

/// The last frame.
pub(crate) fn encode_end(counts: &Counts) -> Vec<u8> {
    let Counts { configuration, local, derived } = counts;
    let mut writer = Writer::default();
    writer.u8(END);
    for count in [configuration, local, derived] {
        writer.u64(*count);
    }
    let mut framed = Writer::default();
    framed.blob(&writer.0);
    framed.0
}

/// What comes after the header.
#[derive(Debug)]
pub(crate) enum Frame {
    Rows(Vec<Record>),
    End(Counts),
}

/// The header, the bytes that its tag is over, and the tag.
pub(crate) fn read_header(base: &mut dyn Read) -> Result<(BaseHeader, Vec<u8>, [u8; 32]), ReadBaseError> {
    let bytes = read_sized(base, HEADER_BYTES_MAX)?;
    let header = BaseHeader::decode(&bytes).map_err(decode)?;
    let mut tag = [0; 32];
    read_exact(base, &mut tag)?;
    Ok((header, bytes, tag))
}

/// The next frame. After `End` nothing may follow.
pub(crate) fn read_frame(base: &mut dyn Read) -> Result<Frame, ReadBaseError> {
    let bytes = read_sized(base, FRAME_BYTES_MAX)?;
    let frame = decode_frame(&bytes).map_err(decode)?;
    if matches!(frame, Frame::End(_))
        && base.read(&mut [0]).map_err(|source| ReadBaseError::Read { source })? > 0
    {
        return Err(malformed());
    }
    Ok(frame)
}

fn decode_frame(bytes: &[u8]) -> Result<Frame, Malformed> {
    let mut reader = Reader::new(WHAT, bytes);
    match reader.u8()? {
        ROWS => {
            let mut records = Vec::new();
            while !reader.is_empty() {
                records.push(Record::decode(reader.blob()?)?);
            }
            if records.is_empty() {
                return Err(reader.malformed());
            }
            Ok(Frame::Rows(records))
        }
        END => {
            let counts =
                Counts { configuration: reader.u64()?, local: reader.u64()?, derived: reader.u64()? };
            reader.end()?;
            Ok(Frame::End(counts))
        }
        _ => Err(reader.malformed()),
    }
}

/// Reads a length as u32 and that many bytes; memory grows with what arrives, not with what is claimed.
fn read_sized(base: &mut dyn Read, bytes_max: usize) -> Result<Vec<u8>, ReadBaseError> {
    let mut length = [0; 4];
    read_exact(base, &mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > bytes_max {
        return Err(malformed());
    }
    let mut bytes = Vec::new();
    base.take(length as u64).read_to_end(&mut bytes).map_err(|source| ReadBaseError::Read { source })?;
    if bytes.len() == length { Ok(bytes) } else { Err(malformed()) }
}

fn read_exact(base: &mut dyn Read, bytes: &mut [u8]) -> Result<(), ReadBaseError> {
    base.read_exact(bytes).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => malformed(),
        _ => ReadBaseError::Read { source },
    })
}
