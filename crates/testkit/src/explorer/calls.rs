//! What may be chosen: a waiting call and the fate of its effect, or an effect that comes late.

use keelson_store::{Operation, StorePath};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It never reaches the store, and the caller is told so.
    Lost,
    /// It is done, and the caller is told that it was not.
    AnswerLost,
    /// The caller is told that it failed; it is done at a later choice, or at the end.
    Late,
    /// It is done and answered, and done once more at a later choice, or at the end.
    Repeated,
    /// Of a wait: the waiting actor's clock jumps far ahead.
    ClockJumps,
}

impl Fate {
    /// Something went wrong that a run without disturbances does not have.
    pub fn is_disturbance(self) -> bool {
        self != Self::Done
    }
}

/// What a call reads or changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Footprint {
    pub operation: Option<Operation>,
    pub path: StorePath,
}

impl Footprint {
    pub(super) fn is_effect(&self) -> bool {
        matches!(self.operation, Some(Operation::Put | Operation::Delete | Operation::ExtendRetention))
    }

    fn is_listing(&self) -> bool {
        matches!(self.operation, Some(Operation::List | Operation::ListVersions))
    }

    /// Reads of single objects that follow each other are one step to others.
    pub(super) fn is_plain_read(&self) -> bool {
        matches!(self.operation, Some(Operation::Fetch | Operation::ReadTime))
    }

    /// The two commute: neither changes what the other reads or changes.
    pub fn is_independent_of(&self, other: &Self) -> bool {
        let covers = |listing: &Self, path: &StorePath| {
            listing.is_listing() && (listing.path == *path || path.strip_prefix(&listing.path).is_some())
        };
        let meet = self.path == other.path || covers(self, &other.path) || covers(other, &self.path);
        // A wait ends by whatever happened before it.
        let waits = self.operation.is_none() || other.operation.is_none();
        !waits && !(meet && (self.is_effect() || other.is_effect()))
    }
}

/// Who went on, with which of the calls that he had waiting, and what became of it: enough to have a run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken(pub Option<usize>, pub usize, pub Fate);

impl Taken {
    /// Of the option at this index.
    pub(super) fn of(options: &[Choice], chosen: usize) -> Self {
        let Choice { actor, fate, .. } = options[chosen];
        let alike = |option: &&Choice| (option.actor, option.fate) == (actor, fate);
        Self(actor, options[..chosen].iter().filter(alike).count(), fate)
    }
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Choice {
    /// Who makes the call; nobody makes a late effect.
    pub actor: Option<usize>,
    /// Counts the calls of an actor, or all late effects.
    pub ordinal: u64,
    pub footprint: Footprint,
    pub fate: Fate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_commute_unless_one_changes_what_the_other_sees() {
        let call = |operation, path: &str| Footprint { operation, path: path.parse().expect("a path") };
        let put = |path| call(Some(Operation::Put), path);
        let list = |path| call(Some(Operation::List), path);
        let fetch = |path| call(Some(Operation::Fetch), path);
        for (one, other, independent) in [
            (put("a/x"), put("a/y"), true),
            (put("a/x"), put("a/x"), false),
            (put("a/x"), list("a"), false),
            (put("a/x"), list("b"), true),
            (put("a/x"), fetch("a/x"), false),
            (fetch("a/x"), fetch("a/x"), true),
            (list("a"), fetch("a/x"), true),
            (call(None, "a"), list("b"), false),
        ] {
            assert_eq!(one.is_independent_of(&other), independent, "{one:?} {other:?}");
            assert_eq!(other.is_independent_of(&one), independent);
        }
    }
}
