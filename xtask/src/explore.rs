//! `cargo xtask explore`: the long random walk through interleavings of writers, readers, owners and claims.
//!
//! The walks are tests of the crates whose code they drive; this only tells them for how long and from which seed.

use std::process::{Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tree::Tree;

/// A walk: its package, the target that holds it, and its name.
const WALKS: &[(&str, &[&str], &str)] = &[
    ("keelson-repository", &["--test", "it"], "explore::random_walks_of_the_whole_cast_are_safe"),
    (
        "keelson-protection",
        &["--lib"],
        "epochs::tests::explore::random_walks_of_claims_and_retirements_are_safe",
    ),
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// For how long to walk; claims of ownership take a quarter of it
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Where to begin; without it somewhere new
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => seed_of_today()?,
    };
    println!("seed {seed}");
    let seconds = arguments.minutes * 60;
    for ((package, target, name), seconds) in WALKS.iter().zip([seconds - seconds / 4, seconds / 4]) {
        let walked = Command::new("cargo")
            .args(["test", "--quiet", "--package", package])
            .args(*target)
            .args(["--", "--exact", "--nocapture", name])
            .env("KEELSON_EXPLORE_SEED", seed.to_string())
            .env("KEELSON_EXPLORE_SECONDS", seconds.to_string())
            .current_dir(Tree::here()?.root())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("run the walk of {package}"))?;
        let said = String::from_utf8_lossy(&walked.stdout);
        print!("{said}");
        ensure!(walked.status.success(), "a walk from seed {seed} ended badly: its steps are above");
        ensure!(interleavings(&said) > Some(0), "no walk '{name}' of {package} was made: see WALKS");
    }
    Ok(ExitCode::SUCCESS)
}

/// How many interleavings the one test has counted; nothing unless exactly one ran. A name that no test has is no
/// failure to `cargo test`.
fn interleavings(said: &str) -> Option<u64> {
    let ran: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")).collect();
    let [ran] = ran[..] else { return None };
    let (before, _) = said.split_once(" interleavings from seed")?;
    let count = before.split_whitespace().next_back()?.parse().ok()?;
    ran.starts_with("1 passed;").then_some(count)
}

#[expect(clippy::disallowed_methods, reason = "any number will do, if only it differs from the last one")]
fn seed_of_today() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_counts_only_if_one_test_ran_and_says_how_far_it_came() {
        let said = |walk: &str, passed: u64| {
            format!(
                "\nrunning {passed} test\n{walk}.\ntest result: ok. {passed} passed; 0 failed; 0 ignored\n\n"
            )
        };
        let walk = "claims: 412 interleavings from seed 7, all safe\n";
        assert_eq!(interleavings(&said(walk, 1)), Some(412));
        assert_eq!(interleavings(&said("", 0)), None);
        assert_eq!(interleavings(&said("", 1)), None);
        assert_eq!(interleavings(&said(walk, 2)), None);
        assert_eq!(interleavings(&[said(walk, 1), said("", 0)].concat()), None);
    }
}
