//! Tells the story on the terminal, takes the time of each phase, and writes the report.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

pub(super) struct Story {
    began: Instant,
    phases: Vec<(String, Duration)>,
    current: Option<(String, Instant)>,
    differences: Vec<String>,
}

/// Differences told one by one; the report holds all of them.
const DIFFERENCES_SHOWN_MAX: usize = 25;

impl Story {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), phases: Vec::new(), current: None, differences: Vec::new() }
    }

    /// Ends the phase before and begins the next.
    pub(super) fn phase(&mut self, name: &str) {
        self.end_phase();
        println!("[{:6.1} s] {name}", self.began.elapsed().as_secs_f64());
        self.current = Some((name.to_owned(), Instant::now()));
    }

    pub(super) fn say(&self, line: impl AsRef<str>) {
        for line in line.as_ref().lines() {
            println!("           {line}");
        }
    }

    /// Compares something; what differs is told and kept.
    pub(super) fn judge(&mut self, what: &str, differences: Vec<String>) {
        if differences.is_empty() {
            self.say(format!("same: {what}"));
            return;
        }
        self.say(format!("DIFFERENT: {what}, {} differences", differences.len()));
        for difference in differences.iter().take(DIFFERENCES_SHOWN_MAX) {
            self.say(format!("  - {difference}"));
        }
        self.differences.extend(differences);
    }

    pub(super) fn differences(&self) -> usize {
        self.differences.len()
    }

    pub(super) fn end_phase(&mut self) {
        if let Some((name, began)) = self.current.take() {
            self.phases.push((name, began.elapsed()));
        }
    }

    pub(super) fn print_table(&self) {
        let width = self.phases.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        println!();
        for (name, took) in &self.phases {
            println!("{name:<width$}  {:>8.2} s", took.as_secs_f64());
        }
        println!("{:<width$}  {:>8.2} s", "all", self.began.elapsed().as_secs_f64());
        println!();
    }

    /// Writes `report` with the phases and the differences.
    pub(super) fn write(&self, path: &Path, mut report: Value) -> Result<()> {
        let phase = |(name, took): &(String, Duration)| json!({ "name": name, "seconds": seconds(*took) });
        report["phases"] = self.phases.iter().map(phase).collect();
        report["differences"] = json!(self.differences);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("write {}", path.display()))
    }
}

/// To the hundredth: more digits would only look exact.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}
