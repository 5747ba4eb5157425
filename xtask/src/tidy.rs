//! The rules that no compiler knows. Each module holds one group, its tables first.
//!
//! A rule that is wrong is changed here, in the open; a file that breaks one for a good reason is listed by name,
//! and such a list only shrinks.

mod claims;
mod documents;
mod fuzz;
mod layers;
mod messages;
mod names;
mod sources;

use crate::codegen;
use crate::finding::Finding;
use crate::tree::Tree;

/// Everything to mend, ordered by file and line.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = layers::check(tree);
    findings.extend(names::check(tree));
    findings.extend(sources::check(tree));
    findings.extend(documents::check(tree));
    findings.extend(claims::check(tree));
    findings.extend(messages::check(tree));
    findings.extend(fuzz::check(tree));
    findings.extend(codegen::check(tree));
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    #[test]
    fn the_tree_is_tidy() -> Result<()> {
        let findings: Vec<String> = check(&Tree::here()?).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
        Ok(())
    }
}
