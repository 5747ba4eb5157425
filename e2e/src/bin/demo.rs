//! Runs the demonstration: `demo [--location filesystem|s3] [--report FILE]`. The script `demo` builds what it needs.

#![expect(clippy::print_stderr, reason = "a program answers for its arguments on standard error")]

use std::path::PathBuf;
use std::process::ExitCode;

use keelson_e2e::demo::{LocationKind, Options, run};

const USAGE: &str = "usage: demo [--location filesystem|s3] [--report FILE]";
const REPORT: &str = "target/demo/report.json";

#[tokio::main]
async fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Some(options) => run(&options).await,
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options { location: LocationKind::Filesystem, report: PathBuf::from(REPORT) };
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()?.as_str()) {
            ("--location", "filesystem") => options.location = LocationKind::Filesystem,
            ("--location", "s3") => options.location = LocationKind::S3,
            ("--report", file) => options.report = PathBuf::from(file),
            _ => return None,
        }
    }
    Some(options)
}
