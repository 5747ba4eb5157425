//! How options are chosen: all of them in turn within bounds, at random from a seed, or as they were once before.

use super::calls::{Choice, Fate, Footprint, Taken};

/// Says what happens next.
pub trait Chooser {
    /// The index of an option, or nothing to stop the run.
    fn choose(&mut self, options: &[Choice]) -> Option<usize>;
}

/// The choices of an earlier run; where they end or do not fit, the first option is taken.
pub struct Replay {
    choices: Vec<Taken>,
    next: usize,
}

impl Replay {
    pub fn new(choices: &[Taken]) -> Self {
        Self { choices: choices.to_vec(), next: 0 }
    }
}

impl Chooser for Replay {
    fn choose(&mut self, options: &[Choice]) -> Option<usize> {
        let wanted = self.choices.get(self.next);
        self.next += 1;
        let is_wanted = |at: &usize| wanted == Some(&Taken::of(options, *at));
        Some((0..options.len()).find(is_wanted).unwrap_or_default())
    }
}

/// Bursts of one actor, sometimes another, now and then a disturbance. One run for each seed.
pub struct RandomWalk {
    state: u64,
    last: Option<usize>,
    /// Of 256 choices so many stay with the last actor.
    stickiness: u64,
    /// Of 256 effects so many are disturbed while a run has disturbances left.
    disturbing: u64,
}

impl RandomWalk {
    pub fn new(seed: u64) -> Self {
        let mut walk = Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            last: None,
            stickiness: 0,
            disturbing: 0,
        };
        for _ in 0..8 {
            walk.random();
        }
        walk.stickiness = [0, 128, 200, 232, 245, 250][walk.below(6)] as u64;
        walk.disturbing = [0, 8, 24, 64][walk.below(4)] as u64;
        walk
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }
}

impl Chooser for RandomWalk {
    fn choose(&mut self, options: &[Choice]) -> Option<usize> {
        let mut actors: Vec<_> = options.iter().map(|option| option.actor).collect();
        actors.dedup();
        let stays = self.random() % 256 < self.stickiness;
        let last = actors.iter().copied().find(|actor| actor.is_some() && *actor == self.last);
        let actor = last.filter(|_| stays).unwrap_or_else(|| actors[self.below(actors.len())]);
        self.last = actor;
        let disturbs = self.random() % 256 < self.disturbing;
        let of_actor: Vec<_> = (0..options.len()).filter(|at| options[*at].actor == actor).collect();
        let wanted: Vec<_> =
            of_actor.iter().copied().filter(|at| options[*at].fate.is_disturbance() == disturbs).collect();
        let pool = if wanted.is_empty() { of_actor } else { wanted };
        Some(pool[self.below(pool.len())])
    }
}

/// Every order of steps within two bounds: how often an actor is interrupted while it could go on, and how many
/// disturbances the stage allows.
///
/// An actor is interrupted before effects, listings and the first of several plain reads in a row. Of orders that
/// differ only in steps that commute one is taken: a run is cut where an interrupted actor goes on and nothing that
/// happened meanwhile had to do with the step that was held up. Interrupting it after that step is the same. Calls that
/// one actor makes at a time are taken in their order; random walks mix them.
pub struct DepthFirst {
    interruptions_max: usize,
    path: Vec<Node>,
    depth: usize,
    last: Option<(usize, bool)>,
    interruptions: usize,
    held_up: Vec<HeldUp>,
    /// The run did not go on as it had begun.
    is_astray: bool,
    /// How often that happened at this place.
    tries: usize,
    strayed: usize,
}

/// Names of objects are random, and so is the order in which they are listed. A run that another order led astray is had
/// again: sooner or later it turns out as before.
const TRIES_MAX: usize = 200;

struct Node {
    /// As they were in the newest run that came here: names of objects are random and differ from run to run.
    options: Vec<Choice>,
    /// Indices that may be chosen here, in order.
    allowed: Vec<usize>,
    at: usize,
}

/// An actor that was interrupted, and whether anything since had to do with the step that it was about to take.
struct HeldUp {
    actor: usize,
    step: Footprint,
    met: bool,
}

impl DepthFirst {
    pub fn new(interruptions_max: usize) -> Self {
        let (path, held_up) = (Vec::new(), Vec::new());
        let (last, depth, interruptions) = (None, 0, 0);
        let (is_astray, tries, strayed) = (false, 0, 0);
        Self { interruptions_max, path, depth, last, interruptions, held_up, is_astray, tries, strayed }
    }

    /// How many runs could not be continued as they had begun, however often they were had again, because something random
    /// turned out differently. What lies behind their beginnings was not seen: a search that claims every order had none.
    pub fn strayed(&self) -> usize {
        self.strayed
    }

    /// Prepares the next run. `false` once every run was had.
    pub fn advance(&mut self) -> bool {
        (self.depth, self.last, self.interruptions) = (0, None, 0);
        self.held_up.clear();
        if std::mem::take(&mut self.is_astray) {
            self.tries += 1;
            if self.tries < TRIES_MAX {
                return true;
            }
            self.strayed += 1;
        }
        self.tries = 0;
        while let Some(node) = self.path.last_mut() {
            node.at += 1;
            if node.at < node.allowed.len() {
                return true;
            }
            self.path.pop();
        }
        false
    }

    fn stays(&self, option: &Choice) -> bool {
        self.last.is_some_and(|(actor, _)| option.actor == Some(actor))
    }

    /// What the last actor would do next.
    fn next_step<'o>(&self, options: &'o [Choice]) -> Option<&'o Footprint> {
        let stay = options.iter().find(|option| self.stays(option) && option.fate == Fate::Done);
        stay.map(|option| &option.footprint)
    }

    /// Staying comes first: the shallowest runs are those without interruption.
    fn allowed(&self, options: &[Choice]) -> Vec<usize> {
        let next = self.next_step(options);
        let in_reads = self.last.is_some_and(|(_, read)| read) && next.is_some_and(Footprint::is_plain_read);
        let interrupts = self.interruptions < self.interruptions_max && !in_reads;
        let may_leave = next.is_none() || interrupts;
        // Several calls of one actor at a time are taken in the order in which they were made.
        let oldest = |at: &usize| {
            let Choice { actor, ordinal, .. } = options[*at];
            !options.iter().any(|other| other.actor == actor && other.ordinal < ordinal)
        };
        let oldest = (0..options.len()).filter(oldest);
        let (stay, leave): (Vec<_>, Vec<_>) = oldest.partition(|at| self.stays(&options[*at]));
        stay.into_iter().chain(leave.into_iter().filter(|_| may_leave)).collect()
    }

    /// Takes note of a choice. `false` if the run is the same as another.
    fn note(&mut self, options: &[Choice], choice: &Choice) -> bool {
        if let (false, Some(step), Some((actor, _))) =
            (self.stays(choice), self.next_step(options), self.last)
        {
            self.interruptions += 1;
            // Further reads may follow the first one, and nobody knows of what.
            let met = step.is_plain_read();
            self.held_up.push(HeldUp { actor, step: step.clone(), met });
        }
        let goes_on = |held: &HeldUp| choice.actor == Some(held.actor);
        let differs = self.held_up.iter().filter(|held| goes_on(held)).all(|held| held.met);
        self.held_up.retain(|held| !goes_on(held));
        for held in &mut self.held_up {
            held.met |= !held.step.is_independent_of(&choice.footprint);
        }
        if let Some(actor) = choice.actor {
            self.last = Some((actor, choice.footprint.is_plain_read()));
        }
        differs
    }
}

impl Chooser for DepthFirst {
    fn choose(&mut self, options: &[Choice]) -> Option<usize> {
        if self.depth == self.path.len() {
            self.path.push(Node { options: Vec::new(), allowed: self.allowed(options), at: 0 });
        } else if !self.path[self.depth].is_like(options) {
            self.is_astray = true;
            return None;
        }
        let node = &mut self.path[self.depth];
        node.options = options.to_vec();
        let chosen = *node.allowed.get(node.at)?;
        self.depth += 1;
        self.note(options, &options[chosen]).then_some(chosen)
    }
}

impl Node {
    fn is_like(&self, options: &[Choice]) -> bool {
        let shape = |option: &Choice| (option.actor, option.ordinal, option.footprint.operation, option.fate);
        self.options.iter().map(shape).eq(options.iter().map(shape))
    }
}

#[cfg(test)]
mod tests {
    use keelson_store::{Operation, StorePath};

    use super::*;

    fn call(actor: usize, operation: Operation) -> Choice {
        let footprint = Footprint { operation: Some(operation), path: StorePath::root() };
        Choice { actor: Some(actor), ordinal: 0, footprint, fate: Fate::Done }
    }

    #[test]
    fn a_run_that_is_not_as_it_was_is_had_again_and_counted_where_it_never_is() {
        let both = [call(0, Operation::Put), call(1, Operation::Put)];
        let mut search = DepthFirst::new(0);
        assert_eq!(search.choose(&both), Some(0));
        assert!(search.advance());
        let other = [call(0, Operation::List), call(1, Operation::Put)];
        assert_eq!(search.choose(&other), None);
        assert!(search.advance());
        assert_eq!((search.choose(&both), search.advance(), search.strayed()), (Some(1), false, 0));

        let mut search = DepthFirst::new(0);
        assert_eq!(search.choose(&both), Some(0));
        assert!(search.advance());
        for _ in 1..TRIES_MAX {
            assert_eq!(search.choose(&other), None);
            assert!(search.advance());
        }
        assert_eq!((search.choose(&other), search.advance(), search.strayed()), (None, false, 1));
    }
}
