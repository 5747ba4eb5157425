//! What was measured of an index: printed, kept as JSON, and held against the gate.

use std::fmt;

use serde_json::{Value, json};

use super::seed::Seeded;
use super::{Built, LOOKUPS_COLD, LOOKUPS_WARM, LookedUp, Rate};
use crate::report::mib;

const MEMORY_GATE: u64 = 256 << 20;

pub(crate) struct Figures {
    pub(super) chunks: u64,
    pub(super) seeded: Seeded,
    pub(super) built: Built,
    /// Of the local copy.
    pub(super) disk_bytes: u64,
    pub(super) looked_up: LookedUp,
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let peaks = [("loading", self.built.peak_memory), ("looking up", self.looked_up.peak_memory)];
        let above = peaks.into_iter().filter(|(_, peak)| *peak > MEMORY_GATE);
        above
            .map(|(what, peak)| format!("{what} took {} of memory, gate {}", mib(peak), mib(MEMORY_GATE)))
            .collect()
    }

    fn disk_bytes_per_chunk(&self) -> f64 {
        self.disk_bytes as f64 / self.chunks as f64
    }

    pub(crate) fn report(&self) -> Value {
        let Self { chunks, seeded, built, disk_bytes, looked_up } = self;
        json!({
            "chunks": chunks, "packs": seeded.packs,
            "indexObjects": { "objects": seeded.objects, "bytes": seeded.bytes, "sealed": true },
            "build": { "seconds": built.seconds, "cpuSeconds": built.cpu_seconds, "chunksPerSecond": *chunks as f64 / built.seconds },
            "disk": { "bytes": disk_bytes, "bytesPerChunk": self.disk_bytes_per_chunk() },
            "reopenSeconds": looked_up.open_seconds,
            "lookups": {
                "countCold": LOOKUPS_COLD, "countWarm": LOOKUPS_WARM,
                "presentCold": report(looked_up.present_cold), "absentCold": report(looked_up.absent_cold),
                "presentWarm": report(looked_up.present_warm), "absentWarm": report(looked_up.absent_warm),
            },
            "peakMemory": { "build": built.peak_memory, "lookUp": looked_up.peak_memory, "gate": MEMORY_GATE },
            "missed": self.missed_gates(),
        })
    }
}

fn report(rate: Rate) -> Value {
    json!({ "perSecond": rate.per_second, "cpuMicroseconds": rate.cpu_microseconds })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chunks, seeded, built, disk_bytes, looked_up } = self;
        writeln!(f, "index                   {chunks} chunks in {} packs", seeded.packs)?;
        writeln!(
            f,
            "index objects           {} with {}, sealed, on the same disk",
            seeded.objects,
            mib(seeded.bytes)
        )?;
        writeln!(
            f,
            "load, with nothing kept {:.1} s, {:.1} s of a processor, {:.0} chunks/s",
            built.seconds,
            built.cpu_seconds,
            *chunks as f64 / built.seconds
        )?;
        writeln!(
            f,
            "local copy              {}, {:.1} bytes a chunk",
            mib(*disk_bytes),
            self.disk_bytes_per_chunk()
        )?;
        writeln!(f, "load, with the copy     {:.2} s", looked_up.open_seconds)?;
        for (what, rate) in [
            ("present, cold", looked_up.present_cold),
            ("absent, cold ", looked_up.absent_cold),
            ("present, warm", looked_up.present_warm),
            ("absent, warm ", looked_up.absent_warm),
        ] {
            let Rate { per_second, cpu_microseconds } = rate;
            writeln!(f, "lookups, {what}  {per_second:.0}/s, {cpu_microseconds:.1} µs of a processor each")?;
        }
        writeln!(f, "peak memory, load       {} (gate {})", mib(built.peak_memory), mib(MEMORY_GATE))?;
        write!(f, "peak memory, lookups    {} (gate {})", mib(looked_up.peak_memory), mib(MEMORY_GATE))
    }
}
