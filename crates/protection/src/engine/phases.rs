//! What an action does, phase by phase, as its sub-resource `details` tells it.
//!
//! A phase is written into the action when it begins, so that a running action shows where it is; its end is written with
//! whatever is written next. One that is done again by a later attempt stands once, as the later attempt found it.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use keelson_model::action::ActionState;
use keelson_resources::actions::{ActionError, Phase};

use crate::actions::Told;

/// The phases of one attempt and of those before it.
#[derive(Debug, Default)]
pub(super) struct Phases(Mutex<Vec<Phase>>);

/// What a killed process was doing has failed.
pub(super) fn close_interrupted(phases: &mut [Phase], now: Timestamp) {
    for phase in phases.iter_mut().filter(|phase| phase.end_time.is_none()) {
        let message = "the process ended in the middle".to_owned();
        let error = ActionError { cause: message.clone(), message, class: String::new() };
        close(phase, ActionState::AttemptFailed, now);
        phase.errors = vec![error];
    }
}

impl Phases {
    /// Those of the attempts before.
    pub(super) fn of(earlier: Vec<Phase>) -> Self {
        Self(Mutex::new(earlier))
    }

    pub(super) fn begin(&self, name: &str, attempt: u32, now: Timestamp) {
        let begun = Phase {
            name: name.to_owned(),
            state: ActionState::Running.metric_word().to_owned(),
            attempt,
            start_time: Some(now.into()),
            updated_time: Some(now.into()),
            ..Phase::default()
        };
        self.change(|phases| match phases.iter_mut().find(|phase| phase.name == name) {
            Some(known) => *known = begun,
            None => phases.push(begun),
        });
    }

    pub(super) fn end(&self, name: &str, state: ActionState, why: Option<&Told>, now: Timestamp) {
        self.change(|phases| {
            let Some(phase) = phases.iter_mut().find(|phase| phase.name == name) else { return };
            close(phase, state, now);
            phase.errors = why.map(Told::to_error).into_iter().collect();
        });
    }

    /// Still at it.
    pub(super) fn touch(&self, now: Timestamp) {
        self.change(|phases| {
            for phase in phases.iter_mut().filter(|phase| phase.end_time.is_none()) {
                phase.updated_time = Some(now.into());
            }
        });
    }

    pub(super) fn list(&self) -> Vec<Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Phase>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn close(phase: &mut Phase, state: ActionState, now: Timestamp) {
    state.metric_word().clone_into(&mut phase.state);
    phase.end_time = Some(now.into());
    phase.updated_time = Some(now.into());
}

#[cfg(test)]
mod tests {
    use keelson_model::ErrorClass;

    use super::*;

    fn told(phases: &Phases) -> Vec<String> {
        let line = |phase: Phase| {
            let errors: Vec<_> = phase.errors.iter().map(|error| error.message.as_str()).collect();
            format!("{} {} {} {}", phase.name, phase.state, phase.attempt, errors.join(", "))
        };
        phases.list().into_iter().map(line).collect()
    }

    #[test]
    fn a_phase_stands_once_as_the_latest_attempt_found_it() {
        let now = Timestamp::UNIX_EPOCH;
        let phases = Phases::default();
        phases.begin("reading", 1, now);
        phases.end("reading", ActionState::Complete, None, now);
        phases.begin("writing", 1, now);
        let away = Told::plain("the share is away", ErrorClass::Unavailable { retry_after: None });
        phases.end("writing", ActionState::Failed, Some(&away), now);
        assert_eq!(told(&phases), ["reading succeeded 1 ", "writing failed 1 the share is away"]);
        phases.begin("writing", 2, now);
        assert_eq!(told(&phases), ["reading succeeded 1 ", "writing running 2 "]);
        phases.end("writing", ActionState::Complete, None, now);
        assert_eq!(told(&phases)[1], "writing succeeded 2 ");
    }

    #[test]
    fn what_a_killed_process_was_doing_has_failed() {
        let (begun, noticed) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let phases = Phases::default();
        phases.begin("reading", 1, begun);
        phases.end("reading", ActionState::Complete, None, begun);
        phases.begin("writing", 1, begun);
        let mut left = phases.list();
        close_interrupted(&mut left, noticed);
        let expected = ["reading succeeded 1 ", "writing attempt_failed 1 the process ended in the middle"];
        assert_eq!(told(&Phases::of(left.clone())), expected);
        assert_eq!((left[0].end_time, left[1].end_time), (Some(begun.into()), Some(noticed.into())));
    }
}
