//! The words of recovering the platform itself: how its backup was made, and the name of one DR restore point.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Generation, RepositoryId, Sequence};

/// How much of the catalog a disaster-recovery run carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DrMode {
    /// The whole catalog, with history and local restore points.
    Legacy,
    QuickLocalSnapshot,
    QuickExportedSnapshot,
    QuickNoSnapshot,
}

/// A part of the catalog that is shipped or left out as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShippedClass {
    /// Profiles, policies and the like, and all that exported restore points need.
    ConfigurationAndExported,
    /// Local restore points and the history of actions.
    LocalAndHistory,
}

/// What `spec.kdrSnapshotConfiguration` of the DR policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CatalogSnapshots {
    pub take_local: bool,
    pub export: bool,
}

impl DrMode {
    /// Every mode.
    pub const ALL: [Self; 4] =
        [Self::Legacy, Self::QuickLocalSnapshot, Self::QuickExportedSnapshot, Self::QuickNoSnapshot];

    /// The mode that a DR policy asks for; without a snapshot configuration it is Legacy.
    pub fn from_configuration(snapshots: Option<CatalogSnapshots>) -> Self {
        match snapshots {
            None => Self::Legacy,
            Some(CatalogSnapshots { export: true, .. }) => Self::QuickExportedSnapshot,
            Some(CatalogSnapshots { take_local: true, .. }) => Self::QuickLocalSnapshot,
            Some(CatalogSnapshots { .. }) => Self::QuickNoSnapshot,
        }
    }

    /// The version that a review reports for points of this mode.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Legacy => "v2",
            Self::QuickLocalSnapshot => "v3",
            Self::QuickExportedSnapshot => "v3.2_data",
            Self::QuickNoSnapshot => "v3.2_metadata",
        }
    }

    /// The classes of the catalog that a run of this mode ships and proves.
    pub const fn classes(self) -> &'static [ShippedClass] {
        match self {
            Self::Legacy => &[ShippedClass::ConfigurationAndExported, ShippedClass::LocalAndHistory],
            Self::QuickLocalSnapshot | Self::QuickExportedSnapshot | Self::QuickNoSnapshot => {
                &[ShippedClass::ConfigurationAndExported]
            }
        }
    }

    /// Whether only what exported restore points need is carried.
    pub const fn is_quick(self) -> bool {
        match self {
            Self::Legacy => false,
            Self::QuickLocalSnapshot | Self::QuickExportedSnapshot | Self::QuickNoSnapshot => true,
        }
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Legacy => "Legacy DR",
            Self::QuickLocalSnapshot => "Quick DR (Local Catalog Snapshot)",
            Self::QuickExportedSnapshot => "Quick DR (Exported Catalog Snapshot)",
            Self::QuickNoSnapshot => "Quick DR (No Catalog Snapshot)",
        }
    }
}

/// A text that names no DR mode or no DR restore point.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseRecoveryError {
    #[error("'{text}' is not the version of a DR restore point (v2, v3, v3.2_data, v3.2_metadata)")]
    Mode { text: String },
    #[error("'{text}' is not the id of a DR restore point (repository.generation.sequence)")]
    PointId { text: String },
}

impl FromStr for DrMode {
    type Err = ParseRecoveryError;

    fn from_str(text: &str) -> Result<Self, ParseRecoveryError> {
        let found = Self::ALL.into_iter().find(|mode| mode.tag() == text);
        found.ok_or_else(|| ParseRecoveryError::Mode { text: text.chars().take(80).collect() })
    }
}

impl fmt::Display for DrMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl Serialize for DrMode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.tag())
    }
}

impl<'de> Deserialize<'de> for DrMode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names one moment of one catalog, frozen: printed as `repository.generation.sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrPointId {
    pub repository: RepositoryId,
    pub generation: Generation,
    pub sequence: Sequence,
}

impl fmt::Display for DrPointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, generation, sequence } = self;
        write!(f, "{repository}.{}.{}", generation.0, sequence.0)
    }
}

impl FromStr for DrPointId {
    type Err = ParseRecoveryError;

    fn from_str(text: &str) -> Result<Self, ParseRecoveryError> {
        parse_point(text).ok_or_else(|| ParseRecoveryError::PointId { text: text.chars().take(80).collect() })
    }
}

fn parse_point(text: &str) -> Option<DrPointId> {
    let mut parts = text.split('.');
    let repository = parts.next()?.parse().ok()?;
    let generation = Generation(parse_canonical(parts.next()?)?);
    let sequence = Sequence(parse_canonical(parts.next()?)?);
    let known = generation <= Generation::MAX && sequence <= Sequence::MAX && parts.next().is_none();
    known.then_some(DrPointId { repository, generation, sequence })
}

/// Refuses `+1` and `007`: one point has one name.
fn parse_canonical<N: FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Serialize for DrPointId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DrPointId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_configuration_decides_the_mode() {
        let ask = |take_local, export| Some(CatalogSnapshots { take_local, export });
        for (configuration, mode, tag) in [
            (None, DrMode::Legacy, "v2"),
            (ask(true, false), DrMode::QuickLocalSnapshot, "v3"),
            (ask(true, true), DrMode::QuickExportedSnapshot, "v3.2_data"),
            (ask(false, false), DrMode::QuickNoSnapshot, "v3.2_metadata"),
        ] {
            assert_eq!(DrMode::from_configuration(configuration), mode);
            assert_eq!(mode.to_string(), tag);
            assert_eq!(tag.parse(), Ok(mode));
        }
    }

    #[test]
    fn only_legacy_ships_history_and_local_restore_points() {
        for mode in DrMode::ALL {
            assert_eq!(mode.classes().contains(&ShippedClass::LocalAndHistory), mode == DrMode::Legacy);
            assert!(mode.classes().contains(&ShippedClass::ConfigurationAndExported));
        }
    }

    #[test]
    fn a_point_id_reads_back_and_has_one_spelling() {
        let id = DrPointId {
            repository: RepositoryId::from_bytes([0xab; 16]),
            generation: Generation(3),
            sequence: Sequence(9001),
        };
        let text = id.to_string();
        assert_eq!(text, format!("{}.3.9001", "ab".repeat(16)));
        assert_eq!(text.parse(), Ok(id));
        let repository = "ab".repeat(16);
        for tail in ["", ".3", ".3.", ".03.1", ".+3.1", ".3.1.1", ".9999999.1", ".1.99999999999999"] {
            assert!(format!("{repository}{tail}").parse::<DrPointId>().is_err(), "{tail}");
        }
        assert!("latest".parse::<DrPointId>().is_err());
    }
}
