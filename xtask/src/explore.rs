//! `cargo xtask explore`: the long random walk through interleavings of writers, readers, owners and claims.
//!
//! The walks are tests of the crates whose code they drive; this only tells them for how long and from which seed.

use std::process::{Command, ExitCode};
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
        let status = Command::new("cargo")
            .args(["test", "--quiet", "--package", package])
            .args(*target)
            .args(["--", "--exact", "--nocapture", name])
            .env("KEELSON_EXPLORE_SEED", seed.to_string())
            .env("KEELSON_EXPLORE_SECONDS", seconds.to_string())
            .current_dir(Tree::here()?.root())
            .status()
            .with_context(|| format!("run the walk of {package}"))?;
        ensure!(status.success(), "a walk from seed {seed} ended badly: its steps are above");
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "any number will do, if only it differs from the last one")]
fn seed_of_today() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
