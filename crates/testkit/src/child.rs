//! A program that a test starts by itself and waits for. Not for servers: those have a `supervisor`, which ends them even
//! where the test's process is killed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};

const THERE: &str = "only who waits for its end takes it out, and gives the owner away for it";

/// Dropping it kills the program and reaps it, so an assertion that fails leaves nothing behind.
pub struct OwnedChild(Option<Child>);

impl OwnedChild {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(|child| Self(Some(child)))
    }

    /// What it said and how it ended, once it has.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        self.0.take().expect(THERE).wait_with_output()
    }
}

impl Deref for OwnedChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect(THERE)
    }
}

impl DerefMut for OwnedChild {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect(THERE)
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Result;

    use super::*;

    #[test]
    fn a_program_whose_owner_is_dropped_is_killed_and_reaped() -> Result<()> {
        let child = OwnedChild::spawn(Command::new("sleep").arg("600"))?;
        let process = format!("/proc/{}", child.id());
        assert!(Path::new(&process).exists());
        drop(child);
        assert!(!Path::new(&process).exists(), "it runs, or nobody has asked how it ended");
        Ok(())
    }

    #[test]
    fn a_program_that_is_waited_for_ends_by_itself() -> Result<()> {
        let child = OwnedChild::spawn(Command::new("sh").args(["-c", "exit 3"]))?;
        assert_eq!(child.wait_with_output()?.status.code(), Some(3));
        Ok(())
    }
}
