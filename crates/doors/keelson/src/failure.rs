//! How a command ends: one message, one hint, one exit code for each class of failure.

use std::process::ExitCode;

use keelson_model::{Classified, ErrorClass};

use crate::output::plain;

/// A failure of a known class, on its way to the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failed {
    pub class: ErrorClass,
    pub message: String,
    pub hint: Option<String>,
}

/// Keeps class and hint of one of our errors.
pub(crate) fn failed<E: Classified>(error: E) -> anyhow::Error {
    let (class, hint) = (error.class(), error.hint());
    Failed { class, message: keelson_model::Chain(&error).to_string(), hint }.into()
}

/// Whether the command gave up waiting: what it waited for may go on.
pub(crate) fn is_cancelled(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failed>().is_some_and(|failed| failed.class == ErrorClass::Cancelled)
}

/// Whether it may work later without anybody changing anything.
pub(crate) fn is_unavailable(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<Failed>();
    failed.is_some_and(|failed| matches!(failed.class, ErrorClass::Unavailable { .. }))
}

pub(crate) fn refuse(class: ErrorClass, message: impl Into<String>) -> anyhow::Error {
    Failed { class, message: message.into(), hint: None }.into()
}

pub(crate) fn refuse_with(
    class: ErrorClass,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> anyhow::Error {
    Failed { class, message: message.into(), hint: Some(hint.into()) }.into()
}

/// Stable, and listed in the help of every command. 2 is what clap uses for a wrong command line.
fn exit_code(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Bug => 1,
        ErrorClass::Invalid => 3,
        ErrorClass::NotFound => 4,
        ErrorClass::Conflict => 5,
        ErrorClass::Denied => 6,
        ErrorClass::Unavailable { .. } => 7,
        ErrorClass::Corrupt => 8,
        ErrorClass::Cancelled => 9,
    }
}

pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done, 2 wrong command line, 3 bad input, 4 nothing found, \
     5 conflict, 6 not allowed, 7 not reachable, 8 damaged data, 9 timed out or cancelled, 1 anything else.";

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let known = error.downcast_ref::<Failed>();
    eprintln!("{}", told(error, known));
    ExitCode::from(known.map_or(1, |known| exit_code(known.class)))
}

/// Both may name what a stranger wrote.
fn told(error: &anyhow::Error, known: Option<&Failed>) -> String {
    let hint = known.and_then(|known| known.hint.as_ref());
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    plain(&format!("error: {error:#}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_message_nor_hint_acts_on_the_terminal() {
        let error = refuse_with(ErrorClass::Invalid, "no \u{1b}[31mprofile", "look at \u{1b}]0;title\u{7}");
        let told = told(&error, error.downcast_ref());
        assert_eq!(told, "error: no \u{fffd}[31mprofile\nhint: look at \u{fffd}]0;title\u{fffd}");
    }
}
