//! Bytes that somebody else wrote, thrown at decoders: made up, or true ones changed.
//!
//! A dev-dependency only, and small, so that the lowest crates can use it. What must hold of what a decoder gives
//! back stands beside the decoder, in its crate's `fuzz.rs`; here stands what must hold of every decoder.

mod change;
mod memory;

use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use change::Change;

/// A decoder by name. It asserts what must hold of what it decodes, and says whether it took the bytes.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Changed samples for each target, and made-up inputs: with all of a crate's targets a few seconds in the dev profile.
const CHANGED_CASES: u32 = 1_000;
const MADE_UP_CASES: u32 = 200;
const MADE_UP_BYTES_MAX: usize = 300;
/// More than one change often mends what the other broke.
const CHANGES_MAX: usize = 4;
/// Tries to make a failing input smaller.
const SHRINKS_MAX: u32 = 2_000;

/// What a decoder may hold for each byte that it was given. A JSON value takes some fifty.
const BYTES_HELD_PER_BYTE: usize = 256;
/// And whatever it was given.
const BYTES_HELD_ALWAYS: usize = 64 << 10;

/// Decoders, true inputs of theirs, and how much more than usual some of them may hold.
pub struct Bombardment<'a> {
    targets: &'a [Target],
    samples: Vec<(&'static str, Vec<u8>)>,
    allowances: Vec<(&'static str, usize)>,
}

impl<'a> Bombardment<'a> {
    /// Each sample names its target.
    pub fn of(targets: &'a [Target], samples: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self { targets, samples, allowances: Vec::new() }
    }

    /// The target may hold so many bytes more, whatever it was given: the format has a bound of its own.
    pub fn allow(mut self, target: &'static str, bytes: usize) -> Self {
        self.allowances.push((target, bytes));
        self
    }

    /// Fails with the input in hex where a target panics, finds its own rule broken, holds too much memory, or does
    /// not take one of its samples.
    pub fn run(&self) {
        self.check_names();
        for target in self.targets {
            self.run_target(target);
        }
    }

    /// Tries the samples as they are and nothing else, for those that are too large to be changed a thousand times.
    pub fn run_samples(&self) {
        self.check_names();
        for &(name, decode) in self.targets {
            for (_, sample) in self.samples.iter().filter(|(target, _)| *target == name) {
                let (mut taken, allowed) = (false, self.allowed(name, sample.len()));
                let held = memory::most_held(|| taken = decode(sample));
                let bytes = sample.len();
                assert!(taken, "'{name}' does not take its own sample of {bytes} bytes");
                assert!(held <= allowed, "'{name}' held {held} bytes for {bytes}, {allowed} are allowed");
            }
        }
    }

    fn check_names(&self) {
        for (name, _) in &self.samples {
            assert!(self.targets.iter().any(|(target, _)| target == name), "no target is called '{name}'");
        }
    }

    /// What a target may hold for so many bytes.
    fn allowed(&self, name: &str, bytes: usize) -> usize {
        let allowance = self.allowances.iter().find(|(target, _)| *target == name);
        bytes * BYTES_HELD_PER_BYTE + BYTES_HELD_ALWAYS + allowance.map_or(0, |(_, more)| *more)
    }

    fn run_target(&self, &(name, decode): &Target) {
        let samples: Vec<&[u8]> =
            self.samples.iter().filter(|(target, _)| *target == name).map(|(_, bytes)| &bytes[..]).collect();
        assert!(!samples.is_empty(), "'{name}' has no sample");
        for sample in &samples {
            assert!(decode(sample), "'{name}' does not take its own sample {:?}", Hex(sample.to_vec()));
        }
        let check = |Hex(bytes): Hex| {
            let allowed = self.allowed(name, bytes.len());
            let held = memory::most_held(|| decode(&bytes));
            if held > allowed {
                let message = format!("it held {held} bytes of memory, {allowed} are allowed");
                return Err(TestCaseError::fail(message));
            }
            Ok(())
        };
        let made_up = prop::collection::vec(any::<u8>(), 0..MADE_UP_BYTES_MAX).prop_map(Hex);
        let samples: Vec<Vec<u8>> = samples.iter().map(|sample| sample.to_vec()).collect();
        let of_all: Vec<Vec<u8>> = self.samples.iter().map(|(_, bytes)| bytes.clone()).collect();
        let changes = prop::collection::vec(any::<Change>(), 1..=CHANGES_MAX);
        let changed = (prop::sample::select(samples), changes).prop_map(move |(mut bytes, changes)| {
            changes.iter().for_each(|change| change.apply(&mut bytes, &of_all));
            Hex(bytes)
        });
        run_cases(name, MADE_UP_CASES, &made_up, check);
        run_cases(name, CHANGED_CASES, &changed, check);
    }
}

#[expect(clippy::panic, reason = "it is called by tests, and so a test fails")]
fn run_cases(
    name: &str,
    cases: u32,
    inputs: &impl Strategy<Value = Hex>,
    check: impl Fn(Hex) -> Result<(), TestCaseError>,
) {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: SHRINKS_MAX, ..Config::default() };
    match TestRunner::new(config).run(inputs, check) {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("'{name}' does not withstand {input:?}: {reason}"),
        Err(TestError::Abort(reason)) => panic!("'{name}' could not be tried: {reason}"),
    }
}

/// Prints as hex, to be decoded again by whoever looks for the reason, and as text where it is some.
#[derive(Clone)]
struct Hex(Vec<u8>);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        match std::str::from_utf8(&self.0) {
            Ok(text) => write!(f, " ({text:?})"),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
