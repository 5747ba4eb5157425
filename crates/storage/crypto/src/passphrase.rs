//! A passphrase, and how good it is.

use keelson_model::{Classified, ErrorClass};
use zeroize::Zeroizing;

/// What a person remembers. It is wiped when dropped and cannot be printed or copied.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// How a passphrase fares against guessing. Enabling decides by it; recovery takes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassphraseStrength {
    /// Under [`Passphrase::REFUSED_UNDER_BYTES`].
    TooShort,
    /// Among the first that anybody tries.
    Common,
    /// Under [`Passphrase::WARNED_UNDER_BYTES`].
    Weak,
    /// Long enough.
    Fair,
}

/// Why a new passphrase is refused.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum WeakPassphrase {
    /// Under [`Passphrase::REFUSED_UNDER_BYTES`].
    #[error("the passphrase is shorter than 8 bytes")]
    TooShort,
    /// Among the first that anybody tries.
    #[error("the passphrase is one of the most common passwords")]
    Common,
    /// Under [`Passphrase::WARNED_UNDER_BYTES`], where only what FIPS allows is used.
    #[error("the passphrase is shorter than 14 bytes, the least in FIPS mode")]
    TooShortForFips,
}

impl Classified for WeakPassphrase {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "passphrase.weak"
    }
}

/// Beginnings of what heads every list of stolen passwords, and the words of manuals; digits or signs that follow do not
/// help.
const COMMON: &[&str] = &[
    "password",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "12345678",
    "12341234",
    "87654321",
    "11111111",
    "00000000",
    "88888888",
    "qwertyui",
    "qwerty12",
    "1q2w3e4r",
    "1qaz2wsx",
    "q1w2e3r4",
    "asdfghjk",
    "asdfasdf",
    "zxcvbnm",
    "abcd1234",
    "abc12345",
    "a1b2c3d4",
    "aa123456",
    "iloveyou",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "trustno1",
    "whatever",
    "starwars",
    "computer",
    "michelle",
    "jennifer",
    "changeme",
    "changeit",
    "welcome",
    "letmein1",
    "admin123",
    "administrator",
    "adminadmin",
    "root1234",
    "rootroot",
    "default1",
    "test1234",
    "testtest",
    "secret123",
    "topsecret",
    "kubernetes",
    "kasten-io",
    "kasten10",
    "kastenk10",
    "veeam123",
    "keelson",
    "passphrase",
    "<passphrase>",
    "mypassphrase",
    "disaster-recovery",
    "disasterrecovery",
];

/// How many bytes may follow a common beginning before it counts as one's own.
const COMMON_SUFFIX_BYTES: usize = 4;

impl Passphrase {
    /// Shorter ones cannot protect a location.
    pub const REFUSED_UNDER_BYTES: usize = 8;
    /// Shorter ones are warned about, and refused in FIPS mode.
    pub const WARNED_UNDER_BYTES: usize = 14;

    /// Takes over the bytes as they are: no trimming, no normalisation.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Judges it by length and against the most common ones.
    pub fn strength(&self) -> PassphraseStrength {
        if self.0.len() < Self::REFUSED_UNDER_BYTES {
            return PassphraseStrength::TooShort;
        }
        let lower = Zeroizing::new(self.0.to_ascii_lowercase());
        let common = COMMON.iter().any(|start| {
            lower.starts_with(start.as_bytes()) && lower.len() <= start.len() + COMMON_SUFFIX_BYTES
        });
        if common || lower.iter().all(|byte| *byte == lower[0]) {
            return PassphraseStrength::Common;
        }
        if self.0.len() < Self::WARNED_UNDER_BYTES {
            return PassphraseStrength::Weak;
        }
        PassphraseStrength::Fair
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_is_judged_by_length_and_by_what_everybody_uses() {
        let check = |text: &str, expected| {
            assert_eq!(Passphrase::new(text.into()).strength(), expected, "{text}");
        };
        check("", PassphraseStrength::TooShort);
        check("seven77", PassphraseStrength::TooShort);
        check("Password123!", PassphraseStrength::Common);
        check("<passphrase>", PassphraseStrength::Common);
        check("Disaster-Recovery", PassphraseStrength::Common);
        check("keelson2026", PassphraseStrength::Common);
        check("zzzzzzzzzzzzzzzzzz", PassphraseStrength::Common);
        check("brig-keel-9", PassphraseStrength::Weak);
        check("correct horse battery staple", PassphraseStrength::Fair);
        check("password of my grandmother", PassphraseStrength::Fair);
    }

    #[test]
    fn a_refusal_names_the_length_that_is_asked_for() {
        let check = |refusal: WeakPassphrase, bytes: usize| {
            assert!(refusal.to_string().contains(&format!("shorter than {bytes} bytes")), "{refusal}");
        };
        check(WeakPassphrase::TooShort, Passphrase::REFUSED_UNDER_BYTES);
        check(WeakPassphrase::TooShortForFips, Passphrase::WARNED_UNDER_BYTES);
    }
}
