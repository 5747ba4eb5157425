//! `KastenDRReview`: lists the DR restore points of a source cluster.

use keelson_model::names::group;
use keelson_model::recovery::DrMode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    RecoveryProgress, SourceClusterInfo, VaultAccess, check_source, check_vault, source_profile,
    vault_secrets,
};
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, Column, NAME, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::Time;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::DR,
    version: group::VERSION,
    kind: "KastenDRReview",
    plural: "kastendrreviews",
    singular: "kastendrreview",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[
        NAME,
        Column::text(
            "Source ClusterID",
            "/spec/sourceClusterInfo/sourceClusterID",
            "The cluster whose backups are looked for",
        ),
        Column::integer("RestorePoints", "/status/restorePoints/count", "How many were found"),
        Column::text("Phase", "/status/phase", "What is being done"),
        Column::text("Error", "/status/error", "What went wrong"),
        STATE,
    ],
    field_selectors: STATE_FIELDS,
    details: false,
    schema: || {
        object_schema::<KastenDRReviewSpec, KastenDRReviewStatus>(
            "KastenDRReview lists the restore points of a lost platform that a location holds.",
        )
    },
    references: |object, install_namespace| -> Vec<Reference> {
        let secrets = vault_secrets(object, install_namespace);
        source_profile(object, install_namespace).into_iter().chain(secrets).collect()
    },
    check,
};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KastenDRReviewSpec {
    /// Where the backups lie.
    pub source_cluster_info: SourceClusterInfo,
    /// How Vault is reached, if it holds the passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultAccess>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KastenDRReviewStatus {
    #[serde(flatten)]
    pub progress: RecoveryProgress,
    /// The restore points found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_points: Option<DrRestorePoints>,
    /// Why the location is not what it was when the known head was seen; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// The restore points found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrRestorePoints {
    /// How many.
    pub count: u32,
    /// All of them, newest first.
    #[serde(default)]
    pub restore_point_list: Vec<DrRestorePoint>,
}

/// One moment to which the platform can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrRestorePoint {
    /// Names the point in a KastenDRRestore.
    pub id: String,
    /// How the backup was made: v2 is Legacy, v3 and its variants are Quick.
    #[schemars(with = "String")]
    pub version: DrMode,
    /// When it was made.
    pub creation_time: Time,
    /// The same as creationTime, under another name in use.
    pub created_time: Time,
    /// Whether a local snapshot of the catalog was taken with it.
    #[serde(default)]
    pub local_snapshot_taken: bool,
    /// Whether that snapshot is on this cluster and would be used.
    #[serde(default)]
    pub valid_snapshot_available: bool,
    /// Whether an exported snapshot of the catalog exists and would be used.
    #[serde(default)]
    pub exported_catalog_available: bool,
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "a review is made in the install namespace");
    check_source(&mut checker);
    check_vault(&mut checker);
    checker.finish()
}
