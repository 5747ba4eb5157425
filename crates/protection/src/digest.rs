//! The digest of several texts, in which it counts where one ends.

use keelson_crypto::{Sha256, Sha256Stream};

pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Sha256 {
    let mut digest = Sha256Stream::new();
    for part in parts {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finish()
}
