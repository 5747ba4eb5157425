//! Where a passphrase comes from when it is kept elsewhere: HashiCorp Vault, AWS Secrets Manager.
//!
//! Knows nothing of Kubernetes: whoever calls brings addresses, credentials and the files of accounts. Asks anew each
//! time and keeps nothing. What was fetched and what signs in is wiped when it goes and never printed; what the HTTP
//! library has buffered is not in our hands.

pub mod aws;
mod secret;
mod transport;
pub mod vault;

#[cfg(test)]
mod scripted;

pub use self::secret::SecretText;
pub use self::transport::{Loss, Lost, TrustError};

/// Longer than any passphrase that anybody types or generates.
pub const PASSPHRASE_BYTES_MAX: usize = 64 << 10;
