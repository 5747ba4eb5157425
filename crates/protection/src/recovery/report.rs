//! Reports of drills, signed for whoever checks them far from the platform. Drawn in `docs/format/drill-report.md`.

use keelson_crypto::{ParseSignatureError, Signature, SigningKey, VerifySignatureError, VerifyingKey};
use keelson_model::{Classified, ClusterId, ErrorClass, InstanceId, LineageId};
use serde::{Deserialize, Serialize};

use crate::recovery::drill::DrillReport;

/// More than a week of drills.
pub const REPORTS_MAX: usize = 10;

const REPORT_VERSION: u32 = 0;
const PURPOSE: &str = "keelson/0/drill-report\n";
const ALGORITHM: &str = "Ed25519";

/// What one platform found in one drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportDocument {
    pub version: u32,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub lineage: LineageId,
    pub product_version: String,
    pub drill: DrillReport,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    algorithm: String,
    key: String,
    signature: String,
}

/// A text that is not a report of the key's owner.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("a report has two lines of JSON, this text has {lines} lines")]
    Lines { lines: usize },
    #[error("read the {line} line of the report")]
    Decode { line: &'static str, source: serde_json::Error },
    #[error("the report has version {found}, newer than this release knows")]
    NewerVersion { found: u32 },
    #[error("the report is signed by '{found}', which this release cannot check")]
    Algorithm { found: String },
    #[error("read the signature of the report")]
    Signature { source: ParseSignatureError },
    #[error("the report was changed, or another platform signed it")]
    Forged { source: VerifySignatureError },
}

impl Classified for ReportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lines { .. } | Self::NewerVersion { .. } | Self::Algorithm { .. } => ErrorClass::Invalid,
            Self::Decode { .. } | Self::Signature { .. } | Self::Forged { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Lines { .. } => "report.lines",
            Self::Decode { .. } => "report.decode",
            Self::NewerVersion { .. } => "report.newer_version",
            Self::Algorithm { .. } => "report.algorithm",
            Self::Signature { .. } => "report.signature",
            Self::Forged { .. } => "report.forged",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NewerVersion { .. } | Self::Algorithm { .. } => {
                Some("use the release that wrote it, or a later one".to_owned())
            }
            Self::Forged { .. } => {
                Some("compare the key with the one in a recovery kit or in keelson dr status".to_owned())
            }
            Self::Lines { .. } => Some("keelson dr drill-report prints one".to_owned()),
            Self::Decode { .. } | Self::Signature { .. } => None,
        }
    }
}

fn signed_bytes(line: &str) -> Vec<u8> {
    [PURPOSE.as_bytes(), line.as_bytes(), b"\n"].concat()
}

impl ReportDocument {
    pub(crate) fn new(
        cluster: ClusterId,
        instance: InstanceId,
        lineage: LineageId,
        drill: DrillReport,
    ) -> Self {
        let product_version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: REPORT_VERSION, cluster, instance, lineage, product_version, drill }
    }

    /// The report as a text of two lines.
    pub(crate) fn sign(&self, key: &SigningKey) -> String {
        Self::sign_line(&serde_json::to_string(self).expect("plain data"), key)
    }

    /// The same of whatever the first line holds.
    pub(crate) fn sign_line(line: &str, key: &SigningKey) -> String {
        let seal = Seal {
            algorithm: ALGORITHM.to_owned(),
            key: key.public().to_string(),
            signature: key.sign(&signed_bytes(line)).to_string(),
        };
        let seal = serde_json::to_string(&seal).expect("plain data");
        format!("{line}\n{seal}\n")
    }

    /// Checks a text against a key that was kept, and reads it.
    pub fn check(text: &str, key: &VerifyingKey) -> Result<Self, ReportError> {
        let lines: Vec<&str> = text.lines().collect();
        let [line, seal] = lines[..] else { return Err(ReportError::Lines { lines: lines.len() }) };
        let decode = |line| move |source| ReportError::Decode { line, source };
        let seal: Seal = serde_json::from_str(seal).map_err(decode("second"))?;
        if seal.algorithm != ALGORITHM {
            return Err(ReportError::Algorithm { found: seal.algorithm });
        }
        let signature: Signature =
            seal.signature.parse().map_err(|source| ReportError::Signature { source })?;
        key.verify(&signed_bytes(line), &signature).map_err(|source| ReportError::Forged { source })?;
        let document: Self = serde_json::from_str(line).map_err(decode("first"))?;
        if document.version > REPORT_VERSION {
            return Err(ReportError::NewerVersion { found: document.version });
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use keelson_crypto::{InstanceKey, VaultKey, VaultKeyring};

    use super::*;

    fn key() -> SigningKey {
        let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
        SigningKey::of_lineage(&vault, LineageId::from_bytes([5; 16])).unwrap()
    }

    fn report() -> ReportDocument {
        let (cluster, instance) = ("0c3e8c52-6a0b".parse().unwrap(), InstanceId::from_bytes([1; 16]));
        let drill = DrillReport { seconds: 3, restore_points: 7, ..DrillReport::default() };
        ReportDocument::new(cluster, instance, LineageId::from_bytes([5; 16]), drill)
    }

    #[test]
    fn a_report_is_checked_by_its_key_alone() {
        let key = key();
        let text = report().sign(&key);
        assert_eq!(ReportDocument::check(&text, &key.public()).unwrap(), report());
        let other = ReportDocument::check(&text, &self::key().public());
        assert!(matches!(other, Err(ReportError::Forged { .. })), "{other:?}");
    }

    /// Made from the format page alone by other programs; auditors keep reports for years.
    #[test]
    fn a_report_that_was_kept_is_checked_and_would_be_signed_again_as_it_is() {
        let kept = include_str!("golden_report.jsonl");
        let instance = InstanceKey::from_slice(&[8; 32]).unwrap();
        let vault = VaultKeyring::new(VaultKey::derive_local(&instance));
        let key = SigningKey::of_lineage(&vault, LineageId::from_bytes([5; 16])).unwrap();
        let report = ReportDocument::check(kept, &key.public()).unwrap();
        assert_eq!((report.drill.restore_points, report.drill.is_green()), (7, true));
        assert_eq!(report.sign(&key), kept);
    }

    #[test]
    fn a_report_of_which_anything_was_changed_is_refused() {
        let key = key();
        let text = report().sign(&key);
        for (from, to) in
            [("\"seconds\":3", "\"seconds\":4"), ("{\"version", "{ \"version"), ("Ed25519", "Ed448")]
        {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(ReportDocument::check(&changed, &key.public()).is_err(), "{changed}");
        }
        assert!(matches!(
            ReportDocument::check(text.lines().next().unwrap(), &key.public()),
            Err(ReportError::Lines { lines: 1 })
        ));
    }
}
