//! Which package of the system a file comes from, if the system is one with dpkg.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const RELEASE: &str = "/etc/os-release";
const DOCUMENTS: &str = "/usr/share/doc";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
}

/// The system that packages are of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    pub(super) name: String,
    pub(super) version: String,
}

impl Package {
    /// Under what conditions it may be handed on, which whoever does so has to tell.
    pub(super) fn copyright(&self) -> Option<(String, Vec<u8>)> {
        let path = format!("{DOCUMENTS}/{}/copyright", self.name);
        fs::read(&path).ok().map(|text| (path, text))
    }
}

/// None if no package has the file, or if there is no dpkg here.
pub(super) fn package_of(file: &Path) -> Result<Option<Package>> {
    for path in candidates(file) {
        let Some(answer) = ask(&["--search", &path])? else { continue };
        let Some(name) = owner(&answer, &path) else { continue };
        let format = "--showformat=${Package}\t${Version}\t${Architecture}\n";
        let Some(answer) = ask(&["--show", format, name])? else { continue };
        return Ok(package(&answer));
    }
    Ok(None)
}

pub(super) fn distribution() -> Result<Distribution> {
    let text = fs::read_to_string(RELEASE).with_context(|| format!("read {RELEASE}"))?;
    Ok(released(&text))
}

/// A file that two names lead to is known to dpkg by one of them.
fn candidates(file: &Path) -> Vec<String> {
    let resolved = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut paths: Vec<PathBuf> = vec![file.to_owned(), resolved];
    for path in paths.clone() {
        let (from, to) = if path.starts_with("/usr") { ("/usr", "/") } else { ("/", "/usr") };
        paths.extend(path.strip_prefix(from).map(|rest| Path::new(to).join(rest)));
    }
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn ask(arguments: &[&str]) -> Result<Option<String>> {
    match Command::new("dpkg-query").args(arguments).env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8(output.stdout).context("read the answer of dpkg-query")?))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("run dpkg-query"),
    }
}

/// The first of the packages in `PACKAGE[:ARCHITECTURE], …: PATH`.
fn owner<'a>(answer: &'a str, path: &str) -> Option<&'a str> {
    let end = format!(": {path}");
    let mut lines = answer.lines().filter(|line| !line.starts_with("diversion by "));
    let owners = lines.find_map(|line| line.strip_suffix(end.as_str()))?;
    owners.split(", ").next()
}

fn package(answer: &str) -> Option<Package> {
    let mut fields = answer.lines().next()?.split('\t').map(str::to_owned);
    Some(Package { name: fields.next()?, version: fields.next()?, architecture: fields.next()? })
}

fn released(text: &str) -> Distribution {
    let value = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    Distribution { name: value("ID"), version: value("VERSION_ID") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_dpkg_are_read() {
        let path = "/lib64/ld-linux-x86-64.so.2";
        let answer = "diversion by other from: /lib64/ld-linux-x86-64.so.2\n\
                      libc6:amd64, libc6-i386: /lib64/ld-linux-x86-64.so.2\n";
        assert_eq!(owner(answer, path), Some("libc6:amd64"));
        assert_eq!(owner("libc6:amd64: /lib64/other\n", path), None);
        let libc = package("libc6\t2.36-9+deb12u14\tamd64\n").unwrap();
        assert_eq!((libc.name.as_str(), libc.version.as_str()), ("libc6", "2.36-9+deb12u14"));
        assert_eq!(package(""), None);
    }

    #[test]
    fn a_file_is_looked_for_under_both_its_names() {
        let paths = candidates(Path::new("/usr/lib/nowhere/libq.so.1"));
        assert!(paths.contains(&"/lib/nowhere/libq.so.1".to_owned()), "{paths:?}");
        let paths = candidates(Path::new("/lib/nowhere/libq.so.1"));
        assert!(paths.contains(&"/usr/lib/nowhere/libq.so.1".to_owned()), "{paths:?}");
    }

    #[test]
    fn the_release_of_a_system_is_read() {
        let text = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(released(text), Distribution { name: "debian".into(), version: "12".into() });
    }
}
