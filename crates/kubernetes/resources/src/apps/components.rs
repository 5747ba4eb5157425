//! What an application is made of, as details show it: names and kinds, and nothing of what is in the objects.
//!
//! Annotations are not among it: those of a Secret may repeat its data, which not everybody who reads details may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{self, BILLION};

/// Objects by what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Components {
    /// Configuration, accounts and rights, and of the kinds of every cluster all that is nothing else.
    #[schemars(length(max = 5000))]
    pub config: Vec<ComponentObject>,
    /// What leads to workloads, and what guards the way.
    #[schemars(length(max = 5000))]
    pub network: Vec<ComponentObject>,
    /// What runs.
    #[schemars(length(max = 5000))]
    pub workloads: Vec<ComponentObject>,
    /// Objects of custom kinds, and the definitions of these.
    #[schemars(length(max = 5000))]
    pub customresources: Vec<ComponentObject>,
    /// Claims of volumes.
    #[schemars(length(max = 5000))]
    pub volumes: Vec<ComponentVolume>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentObject {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; absent for what lies in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Group and version of the kind.
    pub api_version: String,
    /// Group of the kind; empty for the core group.
    pub group: String,
    /// The resource under which the kind is served.
    pub resource: String,
}

/// One claim of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentVolume {
    #[serde(flatten)]
    pub object: ComponentObject,
    /// Name of the claim.
    pub persistent_volume_claim_name: String,
    /// A pod that mounts the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Size of the volume in GB of 2^30 bytes, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Who provides the volume.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Something that is not told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Incomplete {
    /// Of which resource something is missing; absent where it may be of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What is missing, and why.
    pub message: String,
}

/// A size as volumes show it. None for what is no quantity.
pub fn whole_gigabytes(quantity: &str) -> Option<u64> {
    let gigabyte = BILLION.unsigned_abs() << 30;
    let billionths = u128::try_from(quantity::parse(quantity)?).ok()?;
    u64::try_from(billionths.div_ceil(gigabyte)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_whole_gigabytes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(whole_gigabytes(text), expected, "{text}");
        check("10Gi", Some(10));
        check("10G", Some(10));
        check("1Ti", Some(1024));
        check("500Mi", Some(1));
        check("1073741825", Some(2));
        check("0", Some(0));
        check("-1Gi", None);
        check("much", None);
    }
}
