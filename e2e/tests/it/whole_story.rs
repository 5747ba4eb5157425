//! The whole story, as `./demo` tells it: a platform and three applications are lost but for a location, a cluster id
//! and a passphrase, and come back the same.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Tells the story at a location and returns its last line.
fn tell(location: &str) -> Result<String> {
    let report = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--location", location, "--report"])
        .arg(report.path().join("report.json"))
        .output()
        .context("run the demonstration")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default().to_owned();
    ensure!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(last)
}

fn assert_ok(last: &str) {
    assert!(last.starts_with("RESULT ok applications=3 "), "{last}");
    for field in ["objects=", "restore_points=", "digest=", "platform_seconds=", "applications_seconds="] {
        assert!(last.contains(field), "{field} is missing in: {last}");
    }
}

#[test]
fn a_lost_platform_and_its_applications_come_back_from_a_directory() -> Result<()> {
    assert_ok(&tell("filesystem")?);
    Ok(())
}

#[test]
fn a_lost_platform_and_its_applications_come_back_from_a_bucket() -> Result<()> {
    assert_ok(&tell("s3")?);
    Ok(())
}
