//! The crates that are linked into the program, as cargo knows them.
//!
//! `cargo tree` tells which they are; `cargo metadata` mixes in what only tests turn on, and is asked for the rest.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::elf::Architecture;

/// The crate of the program.
pub(super) const PROGRAM: &str = "keelson";
/// Features with which `jiff` reads time zones from the system. An image has none: the program knows UTC alone.
const TIME_ZONES: &[&str] = &["tz-system", "tzdb-zoneinfo"];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) name: String,
    pub(super) version: String,
}

#[derive(Debug, Default)]
pub(super) struct Crate {
    /// An expression of SPDX.
    pub(super) license: Option<String>,
    /// SHA-256 of what the registry hands out; none for crates of this tree.
    pub(super) checksum: Option<String>,
    pub(super) needs: Vec<Id>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
    features: Vec<String>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// Everything that is linked in, the program's own crate among it.
pub(super) fn linked(root: &Path, architecture: Architecture) -> Result<BTreeMap<Id, Crate>> {
    let target = format!("--target={}", architecture.triple());
    let tree =
        ["tree", "--package", PROGRAM, "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"];
    let mut tree = tree.to_vec();
    tree.push(&target);
    let tree = String::from_utf8(cargo(root, &tree)?).context("read the answer of cargo tree")?;
    let metadata = ["metadata", "--format-version=1", "--filter-platform", architecture.triple()];
    let metadata: Metadata =
        serde_json::from_slice(&cargo(root, &metadata)?).context("read the answer of cargo metadata")?;
    let lock = root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
    join(&named(&tree), &metadata, &checksums(&lock))
}

/// It fetches what this machine lacks: to tell of one program, cargo wants the crates of all tests too.
fn cargo(root: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(program)
        .args(arguments)
        .arg("--locked")
        .current_dir(root)
        .output()
        .with_context(|| format!("run cargo {}", arguments[0]))?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments[0],
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(output.stdout)
}

/// What `cargo tree` lists: `name vVERSION`, and whatever it adds.
fn named(tree: &str) -> BTreeMap<Id, Crate> {
    let mut crates = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            let version = version.trim_start_matches('v');
            crates.insert(Id { name: name.to_owned(), version: version.to_owned() }, Crate::default());
        }
    }
    crates
}

/// The checksums in `Cargo.lock`, which cargo writes one key a line.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(value.to_owned())
    };
    let checksum_of = |package: &str| {
        let find = |key: &str| package.lines().find_map(|line| value(line, key));
        Some((Id { name: find("name")?, version: find("version")? }, find("checksum")?))
    };
    lock.split("[[package]]").filter_map(checksum_of).collect()
}

fn join(
    named: &BTreeMap<Id, Crate>,
    metadata: &Metadata,
    checksums: &BTreeMap<Id, String>,
) -> Result<BTreeMap<Id, Crate>> {
    let id_of = |package: &Package| Id { name: package.name.clone(), version: package.version.clone() };
    let ids: BTreeMap<&str, Id> =
        metadata.packages.iter().map(|package| (package.id.as_str(), id_of(package))).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut crates = BTreeMap::new();
    for package in &metadata.packages {
        let id = id_of(package);
        let (true, Some(node)) = (named.contains_key(&id), nodes.get(package.id.as_str())) else { continue };
        check_time_zones(&id, node)?;
        let linked = |edge: &&Edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let needs = node.deps.iter().filter(linked).filter_map(|edge| ids.get(edge.pkg.as_str()));
        let mut needs: Vec<Id> = needs.filter(|id| named.contains_key(*id)).cloned().collect();
        needs.sort();
        let license = package.license.as_deref().map(as_expression);
        let checksum = checksums.get(&id).cloned();
        crates.insert(id, Crate { license, checksum, needs });
    }
    if let Some(id) = named.keys().find(|id| !crates.contains_key(*id)) {
        bail!("cargo metadata does not know {} {}, which is linked in", id.name, id.version);
    }
    Ok(crates)
}

/// Old manifests divide with a slash what may be chosen from.
fn as_expression(license: &str) -> String {
    let choices: Vec<_> = license.split('/').map(str::trim).collect();
    choices.join(" OR ")
}

fn check_time_zones(id: &Id, node: &Node) -> Result<()> {
    let feature = node.features.iter().find(|feature| TIME_ZONES.contains(&feature.as_str()));
    match feature {
        Some(feature) if id.name == "jiff" => {
            bail!("jiff has the feature '{feature}' now: put /usr/share/zoneinfo into the image")
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
