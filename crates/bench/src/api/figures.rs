//! What was measured of both sides: printed as medians and ratios, kept as JSON, and held against the gates.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::creates::WRITERS;
use super::processes::{Each, Usage};
use super::side::{Pair, Side};
use crate::report::{mib, percentile, ratio};

const MEMORY_GATE: u64 = 256 << 20;
/// Lists may take this many times what they take of a custom resource.
pub(super) const LIST_GATE: f64 = 3.0;
/// When all watchers have nearly all events of a steady stream.
pub(super) const FAN_OUT_GATE_MS: f64 = 1_000.0;

pub(crate) struct Figures {
    pub(super) rows: usize,
    pub(super) watchers: usize,
    pub(super) lines: Vec<Line>,
    pub(super) turns: Vec<Turns>,
    /// Of `keelson serve` the peak of its start, of the others before there was any custom object.
    pub(super) memory_before: Each<u64>,
    pub(super) object_bytes: Pair<f64>,
}

/// One figure, of each round.
pub(super) struct Line {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) rounds: Pair<Vec<f64>>,
    pub(super) aim: Aim,
    pub(super) gate: Option<Gate>,
}

/// What ours should be, as a multiple of the custom one's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

/// What ours must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Gate {
    Ratio(f64),
    Value(f64),
}

/// What the turns of one kind took of the machine.
pub(super) struct Turns {
    pub(super) what: String,
    pub(super) rounds: Pair<Vec<Usage>>,
}

impl Line {
    fn medians(&self) -> Pair<f64> {
        self.rounds.map(|rounds| percentile(rounds, 50))
    }

    /// Nothing, where nothing was measured.
    fn ratio(&self) -> Option<f64> {
        let Pair { ours, custom } = self.medians();
        ratio(ours, custom)
    }

    fn meets_aim(&self) -> bool {
        self.ratio().is_some_and(|ratio| match self.aim {
            Aim::AtMost(most) => ratio <= most,
            Aim::AtLeast(least) => ratio >= least,
        })
    }

    /// What is not measured misses its gate too.
    fn missed_gate(&self) -> Option<String> {
        let Self { what, unit, .. } = self;
        match self.gate? {
            Gate::Ratio(most) => {
                let ratio = self.ratio().unwrap_or(f64::NAN);
                let met = ratio <= most;
                (!met).then(|| format!("{what}: {ratio:.2} of a custom resource's, gate {most:.1}"))
            }
            Gate::Value(most) => {
                let ours = self.medians().ours;
                let met = ours <= most;
                (!met).then(|| format!("{what}: {ours:.0} {unit}, gate {most:.0}"))
            }
        }
    }

    fn report(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "rounds": self.rounds, "medians": self.medians(),
            "ratio": self.ratio(), "aim": self.aim, "meetsAim": self.meets_aim(), "gate": self.gate,
        })
    }
}

impl Turns {
    /// The median of each process's time.
    fn processor_seconds(&self, side: Side) -> Each<f64> {
        let rounds = self.rounds.of(side);
        let median = |of: fn(&Each<f64>) -> f64| {
            let seconds: Vec<f64> = rounds.iter().map(|usage| of(&usage.processor_seconds)).collect();
            percentile(&seconds, 50)
        };
        Each {
            serve: median(|each| each.serve),
            api_server: median(|each| each.api_server),
            etcd: median(|each| each.etcd),
            client: median(|each| each.client),
        }
    }
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let serve = self.serve_peak();
        let memory = (serve > MEMORY_GATE)
            .then(|| format!("keelson serve took {} of memory, gate {}", mib(serve), mib(MEMORY_GATE)));
        self.lines.iter().filter_map(Line::missed_gate).chain(memory).collect()
    }

    pub(crate) fn report(&self) -> Value {
        let Self { rows, watchers, lines, turns, memory_before, object_bytes } = self;
        let turns: Vec<_> =
            turns.iter().map(|Turns { what, rounds }| json!({ "what": what, "rounds": rounds })).collect();
        let ratios: Vec<_> = lines.iter().map(Line::report).collect();
        json!({
            "rows": rows, "watchers": watchers, "writers": WRITERS, "objectBytes": object_bytes,
            "figures": ratios, "turns": turns,
            "peakMemory": {
                "before": memory_before, "inTurns": Pair::each(|side| self.peaks(side)),
                "serve": self.serve_peak(), "gate": MEMORY_GATE,
            },
            "missed": self.missed_gates(),
        })
    }

    /// The most that each process took in any turn of a side.
    fn peaks(&self, side: Side) -> Each<u64> {
        let usages = self.turns.iter().flat_map(|turns| turns.rounds.of(side));
        usages.fold(Each::default(), |most, usage| most.with(usage.peak_memory, u64::max))
    }

    /// The most that `keelson serve` took from its start to the end, whoever had the turn.
    fn serve_peak(&self) -> u64 {
        let turns = Side::ALL.map(|side| self.peaks(side).serve);
        turns.into_iter().fold(self.memory_before.serve, u64::max)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, watchers, lines, turns, memory_before, object_bytes } = self;
        let Pair { ours, custom } = object_bytes;
        writeln!(
            f,
            "{rows} objects of {ours:.0} bytes (custom: {custom:.0}), {watchers} watchers; ours, custom, ratio"
        )?;
        for line in lines {
            let Pair { ours, custom } = line.medians();
            let (aim, aimed) = match line.aim {
                Aim::AtMost(most) => ("at most", most),
                Aim::AtLeast(least) => ("at least", least),
            };
            let (what, unit, ratio) = (&line.what, line.unit, line.ratio().unwrap_or(f64::NAN));
            let met = if line.meets_aim() { "met" } else { "missed" };
            writeln!(
                f,
                "{what:<46} {ours:>8.2} {custom:>8.2} {unit:<3} {ratio:>6.2} (aim {aim} {aimed:.1}: {met})"
            )?;
        }
        for turns in turns {
            for side in Side::ALL {
                let Each { serve, api_server, etcd, client } = turns.processor_seconds(side);
                let what = format!("processor, {}, {}", turns.what, side.name());
                writeln!(
                    f,
                    "{what:<56} serve {serve:.1} s, kube-apiserver {api_server:.1}, etcd {etcd:.1}, client {client:.1}"
                )?;
            }
        }
        let of = |f: &mut fmt::Formatter<'_>, when: &str, peaks: Each<u64>| {
            let [serve, api_server, etcd] = [peaks.serve, peaks.api_server, peaks.etcd].map(mib);
            writeln!(f, "peak memory, {when:<18} serve {serve}, kube-apiserver {api_server}, etcd {etcd}")
        };
        of(f, "before the custom", *memory_before)?;
        for side in Side::ALL {
            of(f, &format!("turns of {}", side.name()), self.peaks(side))?;
        }
        write!(f, "peak memory, keelson serve     {} (gate {})", mib(self.serve_peak()), mib(MEMORY_GATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ours: &[f64], custom: &[f64], aim: Aim, gate: Option<Gate>) -> Line {
        let rounds = Pair { ours: ours.to_vec(), custom: custom.to_vec() };
        Line { what: "a list".to_owned(), unit: "ms", rounds, aim, gate }
    }

    fn usage(serve: u64) -> Usage {
        let processor_seconds = Each { serve: 2.0, ..Each::default() };
        Usage { processor_seconds, peak_memory: Each { serve, api_server: 7, ..Each::default() } }
    }

    fn figures(lines: Vec<Line>, at_start: u64, in_turn_of_custom: u64) -> Figures {
        let rounds = Pair { ours: vec![usage(1), usage(3)], custom: vec![usage(in_turn_of_custom)] };
        Figures {
            rows: 100_000,
            watchers: 1_000,
            lines,
            turns: vec![Turns { what: "a list".to_owned(), rounds }],
            memory_before: Each { serve: at_start, ..Each::default() },
            object_bytes: Pair { ours: 1_000.0, custom: 1_500.0 },
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        let line = line(&[9.0, 2.0, 1.0], &[1.0, 50.0, 4.0], Aim::AtMost(1.0), None);
        assert_eq!(line.medians(), Pair { ours: 2.0, custom: 4.0 });
        assert_eq!(line.ratio(), Some(0.5));
    }

    #[test]
    fn an_aim_is_met_on_its_own_side_and_never_by_nothing() {
        let check = |ours: &[f64], custom: &[f64], aim, expected| {
            assert_eq!(line(ours, custom, aim, None).meets_aim(), expected, "{ours:?} {custom:?} {aim:?}");
        };
        check(&[3.0], &[2.0], Aim::AtMost(1.5), true);
        check(&[3.1], &[2.0], Aim::AtMost(1.5), false);
        check(&[7.0], &[10.0], Aim::AtLeast(0.7), true);
        check(&[6.9], &[10.0], Aim::AtLeast(0.7), false);
        check(&[], &[10.0], Aim::AtMost(1.5), false);
        check(&[1.0], &[], Aim::AtMost(1.5), false);
    }

    #[test]
    fn a_missed_gate_is_named_and_a_missed_aim_is_none() {
        let check = |ours: &[f64], gate, expected: Option<&str>| {
            let missed = line(ours, &[2.0], Aim::AtMost(0.1), gate).missed_gate();
            assert_eq!(missed.as_deref(), expected, "{ours:?} {gate:?}");
        };
        check(&[600.0], None, None);
        check(&[6.0], Some(Gate::Ratio(3.0)), None);
        check(&[6.1], Some(Gate::Ratio(3.0)), Some("a list: 3.05 of a custom resource's, gate 3.0"));
        check(&[1_000.0], Some(Gate::Value(1_000.0)), None);
        check(&[1_001.0], Some(Gate::Value(1_000.0)), Some("a list: 1001 ms, gate 1000"));
        check(&[], Some(Gate::Ratio(3.0)), Some("a list: NaN of a custom resource's, gate 3.0"));
        check(&[], Some(Gate::Value(1.0)), Some("a list: NaN ms, gate 1"));
    }

    #[test]
    fn the_memory_of_serve_is_held_against_its_gate_whoever_has_the_turn() {
        let missed =
            |at_start, in_turn_of_custom| figures(Vec::new(), at_start, in_turn_of_custom).missed_gates();
        assert_eq!(missed(MEMORY_GATE, MEMORY_GATE), [""; 0]);
        assert_eq!(
            missed(MEMORY_GATE + (1 << 20), 0),
            ["keelson serve took 257.0 MiB of memory, gate 256.0 MiB"]
        );
        assert_eq!(missed(0, MEMORY_GATE + (1 << 20)).len(), 1);
    }

    #[test]
    fn the_report_and_the_text_tell_what_was_measured() {
        let line = line(&[3.0], &[2.0], Aim::AtMost(1.0), Some(Gate::Ratio(1.2)));
        let figures = figures(vec![line], 5, 2);
        let report = figures.report();
        assert_eq!(report["figures"][0]["ratio"], json!(1.5));
        assert_eq!(report["figures"][0]["aim"], json!({ "atMost": 1.0 }));
        assert_eq!(report["figures"][0]["meetsAim"], json!(false));
        assert_eq!(report["peakMemory"]["inTurns"]["ours"]["serve"], json!(3));
        assert_eq!(report["peakMemory"]["serve"], json!(5));
        assert_eq!(report["missed"].as_array().unwrap().len(), 1);
        let text = figures.to_string();
        assert!(text.contains("ms    1.50 (aim at most 1.0: missed)"), "{text}");
        assert!(text.contains("processor, a list, ours") && text.contains("serve 2.0 s"), "{text}");
    }
}
