//! What was measured of each program: printed beside each other, kept as JSON, and held against the gate.

use std::fmt;

use serde_json::{Value, json};

use super::dataset::Kind;
use super::measured::Usage;
use super::tools::Tool;
use crate::report::{mib, ratio};

const MEMORY_GATE: u64 = 256 << 20;

/// What was done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Open,
    First,
    Unchanged,
    /// Peers are told not to believe times and lengths of files; we do not in any case.
    UnchangedAnew,
    Changed,
    Restore,
    Verify,
    Halved,
    Prune,
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open alone",
            Self::First => "first backup",
            Self::Unchanged => "nothing changed",
            Self::UnchangedAnew => "nothing changed, all read",
            Self::Changed => "1 % changed",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Halved => "half deleted",
            Self::Prune => "prune all but the last",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub work: Work,
    pub usage: Usage,
    /// In the repository, afterwards.
    pub stored_bytes: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, usage, stored_bytes } = self;
        let (peak, stored) = (mib(usage.peak_memory), mib(*stored_bytes));
        let (name, seconds, cpu) = (work.name(), usage.seconds, usage.cpu_seconds);
        write!(f, "{name:<26} {seconds:>9.2} {cpu:>9.2} {peak:>11} {stored:>12}")
    }
}

pub(super) struct OfDataset {
    pub kind: Kind,
    pub files: u64,
    pub bytes: u64,
    pub tools: Vec<(Tool, Vec<Measured>)>,
}

pub(crate) struct Figures {
    pub(super) percent: u64,
    pub(super) datasets: Vec<OfDataset>,
}

/// Ours of theirs: below one where we take less.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ratios {
    seconds: Option<f64>,
    cpu_seconds: Option<f64>,
    peak_memory: Option<f64>,
    stored_bytes: Option<f64>,
}

impl Ratios {
    fn of(ours: &Measured, theirs: &Measured) -> Self {
        Self {
            seconds: ratio(ours.usage.seconds, theirs.usage.seconds),
            cpu_seconds: ratio(ours.usage.cpu_seconds, theirs.usage.cpu_seconds),
            peak_memory: ratio(ours.usage.peak_memory as f64, theirs.usage.peak_memory as f64),
            stored_bytes: ratio(ours.stored_bytes as f64, theirs.stored_bytes as f64),
        }
    }
}

impl OfDataset {
    fn ours(&self, work: Work) -> Option<&Measured> {
        self.of(Tool::Keelson, work)
    }

    fn of(&self, tool: Tool, work: Work) -> Option<&Measured> {
        let (_, lines) = self.tools.iter().find(|(other, _)| *other == tool)?;
        lines.iter().find(|line| line.work == work)
    }

    fn lines(&self) -> impl Iterator<Item = (Tool, &Measured)> {
        self.tools.iter().flat_map(|(tool, lines)| lines.iter().map(move |line| (*tool, line)))
    }

    /// Where another program was quicker than ours, the quickest.
    fn behind(&self) -> Vec<(Work, Tool, f64)> {
        let ours = self.lines().filter(|(tool, _)| *tool == Tool::Keelson).map(|(_, line)| line);
        let quickest = |ours: &Measured| {
            let peers = self.lines().filter(|(tool, line)| *tool != Tool::Keelson && line.work == ours.work);
            let times = peers.filter_map(|(tool, line)| Some((tool, Ratios::of(ours, line).seconds?)));
            times.max_by(|(_, one), (_, other)| one.total_cmp(other))
        };
        let behind = ours.filter_map(|ours| quickest(ours).map(|(tool, times)| (ours.work, tool, times)));
        behind.filter(|(_, _, times)| *times > 1.0).collect()
    }

    fn report(&self) -> Value {
        let line = |(tool, line): (Tool, &Measured)| {
            let Measured { work, usage, stored_bytes } = line;
            let ratios = self.ours(*work).filter(|_| tool != Tool::Keelson);
            let ratios = ratios.map(|ours| {
                let Ratios { seconds, cpu_seconds, peak_memory, stored_bytes } = Ratios::of(ours, line);
                json!({ "seconds": seconds, "cpuSeconds": cpu_seconds, "peakMemory": peak_memory,
                        "storedBytes": stored_bytes })
            });
            json!({ "program": tool.name(), "work": work.name(), "usage": usage, "storedBytes": stored_bytes,
                    "oursOfTheirs": ratios })
        };
        let behind = self.behind().into_iter().map(
            |(work, tool, times)| json!({ "work": work.name(), "program": tool.name(), "seconds": times }),
        );
        json!({
            "name": self.kind.name(), "files": self.files, "bytes": self.bytes,
            "lines": self.lines().map(line).collect::<Vec<_>>(), "slowerThan": behind.collect::<Vec<_>>(),
        })
    }
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for dataset in &self.datasets {
            for (tool, line) in dataset.lines() {
                let peak = line.usage.peak_memory;
                if tool == Tool::Keelson && peak > MEMORY_GATE {
                    let (kind, work, peak, gate) =
                        (dataset.kind.name(), line.work.name(), mib(peak), mib(MEMORY_GATE));
                    missed.push(format!("{kind} files, {work}: {peak} of memory, gate {gate}"));
                }
            }
        }
        missed
    }

    pub(crate) fn report(&self) -> Value {
        json!({
            "scalePercent": self.percent,
            "datasets": self.datasets.iter().map(OfDataset::report).collect::<Vec<_>>(),
            "peakMemoryGate": MEMORY_GATE,
            "missed": self.missed_gates(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dataset in &self.datasets {
            let OfDataset { kind, files, bytes, tools } = dataset;
            let kind = kind.name();
            writeln!(f, "{kind}: {files} files, {} (scale {} %)", mib(*bytes), self.percent)?;
            writeln!(
                f,
                "  {:<8} {:<26} {:>9} {:>9} {:>11} {:>12}   ours/theirs: time, cpu, memory, stored",
                "", "", "time s", "cpu s", "memory", "stored"
            )?;
            let works =
                tools.first().map(|(_, lines)| lines.iter().map(|line| line.work).collect::<Vec<_>>());
            for work in works.unwrap_or_default() {
                for (tool, line) in dataset.lines().filter(|(_, line)| line.work == work) {
                    write!(f, "  {:<8} {line}", tool.name())?;
                    if let Some(ours) = dataset.ours(work).filter(|_| tool != Tool::Keelson) {
                        let Ratios { seconds, cpu_seconds, peak_memory, stored_bytes } =
                            Ratios::of(ours, line);
                        for ratio in [seconds, cpu_seconds, peak_memory, stored_bytes] {
                            write!(f, "  {:.2}", ratio.unwrap_or(f64::NAN))?;
                        }
                    }
                    writeln!(f)?;
                }
            }
            for (work, tool, times) in dataset.behind() {
                writeln!(f, "  slower: {} takes {times:.2} times as long as {}", work.name(), tool.name())?;
            }
        }
        write!(f, "gate: {} of memory for ours", mib(MEMORY_GATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(work: Work, seconds: f64, peak_memory: u64) -> Measured {
        Measured {
            work,
            usage: Usage { seconds, cpu_seconds: 2.0 * seconds, peak_memory },
            stored_bytes: (1000.0 * seconds) as u64,
        }
    }

    fn figures(peak_memory: u64) -> Figures {
        let tools = vec![
            (Tool::Keelson, vec![line(Work::First, 3.0, peak_memory), line(Work::Restore, 1.0, 1)]),
            (Tool::Kopia, vec![line(Work::First, 2.0, 500 << 20), line(Work::Restore, 2.0, 1)]),
            (Tool::Restic, vec![line(Work::First, 1.5, 1), line(Work::Restore, 4.0, 1)]),
        ];
        Figures { percent: 1, datasets: vec![OfDataset { kind: Kind::Mixed, files: 1, bytes: 1, tools }] }
    }

    #[test]
    fn each_line_of_a_peer_has_its_ratio_and_the_quickest_peer_is_named_where_we_are_slower() {
        let figures = figures(250 << 20);
        let report = figures.report();
        let lines = report["datasets"][0]["lines"].as_array().unwrap();
        let of = |program: &str, work: &str| {
            lines.iter().find(|line| line["program"] == program && line["work"] == work).unwrap()
        };
        assert_eq!(of("keelson", "first backup")["oursOfTheirs"], Value::Null);
        let ratios = &of("kopia", "first backup")["oursOfTheirs"];
        assert_eq!(
            *ratios,
            json!({ "seconds": 1.5, "cpuSeconds": 1.5, "peakMemory": 0.5, "storedBytes": 1.5 })
        );
        assert_eq!(of("restic", "restore")["oursOfTheirs"]["seconds"], json!(0.25));
        assert_eq!(figures.datasets[0].behind(), [(Work::First, Tool::Restic, 2.0)]);
        assert!(figures.to_string().contains("slower: first backup takes 2.00 times as long as restic"));
    }

    #[test]
    fn only_our_own_memory_has_a_gate() {
        assert_eq!(figures(MEMORY_GATE).missed_gates(), Vec::<String>::new());
        let missed = figures(MEMORY_GATE + 1).missed_gates();
        assert_eq!(missed, ["mixed files, first backup: 256.0 MiB of memory, gate 256.0 MiB"]);
    }
}
