//! The real code through many interleavings: two writers, a reader and two owners on one store, with effects that
//! are lost, late or repeated. `cargo xtask explore` walks for as long as it is told; here are the bounded cases: each search
//! states how many interruptions and disturbances it allows in one run. A disturbance is an effect that is lost, whose
//! answer is lost, that comes late or twice, or a clock that is far ahead.

mod base;
mod cast;
mod liars;
mod rules;
mod story;

use std::time::{Duration, Instant};

use keelson_testkit::explorer::{Chooser, DepthFirst, RandomWalk, Replay, Run};
use tokio::runtime::Runtime;

use base::{Base, Scene};
use cast::Cast;

/// A run that broke an invariant.
struct Violation {
    run: Run,
    what: String,
}

/// One run to its end, and whether every invariant held. Nothing is said of a run that was cut.
fn play(
    runtime: &Runtime,
    base: &Base,
    cast: &Cast,
    disturbances: usize,
    chooser: &mut dyn Chooser,
) -> Result<Run, Box<Violation>> {
    runtime.block_on(async {
        let scene = Scene::restore(base, cast.bucket(), disturbances);
        let actors = cast.actors(&scene).await;
        let run = keelson_testkit::explorer::run(&scene.stage, actors, chooser).await;
        if run.cut {
            return Ok(run);
        }
        match scene.check().await {
            Ok(()) => Ok(run),
            Err(what) => Err(Box::new(Violation { run, what })),
        }
    })
}

fn paused_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// How many interleavings a search had, and how many it could not have again as they had begun.
struct Searched {
    runs: usize,
    strayed: usize,
}

/// Every interleaving within the bounds.
fn search(cast: &Cast, interruptions: usize, disturbances: usize) -> Result<Searched, Box<Violation>> {
    search_up_to(usize::MAX, cast, interruptions, disturbances)
}

/// The first so many of them.
fn search_up_to(
    runs_max: usize,
    cast: &Cast,
    interruptions: usize,
    disturbances: usize,
) -> Result<Searched, Box<Violation>> {
    let (runtime, mut search, mut runs) = (paused_runtime(), DepthFirst::new(interruptions), 0);
    let base = runtime.block_on(Base::new());
    loop {
        let run = play(&runtime, &base, cast, disturbances, &mut search)?;
        runs += usize::from(!run.cut);
        if runs == runs_max || !search.advance() {
            return Ok(Searched { runs, strayed: search.strayed() });
        }
    }
}

/// The steps of another run, as far as they fit.
fn replay(cast: &Cast, disturbances: usize, run: &Run) -> Result<Run, Box<Violation>> {
    play_once(cast, disturbances, &mut Replay::new(&run.choices))
}

fn play_once(cast: &Cast, disturbances: usize, chooser: &mut dyn Chooser) -> Result<Run, Box<Violation>> {
    let runtime = paused_runtime();
    let base = runtime.block_on(Base::new());
    play(&runtime, &base, cast, disturbances, chooser)
}

/// One walk a seed, which chooses among the casts. Gives the seed that broke something.
fn walk(
    casts: &[Cast],
    disturbances: impl Fn(u64) -> usize,
    seeds: impl Iterator<Item = u64>,
) -> Result<u64, (u64, Box<Violation>)> {
    let runtime = paused_runtime();
    let base = runtime.block_on(Base::new());
    let mut runs = 0;
    for seed in seeds {
        let cast = &casts[seed as usize % casts.len()];
        play(&runtime, &base, cast, disturbances(seed), &mut RandomWalk::new(seed))
            .map_err(|found| (seed, found))?;
        runs += 1;
    }
    Ok(runs)
}

#[track_caller]
fn holds<T>(found: Result<T, Box<Violation>>) -> T {
    match found {
        Ok(held) => held,
        Err(violation) => panic!("{}\n{}", violation.what, violation.run),
    }
}

/// How many interleavings there are within the bounds: all are safe, and none was left out.
#[track_caller]
fn all_are_safe(cast: &Cast, interruptions: usize, disturbances: usize) -> usize {
    let Searched { runs, strayed } = holds(search(cast, interruptions, disturbances));
    assert_eq!(strayed, 0, "runs turned out differently, and what lies behind them was not seen");
    runs
}

#[test]
fn every_interleaving_of_a_writer_and_a_prune_within_the_bound_is_safe() {
    assert!(all_are_safe(&Cast::writer_and_owner(), 4, 0) > 150);
}

#[test]
fn every_interleaving_of_a_reader_and_a_prune_within_the_bound_is_safe() {
    assert!(all_are_safe(&Cast::reader_and_owner(), 3, 0) > 80);
}

#[test]
fn every_interleaving_of_two_prunes_within_the_bound_is_safe() {
    assert!(all_are_safe(&Cast::two_owners(), 2, 0) > 300);
}

#[test]
fn every_interleaving_with_an_owner_who_was_overtaken_is_safe() {
    assert!(all_are_safe(&Cast::slow_owner(None), 1, 0) > 100);
}

#[test]
fn every_order_of_two_writers_a_reader_and_two_owners_is_safe() {
    assert!(all_are_safe(&Cast::everybody(), 0, 0) > 60);
}

#[test]
fn every_effect_of_a_writer_and_a_prune_may_be_lost_late_or_repeated_and_one_of_them_interrupted() {
    assert!(all_are_safe(&Cast::writer_and_owner(), 1, 1) > 700);
}

#[test]
fn every_effect_of_a_reader_and_a_prune_may_be_lost_late_or_repeated_and_one_of_them_interrupted() {
    let runs = all_are_safe(&Cast::reader_and_owner(), 1, 1);
    println!("{runs} runs");
    assert!(runs > 100);
}

/// With an interruption besides there are 5,606 of them, all safe, and they take two minutes.
#[test]
fn every_effect_of_two_prunes_may_be_lost_late_or_repeated() {
    let runs = all_are_safe(&Cast::two_owners(), 0, 1);
    println!("{runs} runs");
    assert!(runs > 50);
}

#[test]
fn every_effect_of_a_writer_that_renews_and_a_prune_may_be_lost_late_or_repeated_and_one_of_them_interrupted()
{
    let runs = all_are_safe(&Cast::renewing_writer_and_owner(), 1, 1);
    println!("{runs} runs");
    assert!(runs > 100);
}

/// The seed and the minutes come from `cargo xtask explore`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a long walk is told how long, and says how far it came")]
fn random_walks_of_the_whole_cast_are_safe() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("KEELSON_EXPLORE_SEED").unwrap_or(1);
    let seconds = number("KEELSON_EXPLORE_SECONDS");
    let (begun, walks) = (Instant::now(), std::cell::Cell::new(0));
    let goes_on = || match seconds {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => walks.get() <= 300,
    };
    let seeds = (seed.wrapping_mul(1_000_000_007)..).take_while(|_| {
        walks.set(walks.get() + 1);
        goes_on()
    });
    // The long walk has few and many by turns: where much goes wrong, little comes to its end.
    let disturbances = |seed: u64| seconds.map_or(4, |_| [2, 4, 8, 16][(seed / 8) as usize % 4]);
    let casts = [
        Cast::everybody(),
        Cast::everybody(),
        Cast::everybody(),
        Cast::slow_owner(None),
        Cast::later_owner(),
    ];
    match walk(&casts, disturbances, seeds) {
        Ok(runs) => println!("repository: {runs} interleavings from seed {seed}, all safe"),
        Err((seed, violation)) => panic!("walk {seed}: {}\n{}", violation.what, violation.run),
    }
}

/// A run can be had again: who went on at each step says all.
#[test]
fn a_run_is_its_choices() {
    let runtime = paused_runtime();
    let base = runtime.block_on(Base::new());
    let cast = Cast::writer_and_owner();
    let run = play(&runtime, &base, &cast, 2, &mut RandomWalk::new(7)).map_err(|found| found.what).unwrap();
    let again =
        play(&runtime, &base, &cast, 2, &mut Replay::new(&run.choices)).map_err(|found| found.what).unwrap();
    let kinds = |run: &Run| {
        run.steps.iter().map(|step| step.split('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&run), kinds(&again));
}
