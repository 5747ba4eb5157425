//! Measures what the product promises in figures: `bench recovery|chart|rpo|api|index|catalog|repository [--report FILE]`.
//! The script `bench` builds what it needs. What is measured runs as a process of its own: the program as it ships, or a
//! step of this one.

mod api;
mod catalog;
mod chart;
mod clock;
mod cluster;
mod index;
mod instance;
/// As the product does, whose parts are measured in this program.
#[path = "../../doors/keelson/src/memory.rs"]
mod memory;
mod recovery;
mod report;
mod repository;
mod rpo;
mod step;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use keelson_testkit::Nodes;

use index::Step;
use recovery::Split;
use repository::Kind;

const USAGE: &str = "usage: bench recovery [--segments 5|50] [--report FILE]\n       \
     bench chart [--points COUNT] [--report FILE]\n       bench rpo [--kills COUNT] [--report FILE]\n       \
     bench api [--rows COUNT] [--report FILE]\n       \
     bench index [--chunks COUNT] [--report FILE]\n       bench catalog [--rows COUNT] [--report FILE]\n       \
     bench repository [--data mixed|small] [--scale PERCENT] [--report FILE]";
const INDEX_CHUNKS: u64 = 100_000_000;
const CHART_POINTS: u64 = 100_000;
const KILLS: u64 = 200;
const API_ROWS: u64 = 100_000;
const CATALOG_ROWS: u64 = 1_000_000;

fn main() -> Result<ExitCode> {
    memory::keep_flat();
    tokio::runtime::Runtime::new().context("start the runtime")?.block_on(run())
}

async fn run() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["recovery", rest @ ..] => {
            let parsed = parse(rest, "--segments", Split::DEFAULT_PERCENT, "target/bench/recovery.json");
            match parsed.and_then(|(percent, report)| Some((Split::of(percent)?, report))) {
                Some((split, report)) => measure_recovery(split, &report).await,
                None => Ok(refuse()),
            }
        }
        ["chart", rest @ ..] => match parse(rest, "--points", CHART_POINTS, "target/bench/chart.json") {
            Some((points, report)) => measure_chart(points, &report).await,
            None => Ok(refuse()),
        },
        ["rpo", rest @ ..] => match parse(rest, "--kills", KILLS, "target/bench/rpo.json") {
            Some((kills, report)) => measure_rpo(kills, &report).await,
            None => Ok(refuse()),
        },
        ["api", rest @ ..] => match parse(rest, "--rows", API_ROWS, "target/bench/api.json") {
            Some((rows, report)) => measure_api(rows, &report).await,
            None => Ok(refuse()),
        },
        ["index-build", folder, chunks] => take(Step::Build, folder, chunks).await,
        ["index-look-up", folder, chunks] => take(Step::LookUp, folder, chunks).await,
        ["index", rest @ ..] => match parse(rest, "--chunks", INDEX_CHUNKS, "target/bench/index.json") {
            Some((chunks, report)) => measure_index(chunks, &report).await,
            None => Ok(refuse()),
        },
        ["catalog", rest @ ..] => match parse(rest, "--rows", CATALOG_ROWS, "target/bench/catalog.json") {
            Some((rows, report)) => measure_catalog(rows, &report).await,
            None => Ok(refuse()),
        },
        ["repository", rest @ ..] => {
            let parsed = parse_data(rest).and_then(|(kinds, rest)| {
                Some((kinds, parse(&rest, "--scale", 100, "target/bench/repository.json")?))
            });
            match parsed {
                Some((kinds, (percent, report))) => measure_repository(&kinds, percent, &report).await,
                None => Ok(refuse()),
            }
        }
        ["repository-engine", rest @ ..] => repository::engine::run(rest).await.map(|()| ExitCode::SUCCESS),
        ["measured", note, program, rest @ ..] => {
            let words: Vec<_> = rest.iter().map(AsRef::as_ref).collect();
            repository::measured::measure(note.as_ref(), program.as_ref(), &words)
        }
        [word, folder, rows] => match catalog::Step::parse(word) {
            Some(step) => take_of_catalog(step, folder, rows).await,
            None => Ok(refuse()),
        },
        _ => Ok(refuse()),
    }
}

fn refuse() -> ExitCode {
    say(USAGE);
    ExitCode::from(2)
}

/// How many, and where the report goes.
fn parse(words: &[&str], count: &str, default: u64, report: &str) -> Option<(u64, PathBuf)> {
    let (mut number, mut report) = (default, PathBuf::from(report));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            word if word == count => number = words.next()?.parse().ok()?,
            "--report" => report = PathBuf::from(words.next()?),
            _ => return None,
        }
    }
    (number > 0).then_some((number, report))
}

/// The data that is asked for, all of it by default, and the other words.
fn parse_data<'a>(words: &[&'a str]) -> Option<(Vec<Kind>, Vec<&'a str>)> {
    let Some(at) = words.iter().position(|word| *word == "--data") else {
        return Some((Kind::ALL.to_vec(), words.to_vec()));
    };
    let kind = Kind::parse(words.get(at + 1)?)?;
    Some((vec![kind], [&words[..at], &words[at + 2..]].concat()))
}

fn program() -> Result<PathBuf> {
    let program = std::env::var_os("KEELSON_PROGRAM");
    program.map(PathBuf::from).context("KEELSON_PROGRAM names the program to measure")
}

async fn measure_recovery(split: Split, report: &Path) -> Result<ExitCode> {
    let figures = recovery::measure(&program()?, split).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn measure_chart(points: u64, report: &Path) -> Result<ExitCode> {
    if let Err(reason) = Nodes::available() {
        say(&reason);
        return Ok(ExitCode::FAILURE);
    }
    let image = std::env::var_os("KEELSON_IMAGE").context("KEELSON_IMAGE is the image of that program")?;
    let figures = chart::measure(&program()?, image.as_ref(), points).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn measure_rpo(kills: u64, report: &Path) -> Result<ExitCode> {
    let figures = rpo::measure(&program()?, kills).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn measure_api(rows: u64, report: &Path) -> Result<ExitCode> {
    let figures = api::measure(&program()?, rows).await?;
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

async fn measure_catalog(rows: u64, report: &Path) -> Result<ExitCode> {
    let figures = catalog::measure(rows).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
}

async fn take_of_catalog(step: catalog::Step, folder: &str, rows: &str) -> Result<ExitCode> {
    catalog::take(step, folder.as_ref(), rows.parse().context("read a number of rows")?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure_repository(kinds: &[Kind], percent: u64, report: &Path) -> Result<ExitCode> {
    let peers =
        std::env::var_os("KEELSON_BENCH_PEERS").context("KEELSON_BENCH_PEERS is where the others lie")?;
    let figures = repository::measure(peers.as_ref(), kinds, percent).await?;
    report::write(report, &figures.report())?;
    Ok(conclude(&figures.to_string(), report, &figures.missed_gates()))
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
