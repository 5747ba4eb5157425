//! The files of the project and what cargo knows of its crates. Reads only; asks no network.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Folders that hold nothing of ours, wherever they are.
const SKIPPED: [&str; 3] = ["target", "node_modules", "dist"];
/// Larger files are not text that somebody wrote.
const TEXT_BYTES_MAX: u64 = 2 << 20;

/// The text files beneath a root, by path relative to it, and the workspace's packages.
pub(crate) struct Tree {
    root: PathBuf,
    files: BTreeMap<String, String>,
    packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a crate's manifest names.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<DependencyKind>,
}

/// For what a dependency is wanted, other than for the crate itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DependencyKind {
    Dev,
    Build,
}

impl Tree {
    /// The tree that this program was built from.
    pub(crate) fn here() -> Result<Self> {
        Self::read(&root()?)
    }

    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, root, &mut files)?;
        Ok(Self { root: root.to_owned(), files, packages: packages(root)? })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every text file, ordered by path.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Where a package lies, relative to the root.
    pub(crate) fn folder_of(&self, package: &Package) -> String {
        let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
        folder.strip_prefix(&self.root).unwrap_or(folder).display().to_string()
    }
}

/// Where the tree is that this program was built from.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("find the workspace above xtask")?.to_owned())
}

/// Where cargo builds, and where what is made from it goes.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !hidden && !SKIPPED.contains(&name.as_ref()) {
                collect(root, &entry.path(), files)?;
            }
        } else if kind.is_file() && entry.metadata()?.len() <= TEXT_BYTES_MAX {
            let bytes = fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
            if let Ok(text) = String::from_utf8(bytes) {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                files.insert(relative, text);
            }
        }
    }
    Ok(())
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    Ok(metadata.packages)
}
