//! `cargo xtask charts`: the charts as a repository that `helm repo add` takes, with the values files that the
//! documentation of the restore names beside them. Made without Helm, and the same for the same commit.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::archive::{Archive, gzip, sha256, write_file};
use crate::tree;

const CHARTS: &str = "deploy/charts";
const NAMES: &[&str] = &["k10", "k10restore"];
/// Below `values` here and at the top of the repository.
const VALUES: &[&str] = &["fips/fips-restore-values.yaml", "ironbank/k10restore-ironbank-values.yaml"];
const DEFINITION: &str = "Chart.yaml";
const IGNORED: &str = ".helmignore";
const INDEX: &str = "index.yaml";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Args)]
pub(crate) struct Arguments {
    /// The folder to write the repository to; without it target/charts
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Where the folder will be served; without it the index names the charts relative to itself
    #[arg(long)]
    url: Option<String>,
}

/// A chart as it is handed out.
struct Package {
    /// `NAME-VERSION.tgz`
    file: String,
    content: Vec<u8>,
    definition: BTreeMap<String, Value>,
}

/// What `.helmignore` leaves out, of which these three shapes are understood.
enum Pattern {
    Name(String),
    Folder(String),
    Ending(String),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root()?;
    let output = arguments.output.clone().unwrap_or_else(|| tree::target_folder(&root).join("charts"));
    let created = created(&root)?;
    for path in write(&root.join(CHARTS), &output, arguments.url.as_deref(), created)? {
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes charts and values first and the index, which names them, last. Packages of other versions are left alone.
fn write(charts: &Path, output: &Path, url: Option<&str>, created: Timestamp) -> Result<Vec<PathBuf>> {
    let packages = NAMES.iter().map(|name| package(&charts.join(name), name));
    let packages: Vec<Package> = packages.collect::<Result<_>>()?;
    let index = index(&packages, url, created)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for path in VALUES {
        let from = charts.join("values").join(path);
        let text = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
        files.push(((*path).to_owned(), text));
    }
    files.extend(packages.into_iter().map(|package| (package.file, package.content)));
    files.push((INDEX.to_owned(), index));
    let mut written = Vec::new();
    for (path, content) in files {
        let path = output.join(path);
        write_file(&path, &content)?;
        written.push(path);
    }
    Ok(written)
}

fn package(folder: &Path, name: &str) -> Result<Package> {
    let path = folder.join(DEFINITION);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let definition: BTreeMap<String, Value> =
        serde_saphyr::from_str(&text).map_err(|error| anyhow!("read {}: {error}", path.display()))?;
    for (key, expected) in
        [("apiVersion", "v2"), ("name", name), ("version", VERSION), ("appVersion", VERSION)]
    {
        let found = definition.get(key).and_then(Value::as_str).unwrap_or_default();
        ensure!(found == expected, "{key} is '{found}' in {}, and must be '{expected}'", path.display());
    }
    let mut archive = Archive::default();
    collect(&mut archive, folder, name, &ignored(folder)?)?;
    let content = gzip(&archive.to_tar()?)?;
    Ok(Package { file: format!("{name}-{VERSION}.tgz"), content, definition })
}

/// Adds the files below `folder` as files below `path`.
fn collect(archive: &mut Archive, folder: &Path, path: &str, ignored: &[Pattern]) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (from, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("'{}' is no text", from.display()))?;
        if ignored.iter().any(|pattern| pattern.leaves_out(name, kind.is_dir())) {
            continue;
        }
        let to = format!("{path}/{name}");
        if kind.is_dir() {
            collect(archive, &from, &to, ignored)?;
        } else {
            ensure!(kind.is_file(), "'{}' is no file, which a chart is made of", from.display());
            let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            archive.add_file(&to, 0o644, content)?;
        }
    }
    Ok(())
}

fn ignored(folder: &Path) -> Result<Vec<Pattern>> {
    let path = folder.join(IGNORED);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Pattern::parse).collect::<Result<Vec<_>>>().with_context(|| format!("read {}", path.display()))
}

impl Pattern {
    fn parse(line: &str) -> Result<Self> {
        let plain = |text: &str| !text.is_empty() && !text.contains(['/', '*', '?', '[', ']', '!', '\\']);
        let pattern = if let Some(name) = line.strip_suffix('/').filter(|name| plain(name)) {
            Self::Folder(name.to_owned())
        } else if let Some(ending) = line.strip_prefix('*').filter(|ending| plain(ending)) {
            Self::Ending(ending.to_owned())
        } else if plain(line) {
            Self::Name(line.to_owned())
        } else {
            bail!("'{line}' is none of NAME, FOLDER/ and *.ENDING, which are understood here");
        };
        Ok(pattern)
    }

    fn leaves_out(&self, name: &str, is_folder: bool) -> bool {
        match self {
            Self::Name(ignored) => name == ignored,
            Self::Folder(ignored) => is_folder && name == ignored,
            Self::Ending(ending) => name.ends_with(ending.as_str()),
        }
    }
}

/// JSON, which is YAML in which no text can be taken for a number or a date.
fn index(packages: &[Package], url: Option<&str>, created: Timestamp) -> Result<Vec<u8>> {
    let created = created.to_string();
    let url = match url {
        Some(url) => {
            ensure!(url.contains("://"), "'{url}' is no address: give it with https:// or http://");
            format!("{}/", url.trim_end_matches('/'))
        }
        None => String::new(),
    };
    let mut entries = Map::new();
    for package in packages {
        let mut entry = package.definition.clone();
        entry.insert("created".to_owned(), json!(created));
        entry.insert("digest".to_owned(), json!(sha256(&package.content)));
        entry.insert("urls".to_owned(), json!([format!("{url}{}", package.file)]));
        let name = package.definition.get("name").and_then(Value::as_str).unwrap_or_default();
        entries.insert(name.to_owned(), json!([entry]));
    }
    let index = json!({ "apiVersion": "v1", "entries": entries, "generated": created });
    let mut text = serde_json::to_vec_pretty(&index).context("write the index")?;
    text.push(b'\n');
    Ok(text)
}

/// The time that the index gives: of the release, not of the moment.
fn created(root: &Path) -> Result<Timestamp> {
    let seconds = match env::var_os("SOURCE_DATE_EPOCH") {
        Some(seconds) => seconds.to_string_lossy().into_owned(),
        None => commit_seconds(root)?,
    };
    parse_time(&seconds)
}

fn commit_seconds(root: &Path) -> Result<String> {
    let hint = "set SOURCE_DATE_EPOCH to the seconds since 1970 of this version";
    let output = Command::new("git")
        .args(["log", "--max-count=1", "--format=%ct"])
        .current_dir(root)
        .output()
        .with_context(|| format!("run git; without it {hint}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "there is no commit to date the charts by; {hint} ({})",
        said.trim_end()
    );
    String::from_utf8(output.stdout).context("read the answer of git")
}

fn parse_time(seconds: &str) -> Result<Timestamp> {
    let wrong = || format!("'{}' is no number of seconds since 1970", seconds.trim());
    let count: i64 = seconds.trim().parse().with_context(wrong)?;
    Timestamp::from_second(count).with_context(wrong)
}

#[cfg(test)]
mod tests;
