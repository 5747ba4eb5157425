//! A `kubectl` at work: what it prints as it goes on.

use std::path::PathBuf;
use std::process::Child;

use super::eventually;

/// A `kubectl` that runs. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    told: PathBuf,
}

impl Running {
    pub(super) fn new(child: Child, out: PathBuf, told: PathBuf) -> Self {
        Self { child, out, told }
    }

    /// Waits until it has printed a line that holds all of `words`.
    pub(crate) fn await_line(&self, words: &[&str]) {
        eventually(&format!("a line with {words:?}"), || {
            let holds_all = |line: &str| words.iter().all(|word| line.contains(word));
            self.printed().lines().any(holds_all).then_some(())
        });
    }

    /// Waits until it has asked for a watch: what it waits for was not so when it looked.
    pub(crate) fn await_watch(&self) {
        eventually("kubectl watches", || {
            let told = std::fs::read_to_string(&self.told).unwrap();
            told.lines().any(|line| line.contains("watch=true")).then_some(())
        });
    }

    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end and says whether it was a good one.
    pub(crate) fn ended_well(&mut self) -> bool {
        eventually("kubectl ends", || self.child.try_wait().unwrap()).success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
