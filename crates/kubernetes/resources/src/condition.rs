//! Condition types, reasons and event reasons: the words that scripts and alerts rely on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::Time;

/// Types of conditions in our statuses.
pub mod kind {
    /// The object is understood and can be used.
    pub const VALID: &str = "Valid";
    /// The location answers and holds what it must.
    pub const REACHABLE: &str = "Reachable";
    /// New backups can be written.
    pub const WRITABLE: &str = "Writable";
    /// What is written is locked as firmly as it ever was; the reason says how. Only where locks are asked for.
    pub const LOCKED: &str = "Locked";
    /// Something that is asked for is not done by this version; the message says what.
    pub const IGNORED: &str = "Ignored";
    /// The platform protects itself.
    pub const PROTECTED: &str = "Protected";
    /// What the platform protects itself with can be read where it is kept. Only there while it cannot.
    pub const PASSPHRASE_READABLE: &str = "PassphraseReadable";
}

/// Reasons of conditions. Failures take theirs from the class of the error.
pub mod reason {
    pub const VALIDATED: &str = "Validated";
    pub const NOT_SUPPORTED: &str = "NotSupported";
    pub const SPEC_INVALID: &str = "SpecInvalid";
    pub const PROBE_FAILED: &str = "ProbeFailed";
    pub const READ_ONLY: &str = "ReadOnly";
    pub const GOVERNANCE: &str = "Governance";
    pub const COMPLIANCE: &str = "Compliance";
    pub const COMPLIANCE_LOST: &str = "ComplianceLost";
    pub const PROFILE_UNFIT: &str = "ProfileUnfit";
    pub const PASSPHRASE_SOURCE_FAILED: &str = "PassphraseSourceFailed";
}

/// Reasons of events.
pub mod event {
    pub const PROFILE_VALIDATED: &str = "ProfileValidated";
    pub const PROFILE_FAILED: &str = "ProfileFailed";
    pub const COMPLIANCE_LOST: &str = "ComplianceLost";
    pub const POLICY_VALIDATED: &str = "PolicyValidated";
    pub const POLICY_FAILED: &str = "PolicyFailed";
    pub const CONFIGURATION_VALIDATED: &str = "ConfigurationValidated";
    pub const CONFIGURATION_FAILED: &str = "ConfigurationFailed";
    pub const RUN_COMPLETED: &str = "RunCompleted";
    pub const RUN_FAILED: &str = "RunFailed";
    pub const RUN_SKIPPED: &str = "RunSkipped";
    pub const RUN_DELAYED: &str = "RunDelayed";
    pub const PROTECTION_ENABLED: &str = "ProtectionEnabled";
    pub const PROTECTION_DISABLED: &str = "ProtectionDisabled";
    pub const SHIPPING_MOVED: &str = "ShippingMoved";
    pub const BASES_LOST: &str = "BasesLost";
    pub const DRILL_FAILED: &str = "DrillFailed";
    pub const PASSPHRASE_SOURCE_FAILED: &str = "PassphraseSourceFailed";
    pub const SHIPPING_STOPPED: &str = "ShippingStopped";
    pub const RECOVERY_COMPLETED: &str = "RecoveryCompleted";
    pub const RECOVERY_FAILED: &str = "RecoveryFailed";
    pub const OWNERSHIP_TAKEN: &str = "OwnershipTaken";
    pub const OWNERSHIP_LOST: &str = "OwnershipLost";
    pub const API_TAKEN: &str = "APITaken";
    pub const PASSKEY_VALID: &str = "PasskeyValid";
    pub const PASSKEY_INVALID: &str = "PasskeyInvalid";
}

/// One condition of an object, as Kubernetes has them everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect of the object.
    pub r#type: String,
    /// True, False or Unknown.
    pub status: String,
    /// A word for machines.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// When status last changed.
    pub last_transition_time: Time,
    /// The generation of the object that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
