//! What is left out of a capture or a restore, and why. Nothing is dropped in silence, and the list stays
//! small whatever the size of the application: it counts, and names the first few.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Names listed per kind and reason; more are only counted.
pub const NAMES_MAX: usize = 100;

/// Why objects are left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OmissionReason {
    /// The kind is left out by default; the text says why.
    Kind(String),
    /// A controller makes it again from its owner.
    RemadeBy {
        owner_kind: String,
    },
    /// The cluster makes it again.
    RemadeByCluster,
    /// An installation of this platform brings it along.
    OfPlatform,
    /// A token that only the cluster that issued it accepts.
    ServiceAccountToken,
    /// Restoring it would run it once more.
    HasRunToItsEnd,
    BeingDeleted,
    /// Volumes are not part of this release.
    ClaimNotProtected,
    /// The claim would come back without its data; only done when asked for.
    ClaimNotRestored,
    /// Rights are only restored when asked for.
    RightsNotAskedFor,
    Filtered,
    /// And the rule for such objects is to keep what is there.
    Exists,
    TooLarge {
        bytes_max: usize,
    },
    /// Nested deeper than any sensible object.
    Unreadable,
    /// The cluster did not give it out, and the backup was told to go on without.
    NotRead(String),
}

impl OmissionReason {
    /// Whether somebody would miss it: nothing makes it again, and nobody asked to leave it out.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::ClaimNotProtected | Self::TooLarge { .. } | Self::Unreadable | Self::NotRead(_) => true,
            Self::Kind(_)
            | Self::RemadeBy { .. }
            | Self::RemadeByCluster
            | Self::OfPlatform
            | Self::ServiceAccountToken
            | Self::HasRunToItsEnd
            | Self::BeingDeleted
            | Self::ClaimNotRestored
            | Self::RightsNotAskedFor
            | Self::Filtered
            | Self::Exists => false,
        }
    }
}

impl fmt::Display for OmissionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(why) => f.write_str(why),
            Self::RemadeBy { owner_kind } => write!(f, "remade by its {owner_kind}"),
            Self::RemadeByCluster => f.write_str("remade by the cluster"),
            Self::OfPlatform => f.write_str("comes with an installation of this platform"),
            Self::ServiceAccountToken => f.write_str("service-account token: the cluster issues new ones"),
            Self::HasRunToItsEnd => f.write_str("has run to its end: restoring it would run it again"),
            Self::BeingDeleted => f.write_str("is being deleted"),
            Self::ClaimNotProtected => {
                f.write_str("claim not protected: volumes are not part of this release")
            }
            Self::ClaimNotRestored => f.write_str("claim not restored: it would come back without its data"),
            Self::RightsNotAskedFor => f.write_str("rights are restored only when asked for"),
            Self::Filtered => f.write_str("deselected by the filters"),
            Self::Exists => f.write_str("exists already and is kept"),
            Self::Unreadable => f.write_str("cannot be read"),
            Self::NotRead(why) => write!(f, "could not be read: {why}"),
            Self::TooLarge { bytes_max } => write!(f, "larger than {bytes_max} bytes"),
        }
    }
}

/// Objects of one kind left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// `pods`, `replicasets.apps`.
    pub resource: String,
    pub reason: OmissionReason,
    /// Objects left out; 0 when the whole kind was not even read.
    pub count: u64,
    /// The first `NAMES_MAX` of them.
    pub names: Vec<String>,
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => write!(f, "{}: {}", self.resource, self.reason),
            count => write!(f, "{count} {}: {}", self.resource, self.reason),
        }
    }
}

/// Gathers omissions as they happen.
#[derive(Debug, Default)]
pub(crate) struct Omissions(BTreeMap<(String, OmissionReason), (u64, Vec<String>)>);

impl Omissions {
    pub(crate) fn add(&mut self, resource: String, reason: OmissionReason, name: &str) {
        let (count, names) = self.0.entry((resource, reason)).or_default();
        *count += 1;
        if names.len() < NAMES_MAX {
            names.push(name.to_owned());
        }
    }

    pub(crate) fn add_kind(&mut self, resource: String, reason: OmissionReason) {
        self.0.entry((resource, reason)).or_default();
    }

    pub(crate) fn into_list(self) -> Vec<Omission> {
        self.0
            .into_iter()
            .map(|((resource, reason), (count, names))| Omission { resource, reason, count, names })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_omissions_is_counted_and_not_kept() {
        let mut omissions = Omissions::default();
        for number in 0..5000 {
            let reason = OmissionReason::RemadeBy { owner_kind: "ReplicaSet".to_owned() };
            omissions.add("pods".to_owned(), reason, &format!("web-{number}"));
        }
        let list = omissions.into_list();
        assert_eq!((list.len(), list[0].count, list[0].names.len()), (1, 5000, NAMES_MAX));
        assert_eq!(list[0].to_string(), "5000 pods: remade by its ReplicaSet");
    }
}
