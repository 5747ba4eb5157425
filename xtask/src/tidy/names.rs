//! Rules about where a file lies and what it is called.

use std::path::Path;

use crate::finding::Finding;
use crate::tree::Tree;

/// Names that say that nobody has understood the content.
const MEANINGLESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "types", "stuff"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.files().filter(|(path, _)| path.ends_with(".rs"));
    rust.flat_map(|(path, _)| check_path(path).map(|message| Finding::of_file(path, message))).collect()
}

fn check_path(path: &str) -> Option<String> {
    let stems = Path::new(path).iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
    if let Some(name) = stems.into_iter().find(|stem| MEANINGLESS.contains(stem)) {
        return Some(format!("'{name}' is no name: say what the content is"));
    }
    if path.ends_with("/mod.rs") {
        return Some("call it by its own name, beside its folder: `x.rs`, not `x/mod.rs`".to_owned());
    }
    let (_, in_tests) = path.split_once("/tests/")?;
    let own_binary = !in_tests.contains('/') && !path.contains("/src/");
    own_binary.then(|| "a crate has one integration binary, `tests/it/main.rs`; make it a module".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_name_and_its_place() {
        assert_eq!(check_path("crates/a/src/pack.rs"), None);
        assert_eq!(check_path("crates/a/src/pack/tests.rs"), None);
        assert_eq!(check_path("crates/a/src/tests/pack.rs"), None);
        assert_eq!(check_path("crates/a/tests/it/main.rs"), None);
        for wrong in [
            "crates/a/src/utils.rs",
            "crates/common/src/lib.rs",
            "crates/a/src/b/mod.rs",
            "crates/a/tests/b.rs",
        ] {
            assert!(check_path(wrong).is_some(), "{wrong}");
        }
    }
}
