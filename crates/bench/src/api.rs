//! Our API server beside a custom resource of the same shape, in the same kube-apiserver and through it: lists, creates,
//! watches, and the memory of all servers.
//!
//! The two sides take turns, several rounds of each, on a machine that servers and client share; medians are told. What a
//! client pays for JSON is left out: it is the same for both.

mod client;
mod creates;
mod figures;
mod lists;
mod processes;
mod seed;
mod side;
mod watches;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_model::Clock;
use keelson_testkit::Supervisor;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::client::{Client, New};
use self::creates::{Created, WRITERS};
pub(crate) use self::figures::Figures;
use self::figures::{Aim, FAN_OUT_GATE_MS, Gate, LIST_GATE, Line, Turns};
use self::lists::{Listed, PAGE};
use self::processes::{Each, Processes, Usage};
use self::side::{Pair, Side};
use self::watches::{FannedOut, PER_SECOND, USERS, Watches};
use crate::clock::WallClock;
use crate::cluster::Cluster;
use crate::instance::Instance;
use crate::say;

const ROUNDS: usize = 3;
/// Everything else is a share of the rows.
const ROWS_MIN: u64 = 4_000;

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale {
    rows: usize,
    watchers: usize,
    /// Objects that the writers of a round create, as many writers as `WRITERS` says.
    creates: [usize; WRITERS.len()],
    one_by_one: usize,
    steadily: usize,
}

impl Scale {
    fn of(rows: usize) -> Self {
        Self {
            rows,
            watchers: rows / 100,
            creates: [rows / 200, rows / 40, rows / 20],
            one_by_one: rows / 4_000,
            steadily: rows / 200,
        }
    }

    /// What a side creates in all rounds.
    fn spares(self) -> usize {
        ROUNDS * (self.creates.iter().sum::<usize>() + self.one_by_one + self.steadily)
    }
}

pub(crate) async fn measure(program: &Path, rows: u64) -> Result<Figures> {
    ensure!(rows >= ROWS_MIN, "there are {ROWS_MIN} rows at least");
    let scale = Scale::of(usize::try_from(rows).context("count rows")?);
    let share = Supervisor::start("bench-location")?;
    let cluster = Cluster::start_durable().await?;
    cluster.create_namespaces(crate::recovery::seed::applications()).await?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), share.directory())?;
    say("filling the catalog");
    seed::fill(&cluster, &instance.data(), scale.rows, scale.spares()).await?;
    instance.serve()?;
    cluster.wait_served().await?;
    allow_open_files()?;
    let clients = (0..USERS)
        .map(|number| Client::new(cluster.plane(), &format!("bench-{number}")))
        .collect::<Result<Vec<_>>>()?;
    let processes = Processes::of(&cluster, &instance)?;
    let mut bench = Bench::new(scale, clients, processes);
    // Both have been listed once before anything counts.
    let first = lists::list(&bench.clients[0], Side::Ours, scale.rows, None).await?;
    bench.processes.settle().await?;
    let memory_before = bench.processes.peak_memory()?;

    say("creating the same as custom objects");
    let began = Instant::now();
    cluster.define(&side::definition()?).await?;
    seed::copy(&bench.clients[0], scale.rows).await?;
    say(&format!("{} custom objects in {:.0} s", scale.rows, began.elapsed().as_secs_f64()));
    let custom = lists::list(&bench.clients[0], Side::Custom, scale.rows, None).await?;
    let object_bytes =
        Pair { ours: first, custom }.map(|listed: &Listed| listed.bytes as f64 / scale.rows as f64);

    bench.list().await?;
    bench.create().await?;
    bench.watch().await?;
    instance.destroy().await?;
    cluster.destroy().await?;
    Ok(bench.finish(memory_before, object_bytes))
}

/// The two sides, what they have taken so far, and what was measured.
struct Bench {
    scale: Scale,
    clients: Vec<Client>,
    processes: Processes,
    /// Spare contents that a side has bound.
    taken: Pair<usize>,
    now: Timestamp,
    lines: Vec<Line>,
    turns: Vec<Turns>,
}

impl Bench {
    fn new(scale: Scale, clients: Vec<Client>, processes: Processes) -> Self {
        let now = WallClock.now();
        Self { scale, clients, processes, taken: Pair::default(), now, lines: Vec::new(), turns: Vec::new() }
    }

    /// Before anything is created, so that every list is of as many.
    async fn list(&mut self) -> Result<()> {
        let rows = self.scale.rows;
        let ways =
            [(format!("list of {rows} by {PAGE}"), Some(PAGE)), (format!("list of {rows}, whole"), None)];
        for (what, limit) in ways {
            let (mut seconds, mut usages) = (Pair::<Vec<f64>>::default(), Pair::<Vec<Usage>>::default());
            for side in turns() {
                self.processes.settle().await?;
                let begun = self.processes.begin()?;
                let listed = lists::list(&self.clients[0], side, rows, limit).await?;
                usages.of_mut(side).push(self.processes.end(&begun)?);
                seconds.of_mut(side).push(listed.seconds);
                say(&format!("{what}, {}: {:.2} s", side.name(), listed.seconds));
            }
            self.turns.push(Turns { what: what.clone(), rounds: usages });
            let gate = Some(Gate::Ratio(LIST_GATE));
            self.lines.push(Line { what, unit: "s", rounds: seconds, aim: Aim::AtMost(1.0), gate });
        }
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        for (writers, count) in WRITERS.into_iter().zip(self.scale.creates) {
            let what = format!("creates, writers: {writers}");
            let (mut all, mut usages) = (Pair::<Vec<Created>>::default(), Pair::<Vec<Usage>>::default());
            for side in turns() {
                let objects = self.new_objects(side, count);
                self.processes.settle().await?;
                let begun = self.processes.begin()?;
                let created = creates::create(&self.clients[0], objects, writers).await?;
                usages.of_mut(side).push(self.processes.end(&begun)?);
                all.of_mut(side).push(created);
                let Created { per_second, median_ms, p99_ms } = created;
                say(&format!(
                    "{what}, {}: {per_second:.0}/s, median {median_ms:.1} ms, p99 {p99_ms:.1} ms",
                    side.name()
                ));
            }
            self.turns.push(Turns { what: what.clone(), rounds: usages });
            self.lines.push(Line {
                what: what.clone(),
                unit: "/s",
                rounds: all.map(|all| all.iter().map(|created| created.per_second).collect()),
                aim: Aim::AtLeast(0.7),
                gate: None,
            });
            let p99_ms = |all: &Vec<Created>| all.iter().map(|created| created.p99_ms).collect();
            self.lines.push(latency(format!("{what}, p99"), all.map(p99_ms)));
        }
        Ok(())
    }

    async fn watch(&mut self) -> Result<()> {
        let Scale { watchers, one_by_one, steadily, .. } = self.scale;
        let (mut quiet, mut steady) = (Pair::<Vec<FannedOut>>::default(), Pair::<Vec<FannedOut>>::default());
        let (mut quiet_usages, mut steady_usages) =
            (Pair::<Vec<Usage>>::default(), Pair::<Vec<Usage>>::default());
        for side in turns() {
            let (single, stream) = (self.new_objects(side, one_by_one), self.new_objects(side, steadily));
            let mut watches = Watches::open(&self.clients, side, watchers, one_by_one + steadily).await?;
            self.processes.settle().await?;
            let begun = self.processes.begin()?;
            let alone = watches.one_by_one(&self.clients[0], &single).await?;
            quiet_usages.of_mut(side).push(self.processes.end(&begun)?);
            self.processes.settle().await?;
            let begun = self.processes.begin()?;
            let streamed = watches.steadily(&self.clients[0], stream).await?;
            steady_usages.of_mut(side).push(self.processes.end(&begun)?);
            watches.close().await?;
            say(&format!(
                "{watchers} watchers, {}: median {:.0} ms, worst {:.0}; at {PER_SECOND}/s median {:.0}, p99 {:.0}",
                side.name(),
                alone.median_ms,
                alone.worst_ms,
                streamed.median_ms,
                streamed.p99_ms
            ));
            quiet.of_mut(side).push(alone);
            steady.of_mut(side).push(streamed);
        }
        let (one, many) =
            (format!("to {watchers} watchers"), format!("to {watchers} watchers at {PER_SECOND}/s"));
        let of = |figure: fn(&FannedOut) -> f64| move |all: &Vec<FannedOut>| all.iter().map(figure).collect();
        self.lines.push(latency(format!("{one}, median"), quiet.map(of(|all| all.median_ms))));
        self.lines.push(latency(format!("{one}, worst"), quiet.map(of(|all| all.worst_ms))));
        self.lines.push(latency(format!("{many}, median"), steady.map(of(|all| all.median_ms))));
        let p99 = latency(format!("{many}, p99"), steady.map(of(|all| all.p99_ms)));
        self.lines.push(Line { gate: Some(Gate::Value(FAN_OUT_GATE_MS)), ..p99 });
        self.lines.push(latency(format!("{many}, worst"), steady.map(of(|all| all.worst_ms))));
        self.turns.push(Turns { what: one, rounds: quiet_usages });
        self.turns.push(Turns { what: many, rounds: steady_usages });
        Ok(())
    }

    /// The next that stand for spare contents.
    fn new_objects(&mut self, side: Side, count: usize) -> Vec<New> {
        let taken = self.taken.of_mut(side);
        let numbers = *taken..*taken + count;
        *taken = numbers.end;
        numbers.map(|number| side.new_object(number, self.now)).collect()
    }

    fn finish(self, memory_before: Each<u64>, object_bytes: Pair<f64>) -> Figures {
        let Scale { rows, watchers, .. } = self.scale;
        Figures { rows, watchers, lines: self.lines, turns: self.turns, memory_before, object_bytes }
    }
}

/// Every watcher is an open file. Done when the servers run, so that they keep the limits that they are given.
fn allow_open_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("read how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("let as many files be open as may be")
}

fn latency(what: String, rounds: Pair<Vec<f64>>) -> Line {
    Line { what, unit: "ms", rounds, aim: Aim::AtMost(1.5), gate: None }
}

/// Round by round, one side after the other.
fn turns() -> impl Iterator<Item = Side> {
    (0..ROUNDS).flat_map(|_| Side::ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_rows_are_what_was_promised() {
        let scale = Scale::of(100_000);
        assert_eq!(scale.watchers, 1_000);
        assert_eq!(scale.creates, [500, 2_500, 5_000]);
        assert_eq!((scale.one_by_one, scale.steadily), (25, 500));
        assert_eq!(scale.spares(), 3 * 8_525);
    }

    #[test]
    fn the_least_scale_has_some_of_everything() {
        let scale = Scale::of(usize::try_from(ROWS_MIN).unwrap());
        assert!(scale.one_by_one > 0 && scale.steadily > 0 && scale.watchers >= USERS);
        assert!(scale.creates[2] >= WRITERS[2], "every writer has something to create");
    }

    #[test]
    fn the_sides_take_turns() {
        let sides: Vec<_> = turns().collect();
        assert_eq!(sides.len(), 2 * ROUNDS);
        assert!(sides.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
