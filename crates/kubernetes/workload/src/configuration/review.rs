//! Asks the API server what somebody may do.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::impersonation::Requester;
use crate::kinds::Kind;
use crate::request::{Call, Content, RequestError, Verb};

/// May this requester do this? Empty texts are left out: an empty name means all objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectReview<'a> {
    pub requester: &'a Requester,
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessDecision {
    Allowed,
    /// With the authorizer's reason, which may be empty.
    Denied {
        reason: String,
    },
}

impl AccessDecision {
    pub fn is_allowed(&self) -> bool {
        *self == Self::Allowed
    }
}

impl Cluster {
    pub async fn subject_access_review(
        &self,
        review: &SubjectReview<'_>,
    ) -> Result<AccessDecision, RequestError> {
        let kind = Kind::cluster("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews");
        let body = review_body(&kind, review).to_string();
        let url = "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned();
        let call = Call::new(Verb::Create, &kind, url).body(Content::Json, body);
        let answer: Value = self.wire().send_json(&call).await?;
        if answer["status"]["allowed"] == true {
            return Ok(AccessDecision::Allowed);
        }
        Ok(AccessDecision::Denied {
            reason: answer["status"]["reason"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

fn review_body(kind: &Kind, review: &SubjectReview<'_>) -> Value {
    let SubjectReview { requester, verb, group, resource, subresource, namespace, name } = review;
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "spec": {
            "user": requester.user,
            "uid": requester.uid,
            "groups": requester.groups,
            "extra": requester.extra,
            "resourceAttributes": {
                "verb": verb,
                "group": group,
                "version": "*",
                "resource": resource,
                "subresource": subresource,
                "namespace": namespace,
                "name": name,
            },
        },
    })
}
