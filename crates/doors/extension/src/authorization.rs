//! Whether a requester may touch what a new object refers to.
//!
//! The API server has authorized the request itself before it handed it on. It cannot know that a spec names a
//! restore point, a profile or a namespace that the requester may not reach: each of them is reviewed here, so that a
//! tenant cannot make the platform read or write for him.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use keelson_model::{Classified, ErrorClass};
use keelson_protection::{Requester, User};
use keelson_resources::Reference;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::limits::{REVIEW_TTL, REVIEWS_KEPT_MAX};

/// The API server did not answer a review.
#[derive(Debug, thiserror::Error)]
#[error("review whether '{user}' may {verb} {resource} '{name}'")]
pub(crate) struct ReviewAccessError {
    user: String,
    verb: &'static str,
    resource: &'static str,
    name: String,
    #[source]
    source: Box<kube::Error>,
}

impl Classified for ReviewAccessError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable { retry_after: None }
    }

    fn code(&self) -> &'static str {
        "extension.review_access"
    }
}

/// What the API server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Denied,
}

/// Asks the API server, and remembers its grants for a moment.
pub(crate) struct AccessReviews {
    client: Client,
    grants: Mutex<HashMap<String, Timestamp>>,
}

impl AccessReviews {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, grants: Mutex::new(HashMap::new()) }
    }

    /// Whether the requester may use what a spec refers to.
    pub(crate) async fn review(
        &self,
        requester: &Requester,
        reference: &Reference,
        now: Timestamp,
    ) -> Result<Verdict, ReviewAccessError> {
        let spec = review_spec(requester, reference);
        // The whole question is the key: nothing that the answer depends on can be left out of it.
        let question = serde_json::to_string(&spec).expect("a review is strings");
        if self.is_granted(&question, now) {
            return Ok(Verdict::Allowed);
        }
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer =
            reviews.create(&PostParams::default(), &review).await.map_err(|source| ReviewAccessError {
                user: requester.name().to_owned(),
                verb: reference.verb.as_str(),
                resource: reference.resource,
                name: reference.name.clone().unwrap_or_default(),
                source: Box::new(source),
            })?;
        let granted = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        if !granted {
            return Ok(Verdict::Denied);
        }
        self.keep(question, now);
        Ok(Verdict::Allowed)
    }

    fn is_granted(&self, question: &str, now: Timestamp) -> bool {
        self.lock().get(question).is_some_and(|until| now < *until)
    }

    fn keep(&self, question: String, now: Timestamp) {
        let mut grants = self.lock();
        if grants.len() >= REVIEWS_KEPT_MAX {
            grants.retain(|_, until| now < *until);
        }
        if grants.len() < REVIEWS_KEPT_MAX {
            grants.insert(question, now.saturating_add(REVIEW_TTL).unwrap_or(now));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Timestamp>> {
        self.grants.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn review_spec(requester: &Requester, reference: &Reference) -> SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let User { name, uid, groups, extra } = requester.to_user();
    SubjectAccessReviewSpec {
        user: some(&name),
        uid: some(&uid),
        groups: (!groups.is_empty()).then_some(groups),
        extra: (!extra.is_empty()).then_some(extra),
        resource_attributes: Some(ResourceAttributes {
            verb: some(reference.verb.as_str()),
            group: some(reference.group),
            version: some("*"),
            resource: some(reference.resource),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}
