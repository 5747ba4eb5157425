//! Where bytes really go: one module a kind of storage.

pub mod filesystem;
pub mod memory;
pub mod s3;
