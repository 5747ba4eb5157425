//! The turn of a scenario, and the line that says how it ended: the rows of `docs/promises.md` that name it are those that
//! it proves.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use keelson_testkit::{Nodes, skip};

use super::scene::Scene;

const PROMISES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/promises.md");

/// Tells a story when nobody else does, or says why it cannot be told here.
pub(super) fn scenario(story: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Err(reason) = Nodes::available() {
        skip(&reason);
        return Ok(());
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut verdict = Verdict::begin()?;
    let scene = Scene::set().context("set the scene")?;
    story(&scene)?;
    verdict.passed = true;
    Ok(())
}

/// Says it also where a story panics.
struct Verdict {
    name: String,
    rows: Vec<String>,
    begun: Instant,
    passed: bool,
}

impl Verdict {
    fn begin() -> Result<Self> {
        let name = thread::current().name().unwrap_or("a scenario").to_owned();
        let page = fs::read_to_string(PROMISES).context("read the promises")?;
        Ok(Self { rows: rows_of(&name, &page), name, begun: Instant::now(), passed: false })
    }
}

/// The rows that name a test: `| S01 | … |`, with its name at the end of a path.
fn rows_of(test: &str, page: &str) -> Vec<String> {
    let function = test.rsplit("::").next().unwrap_or(test);
    let named = format!(".rs::{function}`");
    let rows = page.lines().filter(|line| line.contains(&named) && line.contains(" | proven | "));
    rows.filter_map(|line| Some(line.strip_prefix("| ")?.split_once(' ')?.0.to_owned())).collect()
}

impl Drop for Verdict {
    #[expect(clippy::print_stdout, reason = "whoever runs a scenario wants to know how it ended")]
    fn drop(&mut self) {
        let word = if self.passed { "PASS" } else { "FAIL" };
        let rows = if self.rows.is_empty() { "-".to_owned() } else { self.rows.join(",") };
        println!("{word} {} {rows} {:.1}", self.name, self.begun.elapsed().as_secs_f64());
    }
}

#[test]
fn the_rows_of_a_scenario_are_those_that_name_it() {
    let page = "| S01 | all | proven | `a/b.rs::first` `a/c.rs::second` |\n\
                | S02 | all | proven | `a/b.rs::first_of_all` |\n\
                | S03 | all | later | by the command line it is `a/b.rs::first` |\n";
    assert_eq!(rows_of("it::b::first", page), ["S01"], "by the command line is not by chart");
    assert_eq!(rows_of("it::b::none", page), Vec::<String>::new());
}
