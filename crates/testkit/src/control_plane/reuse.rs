//! Control planes that serve one test after another. A new one takes the processors five seconds, an emptied one some
//! tenths of one.
//!
//! What a test may have left is not guessed: all that the API server lists is compared with what it listed before the
//! first test. What was added is taken out; a plane that is not as it was then serves nobody again, and says why.

mod contents;

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use self::contents::Contents;
use super::ControlPlane;
use crate::notes::figure;

/// As many as tests run beside each other. More are used at a time by those that need several; what is idle costs memory.
const IDLE_MAX: usize = 2;

/// The control planes that wait for the next test of this process.
#[derive(Default)]
pub struct Planes {
    idle: Mutex<Vec<ReusedPlane>>,
}

/// A control plane that may have served other tests, and holds nothing of them. Dropping it kills its servers.
pub struct ReusedPlane {
    plane: ControlPlane,
    /// What every test finds in it.
    before: Contents,
    home: &'static Planes,
}

impl Planes {
    /// One that is idle, or a new one with what `furnish` puts into each of them, which is in no namespace of its own: a
    /// controller would still be at work in that.
    pub async fn take(
        &'static self,
        furnish: impl AsyncFnOnce(&ControlPlane) -> Result<()>,
    ) -> Result<ReusedPlane> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(plane) = idle {
            return Ok(plane);
        }
        let plane = ControlPlane::start().await?;
        furnish(&plane).await?;
        let before = Contents::of(&plane.client().await?).await?;
        Ok(ReusedPlane { plane, before, home: self })
    }

    /// Gives it back where there is no room for it.
    fn keep(&self, plane: ReusedPlane) -> Option<ReusedPlane> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= IDLE_MAX {
            return Some(plane);
        }
        idle.push(plane);
        None
    }
}

impl ReusedPlane {
    /// Takes out what was added, and keeps the plane for another test; stops it where that cannot be.
    pub async fn give_back(self) -> Result<()> {
        let (emptied, home) = (self.empty().await, self.home);
        let excess = match emptied {
            Ok(()) => home.keep(self),
            Err(error) => {
                figure(&format!("1 control plane serves no other test: {error:#}"));
                Some(self)
            }
        };
        match excess {
            Some(Self { plane, .. }) => plane.stop().await,
            None => Ok(()),
        }
    }

    /// Takes out what was added since the plane was furnished. An error: it is not as it was then.
    pub async fn empty(&self) -> Result<()> {
        self.before.restore(&self.plane.client().await?).await
    }
}

impl Deref for ReusedPlane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}

impl DerefMut for ReusedPlane {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }
}
