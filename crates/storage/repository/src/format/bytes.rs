//! Reading and writing little-endian fields, with every length checked.

use jiff::Timestamp;
use keelson_crypto::Sha256;

use super::DecodeError;

/// The version of every record so far.
pub(crate) const RECORD_VERSION: u16 = 0;

/// Reads fields off the front of some bytes.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    record: &'static str,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(record: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, record }
    }

    /// For a sealed record: its version comes first.
    pub(crate) fn versioned(record: &'static str, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Self::new(record, bytes);
        decoder.version()?;
        Ok(decoder)
    }

    /// For a record in the clear: magic and version first, the SHA-256 of all before it last.
    pub(crate) fn checksummed(
        record: &'static str,
        magic: &[u8; 8],
        bytes: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut decoder = Self::new(record, bytes);
        if decoder.array::<8>()? != *magic {
            return Err(decoder.field("magic"));
        }
        decoder.version()?;
        let (body, checksum) =
            bytes.split_last_chunk::<{ Sha256::LENGTH }>().ok_or(DecodeError::Short { record })?;
        if Sha256::of(body).as_bytes() != checksum {
            return Err(DecodeError::Checksum { record });
        }
        let Some(rest) = decoder.rest.len().checked_sub(Sha256::LENGTH) else {
            return Err(DecodeError::Short { record });
        };
        decoder.rest = &decoder.rest[..rest];
        Ok(decoder)
    }

    fn version(&mut self) -> Result<(), DecodeError> {
        let found = self.u16()?;
        if found > RECORD_VERSION {
            return Err(DecodeError::NewerFormat { record: self.record, found });
        }
        Ok(())
    }

    pub(crate) fn field(&self, field: &'static str) -> DecodeError {
        DecodeError::Field { record: self.record, field }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeError::Short { record: self.record })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short { record: self.record })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn time(&mut self, field: &'static str) -> Result<Timestamp, DecodeError> {
        let microseconds = i64::from_le_bytes(self.array()?);
        Timestamp::from_microsecond(microseconds).map_err(|_| self.field(field))
    }

    pub(crate) fn optional_time(&mut self, field: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.time(field).map(Some),
            _ => Err(self.field(field)),
        }
    }

    /// A text with a two-byte length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.field(field))
    }

    /// Bytes with a four-byte length.
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A count of items that take at least `item_bytes` each: never more than the rest can hold, so that no count
    /// can ask for memory that the bytes do not back.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / item_bytes {
            return Err(DecodeError::Short { record: self.record });
        }
        Ok(count)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing { record: self.record })
    }
}

/// Appends fields. Callers have checked that texts, blobs and counts fit their length fields.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn versioned() -> Self {
        let mut encoder = Self::new();
        encoder.u16(RECORD_VERSION);
        encoder
    }

    pub(crate) fn checksummed(magic: &[u8; 8]) -> Self {
        let mut encoder = Self::new();
        encoder.raw(magic);
        encoder.u16(RECORD_VERSION);
        encoder
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn time(&mut self, time: Timestamp) {
        self.raw(&time.as_microsecond().to_le_bytes());
    }

    pub(crate) fn optional_time(&mut self, time: Option<Timestamp>) {
        match time {
            None => self.u8(0),
            Some(time) => {
                self.u8(1);
                self.time(time);
            }
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("texts are bounded before they are encoded");
        self.u16(length);
        self.raw(text.as_bytes());
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("what an object holds is counted in 32 bits"));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn finish_checksummed(mut self) -> Vec<u8> {
        let checksum = Sha256::of(&self.0);
        self.raw(checksum.as_bytes());
        self.0
    }
}
