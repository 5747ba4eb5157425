//! `AuditConfig`: where audit events are sent. Stored and validated; nothing is sent.

use keelson_model::location::{LocationSpec, ObjectStoreProvider, ProfileHealth};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, Validation, namespace_of, spec_of};
use crate::parts::ObjectReference;
use crate::profile;

pub(super) const VALIDATION: Validation = Validation {
    looks_at: &["Profile"],
    check,
    // "Success" is documented as: events are being sent.
    sound: "Pending",
    unused: Some("this version sends no audit events to a location"),
    type_of: None,
};

/// Where audit events are sent.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "AuditConfig",
    plural = "auditconfigs",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "AuditConfig says where audit events are sent. It is stored and validated only: this version sends none, and \
           status.validation of a valid one is Pending.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct AuditConfigSpec {
    /// The profile of the location, which must be of type S3; its namespace is that of this object if it is not given.
    pub profile: ObjectReference,
}

fn check(object: &Value, around: &Around) -> Vec<String> {
    let spec: AuditConfigSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = around.check_placement(object, "an audit configuration");
    let name = &spec.profile.name;
    let namespace = spec.profile.namespace.as_deref().unwrap_or_else(|| namespace_of(object));
    if namespace != around.install_namespace {
        let install = &around.install_namespace;
        faults.push(format!("spec.profile.namespace '{namespace}' is not '{install}', where profiles are"));
        return faults;
    }
    let Some(found) = around.find("Profile", namespace, name) else {
        faults.push(format!("there is no profile '{name}' in namespace '{namespace}'"));
        return faults;
    };
    let is_s3 = |location: &LocationSpec| match location {
        LocationSpec::ObjectStore(store) => store.provider == ObjectStoreProvider::S3,
        LocationSpec::FileStore(_) => false,
    };
    match profile::parse(found) {
        Ok(parsed) if parsed.health == ProfileHealth::Failed => {
            faults.push(format!("profile '{name}' is not valid"));
        }
        Ok(parsed) if parsed.location.as_ref().is_some_and(is_s3) => {}
        Ok(_) => faults.push(format!("profile '{name}' is no location of type S3, which audit events need")),
        Err(_) => faults.push(format!("profile '{name}' is not valid")),
    }
    faults
}
