//! The cleartext file `keys/<n>`: data key n wrapped by vault key n, and vault key n-1 wrapped by vault key n.

use keelson_crypto::{Fingerprint, WRAPPED_KEY_BYTES};
use keelson_model::RepositoryId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};

const RECORD: &str = "key file";
const MAGIC: &[u8; 8] = b"KEELKEYS";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    pub(crate) repository: RepositoryId,
    pub(crate) number: u32,
    /// Of the vault key that wraps: tells a foreign vault key from damaged bytes.
    pub(crate) vault: Fingerprint,
    pub(crate) data_key: Vec<u8>,
    pub(crate) previous_vault_key: Option<Vec<u8>>,
}

impl KeyFile {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { repository, number, vault, data_key, previous_vault_key } = self;
        let mut encoder = Encoder::checksummed(MAGIC);
        encoder.raw(repository.as_bytes());
        encoder.u32(*number);
        encoder.raw(vault.as_bytes());
        encoder.raw(data_key);
        match previous_vault_key {
            None => encoder.u8(0),
            Some(previous) => {
                encoder.u8(1);
                encoder.raw(previous);
            }
        }
        encoder.finish_checksummed()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::checksummed(RECORD, MAGIC, bytes)?;
        let repository = RepositoryId::from_bytes(decoder.array()?);
        let number = decoder.u32()?;
        let vault = Fingerprint::from_bytes(decoder.array()?);
        let data_key = decoder.take(WRAPPED_KEY_BYTES)?.to_vec();
        let previous_vault_key = match decoder.u8()? {
            0 => None,
            1 => Some(decoder.take(WRAPPED_KEY_BYTES)?.to_vec()),
            _ => return Err(decoder.field("previous key")),
        };
        decoder.finish()?;
        Ok(Self { repository, number, vault, data_key, previous_vault_key })
    }
}
