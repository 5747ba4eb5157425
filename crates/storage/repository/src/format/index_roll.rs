//! The records of a roll, a file in the local copy of the index: fixed-width rows, and the footer that says where they
//! lie. Every piece is behind a checksum already; what is impossible all the same is refused.

use keelson_crypto::{ObjectId, Sha256};
use keelson_model::{ChunkId, PackId, RepositoryId};
use keelson_store::VersionId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};
use super::index_record::{PackRecord, decode_version, encode_version};
use super::pack_directory::{Encoding, PackedChunk};

const RECORD: &str = "index roll";
const MAGIC: &[u8; 8] = b"KEELIDX\0";
/// A row of a chunk. It begins with the id, so that rows sort by it.
pub(crate) const CHUNK_ROW_BYTES: usize = ChunkId::LENGTH + 4 + 4 + 4 + 4 + 2 + 1;
/// A row of a pack: its id, and its number in the roll.
pub(crate) const PACK_ROW_BYTES: usize = PackId::LENGTH + 4;
/// A pack's record without its version id.
pub(crate) const PACK_RECORD_BYTES: usize = PackId::LENGTH + 4 + 32 + Sha256::LENGTH + 4 + 2;
/// The end of a roll: magic, version, id, place of the footer, checksum.
pub(crate) const TRAILER_BYTES: usize = 8 + 2 + 16 + 8 + 8 + Sha256::LENGTH;

pub(crate) type ChunkRow = [u8; CHUNK_ROW_BYTES];
pub(crate) type PackRow = [u8; PACK_ROW_BYTES];

/// What a chunk's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowedChunk {
    pub(crate) chunk: PackedChunk,
    /// The pack's number in the roll.
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) sealed_bytes: u32,
    pub(crate) position: u16,
}

pub(crate) fn encode_chunk(row: &RowedChunk) -> ChunkRow {
    let RowedChunk { chunk: PackedChunk { id, plain_bytes, encoding }, pack, offset, sealed_bytes, position } =
        row;
    let mut bytes = [0; CHUNK_ROW_BYTES];
    bytes[..32].copy_from_slice(id.as_bytes());
    bytes[32..36].copy_from_slice(&pack.to_le_bytes());
    bytes[36..40].copy_from_slice(&offset.to_le_bytes());
    bytes[40..44].copy_from_slice(&sealed_bytes.to_le_bytes());
    bytes[44..48].copy_from_slice(&plain_bytes.to_le_bytes());
    bytes[48..50].copy_from_slice(&position.to_le_bytes());
    bytes[50] = *encoding as u8;
    bytes
}

pub(crate) fn decode_chunk(row: &ChunkRow) -> Result<RowedChunk, DecodeError> {
    let mut decoder = Decoder::new(RECORD, row);
    let id = ChunkId::from_bytes(decoder.array()?);
    let (pack, offset, sealed_bytes) = (decoder.u32()?, decoder.u32()?, decoder.u32()?);
    let (plain_bytes, position) = (decoder.u32()?, decoder.u16()?);
    let encoding = Encoding::decode(decoder.u8()?).ok_or_else(|| decoder.field("encoding"))?;
    let chunk = PackedChunk { id, plain_bytes, encoding };
    Ok(RowedChunk { chunk, pack, offset, sealed_bytes, position })
}

/// A row with a pack's number in it: what a merge must see and change.
pub(crate) trait NamesPack {
    fn pack(&self) -> u32;
    fn set_pack(&mut self, pack: u32);
}

impl NamesPack for ChunkRow {
    fn pack(&self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self[32..36]);
        u32::from_le_bytes(bytes)
    }

    fn set_pack(&mut self, pack: u32) {
        self[32..36].copy_from_slice(&pack.to_le_bytes());
    }
}

impl NamesPack for PackRow {
    fn pack(&self) -> u32 {
        let [.., a, b, c, d] = *self;
        u32::from_le_bytes([a, b, c, d])
    }

    fn set_pack(&mut self, pack: u32) {
        self[PackId::LENGTH..].copy_from_slice(&pack.to_le_bytes());
    }
}

pub(crate) fn encode_pack(id: &PackId, pack: u32) -> PackRow {
    let mut row = [0; PACK_ROW_BYTES];
    row[..PackId::LENGTH].copy_from_slice(id.as_bytes());
    row.set_pack(pack);
    row
}

/// Appends a pack's record, padded so that all of a roll have one width.
pub(crate) fn encode_pack_record(record: &PackRecord, version_bytes: usize, into: &mut Vec<u8>) {
    let PackRecord { id, key_number, salt, sha256, length, version } = record;
    let end = into.len() + PACK_RECORD_BYTES + version_bytes;
    let mut encoder = Encoder::new();
    encoder.raw(id.as_bytes());
    encoder.u32(*key_number);
    encoder.raw(salt);
    encoder.raw(sha256.as_bytes());
    encoder.u32(*length);
    encode_version(&mut encoder, version.as_ref());
    into.extend_from_slice(&encoder.finish());
    into.resize(end, 0);
}

/// What stands behind the version id is padding.
pub(crate) fn decode_pack_record(bytes: &[u8]) -> Result<PackRecord, DecodeError> {
    let mut decoder = Decoder::new(RECORD, bytes);
    Ok(PackRecord {
        id: PackId::from_bytes(decoder.array()?),
        key_number: decoder.u32()?,
        salt: decoder.array()?,
        sha256: Sha256::from_bytes(decoder.array()?),
        length: decoder.u32()?,
        version: decode_version(&mut decoder)?,
    })
}

/// An index object in a roll, and the numbers of its packs: they follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RollSource {
    pub(crate) id: ObjectId,
    pub(crate) version: Option<VersionId>,
    pub(crate) first_pack: u32,
    pub(crate) packs: u32,
    pub(crate) chunks: u64,
}

/// A page of a table: rows whose keys begin with the same bits, and their filter behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PagePlace {
    pub(crate) offset: u64,
    pub(crate) rows: u32,
    pub(crate) filter_bytes: u32,
}

/// The pages of a table, as many as their bits can tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablePlace {
    pub(crate) page_bits: u8,
    pub(crate) pages: Vec<PagePlace>,
}

/// Where what a roll holds lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) repository: RepositoryId,
    pub(crate) chunks: TablePlace,
    pub(crate) packs: TablePlace,
    /// The packs' records, by number.
    pub(crate) records_offset: u64,
    pub(crate) version_bytes: u16,
    /// In the order of their packs' numbers.
    pub(crate) sources: Vec<RollSource>,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { repository, chunks, packs, records_offset, version_bytes, sources } = self;
        let mut encoder = Encoder::versioned();
        encoder.raw(repository.as_bytes());
        for TablePlace { page_bits, pages } in [chunks, packs] {
            encoder.u8(*page_bits);
            encoder.count(pages.len());
            for PagePlace { offset, rows, filter_bytes } in pages {
                encoder.u64(*offset);
                encoder.u32(*rows);
                encoder.u32(*filter_bytes);
            }
        }
        encoder.u64(*records_offset);
        encoder.u16(*version_bytes);
        encoder.count(sources.len());
        for RollSource { id, version, first_pack: _, packs, chunks } in sources {
            encoder.raw(id.as_bytes());
            encode_version(&mut encoder, version.as_ref());
            encoder.u32(*packs);
            encoder.u64(*chunks);
        }
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned(RECORD, bytes)?;
        let repository = RepositoryId::from_bytes(decoder.array()?);
        let (chunks, packs) = (decode_table(&mut decoder)?, decode_table(&mut decoder)?);
        let (records_offset, version_bytes) = (decoder.u64()?, decoder.u16()?);
        let count = decoder.count(ObjectId::LENGTH + 2 + 4 + 8)?;
        let mut sources = Vec::with_capacity(count);
        let mut first_pack = 0u32;
        for _ in 0..count {
            let id = ObjectId::from_bytes(decoder.array()?);
            let version = decode_version(&mut decoder)?;
            let (packs, chunks) = (decoder.u32()?, decoder.u64()?);
            sources.push(RollSource { id, version, first_pack, packs, chunks });
            first_pack = first_pack.checked_add(packs).ok_or_else(|| decoder.field("number of packs"))?;
        }
        decoder.finish()?;
        Ok(Self { repository, chunks, packs, records_offset, version_bytes, sources })
    }
}

fn decode_table(decoder: &mut Decoder<'_>) -> Result<TablePlace, DecodeError> {
    let page_bits = decoder.u8()?;
    let count = decoder.count(8 + 4 + 4)?;
    if 1usize.checked_shl(u32::from(page_bits)) != Some(count) {
        return Err(decoder.field("number of pages"));
    }
    let mut pages = Vec::with_capacity(count);
    for _ in 0..count {
        let (offset, rows, filter_bytes) = (decoder.u64()?, decoder.u32()?, decoder.u32()?);
        pages.push(PagePlace { offset, rows, filter_bytes });
    }
    Ok(TablePlace { page_bits, pages })
}

/// Finds the footer; the last bytes of a roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Every checksum in the roll covers it, so that no piece of another roll passes for one of this.
    pub(crate) roll: [u8; 16],
    pub(crate) footer_offset: u64,
    pub(crate) footer_bytes: u64,
}

impl Trailer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { roll, footer_offset, footer_bytes } = self;
        let mut encoder = Encoder::checksummed(MAGIC);
        encoder.raw(roll);
        encoder.u64(*footer_offset);
        encoder.u64(*footer_bytes);
        encoder.finish_checksummed()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::checksummed(RECORD, MAGIC, bytes)?;
        let trailer =
            Self { roll: decoder.array()?, footer_offset: decoder.u64()?, footer_bytes: decoder.u64()? };
        decoder.finish()?;
        Ok(trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunks_row_says_what_it_was_made_of_and_names_its_pack() {
        let chunk =
            PackedChunk { id: ChunkId::from_bytes([7; 32]), plain_bytes: 5000, encoding: Encoding::Zstd };
        let row = RowedChunk { chunk, pack: 0x0102_0304, offset: 64, sealed_bytes: 900, position: 65_535 };
        let mut bytes = encode_chunk(&row);
        assert_eq!(bytes.pack(), row.pack);
        assert_eq!(decode_chunk(&bytes).unwrap(), row);
        bytes.set_pack(9);
        assert_eq!(decode_chunk(&bytes).unwrap(), RowedChunk { pack: 9, ..row });
        bytes[50] = 2;
        assert!(matches!(decode_chunk(&bytes), Err(DecodeError::Field { field: "encoding", .. })));
    }

    #[test]
    fn a_footer_and_a_trailer_read_back_equal_and_refuse_what_is_cut() {
        let page = PagePlace { offset: 4096, rows: 3, filter_bytes: 40 };
        let source = |id, first_pack| RollSource {
            id: ObjectId::from_bytes([id; 16]),
            version: Some(VersionId::new("version")),
            first_pack,
            packs: 3,
            chunks: 9,
        };
        let footer = Footer {
            repository: RepositoryId::from_bytes([1; 16]),
            chunks: TablePlace { page_bits: 1, pages: vec![page; 2] },
            packs: TablePlace { page_bits: 0, pages: vec![page] },
            records_offset: 77,
            version_bytes: 7,
            sources: vec![source(1, 0), source(2, 3)],
        };
        let bytes = footer.encode();
        assert_eq!(Footer::decode(&bytes).unwrap(), footer);
        for length in 0..bytes.len() {
            assert!(Footer::decode(&bytes[..length]).is_err());
        }
        let trailer = Trailer { roll: [3; 16], footer_offset: 8, footer_bytes: 9 };
        let mut bytes = trailer.encode();
        assert_eq!(bytes.len(), TRAILER_BYTES);
        assert_eq!(Trailer::decode(&bytes).unwrap(), trailer);
        bytes[20] ^= 1;
        assert!(matches!(Trailer::decode(&bytes), Err(DecodeError::Checksum { .. })));
    }
}
