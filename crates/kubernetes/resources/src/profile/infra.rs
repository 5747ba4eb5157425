//! Infrastructure profiles: what the platform may use beside the cluster itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Credential, rules};
use crate::schema::open_object;

/// What the platform may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::INFRA))]
#[serde(rename_all = "camelCase")]
pub struct Infra {
    /// The infrastructure.
    pub r#type: InfraType,
    /// How the platform signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// For type AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsInfra>,
    /// For type Azure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureInfra>,
    /// For type GCP.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub gcp: Value,
    /// For type OpenStack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_stack: Option<OpenStackInfra>,
    /// For type Portworx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portworx: Option<PortworxInfra>,
    /// For type VSphere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsphere: Option<VsphereInfra>,
}

/// An infrastructure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InfraType {
    #[serde(rename = "AWS")]
    Aws,
    Azure,
    #[serde(rename = "GCP")]
    Gcp,
    OpenStack,
    Portworx,
    VSphere,
}

/// What is granted in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AwsInfra {
    /// Block storage may be used.
    #[serde(rename = "hasAccessForEBS", default, skip_serializing_if = "Option::is_none")]
    pub has_access_for_ebs: Option<bool>,
    /// File storage may be used.
    #[serde(rename = "hasAccessForEFS", default, skip_serializing_if = "Option::is_none")]
    pub has_access_for_efs: Option<bool>,
}

/// Where to work in Azure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureInfra {
    /// The subscription.
    #[serde(rename = "subscriptionID")]
    #[schemars(length(min = 1, max = 128))]
    pub subscription_id: String,
    /// The resource group.
    #[schemars(length(min = 1, max = 128))]
    pub resource_group: String,
    /// The cloud.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_env: Option<String>,
    /// The directory's endpoint.
    #[serde(rename = "ADEndpoint", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub ad_endpoint: Option<String>,
    /// The directory's resource.
    #[serde(rename = "ADResource", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub ad_resource: Option<String>,
    /// The resource manager's endpoint.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_manager_endpoint: Option<String>,
    /// Uses the identity of the node; needs no Secret.
    #[serde(rename = "useDefaultMSI", default, skip_serializing_if = "Option::is_none")]
    pub use_default_msi: Option<bool>,
    /// Filled in by the platform.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_type: Option<String>,
}

/// Where to sign in to OpenStack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenStackInfra {
    /// The URL of Keystone.
    #[schemars(length(min = 1, max = 1024))]
    pub keystone_endpoint: String,
}

/// Where Portworx runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortworxInfra {
    /// Its namespace.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its service.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_name: String,
}

/// Where vSphere runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsphereInfra {
    /// The server.
    #[schemars(length(min = 1, max = 253))]
    pub server_address: String,
}
