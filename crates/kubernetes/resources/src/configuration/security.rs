//! `StorageSecurityContext` and its binding: as whom the files of a storage are read and written. Stored and validated;
//! no pod of ours uses them.

use std::collections::BTreeSet;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, SUCCESS, Validation, check_name, name_of, namespace_of, spec_of};
use crate::cel::Rules;
use crate::parts::LocalReference;

pub(super) const CONTEXT: Validation = Validation {
    looks_at: &[],
    check: check_context,
    sound: SUCCESS,
    unused: Some("this version runs no pods that mount an application's storage"),
    type_of: None,
};

pub(super) const BINDING: Validation = Validation {
    looks_at: &["StorageSecurityContext", "StorageSecurityContextBinding"],
    check: check_binding,
    sound: SUCCESS,
    unused: CONTEXT.unused,
    type_of: None,
};

const SUBJECT: Rules =
    Rules(&[("self.kind == 'Volume' || !has(self.__namespace__)", "namespace is for kind Volume only")]);

/// As whom the files of a storage are read and written.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "StorageSecurityContext",
    plural = "storagesecuritycontexts",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "StorageSecurityContext says as whom the files of a storage are read and written. It is stored and validated \
           only: this version runs no pods that mount an application's storage.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct StorageSecurityContextSpec {
    /// Users and groups.
    pub security: StorageSecurity,
}

/// The user and the groups of the processes that touch the files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSecurity {
    /// The user; on NFS and SMB also the owner of restored files.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// The group; on NFS and SMB also that of restored files.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<i64>,
    /// Further groups.
    #[schemars(length(max = 64), inner(range(min = 0, max = 2_147_483_647)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplemental_groups: Vec<i64>,
}

/// Which storages a context is for.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "StorageSecurityContextBinding",
    plural = "storagesecuritycontextbindings",
    namespaced,
    status = "ConfigurationStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "StorageSecurityContextBinding says which storages a StorageSecurityContext is for. It is stored and validated \
           only: this version runs no pods that mount an application's storage.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct StorageSecurityContextBindingSpec {
    /// The context, in the same namespace.
    pub storage_security_context_ref: LocalReference,
    /// The storages.
    #[schemars(length(min = 1, max = 256))]
    pub subjects: Vec<StorageSubject>,
}

/// A storage, or all of one class or of one driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = SUBJECT))]
pub struct StorageSubject {
    /// What is named.
    pub kind: StorageSubjectKind,
    /// Name of the volume, the storage class or the driver.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the volume; for kind Volume only.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What a subject names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StorageSubjectKind {
    Volume,
    StorageClass,
    Provisioner,
}

impl StorageSubjectKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "Volume",
            Self::StorageClass => "StorageClass",
            Self::Provisioner => "Provisioner",
        }
    }
}

fn check_context(object: &Value, around: &Around) -> Vec<String> {
    match spec_of::<StorageSecurityContextSpec>(object) {
        Ok(_) => around.check_placement(object, "a storage security context"),
        Err(faults) => faults,
    }
}

fn check_binding(object: &Value, around: &Around) -> Vec<String> {
    let spec: StorageSecurityContextBindingSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = around.check_placement(object, "a storage security context binding");
    let (namespace, name) = (namespace_of(object), &spec.storage_security_context_ref.name);
    check_name("spec.storageSecurityContextRef.name", name, &mut faults);
    if faults.is_empty() && around.find("StorageSecurityContext", namespace, name).is_none() {
        faults.push(format!("there is no storage security context '{name}' in namespace '{namespace}'"));
    }
    let mut seen = BTreeSet::new();
    for (index, subject) in spec.subjects.iter().enumerate() {
        if subject.namespace.is_some() && subject.kind != StorageSubjectKind::Volume {
            faults.push(format!("spec.subjects[{index}].namespace is for kind Volume only"));
        }
        if !seen.insert(subject) {
            faults.push(format!("spec.subjects[{index}]: {} appears twice", told(subject)));
        }
    }
    // Both are told: which of them is meant, only a person knows.
    for (other, subject) in others(object, around).filter(|(_, subject)| seen.contains(subject)) {
        faults.push(format!("{} is bound by '{other}' too; a storage takes one of a kind", told(&subject)));
    }
    faults
}

/// What the other bindings that count name, each with its binding.
fn others<'a>(object: &'a Value, around: &'a Around) -> impl Iterator<Item = (&'a str, StorageSubject)> {
    let all = around.all("StorageSecurityContextBinding").iter();
    let others = all.filter(move |other| {
        namespace_of(other) == around.install_namespace
            && (namespace_of(other), name_of(other)) != (namespace_of(object), name_of(object))
    });
    others.flat_map(move |other| {
        let spec = spec_of::<StorageSecurityContextBindingSpec>(other);
        let subjects = spec.map(|spec| spec.subjects).unwrap_or_default();
        subjects.into_iter().map(move |subject| (name_of(other), subject))
    })
}

fn told(subject: &StorageSubject) -> String {
    let StorageSubject { kind, name, namespace } = subject;
    match namespace {
        Some(namespace) => format!("{} '{namespace}/{name}'", kind.as_str()),
        None => format!("{} '{name}'", kind.as_str()),
    }
}
