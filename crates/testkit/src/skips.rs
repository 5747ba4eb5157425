//! Tests that cannot run on this machine: libtest counts them as passed, so they are written down beside.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// Where `./test` wants to be told, a line each.
const SKIPS: &str = "KEELSON_TEST_SKIPS";

/// Says that the test whose thread calls this is skipped, and why, so that `./test` counts it as such. The test returns
/// after it.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub fn skip(reason: &str) {
    let test = thread::current();
    let line = format!("{}: {}", test.name().unwrap_or("a test"), reason.trim().replace('\n', "; "));
    println!("skipped: {line}");
    if let Some(skips) = env::var_os(SKIPS) {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&skips)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        assert!(written.is_ok(), "write down in {} that a test is skipped: {written:?}", skips.display());
    }
}
