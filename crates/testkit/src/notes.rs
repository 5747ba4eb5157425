//! What tests tell beside their verdicts, which is all that libtest keeps of a test that passes: lines in files that
//! whoever runs the tests names and reads.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// Where `./test` and `cargo xtask e2e` want to be told of tests that cannot run on this machine: libtest counts them as
/// passed.
pub const SKIPS: &str = "KEELSON_TEST_SKIPS";
/// Where `./test` and `cargo xtask e2e` want the figures that were measured.
pub const FIGURES: &str = "KEELSON_TEST_FIGURES";

/// Says that the test whose thread calls this is skipped, and why, so that `./test` counts it as such. The test returns
/// after it.
pub fn skip(reason: &str) {
    note(SKIPS, "skipped", reason);
}

/// Tells what the test whose thread calls this has measured. A sentence with its number; nothing is judged by it.
pub fn figure(measured: &str) {
    note(FIGURES, "figure", measured);
}

#[expect(clippy::print_stdout, reason = "whoever runs the test alone sees it too")]
fn note(file: &str, word: &str, told: &str) {
    let test = thread::current();
    let line = format!("{}: {}", test.name().unwrap_or("a test"), told.trim().replace('\n', "; "));
    println!("{word}: {line}");
    if let Some(file) = env::var_os(file) {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&file)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        assert!(written.is_ok(), "write down '{line}' in {}: {written:?}", file.display());
    }
}
