//! Reads `docs/promises.md`: what the project promises, whether it is proven, and by which scenario.
//!
//! A row is `| S01 | promise | proven or later | scenarios or reason |`. A scenario is a file of the tree in
//! backquotes, with `::` and the name of a test function where the file is Rust.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Context, Result};

use crate::evidence;
use crate::finding::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/promises.md";
/// The rows that came with the project; ours are numbered K01 and on.
const GIVEN_ROWS: u32 = 70;
/// As much of a promise as the printed table shows.
const SHOWN_CHARACTERS: usize = 88;

pub(crate) struct Promises {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    line: usize,
    id: String,
    promise: String,
    state: String,
    evidence: String,
}

pub(crate) fn read(tree: &Tree) -> Result<Promises> {
    let page = tree.file(PAGE).with_context(|| format!("{PAGE} is missing"))?;
    Ok(Promises::parse(page))
}

impl Promises {
    fn parse(page: &str) -> Self {
        let lines = page.lines().enumerate();
        Self { rows: lines.filter_map(|(index, line)| Row::parse(index + 1, line)).collect() }
    }

    /// One line a promise, and the sum.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        for Row { id, state, promise, evidence, .. } in &self.rows {
            let shown = shorten(&promise.replace('`', ""));
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{id}  {state:<6}  {shown}");
            let _ = writeln!(table, "             {}", shorten(&evidence.replace('`', "")));
        }
        let proven = self.rows.iter().filter(|row| row.state == "proven").count();
        let _ = writeln!(
            table,
            "{} promises, {proven} proven, {} later",
            self.rows.len(),
            self.rows.len() - proven
        );
        table
    }

    /// The promises that a scenario of the package `keelson-e2e` proves, by the name that it has as a test.
    pub(crate) fn proven_by(&self, test: &str) -> String {
        let Some((module, function)) = test.rsplit_once("::") else { return "-".to_owned() };
        let scenario = format!("e2e/tests/it/{}.rs::{function}", module.replace("::", "/"));
        let names_it = |row: &&Row| evidence::quoted(&row.evidence).any(|quoted| quoted == scenario);
        let proven = self.rows.iter().filter(|row| row.state == "proven").filter(names_it);
        let ids: Vec<&str> = proven.map(|row| row.id.as_str()).collect();
        if ids.is_empty() { "-".to_owned() } else { ids.join(",") }
    }

    pub(crate) fn check(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = self.check_ids();
        for row in &self.rows {
            let fault = match row.state.as_str() {
                "proven" => row.check_scenarios(tree),
                "later" if row.evidence.is_empty() => Some("say what is missing".to_owned()),
                "later" => None,
                other => Some(format!("'{other}' is no state: proven or later")),
            };
            findings
                .extend(fault.map(|message| Finding::at(PAGE, row.line, format!("{}: {message}", row.id))));
        }
        findings
    }

    fn check_ids(&self) -> Vec<Finding> {
        let mut seen = BTreeSet::new();
        let twice = self.rows.iter().filter(|row| !seen.insert(row.id.as_str()));
        let mut findings: Vec<Finding> =
            twice.map(|row| Finding::at(PAGE, row.line, format!("{} is there twice", row.id))).collect();
        let given = (1..=GIVEN_ROWS).map(|number| format!("S{number:02}"));
        let absent = given.filter(|id| !seen.contains(id.as_str()));
        findings.extend(absent.map(|id| Finding::of_file(PAGE, format!("the row {id} is absent"))));
        findings
    }
}

impl Row {
    fn parse(number: usize, line: &str) -> Option<Self> {
        let cells: Vec<&str> =
            line.strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
        let [id, promise, state, evidence] = cells[..] else { return None };
        let digits = id.strip_prefix(['S', 'K'])?;
        digits.parse::<u32>().ok()?;
        let [id, promise, state, evidence] = [id, promise, state, evidence].map(str::to_owned);
        Some(Self { line: number, id, promise, state, evidence })
    }

    fn check_scenarios(&self, tree: &Tree) -> Option<String> {
        let scenarios: Vec<&str> = evidence::quoted(&self.evidence).collect();
        if scenarios.is_empty() {
            return Some("proven by which scenario?".to_owned());
        }
        let absent = scenarios.into_iter().find(|scenario| !evidence::exists(tree, scenario))?;
        Some(format!("there is no scenario '{absent}'"))
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN_CHARACTERS - 1).collect();
    format!("{}…", start.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(page: &str) -> Vec<String> {
        let tree = Tree::here().expect("the tree of this test");
        let findings = Promises::parse(page).check(&tree);
        findings.iter().map(ToString::to_string).filter(|message| !message.contains("is absent")).collect()
    }

    #[test]
    fn a_proven_promise_names_a_scenario_that_exists() {
        let here = "`xtask/src/promises.rs::a_proven_promise_names_a_scenario_that_exists`";
        assert_eq!(messages(&format!("| S01 | all | proven | {here} |")), [""; 0]);
        let gone = messages("| S01 | all | proven | `xtask/src/promises.rs::gone` |");
        assert_eq!(gone, ["docs/promises.md:1: S01: there is no scenario 'xtask/src/promises.rs::gone'"]);
        assert_eq!(messages("| S01 | all | proven | we believe it |").len(), 1);
    }

    #[test]
    fn a_promise_for_later_has_its_reason_and_no_row_is_there_twice() {
        assert_eq!(messages("| K01 | all | later | the dashboard is not built yet |"), [""; 0]);
        assert_eq!(messages("| K01 | all | later |  |").len(), 1);
        assert_eq!(messages("| K01 | all | soon | x |").len(), 1);
        assert_eq!(messages("| K01 | a | later | b |\n| K01 | a | later | b |").len(), 1);
    }

    #[test]
    fn a_scenario_is_told_with_the_promises_that_it_proves() {
        let page = "| S01 | a | proven | `e2e/tests/it/b/c.rs::d` |\n| S02 | a | later | not `e2e/tests/it/b/c.rs::d` |\n\
                    | K01 | a | proven | `e2e/tests/it/b/c.rs::d` `e2e/tests/it/b.rs::e` |";
        let promises = Promises::parse(page);
        assert_eq!(promises.proven_by("b::c::d"), "S01,K01");
        assert_eq!(promises.proven_by("b::e"), "K01");
        assert_eq!(promises.proven_by("b::c::f"), "-");
    }

    #[test]
    fn all_given_rows_must_be_there() {
        let tree = Tree::here().expect("the tree of this test");
        assert_eq!(Promises::parse("| S07 | a | later | b |").check(&tree).len(), 69);
    }

    #[test]
    fn the_page_of_this_tree_is_in_order() -> Result<()> {
        let tree = Tree::here()?;
        let findings: Vec<String> = read(&tree)?.check(&tree).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{findings:#?}");
        Ok(())
    }
}
