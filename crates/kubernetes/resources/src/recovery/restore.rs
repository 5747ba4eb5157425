//! `KastenDRRestore`: brings a lost platform back from a location.

use keelson_model::names::group;
use keelson_model::recovery::DrPointId;
use keelson_model::skip::SkipResources;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CatalogState, RecoveryProgress, SourceClusterInfo, VaultAccess, check_source, check_vault,
    source_profile, vault_secrets,
};
use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, Column, NAME, STATE, STATE_FIELDS};
use crate::kind::{KindInfo, Reference, ResourceScope};
use crate::parts::ObjectReference;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::DR,
    version: group::VERSION,
    kind: "KastenDRRestore",
    plural: "kastendrrestores",
    singular: "kastendrrestore",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: ALL_VERBS,
    columns: &[
        NAME,
        Column::text("SourceClusterID", "/status/sourceClusterID", "The cluster that is brought back"),
        Column::text("Phase", "/status/phase", "What is being done"),
        STATE,
        Column::text("Error", "/status/error", "What went wrong"),
    ],
    field_selectors: STATE_FIELDS,
    details: false,
    schema: || {
        object_schema::<KastenDRRestoreSpec, KastenDRRestoreStatus>(
            "KastenDRRestore brings a lost platform back from a location.",
        )
    },
    references,
    check,
};

/// What is brought back: a point of a review, or the latest of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KastenDRRestoreSpec {
    /// A restore point of a review. Excludes sourceClusterInfo.
    #[serde(rename = "kastenDRReviewDetails", default, skip_serializing_if = "Option::is_none")]
    pub review_details: Option<KastenDRReviewDetails>,
    /// The latest restore point of a cluster, without a review. Excludes kastenDRReviewDetails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_info: Option<SourceClusterInfo>,
    /// What is left as it is: a comma list of profiles, policies and secrets.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_resources: Option<String>,
    /// Whether the backup is expected to be one of Quick DR, and what becomes of resources of the same name then. Without it
    /// the restore point decides, and what exists is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quick_mode: Option<QuickMode>,
    /// How Vault is reached, if it holds the passphrase; without it as the review says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultAccess>,
    /// Confirms that a catalog that already holds restore points is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_catalog: Option<bool>,
    /// Confirms a recovery from a location that does not hold what it is known to have held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_rollback: Option<bool>,
    /// Makes the catalog from what the exports in the location say of themselves, where nothing that disaster recovery
    /// shipped is left. Restore points come back, nothing else. Needs sourceClusterInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild_from_exports: Option<bool>,
    /// Bounds the whole restore.
    #[schemars(range(min = 1, max = 10080))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_minutes: Option<u32>,
}

/// What is said of Quick DR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuickMode {
    /// The restore point was made by Quick DR; one of another mode is refused. False expects a Legacy one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Confirms that resources of the same name are replaced by those that a Quick restore point holds. With enabled it
    /// must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_resources: Option<bool>,
}

/// A restore point of a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KastenDRReviewDetails {
    /// The review.
    #[serde(rename = "kastenDRReviewRef")]
    pub review_ref: ObjectReference,
    /// The id of the restore point in the review.
    #[schemars(length(max = 128))]
    pub id: String,
}

/// How far the recovery is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KastenDRRestoreStatus {
    #[serde(flatten)]
    pub progress: RecoveryProgress,
    /// The cluster that is brought back.
    #[serde(rename = "sourceClusterID", default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_id: Option<String>,
    /// The restore point that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<String>,
    /// The recovered catalog is in use, and not everything was put back when the restore ended: the next restore of the
    /// same cluster goes on from there, and so does the platform by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partly_done: Option<bool>,
    /// The generation that the catalog has since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The catalog as it was shipped and as it was rebuilt: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<CatalogState>,
    /// What was done, in order. Empty where the recovery went on after it was interrupted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<RecoveryStep>,
    /// Objects that were kept as they are, or could not be written, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One step of a recovery.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryStep {
    /// What the step did, for people.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

const REVIEW_REF: &str = "spec.kastenDRReviewDetails.kastenDRReviewRef";

fn references(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let review = object.pointer("/spec/kastenDRReviewDetails/kastenDRReviewRef/name").and_then(Value::as_str);
    let review =
        review.map(|name| Reference::read(group::DR, super::review::KIND.plural, install_namespace, name));
    let secrets = vault_secrets(object, install_namespace);
    source_profile(object, install_namespace).into_iter().chain(review).chain(secrets).collect()
}

fn check(object: &Value, install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.in_namespace(install_namespace, "a recovery is made in the install namespace");
    match (checker.is_set("spec.kastenDRReviewDetails"), checker.is_set("spec.sourceClusterInfo")) {
        (true, true) => {
            checker.forbidden("spec.sourceClusterInfo", "cannot be combined with kastenDRReviewDetails");
        }
        (false, false) => {
            checker.missing("spec.sourceClusterInfo", "either this or kastenDRReviewDetails is needed");
        }
        (true, false) => {
            checker.required_text(&format!("{REVIEW_REF}.name"));
            checker.profile_namespace(&format!("{REVIEW_REF}.namespace"), install_namespace);
            checker.required_text("spec.kastenDRReviewDetails.id");
            checker.parsed("spec.kastenDRReviewDetails.id", |text| text.parse::<DrPointId>().map(drop));
        }
        (false, true) => check_source(&mut checker),
    }
    if object.pointer("/spec/rebuildFromExports") == Some(&Value::Bool(true))
        && checker.is_set("spec.kastenDRReviewDetails")
    {
        checker.forbidden("spec.rebuildFromExports", "cannot be combined with kastenDRReviewDetails");
    }
    check_vault(&mut checker);
    checker.parsed("spec.skipResources", |text| text.parse::<SkipResources>().map(drop));
    checker.finish()
}
