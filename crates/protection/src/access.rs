//! Whether somebody may have what an action names: asked at creation by the door, and again when it is carried out.
//!
//! Rights may be taken away while an action waits. Children of a policy run are not asked for: they do what the policy
//! says, and who may run a policy and use what it names was asked of the run. Nothing of before a recovery is carried out
//! after it, so that no requester of another cluster is ever asked about.

use keelson_model::names::{group, label};
use keelson_model::{Classified, ErrorClass};
use keelson_resources::{Reference, Verb, kind_of_row};
use keelson_workload::{RequestError, SubjectReview};
use serde_json::json;

use crate::engine::Job;
use crate::platform::Platform;
use crate::records::Record;
use crate::requester::Requester;

/// What an action names is not for its requester, or the API server did not say.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("user '{user}' may not {verb} {resource} '{name}'{}", place(namespace))]
    Denied { user: String, verb: &'static str, resource: &'static str, name: String, namespace: String },
    #[error(
        "user '{user}' may not restore what was captured in namespace '{captured}' elsewhere: \
         it holds Secrets that the user may not read"
    )]
    Elsewhere { user: String, captured: String },
    #[error("review what user '{user}' may do")]
    Review { user: String, source: RequestError },
}

fn place(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in namespace '{namespace}'") }
}

impl Classified for AccessError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Denied { .. } | Self::Elsewhere { .. } => ErrorClass::Denied,
            Self::Review { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "access.denied",
            Self::Elsewhere { .. } => "access.elsewhere",
            Self::Review { .. } => "access.review",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere { captured, .. } => Some(format!(
                "grant 'get secrets' in namespace '{captured}', or 'get restorepointcontents' for the content"
            )),
            Self::Denied { .. } | Self::Review { .. } => None,
        }
    }
}

/// Reviews every reference of an action for whoever asked for it.
pub(crate) async fn check_action(job: &Job) -> Result<(), AccessError> {
    if job.action.labels.contains_key(label::RUN_ACTION_NAME) {
        return Ok(());
    }
    check_references(&job.platform, &job.requester(), &job.action).await
}

/// Reviews every reference of what was asked for.
pub(crate) async fn check_references(
    platform: &Platform,
    requester: &Requester,
    asked: &Record,
) -> Result<(), AccessError> {
    let Some(kind) = kind_of_row(asked.kind.as_str()) else { return Ok(()) };
    let object = json!({
        "metadata": { "namespace": asked.namespace, "name": asked.name },
        "spec": asked.body.spec,
    });
    for reference in (kind.references)(&object, &platform.settings.install_namespace) {
        check_reference(platform, requester, reference).await?;
    }
    Ok(())
}

/// Reviews what shows only when the work is done.
pub(crate) async fn check_reference(
    platform: &Platform,
    requester: &Requester,
    reference: Reference,
) -> Result<(), AccessError> {
    if may(platform, requester, &reference).await? {
        return Ok(());
    }
    Err(AccessError::Denied {
        user: requester.name().to_owned(),
        verb: reference.verb.as_str(),
        resource: reference.resource,
        name: reference.name.unwrap_or_default(),
        namespace: reference.namespace.unwrap_or_default(),
    })
}

/// A run writes through the profiles that its policy names. In the install namespace an administrator named them; elsewhere
/// whoever may write policies did, and a run is only for those who may read the profiles.
pub(crate) async fn check_run(
    platform: &Platform,
    requester: &Requester,
    namespace: &str,
    profiles: Vec<&str>,
) -> Result<(), AccessError> {
    let install_namespace = &platform.settings.install_namespace;
    if namespace == install_namespace {
        return Ok(());
    }
    for profile in profiles {
        let reference = Reference::read(group::CONFIG, "profiles", install_namespace, profile);
        check_reference(platform, requester, reference).await?;
    }
    Ok(())
}

/// A restore into another namespace shows what was captured to whoever reads there: for whom that is, see
/// `docs/decisions/0014-who-may-restore-elsewhere.md`.
pub(crate) async fn check_restore(
    platform: &Platform,
    requester: &Requester,
    content: &Record,
    target: &str,
) -> Result<(), AccessError> {
    let captured = content.label(label::APP_NAMESPACE);
    if captured == target {
        return Ok(());
    }
    let of_content = Reference {
        verb: Verb::Get,
        group: group::APPS,
        resource: "restorepointcontents",
        namespace: None,
        name: Some(content.name.clone()),
    };
    if may_read_secrets(platform, requester, captured).await? || may(platform, requester, &of_content).await?
    {
        return Ok(());
    }
    Err(AccessError::Elsewhere { user: requester.name().to_owned(), captured: captured.to_owned() })
}

/// Whether somebody may read every Secret of a namespace.
pub(crate) async fn may_read_secrets(
    platform: &Platform,
    requester: &Requester,
    namespace: &str,
) -> Result<bool, AccessError> {
    let secrets = Reference {
        verb: Verb::Get,
        group: "",
        resource: "secrets",
        namespace: Some(namespace.to_owned()),
        name: None,
    };
    may(platform, requester, &secrets).await
}

/// What the platform does by itself needs no right of anybody's.
async fn may(platform: &Platform, requester: &Requester, reference: &Reference) -> Result<bool, AccessError> {
    let Requester::User(user) = requester else { return Ok(true) };
    let asked: keelson_workload::Requester = user.clone().into();
    let review = SubjectReview {
        requester: &asked,
        verb: reference.verb.as_str(),
        group: reference.group,
        resource: reference.resource,
        subresource: "",
        namespace: reference.namespace.as_deref().unwrap_or_default(),
        name: reference.name.as_deref().unwrap_or_default(),
    };
    let decision = platform.cluster.subject_access_review(&review).await;
    let failed = |source| AccessError::Review { user: requester.name().to_owned(), source };
    Ok(decision.map_err(failed)?.is_allowed())
}
