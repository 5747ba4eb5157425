//! What was measured: printed, kept as JSON, and held against the gates.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{SourceFigures, Split};
use crate::report::mib;

pub(crate) const MEMORY_GATE: u64 = 256 << 20;
/// An aim: it says as much of the machine as of the program.
pub(crate) const SERVING_AIM: Duration = Duration::from_secs(60);
/// What holds on any machine.
pub(crate) const SERVING_GATE: Duration = Duration::from_secs(180);
/// Of the bytes of a base, what may be sent once one row in a hundred has changed. Segments send it; a base follows only
/// when they have passed a quarter of the one before.
const CHANGED_GATE: f64 = 0.03;

/// Objects in the location and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shipped {
    pub objects: u64,
    pub bytes: u64,
}

impl Shipped {
    pub(super) fn segments(share: &Path) -> Result<Self> {
        Self::of(share, is_segment)
    }

    /// The documents of bases, which name their rows.
    pub(super) fn bases(share: &Path) -> Result<Self> {
        Self::of(share, |path| lies_in(path, "bases"))
    }

    pub(super) fn without_segments(share: &Path) -> Result<Self> {
        Self::of(share, |path| !is_segment(path))
    }

    fn of(folder: &Path, counts: impl Fn(&Path) -> bool + Copy) -> Result<Self> {
        let mut sum = Self::default();
        for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                let below = Self::of(&path, counts)?;
                sum = Self { objects: sum.objects + below.objects, bytes: sum.bytes + below.bytes };
            } else if counts(&path) {
                let length = fs::metadata(&path)?.len();
                sum = Self { objects: sum.objects + 1, bytes: sum.bytes + length };
            }
        }
        Ok(sum)
    }

    /// What came; nothing where something went.
    pub(super) fn since(self, before: Self) -> Option<Self> {
        let objects = self.objects.checked_sub(before.objects)?;
        Some(Self { objects, bytes: self.bytes.checked_sub(before.bytes)? })
    }
}

fn is_segment(path: &Path) -> bool {
    lies_in(path, "segments")
}

fn lies_in(path: &Path, name: &str) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(name))
}

pub(crate) struct Figures {
    pub(super) split: Split,
    pub(super) source: SourceFigures,
    /// From the start of the process until it takes requests.
    pub(super) ready: Duration,
    /// From the start of the process until the first page of what was lost.
    pub(super) serving: Duration,
    /// All contents in pages of 500, by kubectl.
    pub(super) listing: Duration,
    /// What `dr restore` said.
    pub(super) restore: Value,
    pub(super) contents: usize,
    /// Peak of the recovering process until it serves, in bytes.
    pub(super) memory: u64,
    /// The same after all contents were listed.
    pub(super) memory_listing: u64,
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let peaks = [
            ("the source", self.source.memory),
            ("the recovery", self.memory),
            ("the recovered program", self.memory_listing),
        ];
        let above = peaks.into_iter().filter(|(_, peak)| *peak > MEMORY_GATE);
        let memory =
            above.map(|(who, peak)| format!("{who} took {} of memory, gate {}", mib(peak), mib(MEMORY_GATE)));
        memory.chain(missed_by_serving(self.serving)).chain(missed_by_changes(self.changed_share())).collect()
    }

    /// What segments sent for a change of one row in a hundred, of the bytes of a base of those rows.
    fn changed_share(&self) -> f64 {
        let SourceFigures { changes, rebased, .. } = &self.source;
        changes.bytes as f64 / rebased.first_bytes.max(1) as f64
    }

    /// Segments, per byte of the base.
    fn overhead(&self) -> f64 {
        self.source.segments.bytes as f64 / self.source.base.bytes.max(1) as f64
    }

    pub(crate) fn report(&self) -> Value {
        let (source, Split { percent, base, later }) = (&self.source, self.split);
        json!({
            "segmentsPercent": percent, "restorePoints": base.points, "actions": base.actions,
            "laterRestorePoints": later.points, "laterActions": later.actions, "laterEntries": source.entries,
            "base": { "bytes": source.base.bytes, "objects": source.base.objects },
            "segments": { "bytes": source.segments.bytes, "objects": source.segments.objects,
                          "ofBase": self.overhead() },
            "nextBase": { "rows": source.rebased.rows, "changedRows": source.rebased.changed,
                          "firstBytes": source.rebased.first_bytes, "bytes": source.rebased.next_bytes,
                          "ofFirst": source.rebased.share() },
            "onePercentChanged": { "bytes": source.changes.bytes, "objects": source.changes.objects,
                                   "ofBase": self.changed_share(), "gate": CHANGED_GATE },
            "seconds": {
                "enable": source.enabling.as_secs_f64(), "drRun": source.dr_run.as_secs_f64(),
                "ready": self.ready.as_secs_f64(), "serving": self.serving.as_secs_f64(),
                "listing": self.listing.as_secs_f64(),
            },
            "aims": { "servingSeconds": SERVING_AIM.as_secs(), "met": self.serving <= SERVING_AIM },
            "gates": { "servingSeconds": SERVING_GATE.as_secs() },
            "peakMemory": { "source": source.memory, "recovery": self.memory, "listing": self.memory_listing,
                            "gate": MEMORY_GATE },
            "contents": self.contents,
            "recovered": self.restore,
            "missed": self.missed_gates(),
        })
    }
}

pub(crate) fn missed_by_serving(serving: Duration) -> Option<String> {
    let (took, gate) = (serving.as_secs_f64(), SERVING_GATE.as_secs());
    (serving > SERVING_GATE).then(|| format!("what was lost is served after {took:.1} s, gate {gate} s"))
}

fn missed_by_changes(share: f64) -> Option<String> {
    let (sent, gate) = (100.0 * share, 100.0 * CHANGED_GATE);
    let message = format!("for 1 % of the rows changed {sent:.1} % of a base is sent, gate {gate:.0} %");
    (share > CHANGED_GATE).then_some(message)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, Split { percent, base, later }) = (&self.source, self.split);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let aim = if self.serving <= SERVING_AIM { "met" } else { "missed" };
        writeln!(f, "catalog                 {} restore points, {} actions", base.points, base.actions)?;
        writeln!(f, "base                    {} in {} objects", mib(source.base.bytes), source.base.objects)?;
        writeln!(
            f,
            "segments                {} in {} objects for {} entries ({:.1} % of the base)",
            mib(source.segments.bytes),
            source.segments.objects,
            source.entries,
            100.0 * self.overhead()
        )?;
        writeln!(f, "enable, with the base   {}", seconds(source.enabling))?;
        writeln!(
            f,
            "1 % of rows changed     {} in {} segments sent, {:.1} % of a base (gate {:.0} %)",
            mib(source.changes.bytes),
            source.changes.objects,
            100.0 * self.changed_share(),
            100.0 * CHANGED_GATE
        )?;
        writeln!(
            f,
            "next base               {} of {} sent ({:.1} %) after {} of {} rows have changed",
            mib(source.rebased.next_bytes),
            mib(source.rebased.first_bytes),
            100.0 * source.rebased.share().unwrap_or(f64::NAN),
            source.rebased.changed,
            source.rebased.rows
        )?;
        writeln!(
            f,
            "DR run after {} restore points more ({percent} %)  {}",
            later.points,
            seconds(source.dr_run)
        )?;
        writeln!(f, "empty directory to requests taken  {}", seconds(self.ready))?;
        writeln!(
            f,
            "empty directory to serving         {} (aim {}: {aim}; gate {})",
            seconds(self.serving),
            seconds(SERVING_AIM),
            seconds(SERVING_GATE)
        )?;
        writeln!(f, "all {} contents listed         {}", self.contents, seconds(self.listing))?;
        writeln!(f, "peak memory, source     {}", mib(source.memory))?;
        writeln!(f, "peak memory, recovery   {} (gate {})", mib(self.memory), mib(MEMORY_GATE))?;
        write!(f, "peak memory, listing    {}", mib(self.memory_listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_apart_from_the_rest() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("keelson-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("dr/segments"))?;
        fs::create_dir_all(folder.join("dr/bases"))?;
        fs::write(folder.join("dr/segments/1"), "12345")?;
        fs::write(folder.join("dr/bases/1"), "123")?;
        fs::write(folder.join("dr/pack"), "1234567")?;
        let found = [Shipped::segments(&folder), Shipped::bases(&folder), Shipped::without_segments(&folder)];
        fs::remove_dir_all(&folder)?;
        let expected = [(1, 5), (1, 3), (2, 10)].map(|(objects, bytes)| Shipped { objects, bytes });
        for (found, expected) in found.into_iter().zip(expected) {
            assert_eq!(found?, expected);
        }
        Ok(())
    }

    #[test]
    fn what_came_is_what_is_there_more_and_nothing_where_something_went() {
        let (few, many) = (Shipped { objects: 1, bytes: 5 }, Shipped { objects: 3, bytes: 9 });
        assert_eq!(many.since(few), Some(Shipped { objects: 2, bytes: 4 }));
        assert_eq!(few.since(many), None);
    }

    #[test]
    fn changes_that_send_more_than_three_hundredths_of_a_base_miss_the_gate() {
        assert_eq!(missed_by_changes(0.03), None);
        let missed = missed_by_changes(0.031).unwrap();
        assert!(missed.contains("3.1 % of a base is sent, gate 3 %"), "{missed}");
    }

    #[test]
    fn a_recovery_of_more_than_three_minutes_misses_the_gate() {
        assert_eq!(missed_by_serving(Duration::from_secs(180)), None);
        let missed = missed_by_serving(Duration::from_millis(180_100)).unwrap();
        assert_eq!(missed, "what was lost is served after 180.1 s, gate 180 s");
    }
}
