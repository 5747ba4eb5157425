//! What the servers and this client take of memory and processors while one side has its turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::instance::{Instance, peak_memory};

/// `/proc` counts in hundredths of a second, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
/// Between turns what the last one left to do must end: collectors, caches, logs. Controllers are never quite at rest.
const SETTLED_SHARE: f64 = 0.3;
const SETTLE_STEP: Duration = Duration::from_secs(1);
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

/// One figure of each process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Each<T> {
    pub(super) serve: T,
    pub(super) api_server: T,
    pub(super) etcd: T,
    /// This program.
    pub(super) client: T,
}

impl<T: Copy> Each<T> {
    fn try_map<U>(self, of: impl Fn(T) -> Result<U>) -> Result<Each<U>> {
        let Self { serve, api_server, etcd, client } = self;
        Ok(Each { serve: of(serve)?, api_server: of(api_server)?, etcd: of(etcd)?, client: of(client)? })
    }

    pub(super) fn with<U: Copy, V>(self, other: Each<U>, of: impl Fn(T, U) -> V) -> Each<V> {
        Each {
            serve: of(self.serve, other.serve),
            api_server: of(self.api_server, other.api_server),
            etcd: of(self.etcd, other.etcd),
            client: of(self.client, other.client),
        }
    }
}

/// What one turn took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) processor_seconds: Each<f64>,
    pub(super) peak_memory: Each<u64>,
}

pub(super) struct Processes(Each<u32>);

/// A turn that has begun.
pub(super) struct Begun {
    processor_seconds: Each<f64>,
}

impl Processes {
    pub(super) fn of(cluster: &Cluster, instance: &Instance) -> Result<Self> {
        let [api_server, etcd] = cluster.plane().serving_processes()?;
        let client = std::process::id();
        Ok(Self(Each { serve: instance.process_id()?, api_server, etcd, client }))
    }

    pub(super) fn peak_memory(&self) -> Result<Each<u64>> {
        self.0.try_map(|process| peak_memory(&process.to_string()))
    }

    /// From here on peaks are those of this turn.
    pub(super) fn begin(&self) -> Result<Begun> {
        self.0.try_map(forget_peak)?;
        Ok(Begun { processor_seconds: self.processor_seconds()? })
    }

    pub(super) fn end(&self, begun: &Begun) -> Result<Usage> {
        let now = self.processor_seconds()?;
        Ok(Usage {
            processor_seconds: now.with(begun.processor_seconds, |now, before| now - before),
            peak_memory: self.peak_memory()?,
        })
    }

    /// Waits until the servers are at rest, or long enough.
    pub(super) async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            let (before, began) = (self.processor_seconds()?, Instant::now());
            tokio::time::sleep(SETTLE_STEP).await;
            let Each { serve, api_server, etcd, client: _ } =
                self.processor_seconds()?.with(before, |now, before| now - before);
            let share = (serve + api_server + etcd) / began.elapsed().as_secs_f64();
            if share < SETTLED_SHARE || Instant::now() > deadline {
                return Ok(());
            }
        }
    }

    fn processor_seconds(&self) -> Result<Each<f64>> {
        self.0.try_map(|process| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            processor_seconds(&stat.with_context(|| format!("process {process} has ended"))?)
        })
    }
}

/// The kernel then counts the peak from what is resident now.
fn forget_peak(process: u32) -> Result<()> {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").context("forget a peak of memory")
}

/// In user mode and in the kernel: the 14th and 15th field, after a name in parentheses that may hold anything.
fn processor_seconds(stat: &str) -> Result<f64> {
    let (_, after_name) = stat.rsplit_once(") ").context("read a process's status")?;
    let mut ticks = after_name.split(' ').skip(11).map(str::parse::<u64>);
    let mut next = || ticks.next().context("a status is longer")?.context("read a number of ticks");
    Ok((next()? + next()?) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_user_and_kernel_whatever_the_name() {
        let stat = "71 (a (b) c) S 1 71 71 0 -1 4194304 100 0 0 0 250 50 7 9 20 0 9 0 100 1 1";
        assert!((processor_seconds(stat).unwrap() - 3.0).abs() < 1e-9);
        assert!(processor_seconds("71 (a) S 1 71").is_err());
        assert!(processor_seconds("").is_err());
    }

    #[test]
    fn a_peak_is_forgotten() {
        let id = std::process::id();
        let large = vec![1_u8; 64 << 20];
        let before = peak_memory(&id.to_string()).unwrap();
        assert!(std::hint::black_box(&large).len() > 1);
        drop(large);
        forget_peak(id).unwrap();
        let after = peak_memory(&id.to_string()).unwrap();
        assert!(after + (32 << 20) < before, "{before} before, {after} after");
    }
}
