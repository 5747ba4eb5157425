//! Rules about what people read: the map is complete, links lead somewhere, no path of one machine is left.

use std::env;
use std::path::{Component, Path, PathBuf};

use crate::finding::Finding;
use crate::tree::Tree;

const MAP: &str = "ARCHITECTURE.md";
/// A home directory in a text is a trace of the machine it was written on.
const HOMES: &[&str] = &["/home/", "/Users/"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = check_map(tree);
    let machine = machine_paths(tree.root());
    for (path, text) in tree.files() {
        for (index, line) in text.lines().enumerate() {
            if let Some(found) = machine.iter().find(|machine| mentions(line, machine)) {
                findings.push(Finding::at(path, index + 1, format!("'{found}' is a path of one machine")));
            }
            if path.ends_with(".md") {
                let broken = links(line).filter(|link| !leads_somewhere(tree, path, link));
                findings.extend(
                    broken.map(|link| Finding::at(path, index + 1, format!("'{link}' leads nowhere"))),
                );
            }
        }
    }
    findings
}

fn check_map(tree: &Tree) -> Vec<Finding> {
    let Some(map) = tree.file(MAP) else {
        return vec![Finding::of_file(MAP, "the map of the code is missing")];
    };
    let folders = tree.packages().iter().map(|package| tree.folder_of(package));
    let absent = folders.filter(|folder| !map.contains(folder.as_str()));
    absent.map(|folder| Finding::of_file(MAP, format!("the crate '{folder}' is not on the map"))).collect()
}

/// What must not occur: where this tree and its user live, and where people's homes are.
fn machine_paths(root: &Path) -> Vec<String> {
    let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.components().count() > 2);
    let own = [Some(root.to_owned()), home].into_iter().flatten().map(|path| path.display().to_string());
    own.chain(HOMES.iter().map(ToString::to_string)).collect()
}

/// Whether `line` names `path`, and not merely one that ends alike.
fn mentions(line: &str, path: &str) -> bool {
    let inside =
        |before: &str| before.ends_with(|last: char| last.is_alphanumeric() || "}_-.)>".contains(last));
    line.match_indices(path)
        .any(|(at, _)| !inside(&line[..at]) && !line[at + path.len()..].starts_with(['"', '`']))
}

/// Targets of Markdown links, without those outside this tree and without their anchors.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ']).next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

fn leads_somewhere(tree: &Tree, from: &str, link: &str) -> bool {
    let mut target = PathBuf::new();
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    for part in folder.join(link).components() {
        match part {
            Component::ParentDir => {
                target.pop();
            }
            Component::Normal(name) => target.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    tree.root().join(target).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_without_anchors_and_foreign_addresses() {
        let line = "[a](b.md#c), [d](https://e.test/f), [g](#h) and [i](../j/)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["b.md", "../j/"]);
    }

    #[test]
    fn a_path_is_mentioned_only_as_a_whole() {
        assert!(mentions("cd /srv/keelson/target", "/srv/keelson"));
        assert!(!mentions("cd $ROOT}/srv/keelson", "/srv/keelson"));
        assert!(!mentions("https://x.test/home/page", "/home/"));
    }
}
