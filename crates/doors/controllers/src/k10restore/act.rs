//! Makes or removes one KastenDRRestore, as decided.

use keelson_model::names::annotation;
use keelson_resources::k10restore::{ASKED_ANNOTATION, HASH_ANNOTATION, is_ended};
use keelson_resources::recovery::RecoveryState;
use keelson_workload::{Cluster, Creation, RequestError};
use serde::Deserialize;
use serde_json::json;

use super::decide::{NewRecovery, Step};
use super::observe::{Requester, Trouble, recovery_kind};

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Created {
        uid: String,
    },
    /// Somebody has made one of that name since it was looked.
    Existed,
    Removed,
    Refused(Trouble),
}

pub(super) async fn act(cluster: &Cluster, namespace: &str, step: &Step) -> Outcome {
    let done = match step {
        Step::Create(new) => create(cluster, namespace, new).await,
        Step::Remove { name, uid } => remove(cluster, namespace, name, uid).await,
    };
    done.unwrap_or_else(|error| Outcome::Refused(Trouble::of(&error)))
}

async fn create(cluster: &Cluster, namespace: &str, new: &NewRecovery) -> Result<Outcome, RequestError> {
    let NewRecovery { name, asked_by, spec_hash, spec } = new;
    let Requester { uid, name: asked_name } = asked_by;
    let object = json!({
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {
                (annotation::REQUEST): uid,
                ASKED_ANNOTATION: asked_name,
                HASH_ANNOTATION: spec_hash.to_string(),
            },
        },
        "spec": spec,
    });
    Ok(match cluster.create_object(&recovery_kind(), &object).await? {
        Creation::Created(created) => {
            Outcome::Created { uid: created["metadata"]["uid"].as_str().unwrap_or_default().to_owned() }
        }
        Creation::Existed => Outcome::Existed,
    })
}

/// Only the one that was looked at: another of its name may be at work by now.
async fn remove(cluster: &Cluster, namespace: &str, name: &str, uid: &str) -> Result<Outcome, RequestError> {
    let kind = recovery_kind();
    if let Some(found) = cluster.read_object(&kind, Some(namespace), name).await? {
        let state = RecoveryState::deserialize(&found["status"]["state"]).unwrap_or_default();
        if found["metadata"]["uid"] == uid && is_ended(state) {
            cluster.delete_object(&kind, Some(namespace), name).await?;
        }
    }
    Ok(Outcome::Removed)
}
