//! The form of a Passkey in the instance Secret: the key, sealed under the passphrase that the Passkey's Secret holds.
//!
//! It says where that Secret is, since the catalog is not open yet when a start needs it.

use keelson_crypto::{InstanceKey, KdfCost, OpenKitError, Passphrase, SealKitError, open_kit, seal_kit};
use keelson_model::{Classified, ErrorClass};
use keelson_workload::{Cluster, NamespacedName, RequestError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Under which a Passkey's Secret holds its passphrase.
const PASSPHRASE: &str = "passphrase";

/// As it lies in the instance Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    /// Of the Passkey.
    pub name: String,
    pub secret: NamespacedName,
    /// In the format of a recovery kit, in hexadecimal digits.
    sealed: String,
}

/// A form does not lead to the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFormError {
    #[error("the passphrase in Secret '{secret}' is not the one that the Passkey was added with")]
    WrongPassphrase { secret: NamespacedName },
    #[error("its form in the instance Secret is damaged")]
    Damaged { source: OpenKitError },
    #[error("its form in the instance Secret is that of something else")]
    Foreign,
}

/// A Passkey's Secret holds no passphrase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassphraseFault {
    #[error("Secret '{secret}' does not exist")]
    Absent { secret: NamespacedName },
    #[error("Secret '{secret}' does not contain key 'passphrase'; it contains {}", list(present))]
    MissingKey { secret: NamespacedName, present: Vec<String> },
    #[error("key 'passphrase' of Secret '{secret}' is empty")]
    Empty { secret: NamespacedName },
    #[error("read Secret '{secret}'")]
    Read { secret: NamespacedName, source: RequestError },
}

impl PassphraseFault {
    /// Whether nothing was learned of the Secret.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Read { source, .. } => matches!(source.class(), ErrorClass::Unavailable { .. }),
            Self::Absent { .. } | Self::MissingKey { .. } | Self::Empty { .. } => false,
        }
    }
}

fn list(keys: &[String]) -> String {
    let quoted: Vec<_> = keys.iter().map(|key| format!("'{key}'")).collect();
    if quoted.is_empty() { "no keys".to_owned() } else { quoted.join(", ") }
}

/// The passphrase as it stands in the cluster now. Never trimmed.
pub(crate) async fn read_passphrase(
    cluster: &Cluster,
    at: &NamespacedName,
) -> Result<Zeroizing<Vec<u8>>, PassphraseFault> {
    let read = cluster.read_secret(at).await;
    let read = read.map_err(|source| PassphraseFault::Read { secret: at.clone(), source })?;
    let mut secret = read.ok_or_else(|| PassphraseFault::Absent { secret: at.clone() })?;
    match secret.data.remove(PASSPHRASE) {
        Some(passphrase) if passphrase.is_empty() => Err(PassphraseFault::Empty { secret: at.clone() }),
        Some(passphrase) => Ok(passphrase),
        None => {
            let present = secret.data.keys().cloned().collect();
            Err(PassphraseFault::MissingKey { secret: at.clone(), present })
        }
    }
}

impl Form {
    /// Seals the key for the Passkey of this uid. Takes as long as `cost` asks for.
    pub(crate) fn seal(
        (uid, name): (&str, &str),
        secret: NamespacedName,
        passphrase: &[u8],
        cost: KdfCost,
        key: &InstanceKey,
    ) -> Result<Self, SealKitError> {
        let content = Zeroizing::new([heading(uid).as_bytes(), key.expose().as_slice()].concat());
        let passphrase = Passphrase::new(passphrase.to_vec());
        let sealed = tokio::task::block_in_place(|| seal_kit(&passphrase, cost, &content))?;
        Ok(Self { name: name.to_owned(), secret, sealed: hex::encode(sealed) })
    }

    /// The key in it. Takes as long as the form's cost asks for, which is bounded.
    pub(crate) fn open(&self, uid: &str, passphrase: &[u8]) -> Result<InstanceKey, OpenFormError> {
        let sealed = hex::decode(&self.sealed).map_err(|_| OpenFormError::Foreign)?;
        let passphrase = Passphrase::new(passphrase.to_vec());
        let opened = tokio::task::block_in_place(|| open_kit(&passphrase, &sealed));
        let content = opened.map_err(|source| match source {
            OpenKitError::WrongPassphrase => OpenFormError::WrongPassphrase { secret: self.secret.clone() },
            source => OpenFormError::Damaged { source },
        })?;
        let key = content.strip_prefix(heading(uid).as_bytes());
        key.and_then(|key| InstanceKey::from_slice(key).ok()).ok_or(OpenFormError::Foreign)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

/// A form opens only as that of its Passkey.
fn heading(uid: &str) -> String {
    format!("keelson/0/passkey/{uid}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(uid: &str, key: &InstanceKey) -> Form {
        let secret = NamespacedName::new("vaults", "office");
        Form::seal((uid, "office"), secret, b"correct horse", KdfCost::LOWEST, key).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_form_opens_with_its_passphrase_as_that_of_its_passkey_and_not_otherwise() {
        let key = InstanceKey::generate();
        let sealed = form("uid-1", &key);
        assert_eq!(sealed.open("uid-1", b"correct horse").unwrap().fingerprint(), key.fingerprint());
        let wrong = sealed.open("uid-1", b"correct horse ").err().unwrap();
        assert_eq!(
            wrong.to_string(),
            "the passphrase in Secret 'vaults/office' is not the one that the Passkey was added with"
        );
        assert!(matches!(sealed.open("uid-2", b"correct horse"), Err(OpenFormError::Foreign)));
        assert_eq!(Form::parse(&sealed.to_bytes()), Some(sealed));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_form_of_which_a_digit_was_changed_is_damaged() {
        let mut sealed = form("uid-1", &InstanceKey::generate());
        let last = if sealed.sealed.pop() == Some('0') { '1' } else { '0' };
        sealed.sealed.push(last);
        assert!(matches!(sealed.open("uid-1", b"correct horse"), Err(OpenFormError::Damaged { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_form_shows_neither_key_nor_passphrase() {
        let key = InstanceKey::generate();
        let said = format!("{:?}", form("uid-1", &key));
        assert!(!said.contains(&hex::encode(key.expose())) && !said.contains("correct horse"), "{said}");
    }
}
