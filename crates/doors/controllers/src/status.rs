//! What the statuses of all kinds are made of. Pure.

use jiff::Timestamp;
use keelson_resources::Time;
use keelson_resources::condition::Condition;
use serde_json::{Map, Value};

use crate::looks::Found;

pub(crate) const SUCCESS: &str = "Success";
pub(crate) const FAILED: &str = "Failed";
pub(crate) const PENDING: &str = "Pending";

/// In the word of a status.
pub(crate) fn validation_of(found: Found) -> &'static str {
    match found {
        Found::Sound => SUCCESS,
        Found::Failed => FAILED,
    }
}

/// Whether a status has been made at all.
pub(crate) fn is_verdict(validation: Option<&str>) -> bool {
    matches!(validation, Some(SUCCESS | FAILED))
}

/// Errors quote servers, whose words have no end.
const ERROR_CHARS_MAX: usize = 1024;
const ERRORS_MAX: usize = 16;

/// What holds of one aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Collects conditions; one that keeps its status keeps its time too.
#[derive(Debug)]
pub(crate) struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(crate) fn after(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { before, generation, now, list: Vec::new() }
    }

    pub(crate) fn with(mut self, kind: &str, truth: Truth, reason: &str, message: &str) -> Self {
        let same = self.before.iter().find(|old| old.r#type == kind && old.status == truth.as_str());
        self.list.push(Condition {
            r#type: kind.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message: clip(message),
            last_transition_time: same.map_or(Time(self.now), |old| old.last_transition_time),
            observed_generation: self.generation,
        });
        self
    }

    pub(crate) fn list(self) -> Vec<Condition> {
        self.list
    }
}

/// Errors as a status may hold them; none where there are none.
pub(crate) fn bounded(errors: &[String]) -> Option<Vec<String>> {
    let bounded: Vec<_> = errors.iter().take(ERRORS_MAX).map(|error| clip(error)).collect();
    Some(bounded).filter(|errors| !errors.is_empty())
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The merge patch that makes one status of another; none if they are the same.
pub(crate) fn status_patch(before: &Value, wanted: &Value) -> Option<Value> {
    if before == wanted {
        return None;
    }
    let empty = Map::new();
    // A merge patch removes only what it names.
    let gone = before.as_object().unwrap_or(&empty).keys().filter(|field| wanted.get(field).is_none());
    let mut patch = wanted.clone();
    for field in gone {
        patch[field] = Value::Null;
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_removes_what_is_no_longer_said_and_is_none_for_the_same() {
        let failed = json!({"validation": "Failed", "error": ["no"], "hash": 1});
        let success = json!({"validation": "Success", "hash": 1});
        assert_eq!(
            status_patch(&failed, &success),
            Some(json!({"validation": "Success", "error": null, "hash": 1}))
        );
        assert_eq!(status_patch(&success, &success), None);
        assert_eq!(status_patch(&Value::Null, &success), Some(success.clone()));
        assert_eq!(status_patch(&json!("nonsense"), &success), Some(success));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = Conditions::after(&[], Some(1), at(10)).with("Valid", Truth::True, "A", "").list();
        let second = Conditions::after(&first, Some(2), at(20)).with("Valid", Truth::True, "B", "").list();
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = Conditions::after(&second, Some(2), at(30)).with("Valid", Truth::False, "C", "").list();
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn errors_are_bounded_in_number_and_length() {
        let errors = vec!["é".repeat(5000); 40];
        let bounded = bounded(&errors).unwrap();
        assert_eq!(bounded.len(), ERRORS_MAX);
        assert_eq!(bounded[0].chars().count(), ERROR_CHARS_MAX + 1);
        assert_eq!(super::bounded(&[]), None);
    }
}
