//! Which resources a recovery of the platform leaves out (`skipResource`, `skipResources`).

use std::fmt;
use std::str::FromStr;

use crate::{Classified, ErrorClass};

/// The kinds that a recovery was told to leave as they are. The restore-point catalog cannot be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SkipResources {
    pub profiles: bool,
    pub policies: bool,
    pub secrets: bool,
}

/// A word in a skip list that names nothing that can be skipped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseSkipError {
    #[error("'{word}' cannot be skipped; known are 'profiles', 'policies' and 'secrets'")]
    UnknownWord { word: String },
}

impl Classified for ParseSkipError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "recovery.skip.unknown_word"
    }
}

impl FromStr for SkipResources {
    type Err = ParseSkipError;

    /// Accepts singular and plural, any case, spaces and empty places between commas.
    fn from_str(text: &str) -> Result<Self, ParseSkipError> {
        let mut skip = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "profile" | "profiles" => skip.profiles = true,
                "policy" | "policies" => skip.policies = true,
                "secret" | "secrets" => skip.secrets = true,
                _ => return Err(ParseSkipError::UnknownWord { word: word.chars().take(80).collect() }),
            }
        }
        Ok(skip)
    }
}

impl fmt::Display for SkipResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { profiles, policies, secrets } = *self;
        let words = [(profiles, "profiles"), (policies, "policies"), (secrets, "secrets")];
        let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_list_takes_every_spelling_in_use() {
        for (text, printed) in [
            ("", ""),
            ("profiles,policies", "profiles,policies"),
            ("profile,policies", "profiles,policies"),
            (" Secrets , POLICY ,", "policies,secrets"),
            ("secrets,secrets", "secrets"),
        ] {
            let skip: SkipResources = text.parse().unwrap();
            assert_eq!(skip.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = "profiles,catalog".parse::<SkipResources>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'catalog' cannot be skipped; known are 'profiles', 'policies' and 'secrets'"
        );
    }
}
