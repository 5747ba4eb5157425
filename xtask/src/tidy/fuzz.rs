//! Every crate that lists decoders in `src/fuzz.rs` is a target of cargo-fuzz too, which is no part of the workspace.

use crate::finding::Finding;
use crate::tree::Tree;

const MANIFEST: &str = "fuzz/Cargo.toml";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let manifest = tree.file(MANIFEST).unwrap_or_default();
    let with_decoders = tree.files().filter_map(|(path, _)| path.strip_suffix("/src/fuzz.rs"));
    let names = with_decoders.map(|folder| folder.rsplit('/').next().unwrap_or(folder));
    let missing = names.filter_map(|name| {
        let target = format!("fuzz/fuzz_targets/{name}.rs");
        what_lacks(name, manifest, tree.file(&target).is_some())
    });
    missing.map(|message| Finding::of_file(MANIFEST, message)).collect()
}

/// What cargo-fuzz lacks to try the decoders of a crate.
fn what_lacks(name: &str, manifest: &str, has_target: bool) -> Option<String> {
    let path = format!("path = \"fuzz_targets/{name}.rs\"");
    if !has_target {
        return Some(format!("the decoders of '{name}' have no fuzz/fuzz_targets/{name}.rs"));
    }
    let named = manifest.contains(&path) && manifest.contains(&format!("\nkeelson-{name} = "));
    (!named).then(|| format!("'{name}' has decoders: name its crate and its target here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_with_decoders_has_a_target() {
        let manifest =
            "[dependencies]\nkeelson-store = { path = \"x\" }\n[[bin]]\npath = \"fuzz_targets/store.rs\"\n";
        assert_eq!(what_lacks("store", manifest, true), None);
        assert!(what_lacks("store", manifest, false).unwrap().ends_with("fuzz/fuzz_targets/store.rs"));
        assert!(what_lacks("catalog", manifest, true).unwrap().contains("name its crate"));
    }
}
