//! A claim about security or about a format names the test that shows it, and cannot lose it: what such a page names is
//! there. What the test really shows is for its reader to judge.

use crate::evidence;
use crate::finding::Finding;
use crate::tree::Tree;

const SECURITY: &str = "docs/security.md";
const FORMATS: &str = "docs/format/";
const OPERATIONS: &str = "docs/operations/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files().filter(|(path, _)| makes_claims(path));
    pages.flat_map(|(path, text)| check_page(tree, path, text)).collect()
}

fn makes_claims(path: &str) -> bool {
    path == SECURITY || path.ends_with(".md") && (path.starts_with(FORMATS) || path.starts_with(OPERATIONS))
}

/// The pages that draw bytes, and the one on security. An index and the reader's own page claim nothing.
fn must_name_a_test(path: &str) -> bool {
    let format = path.strip_prefix(FORMATS).is_some_and(|name| !name.contains('/') && name != "README.md");
    path == SECURITY || format
}

fn check_page(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let named: Vec<(usize, &str)> =
        lines.flat_map(|(index, line)| tests_named(line).map(move |test| (index + 1, test))).collect();
    if named.is_empty() && must_name_a_test(path) {
        return vec![Finding::of_file(path, "name the tests that show what this page says")];
    }
    let absent = named.into_iter().filter(|(_, test)| !evidence::exists(tree, test));
    absent.map(|(line, test)| Finding::at(path, line, format!("there is no test '{test}'"))).collect()
}

fn tests_named(line: &str) -> impl Iterator<Item = &str> {
    evidence::quoted(line).filter(|quoted| quoted.contains(".rs::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let tree = Tree::here().expect("the tree of this test");
        let findings: Vec<String> = check_page(&tree, path, text).iter().map(ToString::to_string).collect();
        assert_eq!(findings, expected, "{text}");
    }

    #[test]
    fn a_page_names_tests_that_are_there() {
        let here = "Checked by: `xtask/src/tidy/claims.rs::a_page_names_tests_that_are_there`";
        check(SECURITY, here, &[]);
        check("docs/operations/kit.md", "no test at all, and `keelson dr status`", &[]);
        let gone = format!("{here},\n`xtask/src/tidy/claims.rs::gone` and `nowhere.rs::gone`");
        let told = [
            "docs/security.md:2: there is no test 'xtask/src/tidy/claims.rs::gone'",
            "docs/security.md:2: there is no test 'nowhere.rs::gone'",
        ];
        check(SECURITY, &gone, &told);
        check(
            SECURITY,
            "`xtask/src/tidy/claims.rs::check_page`",
            &["docs/security.md:1: there is no test 'xtask/src/tidy/claims.rs::check_page'"],
        );
    }

    #[test]
    fn a_page_of_formats_without_a_test_is_told() {
        let told = |path: &str| format!("{path}:1: name the tests that show what this page says");
        for path in [SECURITY, "docs/format/envelope.md"] {
            check(path, "believe us", &[&told(path)]);
        }
        check("docs/format/README.md", "an index", &[]);
        check("docs/format/reader/README.md", "another page", &[]);
    }

    #[test]
    fn only_these_pages_are_looked_at() {
        for path in [SECURITY, "docs/format/reader/README.md", "docs/operations/keys.md"] {
            assert!(makes_claims(path), "{path}");
        }
        for path in ["docs/promises.md", "docs/format/reader/catalog.py", "docs/decisions/0001-x.md"] {
            assert!(!makes_claims(path), "{path}");
        }
    }
}
