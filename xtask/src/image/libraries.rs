//! The shared objects that a program needs, as the loader itself finds them.
//!
//! The loader is asked without its cache and without anybody's environment, for the image has neither.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where the loader of an image looks, for want of a cache.
const PLACES: &[&str] = &["/lib", "/usr/lib"];
const MISSING: &str = "error while loading shared libraries: ";

/// A shared object, or the loader.
#[derive(Debug)]
pub(super) struct Library {
    /// Where it lies, here and in the image.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// What `program` needs, `loader` first.
pub(super) fn resolve(program: &Path, loader: &str) -> Result<Vec<Library>> {
    // Without a slash in it the loader would look for the program among the libraries.
    let program = fs::canonicalize(program).with_context(|| format!("find {}", program.display()))?;
    let output = Command::new(loader)
        .args(["--inhibit-cache", "--list"])
        .arg(&program)
        .env_clear()
        .output()
        .with_context(|| format!("ask '{loader}' what '{}' needs", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if let Some(name) = missing(&said) {
        bail!("'{}' needs '{name}', which is not where an image's loader looks", program.display());
    }
    ensure!(
        output.status.success(),
        "'{loader}' does not load '{}': {} ({})",
        program.display(),
        said.trim_end(),
        output.status
    );
    let paths = listed(&String::from_utf8_lossy(&output.stdout), loader)?;
    let mut libraries = vec![read(loader.to_owned(), 0o755)?];
    for path in paths {
        libraries.push(read(path, 0o644)?);
    }
    Ok(libraries)
}

fn read(path: String, mode: u32) -> Result<Library> {
    let content = fs::read(&path).with_context(|| format!("read {path}"))?;
    Ok(Library { path, mode, content })
}

/// The object that the loader gave up for.
fn missing(said: &str) -> Option<&str> {
    let (_, after) = said.split_once(MISSING)?;
    after.split(':').next()
}

/// The paths in the loader's list, without the loader and without what the kernel lends.
fn listed(list: &str, loader: &str) -> Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for line in list.lines().map(str::trim) {
        let (name, found) = line.split_once(" => ").unwrap_or(("", line));
        ensure!(found != "not found", "'{name}', which is needed, is not where an image's loader looks");
        let path = found.split(" (0x").next().unwrap_or_default();
        if !path.starts_with('/') || path == loader {
            continue;
        }
        let in_place = PLACES.iter().any(|place| path.starts_with(place));
        ensure!(in_place, "'{path}' is needed, and lies outside of {}", PLACES.join(" and "));
        paths.insert(path.to_owned());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::image::elf::Elf;

    /// A program of this machine, changed, in a folder of its own, and its loader.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (TempDir, PathBuf, String) {
        let mut bytes = fs::read("/bin/sh").unwrap();
        let loader = Elf::parse(&bytes).unwrap().loader.unwrap();
        change(&mut bytes);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, bytes).unwrap();
        (folder, program, loader)
    }

    #[test]
    fn the_libraries_of_a_program_come_with_its_loader() {
        let (_folder, program, loader) = changed(|_| {});
        let found = resolve(&program, &loader).unwrap();
        assert_eq!((found[0].path.as_str(), found[0].mode), (loader.as_str(), 0o755));
        assert!(found.iter().any(|library| library.path.ends_with("/libc.so.6")));
        assert!(found.iter().all(|library| library.content.starts_with(b"\x7fELF")));
        let paths: BTreeSet<_> = found.iter().map(|library| &library.path).collect();
        assert_eq!(paths.len(), found.len());
    }

    #[test]
    fn a_program_whose_library_is_missing_is_refused_by_that_name() {
        let (there, gone) = (b"\0libc.so.6\0", b"\0libX.so.6\0");
        let (_folder, program, loader) = changed(|bytes| {
            let places: Vec<usize> = bytes
                .windows(there.len())
                .enumerate()
                .filter(|(_, at)| at == there)
                .map(|(at, _)| at)
                .collect();
            assert!(!places.is_empty(), "this program does not name the C library");
            for at in places {
                bytes[at..at + gone.len()].copy_from_slice(gone);
            }
        });
        let refused = resolve(&program, &loader).unwrap_err().to_string();
        assert!(
            refused.ends_with("needs 'libX.so.6', which is not where an image's loader looks"),
            "{refused}"
        );
    }

    #[test]
    fn a_list_is_read_as_the_loader_prints_it() {
        let loader = "/lib64/ld-linux-x86-64.so.2";
        let list = "\tlinux-vdso.so.1 (0x00007fdf8fd4b000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fdf8fb0d000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fdf8fd4d000)\n";
        let paths: Vec<_> = listed(list, loader).unwrap().into_iter().collect();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6"]);
        let refused = |list: &str| listed(list, loader).unwrap_err().to_string();
        let absent = "'libq.so.1', which is needed, is not where an image's loader looks";
        assert_eq!(refused("\tlibq.so.1 => not found\n"), absent);
        let elsewhere = refused("\tlibq.so.1 => /opt/q/libq.so.1 (0x0000700000000000)\n");
        assert_eq!(elsewhere, "'/opt/q/libq.so.1' is needed, and lies outside of /lib and /usr/lib");
    }
}
