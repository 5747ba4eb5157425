//! `Profile`: a location for backups, or the credentials of an infrastructure. A custom resource.

mod infra;
mod parse;
mod rules;

#[cfg(test)]
mod tests;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use infra::{AwsInfra, AzureInfra, Infra, InfraType, OpenStackInfra, PortworxInfra, VsphereInfra};
pub use parse::{ParsedProfile, health_of, parse};

/// A location for backups, or the credentials of an infrastructure.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "Profile",
    plural = "profiles",
    namespaced,
    status = "ProfileStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "Profile is a location for backups, or the credentials of an infrastructure.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be no more than 63 characters: what is exported bears it as a label")
)]
#[schemars(extend("x-kubernetes-validations" = rules::PROFILE_SPEC))]
#[serde(rename_all = "camelCase")]
pub struct ProfileSpec {
    /// What the profile is for.
    pub r#type: ProfileType,
    /// Where backups lie; for type Location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location_spec: Option<Location>,
    /// What the platform may use; for type Infra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infra: Option<Infra>,
}

/// What a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProfileType {
    Location,
    Infra,
}

/// Where backups lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::LOCATION))]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// The kind of location.
    pub r#type: LocationType,
    /// How the platform signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
    /// A bucket or container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStore>,
    /// A directory on a shared volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_store: Option<FileStore>,
    /// A Veeam repository. Holds volume data only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vbr: Option<Vbr>,
    /// Makes every portable export through this profile one that any infrastructure can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infra_portable: Option<bool>,
}

/// The kind of location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LocationType {
    ObjectStore,
    FileStore,
    #[serde(rename = "VBR")]
    Vbr,
}

/// How the platform signs in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// What the Secret holds: AwsAccessKey, GcpServiceAccountKey, AzStorageAccount and others.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secret_type: String,
    /// The Secret.
    #[serde(default, skip_serializing_if = "SecretRef::is_empty")]
    pub secret: SecretRef,
}

/// Names a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// v1.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Secret, in any case.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace of the Secret; that of the profile if empty.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

impl SecretRef {
    fn is_empty(&self) -> bool {
        let Self { api_version, kind, name, namespace } = self;
        [api_version, kind, name, namespace].iter().all(|text| text.is_empty())
    }
}

/// A bucket or container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::OBJECT_STORE))]
#[serde(rename_all = "camelCase")]
pub struct ObjectStore {
    /// The protocol or provider.
    pub object_store_type: ObjectStoreType,
    /// The bucket or container.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The region of the bucket; empty where there are none.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The URL of a store that only speaks the provider's protocol.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Accepts any certificate of the endpoint.
    #[serde(rename = "skipSSLVerify", default, skip_serializing_if = "Option::is_none")]
    pub skip_ssl_verify: Option<bool>,
    /// The root of the backups in the bucket.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How path is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_type: Option<PathType>,
    /// How long each object is immutable, as a duration of whole days: 168h0m0s. Absent means not at all.
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection_period: Option<String>,
}

/// How a path is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    Directory,
}

/// The protocol or provider of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ObjectStoreType {
    S3,
    #[serde(rename = "GCS")]
    Gcs,
    #[serde(rename = "AZ")]
    Az,
    Azure,
    VeeamVaultAzure,
    #[serde(rename = "VeeamVaultAWS")]
    VeeamVaultAws,
    VeeamVault,
}

/// A directory on a shared volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::FILE_STORE))]
#[serde(rename_all = "camelCase")]
pub struct FileStore {
    /// The claim in the install namespace; ReadWriteMany.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The root of the backups below the claim's root.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The group that files are written with; path must then be a directory it may write to.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplemental_group: Option<i64>,
}

/// A Veeam repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vbr {
    /// The server.
    #[schemars(length(min = 1, max = 253))]
    pub server_address: String,
    /// The server's port.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_port: Option<i32>,
    /// The repository.
    #[schemars(length(min = 1, max = 253))]
    pub repo_name: String,
    /// Accepts any certificate of the server.
    #[serde(rename = "skipSSLVerify", default, skip_serializing_if = "Option::is_none")]
    pub skip_ssl_verify: Option<bool>,
    /// Filled in by the platform.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<String>,
    /// Filled in by the platform.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_type: Option<String>,
}

/// What validating the profile found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileStatus {
    /// Success, Failed or Pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Vec<String>>,
    /// The hash of the spec that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<i64>,
    /// Whether the location cannot be written to, which is enough to import and restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// The generation that was validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The same and more for tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<crate::condition::Condition>,
}
