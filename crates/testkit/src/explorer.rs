//! Exploring interleavings: several actors run real code against one store, and every call of theirs waits to be granted.
//!
//! At each quiescent point a [`Chooser`] says which call goes on and what becomes of its effect. A run is the list of
//! these choices and can be had again, as far as random ids do not change the order of listings. Must be driven on a
//! `current_thread` runtime with paused time: only there does a sleep end no earlier than everything else rests.

mod calls;
mod search;
mod stage;

use std::time::Duration;

use tokio::task::JoinSet;

pub use calls::{Choice, Fate, Footprint, Taken};
pub use search::{Chooser, DepthFirst, RandomWalk, Replay};
pub use stage::{Actor, ActorStore, Stage};

/// No run of ours is longer; one that is has lost its way.
const STEPS_MAX: usize = 20_000;

/// How a run ended, and how it can be had again.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What was chosen at each step.
    pub choices: Vec<Taken>,
    /// The same for people.
    pub steps: Vec<String>,
    /// The chooser stopped it half-way: what follows was seen in another order of independent steps.
    pub cut: bool,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "replay: {:?}", self.choices)
    }
}

/// Lets the actors run, one granted call at a time, until all have ended.
///
/// # Panics
///
/// If an actor panics, or if actors wait for something that no choice can bring.
pub async fn run(stage: &Stage, actors: Vec<Actor>, chooser: &mut dyn Chooser) -> Run {
    let mut tasks = JoinSet::new();
    let names: Vec<_> = actors.iter().map(|actor| actor.name).collect();
    for actor in actors {
        tasks.spawn(actor.script);
    }
    let mut run = Run::default();
    stage.govern(names);
    loop {
        // With paused time this ends only when every task waits and no blocking work is left.
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                match error.try_into_panic() {
                    Ok(panic) => {
                        eprint_run(&run);
                        std::panic::resume_unwind(panic)
                    }
                    Err(_) => unreachable!("nobody stops an actor"),
                }
            }
        }
        if tasks.is_empty() {
            break;
        }
        let options = stage.options();
        assert!(!options.is_empty(), "actors wait for something that no choice brings:\n{run}");
        assert!(run.choices.len() < STEPS_MAX, "a run without end:\n{run}");
        let Some(chosen) = chooser.choose(&options) else {
            run.cut = true;
            tasks.shutdown().await;
            break;
        };
        run.choices.push(Taken::of(&options, chosen));
        run.steps.push(stage.describe(&options[chosen]));
        stage.grant(&options[chosen]).await;
    }
    stage.release();
    run
}

#[expect(clippy::print_stderr, reason = "a failed test shows how it came to fail")]
fn eprint_run(run: &Run) {
    eprintln!("{run}");
}
