//! The bytes of a head: in `meta` and in the header of a base.

use keelson_crypto::RowDigest;

use super::Malformed;
use super::bytes::{Reader, Writer};
use super::record::decode_revision;
use crate::digest::{Digests, Head};

pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    let mut writer = Writer::default();
    write_head(&mut writer, head);
    writer.0
}

pub(crate) fn decode_head(bytes: &[u8]) -> Result<Head, Malformed> {
    let mut reader = Reader::new("head", bytes);
    let head = read_head(&mut reader)?;
    reader.end()?;
    Ok(head)
}

pub(super) fn write_head(writer: &mut Writer, Head { revision, digests, chain }: &Head) {
    writer.u64(revision.as_u64());
    write_digests(writer, digests);
    writer.raw(chain);
}

pub(super) fn read_head(reader: &mut Reader<'_>) -> Result<Head, Malformed> {
    let revision = decode_revision(reader.u64()?).ok_or(reader.malformed())?;
    Ok(Head { revision, digests: read_digests(reader)?, chain: reader.array()? })
}

pub(crate) fn encode_digests(digests: &Digests) -> Vec<u8> {
    let mut writer = Writer::default();
    write_digests(&mut writer, digests);
    writer.0
}

pub(crate) fn decode_digests(bytes: &[u8]) -> Result<Digests, Malformed> {
    let mut reader = Reader::new("digests", bytes);
    let digests = read_digests(&mut reader)?;
    reader.end()?;
    Ok(digests)
}

pub(super) fn write_digests(writer: &mut Writer, digests: &Digests) {
    for bytes in digests.to_bytes() {
        writer.raw(&bytes);
    }
}

pub(super) fn read_digests(reader: &mut Reader<'_>) -> Result<Digests, Malformed> {
    Ok(Digests {
        configuration: RowDigest::from_bytes(reader.array()?),
        local: RowDigest::from_bytes(reader.array()?),
        derived: RowDigest::from_bytes(reader.array()?),
    })
}
