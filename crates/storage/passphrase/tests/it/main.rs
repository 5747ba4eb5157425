//! Passphrases from real servers: OpenBao, which speaks Vault's API and is not Vault, and moto, which stands for AWS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod aws;
mod vault;
