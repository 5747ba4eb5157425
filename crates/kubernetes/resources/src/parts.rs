//! The pieces that the specs and statuses of several kinds share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::{Timestamp, Unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A moment as our objects carry it: RFC 3339 in UTC, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            self.0.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor));
        write!(f, "{}", seconds.unwrap_or(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

/// What lets another installation import exports. Whoever reads it can read them, and so it is never printed.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReceiveString(pub String);

impl fmt::Debug for ReceiveString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiveString(…)")
    }
}

impl JsonSchema for ReceiveString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReceiveString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 65536 })
    }
}

/// Names an object in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub struct ObjectReference {
    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Namespace of the object.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Names an object whose namespace is given by the context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocalReference {
    /// Name of the object.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// Names what an action acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// API version of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the subject.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Namespace of the subject.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Narrows which resources are captured or restored. First include, then exclude.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Filters {
    /// If any are given, only resources that match one of them.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_resources: Vec<FilterEntry>,
    /// Resources that match one of them are left out.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_resources: Vec<FilterEntry>,
    /// Virtual machine policies only: further resources; each entry must name the resource type.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_extra_resources: Vec<FilterEntry>,
    /// Virtual machine policies only: further resources left out.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_extra_resources: Vec<FilterEntry>,
    /// Cluster-scoped resources: if any are given, only those that match one of them.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_cluster_resources: Vec<FilterEntry>,
    /// Cluster-scoped resources that match one of them are left out.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_cluster_resources: Vec<FilterEntry>,
}

/// Narrows which cluster-scoped resources are captured or restored. First include, then exclude.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFilters {
    /// If any are given, only resources that match one of them.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_cluster_resources: Vec<FilterEntry>,
    /// Resources that match one of them are left out.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_cluster_resources: Vec<FilterEntry>,
}

/// Matches resources. What is empty matches any; the group `core` is the empty group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilterEntry {
    /// API group.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// API version.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Resource, in the plural.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Name of the object.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels that the object must carry, all of them.
    #[schemars(extend("maxProperties" = 50))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Another spelling of matchLabels, in use with virtual machines.
    #[schemars(extend("maxProperties" = 50))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Blueprint actions that run around an action.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Runs before the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_hook: Option<BlueprintHook>,
    /// Runs after the action succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<BlueprintHook>,
    /// Runs after the action failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<BlueprintHook>,
}

impl Hooks {
    pub fn is_empty(&self) -> bool {
        let Self { pre_hook, on_success, on_failure } = self;
        pre_hook.is_none() && on_success.is_none() && on_failure.is_none()
    }
}

/// An action of a blueprint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueprintHook {
    /// Name of the blueprint.
    #[schemars(length(max = 253))]
    pub blueprint: String,
    /// Name of the action in the blueprint.
    #[schemars(length(max = 253))]
    pub action_name: String,
}

/// Who asked for an object, as the API server authenticated them. Never taken from a client's body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Requester {
    /// Name of the user.
    pub name: String,
    /// Unique id of the user, if the authenticator gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else the authenticator said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}
