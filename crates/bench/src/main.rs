//! Measures what the product promises in figures: `bench recovery|index [--report FILE]`. The script `bench` builds what
//! it needs. What is measured runs as a process of its own: the program as it ships, or a step of this one.

mod index;
mod recovery;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use index::Step;

const USAGE: &str =
    "usage: bench recovery [--report FILE]\n       bench index [--chunks COUNT] [--report FILE]";
const INDEX_CHUNKS: u64 = 100_000_000;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["recovery"] => measure_recovery("target/bench/recovery.json".as_ref()).await,
        ["recovery", "--report", file] => measure_recovery(file.as_ref()).await,
        ["index-build", folder, chunks] => take(Step::Build, folder, chunks).await,
        ["index-look-up", folder, chunks] => take(Step::LookUp, folder, chunks).await,
        ["index", rest @ ..] => match parse_index(rest) {
            Some((chunks, report)) => measure_index(chunks, &report).await,
            None => Ok(refuse()),
        },
        _ => Ok(refuse()),
    }
}

fn refuse() -> ExitCode {
    say(USAGE);
    ExitCode::from(2)
}

fn parse_index(words: &[&str]) -> Option<(u64, PathBuf)> {
    let (mut chunks, mut report) = (INDEX_CHUNKS, PathBuf::from("target/bench/index.json"));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--chunks" => chunks = words.next()?.parse().ok()?,
            "--report" => report = PathBuf::from(words.next()?),
            _ => return None,
        }
    }
    (chunks > 0).then_some((chunks, report))
}

async fn measure_recovery(report: &Path) -> Result<ExitCode> {
    let program =
        std::env::var_os("KEELSON_PROGRAM").context("KEELSON_PROGRAM names the program to measure")?;
    let figures = recovery::measure(&PathBuf::from(program)).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn measure_index(chunks: u64, report: &Path) -> Result<ExitCode> {
    let figures = index::measure(chunks).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn take(step: Step, folder: &str, chunks: &str) -> Result<ExitCode> {
    index::take(step, folder.as_ref(), chunks.parse().context("read a number of chunks")?).await?;
    Ok(ExitCode::SUCCESS)
}

fn conclude(figures: &str, report: &Path, missed: &[String]) -> ExitCode {
    say(figures);
    say(&format!("report: {}", report.display()));
    for gate in missed {
        say(&format!("MISSED {gate}"));
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "figures go to standard output")]
fn say(line: &str) {
    println!("{line}");
}
