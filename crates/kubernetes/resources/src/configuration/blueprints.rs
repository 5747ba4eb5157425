//! `BlueprintBinding`: which resources a blueprint is for. Stored and validated; no blueprint is run.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, SUCCESS, Validation, check_name, spec_of};
use crate::cel::Rules;
use crate::parts::ObjectReference;
use crate::policy::MatchOperator;

pub(super) const VALIDATION: Validation = Validation {
    looks_at: &[],
    check,
    sound: SUCCESS,
    unused: Some("this version runs no blueprints"),
    type_of: None,
};

const RESOURCES: Rules = Rules(&[(
    "(has(self.matchAll) && size(self.matchAll) > 0) || (has(self.matchAny) && size(self.matchAny) > 0)",
    "matchAll or matchAny needs at least one requirement",
)]);

const REQUIREMENT: Rules = Rules(&[(
    "[has(self.type), has(self.__namespace__), has(self.annotations), has(self.labels)].filter(given, given).size() == 1",
    "a requirement is exactly one of type, namespace, annotations and labels",
)]);

const VALUES_NEEDED: &str = "In and NotIn need values";
const VALUES_EMPTY: &str = "Exists and DoesNotExist take no values";

const KEYED: Rules = Rules(&[
    (
        "self.operator in ['Exists', 'DoesNotExist'] || (has(self.values) && size(self.values) > 0)",
        VALUES_NEEDED,
    ),
    (
        "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
        VALUES_EMPTY,
    ),
]);

const OF_TYPE: Rules = Rules(&[(
    "self.values.all(value, has(value.group) || has(value.version) || has(value.resource) || has(value.name))",
    "each value needs at least one of group, version, resource and name",
)]);

/// Which resources a blueprint is for.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "BlueprintBinding",
    plural = "blueprintbindings",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "BlueprintBinding says which resources a blueprint is for. It is stored and validated only: this version runs no \
           blueprints.",
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BlueprintBindingSpec {
    /// Whether the binding counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The blueprint.
    pub blueprint_ref: ObjectReference,
    /// The resources.
    pub resources: BoundResources,
}

/// Resources that meet all requirements of matchAll and, if there are any, at least one of matchAny.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = RESOURCES))]
#[serde(rename_all = "camelCase")]
pub struct BoundResources {
    /// Requirements, all of which a resource must meet.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_all: Vec<Requirement>,
    /// Requirements, one of which a resource must meet.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_any: Vec<Requirement>,
}

/// Exactly one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = REQUIREMENT))]
pub struct Requirement {
    /// What the resource is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<TypeRequirement>,
    /// Where the resource is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceRequirement>,
    /// An annotation of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<KeyedRequirement>,
    /// A label of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<KeyedRequirement>,
}

/// What the resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = OF_TYPE))]
pub struct TypeRequirement {
    /// How the values are compared.
    pub operator: MembershipOperator,
    /// The resources.
    #[schemars(length(min = 1, max = 64))]
    pub values: Vec<ResourceValue>,
}

/// Names resources. What is not given matches any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResourceValue {
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
}

/// Where the resource is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceRequirement {
    /// How the values are compared.
    pub operator: MembershipOperator,
    /// The namespaces.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub values: Vec<String>,
}

/// An annotation or a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = KEYED))]
pub struct KeyedRequirement {
    /// Its key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the values are compared.
    pub operator: MatchOperator,
    /// The values; none for Exists and DoesNotExist.
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Whether a resource is among the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MembershipOperator {
    In,
    NotIn,
}

fn check(object: &Value, around: &Around) -> Vec<String> {
    let spec: BlueprintBindingSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = around.check_placement(object, "a blueprint binding");
    check_name("spec.blueprintRef.name", &spec.blueprint_ref.name, &mut faults);
    let BoundResources { match_all, match_any } = &spec.resources;
    if match_all.is_empty() && match_any.is_empty() {
        faults.push("spec.resources: matchAll or matchAny needs at least one requirement".to_owned());
    }
    for (list, requirements) in [("matchAll", match_all), ("matchAny", match_any)] {
        for (index, requirement) in requirements.iter().enumerate() {
            let fault = fault_of(requirement);
            faults.extend(fault.map(|fault| format!("spec.resources.{list}[{index}]: {fault}")));
        }
    }
    faults
}

fn fault_of(requirement: &Requirement) -> Option<&'static str> {
    match requirement {
        Requirement { r#type: Some(of), namespace: None, annotations: None, labels: None } => {
            let is_empty = |value: &ResourceValue| *value == ResourceValue::default();
            match of.values.as_slice() {
                [] => Some(VALUES_NEEDED),
                values if values.iter().any(is_empty) => Some(OF_TYPE.0[0].1),
                _ => None,
            }
        }
        Requirement { r#type: None, namespace: Some(of), annotations: None, labels: None } => {
            of.values.is_empty().then_some(VALUES_NEEDED)
        }
        Requirement { r#type: None, namespace: None, annotations: Some(of), labels: None }
        | Requirement { r#type: None, namespace: None, annotations: None, labels: Some(of) } => {
            match of.operator {
                MatchOperator::In | MatchOperator::NotIn => of.values.is_empty().then_some(VALUES_NEEDED),
                MatchOperator::Exists | MatchOperator::DoesNotExist => {
                    (!of.values.is_empty()).then_some(VALUES_EMPTY)
                }
            }
        }
        _ => Some(REQUIREMENT.0[0].1),
    }
}
