//! By whose rights a restore writes.

use std::collections::HashMap;
use std::sync::Mutex;

use super::failure::{ObjectError, Stop};
use super::{RestoreRequest, lock};
use crate::cluster::Cluster;
use crate::configuration::SubjectReview;
use crate::impersonation::{Impersonation, Requester};
use crate::kinds::{Kind, Scope};
use crate::names::NamespaceName;

/// A restore does what its requester may do.
#[derive(Debug, Clone)]
pub enum Authority {
    /// Our own rights: for what nobody asked for in person.
    Platform,
    /// The API server judges each write as the requester's own.
    OnBehalfOf(Impersonation),
    /// For requesters whose name may not be borrowed: each kind of write is reviewed before the first of them.
    Reviewed(Requester),
}

/// Remembers what the API server said about a requester.
pub(super) struct Reviews<'a> {
    cluster: &'a Cluster,
    request: &'a RestoreRequest,
    known: Mutex<HashMap<(&'static str, String), bool>>,
}

impl<'a> Reviews<'a> {
    pub(super) fn new(cluster: &'a Cluster, request: &'a RestoreRequest) -> Self {
        Self { cluster, request, known: Mutex::default() }
    }

    pub(super) fn impersonation(&self) -> Option<&'a Impersonation> {
        match &self.request.authority {
            Authority::OnBehalfOf(impersonation) => Some(impersonation),
            Authority::Platform | Authority::Reviewed(_) => None,
        }
    }

    /// By whose name a refusal is told.
    pub(super) fn user(&self) -> &'a str {
        match &self.request.authority {
            Authority::Platform => "keelson",
            Authority::OnBehalfOf(impersonation) => impersonation.user(),
            Authority::Reviewed(requester) => &requester.user,
        }
    }

    /// Whether the requester may write objects of this kind like this.
    pub(super) async fn check(&self, verb: &'static str, kind: &Kind) -> Result<(), Stop> {
        let Authority::Reviewed(requester) = &self.request.authority else { return Ok(()) };
        self.check_one(requester, verb, kind).await?;
        // The API server asks for these by itself, but of us and not of the requester.
        match kind.kind.as_str() {
            "Role" | "ClusterRole" if verb != "delete" => self.check_one(requester, "escalate", kind).await,
            // Binding rights names a role; being allowed to bind any role is asked for, which is more, not less.
            "RoleBinding" if verb != "delete" => {
                let roles = Kind::namespaced("rbac.authorization.k8s.io/v1", "Role", "roles");
                let cluster_roles = Kind { resource: "clusterroles".to_owned(), ..roles.clone() };
                self.check_one(requester, "bind", &roles).await?;
                self.check_one(requester, "bind", &cluster_roles).await
            }
            "ClusterRoleBinding" if verb != "delete" => {
                let roles = Kind::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles");
                self.check_one(requester, "bind", &roles).await
            }
            _ => Ok(()),
        }
    }

    async fn check_one(&self, requester: &Requester, verb: &'static str, kind: &Kind) -> Result<(), Stop> {
        let key = (verb, kind.resource_name());
        let known = lock(&self.known).get(&key).copied();
        let allowed = match known {
            Some(allowed) => allowed,
            None => {
                let allowed = self.review(requester, verb, kind).await?;
                lock(&self.known).insert(key, allowed);
                allowed
            }
        };
        if allowed {
            return Ok(());
        }
        let (user, resource) = (requester.user.clone(), kind.resource_name());
        Err(ObjectError::Denied { user, verb, resource }.into())
    }

    async fn review(&self, requester: &Requester, verb: &'static str, kind: &Kind) -> Result<bool, Stop> {
        let namespace = self.request.scope.target().filter(|_| kind.scope == Scope::Namespaced);
        let review = SubjectReview {
            requester,
            verb,
            group: &kind.group,
            resource: &kind.resource,
            subresource: "",
            namespace: namespace.map_or("", NamespaceName::as_str),
            name: "",
        };
        let decision = self.cluster.subject_access_review(&review).await;
        Ok(decision.map_err(|source| ObjectError::Request { source })?.is_allowed())
    }
}
