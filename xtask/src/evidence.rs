//! What a document names as its proof: a test of this tree, as `path.rs::name`, or a program, as its path.

use crate::source::Source;
use crate::tree::Tree;

/// What stands in backquotes on a line, in order.
pub(crate) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether the test is there, and is a test. A program counts by its path alone.
pub(crate) fn exists(tree: &Tree, evidence: &str) -> bool {
    let (path, function) = evidence.split_once("::").unwrap_or((evidence, ""));
    let path = path.trim_start_matches("./").split(' ').next().unwrap_or_default();
    let Some(text) = tree.file(path) else { return false };
    match function.rsplit("::").next().unwrap_or_default() {
        "" => !path.ends_with(".rs"),
        name => has_test(text, name),
    }
}

/// A function of that name right below an attribute that makes it a test.
fn has_test(text: &str, name: &str) -> bool {
    let signature = format!("fn {name}(");
    let lines: Vec<String> = Source::parse(text).lines.into_iter().map(|line| line.code).collect();
    let is_test = |at: &usize| {
        let above = lines[..*at].iter().rev().map(|line| line.trim());
        let mut attributes = above.take_while(|line| line.is_empty() || line.starts_with("#["));
        attributes.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
    };
    let found = lines.iter().enumerate().filter(|(_, line)| line.contains(&signature));
    found.map(|(at, _)| at).any(|at| is_test(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_function_that_is_run_as_a_test_counts() {
        let text = "#[test]\nfn a() {}\n\n/// Why.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn b() {}\n\n\
                    proptest! {\n    #[test]\n    // Any.\n    fn c(x in 0..1) {}\n}\n\nfn helper() {}\n// #[test] fn d() {}\n";
        for name in ["a", "b", "c"] {
            assert!(has_test(text, name), "{name}");
        }
        for name in ["helper", "d", "gone", ""] {
            assert!(!has_test(text, name), "{name}");
        }
    }

    #[test]
    fn what_stands_in_backquotes_is_found() {
        assert_eq!(quoted("see `a` and `b::c`, not d").collect::<Vec<_>>(), ["a", "b::c"]);
        assert_eq!(quoted("none").count(), 0);
    }
}
