//! Whose an APIService with a name of ours is. Pure.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

const AVAILABLE: &str = "Available";

/// Where a Service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service '{}/{}'", self.namespace, self.name)
    }
}

/// Whose it is, and so what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// It leads to our Service.
    Ours,
    /// An installation before us left it, and nobody answers any more: ours to take over or to remove.
    Leftover,
    /// Somebody else serves the group, or is about to: not ours to touch.
    Foreign { by: String },
    /// It is of our namespace, and the cluster has not said yet whether it is answered.
    Undecided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Availability {
    Answered,
    Unanswered,
    Unknown,
}

/// `service_is_there`: whether the Service that it names exists.
pub(super) fn judge(found: &APIService, ours: &Address, service_is_there: bool) -> Claim {
    let Some(at) = address_of(found) else {
        return Claim::Foreign { by: "the cluster's own custom resources".to_owned() };
    };
    if at == *ours {
        return Claim::Ours;
    }
    match availability_of(found) {
        Availability::Answered => Claim::Foreign { by: at.to_string() },
        Availability::Unanswered | Availability::Unknown if !service_is_there => Claim::Leftover,
        // The namespace is ours: so is what stopped to answer there.
        Availability::Unanswered if at.namespace == ours.namespace => Claim::Leftover,
        Availability::Unknown if at.namespace == ours.namespace => Claim::Undecided,
        Availability::Unanswered | Availability::Unknown => Claim::Foreign { by: at.to_string() },
    }
}

/// None where no Service answers but the API server itself.
pub(super) fn address_of(found: &APIService) -> Option<Address> {
    let service = found.spec.as_ref()?.service.as_ref()?;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Some(Address { namespace: text(&service.namespace), name: text(&service.name) })
}

/// Whether its Service is in this namespace.
pub(super) fn is_in(found: &APIService, namespace: &str) -> bool {
    address_of(found).is_some_and(|at| at.namespace == namespace)
}

fn availability_of(found: &APIService) -> Availability {
    let conditions =
        found.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == AVAILABLE).map(|it| it.status.as_str()) {
        Some("True") => Availability::Answered,
        Some("False") => Availability::Unanswered,
        Some(_) | None => Availability::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(
        service: Option<(&str, &str)>,
        available: Option<&str>,
        service_is_there: bool,
        expected: &Claim,
    ) {
        let service =
            service.map(|(namespace, name)| json!({ "namespace": namespace, "name": name, "port": 443 }));
        let conditions: Vec<_> =
            available.iter().map(|status| json!({ "type": "Available", "status": status })).collect();
        let found = json!({
            "metadata": { "name": "v1alpha1.vault.kio.kasten.io" },
            "spec": { "groupPriorityMinimum": 1, "versionPriority": 1, "service": service },
            "status": { "conditions": conditions },
        });
        let ours = Address { namespace: "kasten-io".to_owned(), name: "keelson-api".to_owned() };
        let found = serde_json::from_value(found).unwrap();
        assert_eq!(judge(&found, &ours, service_is_there), *expected);
    }

    #[test]
    fn ours_is_what_leads_to_our_service_whether_it_is_answered_or_not() {
        for available in [None, Some("True"), Some("False")] {
            for service_is_there in [false, true] {
                check(Some(("kasten-io", "keelson-api")), available, service_is_there, &Claim::Ours);
            }
        }
    }

    #[test]
    fn what_somebody_answers_is_never_taken() {
        let foreign = |by: &str| Claim::Foreign { by: by.to_owned() };
        for service_is_there in [false, true] {
            let before = Some(("kasten-io", "aggregatedapis-svc"));
            check(before, Some("True"), service_is_there, &foreign("Service 'kasten-io/aggregatedapis-svc'"));
            let elsewhere = Some(("other", "keelson-api"));
            check(elsewhere, Some("True"), service_is_there, &foreign("Service 'other/keelson-api'"));
            check(None, Some("True"), service_is_there, &foreign("the cluster's own custom resources"));
            check(None, None, service_is_there, &foreign("the cluster's own custom resources"));
        }
    }

    #[test]
    fn what_nobody_answers_is_left_over_where_its_service_is_gone_or_in_our_namespace() {
        let before = Some(("kasten-io", "aggregatedapis-svc"));
        check(before, Some("False"), true, &Claim::Leftover);
        check(before, Some("False"), false, &Claim::Leftover);
        check(before, None, false, &Claim::Leftover);
        check(before, None, true, &Claim::Undecided);
        check(before, Some("Unknown"), true, &Claim::Undecided);
        check(Some(("other", "gone")), Some("False"), false, &Claim::Leftover);
        let starts = Claim::Foreign { by: "Service 'other/starts'".to_owned() };
        check(Some(("other", "starts")), Some("False"), true, &starts);
        check(Some(("other", "starts")), None, true, &starts);
    }
}
