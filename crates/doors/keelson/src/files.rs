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
    strip_line_end(&mut bytes);
    Ok(bytes)
}

fn strip_line_end(bytes: &mut Vec<u8>) {
    let end = [b"\r\n".as_slice(), b"\n"].into_iter().find(|end| bytes.ends_with(end));
    bytes.truncate(bytes.len() - end.map_or(0, <[u8]>::len));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_of_either_kind_is_not_part_of_a_passphrase() {
        let check = |written: &str, expected: &str| {
            let mut bytes = written.as_bytes().to_vec();
            strip_line_end(&mut bytes);
            assert_eq!(bytes, expected.as_bytes(), "{written:?}");
        };
        check("phrase", "phrase");
        check("phrase\n", "phrase");
        check("phrase\r\n", "phrase");
        check("phrase\n\n", "phrase\n");
        check("phrase\r\n\r\n", "phrase\r\n");
        check("phrase\r", "phrase\r");
        check(" phrase \n", " phrase ");
        check("\n", "");
        check("", "");
    }
}
