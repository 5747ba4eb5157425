//! Reads what the decision about a profile needs.

use keelson_model::names::DR_SECRET;
use keelson_resources::profile::ProfileStatus;
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::looks::Look;
use crate::subject::{Subject, reference};

/// A profile and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    pub subject: Subject,
    pub placement: Placement,
    /// What the status says now; nothing where it is malformed.
    pub status: ProfileStatus,
    pub basis: Basis,
    pub last: Option<Look<Basis>>,
}

/// What a verdict rests on besides the location itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub uid: String,
    pub hash: u32,
    /// The version of the Secret, if it is in the install namespace.
    pub credentials: Option<String>,
    /// The version of the Secret with the passphrase, for a profile of AWS: it may say in which region that is asked.
    pub passphrase: Option<String>,
}

/// Whether the profile is where profiles count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placement {
    Installed,
    Misplaced { install_namespace: String },
}

pub(super) fn observe(context: &Context, profile: &DynamicObject) -> Observed {
    let object = serde_json::to_value(profile).expect("an object of the cluster is plain JSON");
    let subject = Subject::of(object);
    let install_namespace = &context.platform.settings().install_namespace;
    let placement = if subject.at.namespace == *install_namespace {
        Placement::Installed
    } else {
        Placement::Misplaced { install_namespace: install_namespace.clone() }
    };
    Observed {
        placement,
        status: ProfileStatus::deserialize(&subject.object["status"]).unwrap_or_default(),
        basis: Basis {
            uid: subject.uid.clone(),
            hash: subject.hash,
            credentials: secret_version(context, &subject.object, install_namespace),
            passphrase: passphrase_version(context, &subject.object, install_namespace),
        },
        last: context.looks.last(&reference(profile, &context.resource)),
        subject,
    }
}

/// Reads leniently: a malformed profile is found out by validating it.
fn secret_version(context: &Context, object: &Value, install_namespace: &str) -> Option<String> {
    let spec = &object["spec"];
    let place = if spec["infra"].is_null() { &spec["locationSpec"] } else { &spec["infra"] };
    let secret = &place["credential"]["secret"];
    let named = secret["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    if named.is_some_and(|namespace| namespace != install_namespace) {
        return None;
    }
    let at = ObjectRef::new(secret["name"].as_str()?).within(install_namespace);
    context.secrets.get(&at)?.metadata.resource_version.clone()
}

fn passphrase_version(context: &Context, object: &Value, install_namespace: &str) -> Option<String> {
    if object["spec"]["infra"]["type"] != "AWS" {
        return None;
    }
    let at = ObjectRef::new(DR_SECRET).within(install_namespace);
    context.secrets.get(&at)?.metadata.resource_version.clone()
}
