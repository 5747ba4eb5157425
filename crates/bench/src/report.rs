//! How figures are kept and printed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

pub(crate) fn write(path: &Path, report: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("write figures as JSON")?;
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text + "\n"));
    written.with_context(|| format!("write {}", path.display()))
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
