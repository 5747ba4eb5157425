//! What every public error of ours answers: its class, its stable code, and a hint.
//!
//! The class alone decides requeue, condition and event reason, HTTP status, exit code and metric label.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a failure means to whoever has to react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request or the input is wrong; repeating it cannot help.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// Somebody else changed, holds or already made it.
    Conflict,
    /// The right to do so is missing.
    Denied,
    /// It may work later without anybody changing anything.
    Unavailable { retry_after: Option<Duration> },
    /// Bytes are not what was written.
    Corrupt,
    /// Somebody asked for it to stop.
    Cancelled,
    /// Ours to mend.
    Bug,
}

impl ErrorClass {
    /// Later may be better, without anybody's help.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Conflict => true,
            Self::Invalid | Self::NotFound | Self::Denied | Self::Corrupt | Self::Cancelled | Self::Bug => {
                false
            }
        }
    }

    /// What was asked for is bad or gone for good, as opposed to out of reach for now.
    pub fn is_lasting(self) -> bool {
        match self {
            Self::Invalid | Self::NotFound | Self::Corrupt => true,
            Self::Conflict | Self::Denied | Self::Unavailable { .. } | Self::Cancelled | Self::Bug => false,
        }
    }

    /// The word used for condition reasons, event reasons and metric labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::Denied => "Denied",
            Self::Unavailable { .. } => "Unavailable",
            Self::Corrupt => "Corrupt",
            Self::Cancelled => "Cancelled",
            Self::Bug => "InternalError",
        }
    }
}

/// An error that says what it means.
pub trait Classified: Error + Send + Sync + 'static {
    fn class(&self) -> ErrorClass;

    /// Stable, dotted, listed in `docs/errors.md`: `repository.pack.tag_mismatch`.
    fn code(&self) -> &'static str;

    /// What the person at the keyboard can do next.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Prints an error and all its sources on one line, outermost first.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Prints an error and all its sources on one line, innermost first: the reason before what it stood in the way of.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layers = vec![self.0 as &dyn Error];
        let mut source = self.0.source();
        while let Some(error) = source {
            layers.push(error);
            source = error.source();
        }
        for (index, layer) in layers.iter().rev().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{layer}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read pack 'a'")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn chain_prints_every_layer_once() {
        let error = Outer(std::io::Error::other("disk gone"));
        assert_eq!(Chain(&error).to_string(), "read pack 'a': disk gone");
        assert_eq!(Causes(&error).to_string(), "disk gone; read pack 'a'");
    }
}
