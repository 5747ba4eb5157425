//! A run that is told: whose turn it is, and before which call he stops. For what happens so late that no search within
//! bounds comes as far.

use keelson_store::Operation;
use keelson_testkit::explorer::{Choice, Chooser};

use crate::world::root;

/// An actor's turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    actor: usize,
    /// Without it the turn lasts until he has ended, or waits for somebody else.
    stops_before: Option<(Operation, &'static str)>,
}

impl Turn {
    pub(super) fn to_the_end(actor: usize) -> Self {
        Self { actor, stops_before: None }
    }

    /// Ends where he would call this on something in that folder.
    pub(super) fn until(actor: usize, operation: Operation, folder: &'static str) -> Self {
        Self { actor, stops_before: Some((operation, folder)) }
    }

    fn stops(&self, choice: &Choice) -> bool {
        self.stops_before.is_some_and(|(operation, folder)| {
            let folder = root().join(folder).unwrap();
            let path = &choice.footprint.path;
            choice.footprint.operation == Some(operation)
                && (*path == folder || path.strip_prefix(&folder).is_some())
        })
    }
}

/// Takes turns one after the other. Nothing goes wrong, but that a clock may be ahead where an actor waits.
pub(super) struct Story {
    turns: Vec<Turn>,
    now: usize,
}

impl Story {
    pub(super) fn of(turns: &[Turn]) -> Self {
        Self { turns: turns.to_vec(), now: 0 }
    }
}

impl Chooser for Story {
    fn choose(&mut self, options: &[Choice]) -> Option<usize> {
        while let Some(turn) = self.turns.get(self.now) {
            let next = options.iter().position(|option| option.actor == Some(turn.actor));
            if let Some(next) = next.filter(|next| !turn.stops(&options[*next])) {
                return Some(next);
            }
            self.now += 1;
        }
        Some(0)
    }
}
