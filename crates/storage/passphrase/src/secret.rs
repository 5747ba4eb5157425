//! A text that signs in somewhere, and what is quoted of servers.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A token or key. Wiped when it goes, never printed, never copied.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// The fields of a JSON object, of which only the wanted one is decoded.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The text of a field; none where it is no text.
pub(crate) fn text_of(value: &RawValue) -> Option<Zeroizing<String>> {
    serde_json::from_str::<String>(value.get()).ok().map(Zeroizing::new)
}

const NAMES_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 300;

/// The names of fields, for whoever asked for one that is not there. Never what they hold.
pub(crate) fn names(fields: &Fields<'_>) -> Vec<String> {
    fields.keys().take(NAMES_MAX).map(|name| shortened(name, NAME_CHARS_MAX)).collect()
}

/// Names as a message lists them.
pub(crate) fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

/// What a server said, fit for a message. One that repeats what signed in is not quoted.
pub(crate) fn quoted(message: &str, secrets: &[&SecretText]) -> String {
    let repeats = |secret: &&SecretText| {
        let secret = secret.0.trim();
        !secret.is_empty() && message.contains(secret)
    };
    match secrets.iter().any(repeats) {
        true => "(it repeats what signed in, and is not quoted)".to_owned(),
        false => shortened(message, MESSAGE_CHARS_MAX),
    }
}

fn shortened(text: &str, chars_max: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_repeats_what_signed_in_is_not_quoted() {
        let token = SecretText::new("s.planted".to_owned());
        assert_eq!(quoted("permission\n denied", &[&token]), "permission denied");
        assert!(!quoted("the token s.planted is bad", &[&token]).contains("planted"));
        assert_eq!(quoted(&"x".repeat(1000), &[]).len(), MESSAGE_CHARS_MAX);
    }
}
