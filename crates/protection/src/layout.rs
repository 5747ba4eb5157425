//! Where everything lies in a location, below the profile's path. Drawn in `docs/format/location.md`.
//!
//! Only names are made and read here; nothing is opened.

use std::fmt;
use std::str::FromStr;

use keelson_model::{ClusterId, Generation, GrantId, LineageId, RepositoryId, Revision, Sequence};
use keelson_store::StorePath;
use serde::{Deserialize, Serialize};

/// The folder `k10`, whose children are cluster ids.
pub(crate) fn clusters() -> StorePath {
    child(&StorePath::root(), "k10")
}

/// Every name made here is an id, a number or the name of a namespace: legal in a path by its own rules.
fn child(folder: &StorePath, name: &str) -> StorePath {
    folder.join(name).expect("ids, numbers and namespace names are legal path segments")
}

/// How the name of a list of retirements differs from that of its claim.
pub(crate) const RETIRED_SUFFIX: &str = ".retired";

/// Everything of one cluster: `k10/<cluster id>/`.
#[derive(Debug, Clone)]
pub(crate) struct ClusterFolder(StorePath);

impl ClusterFolder {
    pub(crate) fn new(cluster: &ClusterId) -> Self {
        Self(child(&clusters(), cluster.as_str()))
    }

    pub(crate) fn root(&self) -> &StorePath {
        &self.0
    }

    pub(crate) fn cards(&self) -> StorePath {
        child(&self.0, "cards")
    }

    pub(crate) fn card(&self, number: u64) -> StorePath {
        child(&self.cards(), &format!("{number:08}"))
    }

    pub(crate) fn epochs(&self, lineage: LineageId) -> StorePath {
        child(&self.lineages(), &lineage.to_string())
    }

    pub(crate) fn lineages(&self) -> StorePath {
        child(&self.0, "epochs")
    }

    pub(crate) fn epoch(&self, lineage: LineageId, epoch: Epoch) -> StorePath {
        child(&self.epochs(lineage), &epoch.to_string())
    }

    /// What was retired when the epoch was claimed.
    pub(crate) fn epoch_retired(&self, lineage: LineageId, epoch: Epoch) -> StorePath {
        child(&self.epochs(lineage), &format!("{epoch}{RETIRED_SUFFIX}"))
    }

    pub(crate) fn dr(&self) -> StorePath {
        child(&self.0, "dr")
    }

    pub(crate) fn dr_repository(&self, id: RepositoryId) -> DrFolder {
        DrFolder(child(&self.dr(), &id.to_string()))
    }

    /// What lets others read exports: `grants/<grant id>/<application>/<cluster id>.<repository id>/<n>`.
    pub(crate) fn grant(&self, grant: GrantId) -> StorePath {
        child(&child(&self.0, "grants"), &grant.to_string())
    }

    pub(crate) fn granted(&self, grant: GrantId, application: &str) -> StorePath {
        child(&self.grant(grant), application)
    }

    /// A recovered installation exports beside its source's repositories: of which cluster one is stands in the name.
    pub(crate) fn granted_repository(
        &self,
        grant: GrantId,
        application: &str,
        (cluster, id): (&ClusterId, RepositoryId),
    ) -> StorePath {
        child(&self.granted(grant, application), &format!("{cluster}.{id}"))
    }

    pub(crate) fn exports(&self) -> StorePath {
        child(&self.0, "exports")
    }

    pub(crate) fn export_repository(&self, application: &str, id: RepositoryId) -> StorePath {
        child(&child(&self.exports(), application), &id.to_string())
    }
}

/// The platform's own repository, with the shipped chain beside the repository's folders.
#[derive(Debug, Clone)]
pub(crate) struct DrFolder(StorePath);

impl DrFolder {
    pub(crate) fn repository(&self) -> &StorePath {
        &self.0
    }

    pub(crate) fn bases(&self) -> StorePath {
        child(&self.0, "bases")
    }

    pub(crate) fn base(&self, at: Position) -> StorePath {
        child(&self.bases(), &at.to_string())
    }

    pub(crate) fn segments(&self) -> StorePath {
        child(&self.0, "segments")
    }

    /// A segment is named after its first entry.
    pub(crate) fn segment(&self, first: Position) -> StorePath {
        child(&self.segments(), &first.to_string())
    }

    pub(crate) fn manifests(&self) -> StorePath {
        child(&self.0, "manifests")
    }

    pub(crate) fn manifest(&self, at: Position) -> StorePath {
        child(&self.manifests(), &at.to_string())
    }

    pub(crate) fn starts(&self) -> StorePath {
        child(&self.0, "starts")
    }

    pub(crate) fn start(&self, number: u64) -> StorePath {
        child(&self.starts(), &format!("{number:08}"))
    }
}

/// How many times ownership of a cluster's data was claimed. The first claim is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Epoch(pub u32);

impl Epoch {
    /// The last whose name is as wide as the others.
    pub const MAX: Self = Self(99_999_999);
}

impl TryFrom<u32> for Epoch {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        let epoch = Self(number);
        (epoch <= Self::MAX).then_some(epoch).ok_or("an epoch has at most eight digits")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A point of the shipped chain. Orders as "latest" does: by epoch, then generation, then sequence; never by a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub epoch: Epoch,
    pub generation: Generation,
    pub sequence: Sequence,
}

impl Position {
    pub fn of(epoch: Epoch, revision: Revision) -> Self {
        Self { epoch, generation: revision.generation(), sequence: revision.sequence() }
    }

    pub fn revision(self) -> Revision {
        Revision::new(self.generation, self.sequence)
    }
}

/// Fixed width, so that the order of names is the order of positions.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:08}-{:014}", self.epoch.0, self.generation.0, self.sequence.0)
    }
}

/// The name of an object in a location is not one of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a position (<epoch>-<generation>-<sequence>)")]
pub struct ParsePositionError(String);

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let error = || ParsePositionError(text.chars().take(80).collect());
        let mut parts = text.splitn(3, '-');
        let mut number = |width: usize| {
            let digits =
                parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|part| part.parse::<u64>().ok()).ok_or_else(error)
        };
        let (epoch, generation, sequence) = (number(8)?, number(8)?, number(14)?);
        let small = |value: u64| u32::try_from(value).map_err(|_| error());
        let (generation, sequence) = (Generation(small(generation)?), Sequence(sequence));
        if generation > Generation::MAX || sequence > Sequence::MAX {
            return Err(error());
        }
        Ok(Self { epoch: Epoch(small(epoch)?), generation, sequence })
    }
}

/// Which repository the folder of a granted one is of.
pub(crate) fn parse_granted(name: &str) -> Option<(ClusterId, RepositoryId)> {
    let (cluster, id) = name.split_once('.')?;
    Some((cluster.parse().ok()?, id.parse().ok()?))
}

/// The last segment of a path, parsed.
pub(crate) fn name_of<T: FromStr>(path: &StorePath) -> Option<T> {
    path.name().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: u32, generation: u32, sequence: u64) -> Position {
        Position { epoch: Epoch(epoch), generation: Generation(generation), sequence: Sequence(sequence) }
    }

    #[test]
    fn names_of_positions_order_as_positions_do() {
        let ordered =
            [position(1, 1, 9), position(1, 1, 10), position(1, 2, 1), position(2, 1, 1), position(10, 1, 1)];
        for pair in ordered.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for at in ordered {
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    /// A document that said a later one was taken, and the name of its position could not be read.
    #[test]
    fn an_epoch_whose_name_is_too_wide_is_not_read() {
        let read = |epoch: u32| {
            serde_json::from_value::<Position>(serde_json::json!({
                "epoch": epoch, "generation": 1, "sequence": 1,
            }))
        };
        assert_eq!(read(99_999_999).unwrap(), position(99_999_999, 1, 1));
        assert!(read(100_000_000).is_err());
    }

    #[test]
    fn a_foreign_name_is_no_position() {
        for text in [
            "",
            "1-1-1",
            "00000001-00000001",
            "00000001-99999999-00000000000001",
            "-",
            "0000000x-00000001-00000000000001",
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
