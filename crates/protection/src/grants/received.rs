//! A receive string as text: the name of a grant, and its key. Drawn in `docs/format/grants.md`.
//!
//! `keelson0.` and the JSON in hexadecimal digits, `.` and the first four bytes of its SHA-256: a text of which a part was
//! not copied is told from one that was made up. Without the key it is a name that may be shown.

use std::fmt;

use keelson_crypto::{GrantKey, Sha256};
use keelson_model::naming::{check_label_value, check_namespace, check_object_name};
use keelson_model::{ClusterId, GrantId};
use keelson_resources::ReceiveString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub(super) const MARK: &str = "keelson0";
/// Letters of the checksum.
const CHECK_LETTERS: usize = 8;
/// Names have at most 253 letters, and there are three.
const TEXT_BYTES_MAX: usize = 4_096;

/// Whose exports are granted, and which of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GrantName {
    /// Of the installation that exports.
    pub cluster: ClusterId,
    pub grant: GrantId,
    pub policy_namespace: String,
    pub policy: String,
    /// The only application that is granted; none means all that the policy exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

impl GrantName {
    /// As text that may be shown.
    pub(crate) fn to_text(&self) -> ReceiveString {
        encode(&serde_json::to_vec(self).expect("plain data"))
    }

    /// The name of the row that keeps it: one grant may be held whole and for single applications.
    pub(super) fn held_name(&self) -> String {
        match &self.application {
            None => self.grant.to_string(),
            Some(application) => format!("{}.{application}", self.grant),
        }
    }

    fn check(&self) -> Result<(), ReceivedError> {
        let fault = |what: &'static str, error: &dyn fmt::Display| ReceivedError::Name {
            what,
            fault: error.to_string(),
        };
        // It becomes the value of a label.
        check_label_value(self.cluster.as_str()).map_err(|error| fault("cluster", &error))?;
        check_namespace(&self.policy_namespace).map_err(|error| fault("namespace of the policy", &error))?;
        check_object_name(&self.policy).map_err(|error| fault("policy", &error))?;
        match &self.application {
            None => Ok(()),
            Some(application) => check_namespace(application).map_err(|error| fault("application", &error)),
        }
    }
}

/// What a receive string says.
pub(super) struct Received {
    pub grant: GrantName,
    /// None where it is only the name.
    pub key: Option<GrantKey>,
}

/// As it is written. The key has no other form that could be printed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    grant: GrantName,
    key: String,
}

/// A text that is no receive string.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceivedError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {} bytes", TEXT_BYTES_MAX)]
    TooLong,
    #[error("it does not begin with '{}.', or is not of three parts with dots between them", MARK)]
    Shape,
    #[error("a part of it is missing or was changed")]
    Checksum,
    #[error("it is not what this version writes")]
    Content,
    #[error("it holds no key of 32 bytes")]
    Key,
    #[error("it names a {what} that cannot be one: {fault}")]
    Name { what: &'static str, fault: String },
}

impl ReceivedError {
    pub(super) fn hint(&self) -> Option<String> {
        let hint =
            "copy it whole from the details of the exporting run or export: `kubectl get --raw …/details`";
        Some(hint.to_owned())
    }
}

fn check_of(json: &[u8]) -> String {
    Sha256::of(json).to_string()[..CHECK_LETTERS].to_owned()
}

fn encode(json: &[u8]) -> ReceiveString {
    ReceiveString(format!("{MARK}.{}.{}", hex::encode(json), check_of(json)))
}

impl Received {
    pub(super) fn to_text(&self) -> ReceiveString {
        let Some(key) = &self.key else { return self.grant.to_text() };
        let written = Written { grant: self.grant.clone(), key: hex::encode(key.expose()) };
        encode(&Zeroizing::new(serde_json::to_vec(&written).expect("plain data")))
    }

    pub(super) fn parse(ReceiveString(text): &ReceiveString) -> Result<Self, ReceivedError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ReceivedError::Empty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(ReceivedError::TooLong);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [MARK, json, check] = parts.as_slice() else { return Err(ReceivedError::Shape) };
        let json = Zeroizing::new(hex::decode(json).map_err(|_| ReceivedError::Checksum)?);
        if check_of(&json) != *check {
            return Err(ReceivedError::Checksum);
        }
        let received = match serde_json::from_slice::<Written>(&json) {
            Ok(Written { grant, key }) => {
                let key = Zeroizing::new(key);
                let bytes = Zeroizing::new(hex::decode(&*key).map_err(|_| ReceivedError::Key)?);
                let key = GrantKey::from_slice(&bytes).map_err(|_| ReceivedError::Key)?;
                Self { grant, key: Some(key) }
            }
            Err(_) => {
                let grant = serde_json::from_slice(&json).map_err(|_| ReceivedError::Content)?;
                Self { grant, key: None }
            }
        };
        received.grant.check()?;
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(application: Option<&str>) -> GrantName {
        GrantName {
            cluster: "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap(),
            grant: GrantId::from_bytes([7; 16]),
            policy_namespace: "kasten-io".to_owned(),
            policy: "nightly".to_owned(),
            application: application.map(str::to_owned),
        }
    }

    fn fault_of(text: &str) -> ReceivedError {
        Received::parse(&ReceiveString(text.to_owned())).err().expect("it is no receive string")
    }

    #[test]
    fn a_receive_string_says_what_it_was_made_of_and_its_name_holds_no_key() {
        for application in [None, Some("shop")] {
            let key = GrantKey::from_slice(&[0xab; 32]).unwrap();
            let text = Received { grant: name(application), key: Some(key) }.to_text();
            let read = Received::parse(&text).ok().unwrap();
            assert_eq!(read.grant, name(application));
            assert_eq!(read.key.unwrap().expose(), &[0xab; 32]);
            let shown = name(application).to_text();
            let read = Received::parse(&shown).ok().unwrap();
            assert!(read.grant == name(application) && read.key.is_none());
            let written = hex::encode(hex::encode([0xab; 32]));
            assert!(text.0.contains(&written) && !shown.0.contains(&written));
            assert!(!format!("{text:?}").contains(&text.0));
        }
        assert_ne!(name(None).held_name(), name(Some("shop")).held_name());
    }

    #[test]
    fn a_text_that_was_cut_changed_or_made_up_is_told_apart() {
        let key = GrantKey::generate();
        let text = Received { grant: name(None), key: Some(key) }.to_text().0;
        assert!(Received::parse(&ReceiveString(format!(" {text}\n"))).is_ok());
        assert_eq!(fault_of(""), ReceivedError::Empty);
        assert_eq!(fault_of(&"a".repeat(5_000)), ReceivedError::TooLong);
        for wrong in ["x", "keelson0.00", "keelson1.00.00000000", "keelson0.00.11.22"] {
            assert_eq!(fault_of(wrong), ReceivedError::Shape, "{wrong}");
        }
        assert_eq!(fault_of(&text[..text.len() - 1]), ReceivedError::Checksum);
        assert_eq!(fault_of(&text.replacen("7b", "7c", 1)), ReceivedError::Checksum);
        assert_eq!(fault_of(&encode(b"{}").0), ReceivedError::Content);
        let mut climbing = name(None);
        climbing.application = Some("../dr".to_owned());
        assert!(matches!(fault_of(&climbing.to_text().0), ReceivedError::Name { what: "application", .. }));
    }
}
