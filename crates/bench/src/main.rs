//! Measures what the product promises in figures: `bench recovery [--report FILE]`. The script `bench` builds what it
//! needs. Everything measured is the program as it ships, run as a process.

mod recovery;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

const USAGE: &str = "usage: bench recovery [--report FILE]";
const REPORT: &str = "target/bench/recovery.json";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let report = match words.as_slice() {
        ["recovery"] => PathBuf::from(REPORT),
        ["recovery", "--report", file] => PathBuf::from(file),
        _ => {
            say(USAGE);
            return Ok(ExitCode::from(2));
        }
    };
    let program =
        std::env::var_os("KEELSON_PROGRAM").context("KEELSON_PROGRAM names the program to measure")?;
    let figures = recovery::measure(&PathBuf::from(program)).await?;
    figures.write(&report)?;
    say(&figures.to_string());
    say(&format!("report: {}", report.display()));
    let missed = figures.missed_gates();
    for gate in &missed {
        say(&format!("MISSED {gate}"));
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "figures go to standard output")]
fn say(line: &str) {
    println!("{line}");
}
