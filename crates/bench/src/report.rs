//! How figures are reckoned, kept and printed.

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

/// The least of the values that so many hundredths of them do not pass; nothing has none.
pub(crate) fn percentile(values: &[f64], hundredths: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

/// How often the second goes into the first; of nothing there is no ratio.
pub(crate) fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0 && ours.is_finite()).then(|| ours / theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let check = |values: &[f64], hundredths, expected: f64| {
            assert!(
                (percentile(values, hundredths) - expected).abs() < f64::EPSILON,
                "{values:?} {hundredths}"
            );
        };
        check(&[5.0], 50, 5.0);
        check(&[3.0, 1.0, 2.0], 50, 2.0);
        check(&[4.0, 1.0, 3.0, 2.0], 50, 2.0);
        check(&[3.0, 1.0, 2.0], 0, 1.0);
        check(&[3.0, 1.0, 2.0], 100, 3.0);
        let hundred: Vec<_> = (1..=100).rev().map(f64::from).collect();
        check(&hundred, 95, 95.0);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(0.0, 2.0), Some(0.0));
        assert_eq!(ratio(3.0, 0.0), None);
        assert_eq!(ratio(f64::NAN, 2.0), None);
    }
}
