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
    pub left: Left,
}

/// What a failure leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// All as it was, or what the message says.
    Nothing,
    /// Something that goes on, perhaps, and that nobody waits for any more.
    GoesOn,
    /// The same, because somebody told the command to end.
    Interrupted,
    /// Something that is in use, and that asking again goes on with.
    PartlyDone,
}

/// Keeps class and hint of one of our errors.
pub(crate) fn failed<E: Classified>(error: E) -> anyhow::Error {
    let (class, hint) = (error.class(), error.hint());
    Failed { class, message: keelson_model::Chain(&error).to_string(), hint, left: Left::Nothing }.into()
}

/// Whether the command gave up waiting: what it waited for may go on.
pub(crate) fn may_go_on(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<Failed>();
    failed.is_some_and(|failed| matches!(failed.left, Left::GoesOn | Left::Interrupted))
}

/// Whether it may work later without anybody changing anything.
pub(crate) fn is_unavailable(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<Failed>();
    failed.is_some_and(|failed| matches!(failed.class, ErrorClass::Unavailable { .. }))
}

pub(crate) fn refuse(class: ErrorClass, message: impl Into<String>) -> anyhow::Error {
    Failed { class, message: message.into(), hint: None, left: Left::Nothing }.into()
}

pub(crate) fn refuse_with(
    class: ErrorClass,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> anyhow::Error {
    Failed { class, message: message.into(), hint: Some(hint.into()), left: Left::Nothing }.into()
}

/// Whoever waited was told to end.
pub(crate) fn interrupted(message: impl Into<String>, hint: Option<&str>) -> anyhow::Error {
    let hint = hint.map(str::to_owned);
    Failed { class: ErrorClass::Cancelled, message: message.into(), hint, left: Left::Interrupted }.into()
}

/// Whoever waited has waited long enough.
pub(crate) fn gave_up(message: impl Into<String>) -> anyhow::Error {
    Failed { class: ErrorClass::Cancelled, message: message.into(), hint: None, left: Left::GoesOn }.into()
}

/// What has ended in the middle, whatever kept it from its end.
pub(crate) fn partly_done(class: ErrorClass, message: impl Into<String>) -> anyhow::Error {
    Failed { class, message: message.into(), hint: None, left: Left::PartlyDone }.into()
}

/// Stable, and listed in the help of every command. 2 is what clap uses for a wrong command line.
fn exit_code(failed: &Failed) -> u8 {
    match failed.left {
        Left::PartlyDone => return 10,
        // The only end that says nothing of what was asked for: a Job begins another pod then.
        Left::Interrupted => return 9,
        Left::Nothing | Left::GoesOn => {}
    }
    match failed.class {
        ErrorClass::Bug => 1,
        ErrorClass::Invalid => 3,
        ErrorClass::NotFound => 4,
        ErrorClass::Conflict => 5,
        ErrorClass::Denied => 6,
        ErrorClass::Unavailable { .. } => 7,
        ErrorClass::Corrupt => 8,
        ErrorClass::Cancelled => 11,
    }
}

pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done, 2 wrong command line, 3 bad input, 4 nothing found, \
     5 conflict, 6 not allowed, 7 not reachable, 8 damaged data, 9 interrupted, 10 partly done: ask again and it goes on, \
     11 time was up, or it was cancelled, 1 anything else.";

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", told(error));
    ExitCode::from(error.downcast_ref::<Failed>().map_or(1, exit_code))
}

/// Message and hint. Both may name what a stranger wrote.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let known = error.downcast_ref::<Failed>();
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
        let told = told(&error);
        assert_eq!(told, "error: no \u{fffd}[31mprofile\nhint: look at \u{fffd}]0;title\u{fffd}");
    }

    #[test]
    fn what_is_partly_done_ends_with_a_code_of_its_own_whatever_the_reason() {
        let code = |error: anyhow::Error| error.downcast_ref::<Failed>().map(exit_code);
        for class in [ErrorClass::Cancelled, ErrorClass::Unavailable { retry_after: None }, ErrorClass::Bug] {
            let error = partly_done(class, "late");
            assert!(!may_go_on(&error), "nothing goes on by itself");
            assert_eq!(code(error), Some(10));
        }
    }

    #[test]
    fn a_time_that_is_up_and_an_interruption_are_told_apart() {
        for (error, goes_on, code) in [
            (refuse(ErrorClass::Cancelled, "it did not end within 1 minutes"), false, 11),
            (gave_up("it has not ended within 150 s"), true, 11),
            (interrupted("no longer waiting", Some("it goes on")), true, 9),
        ] {
            assert_eq!(may_go_on(&error), goes_on, "{error}");
            assert_eq!(error.downcast_ref::<Failed>().map(exit_code), Some(code), "{error}");
        }
    }
}
