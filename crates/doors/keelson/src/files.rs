//! Files and addresses that an operator names on the command line: read within bounds, and what is wrong with them told
//! as bad input.

use std::fmt;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use anyhow::Result;
use keelson_model::ErrorClass;

use crate::failure::refuse;

/// Longer than any passphrase that anybody types or generates.
const PASSPHRASE_BYTES_MAX: usize = 64 << 10;

/// Reads a passphrase; `-` stands for stdin. Never trimmed but for one line end, which editors add.
pub(crate) fn read_passphrase(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = match file.to_str() {
        Some("-") => read(std::io::stdin(), "read the passphrase from stdin", PASSPHRASE_BYTES_MAX)?,
        _ => read_file("the passphrase", file, PASSPHRASE_BYTES_MAX)?,
    };
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// Reads a whole file that must not be longer than this.
pub(crate) fn read_file(what: &str, file: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let doing = format!("read {what} from '{}'", file.display());
    let opened = std::fs::File::open(file).map_err(|error| io_failed(&doing, &error))?;
    read(opened, &doing, bytes_max)
}

fn read(source: impl Read, doing: &str, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bounded = source.take(bytes_max as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| io_failed(doing, &error))?;
    if bytes.len() > bytes_max {
        return Err(refuse(ErrorClass::Invalid, format!("{doing}: it is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// What the operating system refused, in the class of what the operator named.
pub(crate) fn io_failed(doing: impl fmt::Display, error: &Error) -> anyhow::Error {
    let class = match error.kind() {
        ErrorKind::NotFound => ErrorClass::NotFound,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ErrorClass::Denied,
        ErrorKind::AddrInUse | ErrorKind::AlreadyExists => ErrorClass::Conflict,
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::AddrNotAvailable
        | ErrorKind::StorageFull => ErrorClass::Invalid,
        _ => ErrorClass::Unavailable { retry_after: None },
    };
    refuse(class, format!("{doing}: {error}"))
}
