//! The life of an action: its kinds, its states, and which state may follow which.
//!
//! ```text
//! Pending ──> Running ──> Complete ─┐
//!    │         │  ^ │               │
//!    │         v  │ └───> Failed ───┤
//!    │   AttemptFailed ──────^      ├──> Deleting
//!    └──> Skipped, Failed, Cancelled┘    (Cancelled also from Running and AttemptFailed)
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How often an action is tried before it counts as failed.
pub const ATTEMPTS_MAX: u32 = 3;

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    Backup,
    BackupCluster,
    BatchRestore,
    Export,
    Import,
    Report,
    Restore,
    RestoreCluster,
    Retire,
    Run,
    Upgrade,
    Validate,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Backup,
        Self::BackupCluster,
        Self::BatchRestore,
        Self::Export,
        Self::Import,
        Self::Report,
        Self::Restore,
        Self::RestoreCluster,
        Self::Retire,
        Self::Run,
        Self::Upgrade,
        Self::Validate,
    ];

    /// The kind as the API spells it: `BackupAction`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Backup => "BackupAction",
            Self::BackupCluster => "BackupClusterAction",
            Self::BatchRestore => "BatchRestoreAction",
            Self::Export => "ExportAction",
            Self::Import => "ImportAction",
            Self::Report => "ReportAction",
            Self::Restore => "RestoreAction",
            Self::RestoreCluster => "RestoreClusterAction",
            Self::Retire => "RetireAction",
            Self::Run => "RunAction",
            Self::Upgrade => "UpgradeAction",
            Self::Validate => "ValidateAction",
        }
    }

    /// The word in metric names: `action_backup_ended_count`.
    pub const fn metric_word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::BackupCluster => "backup_cluster",
            Self::BatchRestore => "batch_restore",
            Self::Export => "export",
            Self::Import => "import",
            Self::Report => "report",
            Self::Restore => "restore",
            Self::RestoreCluster => "restore_cluster",
            Self::Retire => "retire",
            Self::Run => "run",
            Self::Upgrade => "upgrade",
            Self::Validate => "validate",
        }
    }
}

/// A kind or state that no action has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not the {noun} of an action")]
pub struct ParseActionError {
    text: String,
    noun: &'static str,
}

impl FromStr for ActionKind {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, ParseActionError> {
        Self::ALL.into_iter().find(|kind| kind.kind() == text).ok_or_else(|| unknown(text, "kind"))
    }
}

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ActionState {
    Pending,
    Running,
    /// An attempt failed and another will be made.
    AttemptFailed,
    Failed,
    Complete,
    Skipped,
    Deleting,
    Cancelled,
}

impl ActionState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::AttemptFailed,
        Self::Failed,
        Self::Complete,
        Self::Skipped,
        Self::Deleting,
        Self::Cancelled,
    ];

    /// The state as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::AttemptFailed => "AttemptFailed",
            Self::Failed => "Failed",
            Self::Complete => "Complete",
            Self::Skipped => "Skipped",
            Self::Deleting => "Deleting",
            Self::Cancelled => "Cancelled",
        }
    }

    /// The value of the label `state` in metrics.
    pub const fn metric_word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::AttemptFailed => "attempt_failed",
            Self::Failed => "failed",
            Self::Complete => "succeeded",
            Self::Skipped => "skipped",
            Self::Deleting => "deleting",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will be done, except to delete the action.
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Failed | Self::Complete | Self::Skipped | Self::Cancelled | Self::Deleting => true,
            Self::Pending | Self::Running | Self::AttemptFailed => false,
        }
    }

    /// Whether an action in this state may go over to `next`. Staying is always allowed.
    pub fn may_become(self, next: Self) -> bool {
        if self == next {
            return true;
        }
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Skipped | Self::Failed | Self::Cancelled),
            Self::Running => {
                matches!(
                    next,
                    Self::AttemptFailed | Self::Failed | Self::Complete | Self::Skipped | Self::Cancelled
                )
            }
            Self::AttemptFailed => matches!(next, Self::Running | Self::Failed | Self::Cancelled),
            Self::Failed | Self::Complete | Self::Skipped | Self::Cancelled => next == Self::Deleting,
            Self::Deleting => false,
        }
    }

    /// The state after attempt number `attempt` (counted from 1) failed.
    pub const fn after_failed_attempt(attempt: u32) -> Self {
        if attempt >= ATTEMPTS_MAX { Self::Failed } else { Self::AttemptFailed }
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionState {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, ParseActionError> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| unknown(text, "state"))
    }
}

fn unknown(text: &str, noun: &'static str) -> ParseActionError {
    ParseActionError { text: text.chars().take(80).collect(), noun }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_state_reads_back() {
        for kind in ActionKind::ALL {
            assert_eq!(kind.kind().parse(), Ok(kind));
        }
        for state in ActionState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!("complete".parse::<ActionState>().is_err());
    }

    #[test]
    fn a_finished_action_can_only_be_deleted() {
        for from in ActionState::ALL.into_iter().filter(|state| state.is_finished()) {
            for to in ActionState::ALL {
                let expected = to == from || (to == ActionState::Deleting && from != ActionState::Deleting);
                assert_eq!(from.may_become(to), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn an_unfinished_action_never_jumps() {
        use ActionState::*;
        for (from, to, legal) in [
            (Pending, Running, true),
            (Pending, Complete, false),
            (Pending, AttemptFailed, false),
            (Running, Pending, false),
            (Running, Complete, true),
            (AttemptFailed, Running, true),
            (AttemptFailed, Complete, false),
            (AttemptFailed, Failed, true),
        ] {
            assert_eq!(from.may_become(to), legal, "{from} to {to}");
        }
    }

    #[test]
    fn the_third_failed_attempt_is_the_last() {
        let states = [1, 2, 3, 4].map(ActionState::after_failed_attempt);
        use ActionState::*;
        assert_eq!(states, [AttemptFailed, AttemptFailed, Failed, Failed]);
    }
}
