//! A passphrase, and how good it is.

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

/// Beginnings of what heads every list of stolen passphrases; digits or signs that follow do not help.
const COMMON: [&str; 20] = [
    "password", "passw0rd", "p@ssw0rd", "p@ssword", "12345678", "87654321", "qwertyui", "qwerty12",
    "1q2w3e4r", "11111111", "00000000", "iloveyou", "sunshine", "princess", "football", "baseball",
    "changeme", "letmein1", "trustno1", "admin123",
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
        check("zzzzzzzzzzzzzzzzzz", PassphraseStrength::Common);
        check("brig-keel-9", PassphraseStrength::Weak);
        check("correct horse battery staple", PassphraseStrength::Fair);
        check("password of my grandmother", PassphraseStrength::Fair);
    }
}
