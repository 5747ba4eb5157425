//! What a program says of itself in its ELF header: for which machine it is made, and which loader it asks for.

use anyhow::{Context, Result, bail, ensure};

const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits, little-endian.
const LAYOUT: &[u8] = &[2, 1];
const INTERPRETER: u32 = 3;

/// A machine that an image can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    Amd64,
    Arm64,
}

#[derive(Debug)]
pub(super) struct Elf {
    pub(super) architecture: Architecture,
    /// None if the program is linked statically and needs nobody.
    pub(super) loader: Option<String>,
}

impl Architecture {
    /// As images and Debian name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As cargo names it.
    pub(super) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

impl Elf {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.starts_with(MAGIC), "it is no ELF file");
        ensure!(bytes.get(4..6) == Some(LAYOUT), "it is not for a little-endian machine of 64 bits");
        let architecture = match u16::from_le_bytes(field(bytes, 18)?) {
            62 => Architecture::Amd64,
            183 => Architecture::Arm64,
            other => bail!("it is for the machine {other}; images are made for amd64 and arm64"),
        };
        Ok(Self { architecture, loader: loader(bytes)? })
    }
}

fn loader(bytes: &[u8]) -> Result<Option<String>> {
    let table = offset(bytes, 32)?;
    let entry_bytes = usize::from(u16::from_le_bytes(field(bytes, 54)?));
    let entries = usize::from(u16::from_le_bytes(field(bytes, 56)?));
    for index in 0..entries {
        let entry = table.saturating_add(index * entry_bytes);
        if u32::from_le_bytes(field(bytes, entry)?) != INTERPRETER {
            continue;
        }
        let (start, length) = (offset(bytes, entry + 8)?, offset(bytes, entry + 32)?);
        let name =
            bytes.get(start..start.saturating_add(length)).context("its loader's name is cut short")?;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let name = str::from_utf8(name).context("its loader's name is no text")?;
        return Ok(Some(name.to_owned()));
    }
    Ok(None)
}

fn offset(bytes: &[u8], at: usize) -> Result<usize> {
    usize::try_from(u64::from_le_bytes(field(bytes, at)?)).context("an offset in it leads nowhere")
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let field = bytes.get(at..at.saturating_add(N)).context("it is cut short")?;
    <[u8; N]>::try_from(field).context("it is cut short")
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    const PROGRAM: &str = "/bin/sh";

    #[test]
    fn a_program_says_what_it_is() {
        let bytes = fs::read(PROGRAM).unwrap();
        let elf = Elf::parse(&bytes).unwrap();
        assert!(elf.architecture.triple().starts_with(env::consts::ARCH));
        assert!(elf.loader.unwrap().starts_with("/lib"));
        for cut in [5, 19, 40, 64, 100] {
            assert!(Elf::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut bytes = fs::read(PROGRAM).unwrap();
        change(&mut bytes);
        assert_eq!(Elf::parse(&bytes).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_no_program_for_these_machines_is_refused() {
        check(|bytes| bytes[0] = b'#', "it is no ELF file");
        check(|bytes| bytes[5] = 2, "it is not for a little-endian machine of 64 bits");
        check(
            |bytes| bytes[18..20].copy_from_slice(&[243, 0]),
            "it is for the machine 243; images are made for amd64 and arm64",
        );
        check(|bytes| bytes[32..40].copy_from_slice(&[0xff; 8]), "it is cut short");
    }
}
