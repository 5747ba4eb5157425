//! When an object was looked at last, on what grounds, and when to look again. Kept in memory only: a new process
//! looks at everything once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;

/// A location may go away without anybody changing the object that names it.
pub(crate) const SOUND_AGAIN_AFTER: Duration = Duration::from_secs(600);
const FAILED_AGAIN_FIRST: Duration = Duration::from_secs(15);
const FAILED_AGAIN_MOST: Duration = Duration::from_secs(300);
/// Whoever else writes the status is not answered at once, or two would never rest.
const CONTRADICTED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// One look at an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look<B> {
    /// All that the result depends on, as far as it is known without looking.
    pub basis: B,
    pub at: Timestamp,
    /// How many looks on these grounds have failed in a row.
    pub failures: u32,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Sound,
    Failed,
}

/// When to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attention {
    Now,
    After(Duration),
}

impl<B: PartialEq> Look<B> {
    pub(crate) fn next(last: Option<&Self>, basis: B, at: Timestamp, found: Found) -> Self {
        let before = last.filter(|last| last.basis == basis).map_or(0, |last| last.failures);
        let failures = match found {
            Found::Sound => 0,
            Found::Failed => before.saturating_add(1),
        };
        Self { basis, at, failures }
    }

    /// What it found.
    pub(crate) fn found(&self) -> Found {
        if self.failures == 0 { Found::Sound } else { Found::Failed }
    }

    /// How long a look counts.
    pub(crate) fn again_after(&self) -> Duration {
        match self.failures {
            0 => SOUND_AGAIN_AFTER,
            failures => {
                let doubled = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                FAILED_AGAIN_FIRST.saturating_mul(doubled).min(FAILED_AGAIN_MOST)
            }
        }
    }
}

/// Decides whether what was found last still counts, and `is_told` by the status.
pub(crate) fn decide_attention<B: PartialEq>(
    last: Option<&Look<B>>,
    basis: &B,
    is_told: bool,
    now: Timestamp,
) -> Attention {
    let Some(last) = last.filter(|last| last.basis == *basis) else { return Attention::Now };
    // A clock that was set back makes no look last longer than it should.
    let age = Duration::try_from(now.duration_since(last.at)).unwrap_or(Duration::MAX);
    let again_after = last.again_after();
    let again_after = if is_told { again_after } else { again_after.min(CONTRADICTED_AGAIN_AFTER) };
    match again_after.checked_sub(age) {
        Some(rest) if !rest.is_zero() => Attention::After(rest),
        _ => Attention::Now,
    }
}

/// The last look at each object of a kind.
#[derive(Debug)]
pub(crate) struct Looks<B>(Mutex<HashMap<ObjectRef<DynamicObject>, Look<B>>>);

impl<B: Clone> Looks<B> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn last(&self, at: &ObjectRef<DynamicObject>) -> Option<Look<B>> {
        self.lock().get(at).cloned()
    }

    pub(crate) fn remember(&self, at: ObjectRef<DynamicObject>, look: Look<B>) {
        self.lock().insert(at, look);
    }

    pub(crate) fn forget(&self, at: &ObjectRef<DynamicObject>) {
        self.lock().remove(at);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectRef<DynamicObject>, Look<B>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn failed_looks_are_repeated_ever_more_rarely() {
        let mut last: Option<Look<u8>> = None;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let look = Look::next(last.as_ref(), 1, at(0), Found::Failed);
            pauses.push(look.again_after().as_secs());
            last = Some(look);
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 300, 300]);
        let endless = Look { basis: 1, at: at(0), failures: u32::MAX };
        assert_eq!(endless.again_after(), FAILED_AGAIN_MOST);
        assert_eq!(Look::next(Some(&endless), 1, at(0), Found::Failed).failures, u32::MAX);
    }

    #[test]
    fn other_grounds_and_success_start_the_count_anew() {
        let failed = Look { basis: 1, at: at(0), failures: 5 };
        assert_eq!(Look::next(Some(&failed), 2, at(9), Found::Failed).failures, 1);
        assert_eq!(Look::next(Some(&failed), 1, at(9), Found::Sound).failures, 0);
    }

    #[test]
    fn a_look_counts_for_its_time_and_on_its_grounds() {
        let decide = |basis: u8, is_told: bool, now: i64| {
            let look = Look { basis: 1, at: at(1000), failures: 0 };
            decide_attention(Some(&look), &basis, is_told, at(now))
        };
        let check = |basis: u8, now: i64, expected: Attention| {
            assert_eq!(decide(basis, true, now), expected, "{basis} {now}");
        };
        assert_eq!(decide(1, false, 1001), Attention::After(Duration::from_secs(4)));
        assert_eq!(decide(1, false, 1005), Attention::Now);
        check(1, 1000, Attention::After(Duration::from_secs(600)));
        check(1, 1599, Attention::After(Duration::from_secs(1)));
        check(1, 1600, Attention::Now);
        check(1, 9000, Attention::Now);
        check(2, 1000, Attention::Now);
        check(1, 999, Attention::Now);
        assert_eq!(decide_attention(None, &1_u8, true, at(0)), Attention::Now);
    }
}
