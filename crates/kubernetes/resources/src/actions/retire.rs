//! `RetireAction`: removes what a restore point content stands for. Made by the platform only.

use keelson_model::names::group;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ActionStatus;
use crate::kind::{ALL_BUT_CREATE, CATEGORIES, CREATED_AT, NAME, PROGRESS, STATE};
use crate::kind::{KindInfo, ResourceScope, no_references, no_rules};
use crate::parts::Time;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::ACTIONS,
    version: group::VERSION,
    kind: "RetireAction",
    plural: "retireactions",
    singular: "retireaction",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_BUT_CREATE,
    columns: &[NAME, CREATED_AT, STATE.wide(), PROGRESS.wide()],
    field_selectors: &["metadata.name", "status.state"],
    details: true,
    schema: || {
        object_schema::<RetireActionSpec, RetireActionStatus>(
            "RetireAction removes what a restore point content stands for.",
        )
    },
    references: no_references,
    check: no_rules,
};

/// What is retired; the labels name the application and the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetireActionSpec {
    /// The time of the schedule whose restore point is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Time>,
}

/// How far the retirement is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetireActionStatus {
    #[serde(flatten)]
    pub action: ActionStatus,
}
