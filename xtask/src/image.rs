//! `cargo xtask image`: the program as one small OCI image, made without a container engine.
//!
//! The same program on the same system makes the same image, byte for byte: nothing in it has a date, an owner of this
//! machine or an order of chance. What is in it: `docs/operations/image.md`.

mod crates;
mod debian;
mod elf;
mod layout;
mod libraries;
mod push;
mod sbom;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::elf::{Architecture, Elf};
use self::layout::Image;
use self::libraries::Library;
use self::sbom::{Materials, Part};
use crate::archive::{Archive, sha256, write_file};
use crate::tree;

/// Under which name the charts ask for it, if they are not told another registry.
const NAME: &str = concat!("ghcr.io/keelson-io/keelson:", env!("CARGO_PKG_VERSION"));

/// What Debian ships. The bundle in /etc/ssl also trusts whom this machine's owner trusts, which concerns nobody else.
const AUTHORITIES: &str = "/usr/share/ca-certificates";
/// Where the program looks for them.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

const PROGRAM: &str = "keelson";
/// What the program of this tree says to `--version`.
const WHO: &str = concat!("keelson ", env!("CARGO_PKG_VERSION"));
const BILL: &str = "usr/share/sbom/keelson.cdx.json";
const LICENSE: &str = "usr/share/doc/keelson/LICENSE";
/// What does not depend on the machine.
const FIXED: &[(&str, &str)] = &[
    ("etc/passwd", include_str!("../../deploy/image/etc/passwd")),
    ("etc/group", include_str!("../../deploy/image/etc/group")),
    ("etc/nsswitch.conf", include_str!("../../deploy/image/etc/nsswitch.conf")),
    (LICENSE, include_str!("../../LICENSE")),
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// The program to pack; without it target/release/keelson
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The archive to write, beside which the bill of materials comes; without it target/image/keelson.tar
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The certificate authorities to trust, in PEM; without it those of Debian's package ca-certificates
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    #[command(flatten)]
    destination: push::Destination,
}

/// What an image is made of.
struct Ingredients {
    architecture: Architecture,
    program: Vec<u8>,
    libraries: Vec<Library>,
    authorities: Vec<u8>,
    /// Conditions of the packages that the libraries come from, by path.
    copyrights: BTreeMap<String, Vec<u8>>,
    bill: Vec<u8>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.destination.check()?;
    let root = tree::root()?;
    let target = tree::target_folder(&root);
    let program = arguments.program.clone().unwrap_or_else(|| target.join("release/keelson"));
    let output = arguments.output.clone().unwrap_or_else(|| target.join("image/keelson.tar"));
    let bill = output.with_extension("cdx.json");
    ensure!(bill != output, "'{}' is the name of the bill of materials", output.display());

    let ingredients = gather(&root, &program, arguments.certificates.as_deref())?;
    check_version(&program)?;
    let image = bake(&ingredients)?;
    write_file(&bill, &ingredients.bill)?;
    write_file(&output, &image.layout.to_tar()?)?;
    println!("image   {NAME}");
    println!("digest  {}", image.digest);
    println!("size    {} bytes packed, {} bytes unpacked", image.packed_bytes, image.unpacked_bytes);
    println!("wrote   {}", output.display());
    println!("wrote   {}", bill.display());
    if let Some(pushed) = arguments.destination.push(&image)? {
        println!("pushed  {pushed}");
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(root: &Path, program: &Path, certificates: Option<&Path>) -> Result<Ingredients> {
    ensure!(
        program.is_file(),
        "there is no program '{}': `cargo build --release --package keelson` makes it",
        program.display()
    );
    let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let Elf { architecture, loader } =
        Elf::parse(&content).with_context(|| format!("'{}' is not for an image", program.display()))?;
    let content = stripped(program)?.unwrap_or(content);
    let libraries = match loader {
        Some(loader) => libraries::resolve(program, &loader)?,
        None => Vec::new(),
    };
    let (authorities, from) = authorities(certificates)?;

    let mut parts = Vec::new();
    for library in &libraries {
        let package = debian::package_of(Path::new(&library.path))?;
        parts.push(Part { path: library.path.clone(), sha256: sha256(&library.content), package });
    }
    let package = debian::package_of(&from)?;
    parts.push(Part { path: format!("/{BUNDLE}"), sha256: sha256(&authorities), package });

    let copyrights = parts.iter().filter_map(|part| part.package.as_ref()?.copyright()).collect();
    let bill = sbom::render(&Materials {
        program: &content,
        sha256: &sha256(&content),
        crates: &crates::linked(root, architecture)?,
        parts: &parts,
        distribution: &debian::distribution()?,
    })?;
    Ok(Ingredients { architecture, program: content, libraries, authorities, copyrights, bill })
}

/// Name and bill are those of this tree, and what lies in `target` may have been built from another.
fn check_version(program: &Path) -> Result<()> {
    // Without a slash in it, it would be looked for in PATH.
    let path = fs::canonicalize(program).with_context(|| format!("find {}", program.display()))?;
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("ask '{}' for its version", program.display()))?;
    check_said(program, &String::from_utf8_lossy(&output.stdout))
}

fn check_said(program: &Path, said: &str) -> Result<()> {
    ensure!(
        said.trim_end() == WHO,
        "'{}' is not '{WHO}', but says '{}' to --version: `cargo build --locked --release --package keelson` \
         makes the program of this tree",
        program.display(),
        said.lines().next().unwrap_or_default()
    );
    Ok(())
}

/// The program without what only a debugger reads; None if this machine has no `strip`.
fn stripped(program: &Path) -> Result<Option<Vec<u8>>> {
    let folder = tempfile::tempdir().context("make a folder for the stripped program")?;
    let copy = folder.path().join(PROGRAM);
    match Command::new("strip").arg("-o").arg(&copy).arg(program).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "strip '{}': {}", program.display(), said.trim_end());
            let content = fs::read(&copy).with_context(|| format!("read {}", copy.display()))?;
            Ok(Some(content))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!(
                "note: no `strip` here (Debian: binutils): the image will be larger, with another digest"
            );
            Ok(None)
        }
        Err(error) => Err(error).context("run strip"),
    }
}

/// One bundle of all authorities, and a file by which the package that they are from is known.
fn authorities(given: Option<&Path>) -> Result<(Vec<u8>, PathBuf)> {
    let files = match given {
        Some(file) => vec![file.to_owned()],
        None => certificate_files(Path::new(AUTHORITIES))?,
    };
    let from = files.first().cloned().with_context(|| {
        format!("there is no certificate in {AUTHORITIES}: install ca-certificates, or give --certificates")
    })?;
    let mut bundle = String::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        ensure!(text.contains(CERTIFICATE), "'{}' holds no certificate in PEM", file.display());
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    Ok((bundle.into_bytes(), from))
}

/// The certificates below a folder, in the order of their paths.
fn certificate_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            files.extend(certificate_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "crt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The image of what was gathered; reads nothing and knows no time.
fn bake(ingredients: &Ingredients) -> Result<Image> {
    let mut files = Archive::default();
    files.add_file(PROGRAM, 0o755, ingredients.program.clone())?;
    for Library { path, mode, content } in &ingredients.libraries {
        files.add_file(path.trim_start_matches('/'), *mode, content.clone())?;
    }
    for (path, text) in &ingredients.copyrights {
        files.add_file(path.trim_start_matches('/'), 0o644, text.clone())?;
    }
    for (path, text) in FIXED {
        files.add_file(path, 0o644, text.as_bytes().to_vec())?;
    }
    files.add_file(BUNDLE, 0o644, ingredients.authorities.clone())?;
    files.add_file(BILL, 0o644, ingredients.bill.clone())?;
    files.add_folders()?;
    layout::assemble(&files, ingredients.architecture, NAME)
}

#[cfg(test)]
mod tests;
