//! What was measured of the charts: printed, kept as JSON, and held against aims and gates.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::image::ImageSize;
use super::pods::{Idle, Taken};
use crate::recovery::seed::Size;
use crate::recovery::{MEMORY_GATE, SERVING_AIM, SERVING_GATE, missed_by_serving};
use crate::report::mib;

/// What chart `k10` asks a scheduler for. An idle pod that takes more makes a node look emptier than it is; it is an aim,
/// since a working set has in it what the kernel keeps of files.
const SERVE_REQUEST: Request = Request { memory: 256 << 20, processor_share: 0.1 };
const GUARD_REQUEST: Request = Request { memory: 32 << 20, processor_share: 0.01 };

#[derive(Debug, Clone, Copy)]
struct Request {
    memory: u64,
    processor_share: f64,
}

impl Request {
    fn holds(self, taken: Taken) -> bool {
        taken.working_set <= self.memory && taken.processor_share <= self.processor_share
    }
}

/// From the start of `helm install k10`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installed {
    pub(super) ready: Duration,
    /// All our kinds are answered through the cluster's API server.
    pub(super) answered: Duration,
}

/// From the start of `helm install k10-restore`.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Helm has made the Job.
    pub(super) started: Duration,
    /// The first page of what was lost.
    pub(super) serving: Duration,
    pub(super) completed: Duration,
    /// All contents in pages of 500, by kubectl.
    pub(super) listing: Duration,
    pub(super) contents: usize,
    /// The most that the platform's process had resident until then, in bytes.
    pub(super) peak: u64,
    /// Of the `KastenDRRestore`.
    pub(super) status: Value,
}

impl Recovered {
    fn serving_after_start(&self) -> Duration {
        self.serving.saturating_sub(self.started)
    }
}

pub(crate) struct Figures {
    pub(super) size: Size,
    pub(super) image: ImageSize,
    pub(super) installed: Installed,
    pub(super) idle: Idle,
    pub(super) recovered: Recovered,
    pub(super) idle_recovered: Idle,
}

impl Figures {
    /// What was promised and is not so.
    pub(crate) fn missed_gates(&self) -> Vec<String> {
        let peak = self.recovered.peak;
        let memory = format!("the recovery took {} of memory, gate {}", mib(peak), mib(MEMORY_GATE));
        let memory = (peak > MEMORY_GATE).then_some(memory);
        missed_by_serving(self.recovered.serving_after_start()).into_iter().chain(memory).collect()
    }

    fn serves_in_time(&self) -> bool {
        self.recovered.serving_after_start() <= SERVING_AIM
    }

    /// The pods of the empty and of the recovered platform, with what they should not pass.
    fn pods(&self) -> [(&'static str, Taken, Request); 4] {
        [
            ("serve, empty", self.idle.serve, SERVE_REQUEST),
            ("guard, empty", self.idle.guard, GUARD_REQUEST),
            ("serve, recovered", self.idle_recovered.serve, SERVE_REQUEST),
            ("guard, recovered", self.idle_recovered.guard, GUARD_REQUEST),
        ]
    }

    pub(crate) fn report(&self) -> Value {
        let Recovered { started, serving, completed, listing, contents, peak, status } = &self.recovered;
        let within = self.pods().iter().all(|(_, taken, request)| request.holds(*taken));
        json!({
            "restorePoints": self.size.points, "actions": self.size.actions,
            "image": { "archiveBytes": self.image.archive, "unpackedBytes": self.image.unpacked },
            "seconds": {
                "ready": self.installed.ready.as_secs_f64(), "answered": self.installed.answered.as_secs_f64(),
                "jobMade": started.as_secs_f64(), "serving": serving.as_secs_f64(),
                "completed": completed.as_secs_f64(), "listing": listing.as_secs_f64(),
            },
            "idle": { "empty": self.idle, "recovered": self.idle_recovered },
            "peakMemory": { "recovery": peak, "gate": MEMORY_GATE },
            "aims": {
                "servingSecondsAfterJob": SERVING_AIM.as_secs(), "servingMet": self.serves_in_time(),
                "idleWithinRequests": within,
            },
            "gates": { "servingSecondsAfterJob": SERVING_GATE.as_secs() },
            "contents": contents,
            "recovered": status,
            "missed": self.missed_gates(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let met = |is_met: bool| if is_met { "met" } else { "missed" };
        let recovered = &self.recovered;
        writeln!(
            f,
            "catalog                 {} restore points, {} actions",
            self.size.points, self.size.actions
        )?;
        writeln!(
            f,
            "image                   {} as an archive, {} unpacked",
            mib(self.image.archive),
            mib(self.image.unpacked)
        )?;
        writeln!(f, "helm install k10 to a ready pod            {}", seconds(self.installed.ready))?;
        writeln!(f, "helm install k10 to answers                {}", seconds(self.installed.answered))?;
        writeln!(f, "helm install k10-restore to its Job        {}", seconds(recovered.started))?;
        writeln!(
            f,
            "from the Job to serving                    {} (aim {}: {}; gate {})",
            seconds(recovered.serving_after_start()),
            seconds(SERVING_AIM),
            met(self.serves_in_time()),
            seconds(SERVING_GATE)
        )?;
        writeln!(f, "helm install k10-restore to a complete Job {}", seconds(recovered.completed))?;
        writeln!(
            f,
            "all {} contents listed                 {}",
            recovered.contents,
            seconds(recovered.listing)
        )?;
        for (who, taken, request) in self.pods() {
            writeln!(
                f,
                "idle, {who:<17} {} working set, {} anonymous, {:.2} % of a processor (requests {}, {:.0} %: {})",
                mib(taken.working_set),
                mib(taken.anonymous),
                100.0 * taken.processor_share,
                mib(request.memory),
                100.0 * request.processor_share,
                met(request.holds(taken))
            )?;
        }
        write!(f, "peak memory, recovery   {} (gate {})", mib(recovered.peak), mib(MEMORY_GATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(serving: u64, peak: u64) -> Figures {
        let taken = Taken { working_set: 40 << 20, anonymous: 20 << 20, processor_share: 0.005 };
        let second = Duration::from_secs;
        let recovered = Recovered {
            started: second(5),
            serving: second(serving),
            completed: second(serving + 3),
            listing: second(1),
            contents: 7,
            peak,
            status: Value::Null,
        };
        Figures {
            size: Size { points: 7, actions: 21 },
            image: ImageSize { archive: 1 << 20, unpacked: 3 << 20 },
            installed: Installed { ready: second(2), answered: second(3) },
            idle: Idle { serve: taken, guard: taken },
            recovered,
            idle_recovered: Idle { serve: taken, guard: taken },
        }
    }

    #[test]
    fn serving_counts_from_the_job_and_memory_has_a_gate() {
        assert_eq!(figures(185, 256 << 20).missed_gates(), [""; 0]);
        let missed = figures(186, (256 << 20) + 1).missed_gates();
        assert_eq!(missed.len(), 2, "{missed:?}");
        assert_eq!(missed[0], "what was lost is served after 181.0 s, gate 180 s");
        assert_eq!(figures(65, 1).report()["aims"]["servingMet"], true);
        assert_eq!(figures(66, 1).report()["aims"]["servingMet"], false);
    }

    #[test]
    fn an_idle_pod_beyond_what_its_chart_requests_misses_an_aim_and_no_gate() {
        let figures = figures(10, 1);
        assert_eq!(figures.report()["aims"]["idleWithinRequests"], false);
        let printed = figures.to_string();
        assert!(printed.contains("idle, guard, empty      40.0 MiB working set"), "{printed}");
        assert!(printed.contains("(requests 32.0 MiB, 1 %: missed)"), "{printed}");
        assert!(printed.contains("(requests 256.0 MiB, 10 %: met)"), "{printed}");
        assert_eq!(figures.missed_gates(), [""; 0]);
    }
}
