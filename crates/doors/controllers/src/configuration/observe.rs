//! Reads what the decision about an object of configuration needs.

use keelson_resources::configuration::{Around, ConfigurationStatus};
use kube::core::DynamicObject;
use serde::Deserialize;

use super::Context;
use crate::looks::Look;
use crate::subject::{Subject, reference};

/// An object and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    pub subject: Subject,
    /// What the status says now; nothing where it is malformed.
    pub status: ConfigurationStatus,
    pub basis: Basis,
    pub last: Option<Look<Basis>>,
}

/// What a verdict rests on, and the verdict: reaching it costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub uid: String,
    pub hash: u32,
    pub faults: Vec<String>,
}

pub(super) fn observe(context: &Context, object: &DynamicObject) -> Observed {
    let object_json = plain(object);
    let around = Around {
        install_namespace: context.platform.settings().install_namespace.clone(),
        objects: context
            .around
            .iter()
            .map(|(kind, store)| (*kind, store.state().iter().map(|object| plain(object)).collect()))
            .collect(),
    };
    let faults = (context.validation.check)(&object_json, &around);
    let subject = Subject::of(object_json);
    Observed {
        status: ConfigurationStatus::deserialize(&subject.object["status"]).unwrap_or_default(),
        basis: Basis { uid: subject.uid.clone(), hash: subject.hash, faults },
        last: context.looks.last(&reference(object, &context.resource)),
        subject,
    }
}

fn plain(object: &DynamicObject) -> serde_json::Value {
    serde_json::to_value(object).expect("an object of the cluster is plain JSON")
}
