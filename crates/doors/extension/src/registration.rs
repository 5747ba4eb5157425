//! Making ourselves known to the API server: one Service, one APIService for each group and version.
//!
//! An APIService without a server behind it leaves every terminating namespace of the cluster stuck. So it is applied
//! last, when the server answers, kept only while the data behind it can be read (`standing`), and removed by whoever
//! knows that no server will come back (`standing`, `guard`).

mod claim;
mod cluster;
mod guard;
mod lease;
mod standing;
mod told;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use keelson_model::names::annotation;
use keelson_model::{Classified, ErrorClass};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};

use crate::discovery::{GroupVersion, group_versions};
use crate::failure::{class_of, within};

use self::claim::{Address, Claim, judge};
use self::cluster::absent_is_fine;

pub use self::guard::{Guard, GuardTimes, RemoveError};
pub use self::lease::{Holder, LeaseError, LeaseTimes, ServeLease};
pub use self::standing::{Answers, Standing, StandingTimes, Successor, TellTaken, groups_that_answer};

const FIELD_MANAGER: &str = "keelson";

/// Ours are looked at after the groups of Kubernetes, as is the custom of extensions.
const GROUP_PRIORITY: i32 = 1_000;
const VERSION_PRIORITY: i32 = 15;

/// The name of the port, for those who list the Service.
const PORT_NAME: &str = "https";

/// The status of an APIService changes by itself: a deletion that missed its version is tried again.
const REMOVAL_TRIES_MAX: usize = 5;

/// Where the API server finds us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// In the cluster: the pods of a selector, which listen on `target_port`.
    Pods { selector: BTreeMap<String, String>, target_port: u16 },
    /// Outside: a host that the API server can resolve, `localhost` where both run on one machine.
    Host { name: String },
}

/// What discovery says of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resources {
    Listed,
    /// Told by an annotation too, whose coming and going makes the API server ask for our discovery at once.
    Withheld,
}

/// How we make ourselves known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub reach: Reach,
}

/// A registration could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("read namespace '{name}'")]
    ReadNamespace { name: String, source: Box<kube::Error> },
    #[error("read Deployment '{namespace}/{name}'")]
    ReadDeployment { namespace: String, name: String, source: Box<kube::Error> },
    #[error("read Service '{namespace}/{name}'")]
    ReadService { namespace: String, name: String, source: Box<kube::Error> },
    #[error("apply Service '{namespace}/{name}'")]
    ApplyService { namespace: String, name: String, source: Box<kube::Error> },
    #[error("list APIServices")]
    ListApiServices { source: Box<kube::Error> },
    #[error("apply APIService '{name}'")]
    ApplyApiService { name: String, source: Box<kube::Error> },
    #[error("APIService '{name}' leads to {by}, which is not of this installation")]
    ForeignApiService { name: String, by: String },
    #[error("delete APIService '{name}'")]
    DeleteApiService { name: String, source: Box<kube::Error> },
    #[error("delete Service '{namespace}/{name}'")]
    DeleteService { namespace: String, name: String, source: Box<kube::Error> },
}

impl Classified for RegisterError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadNamespace { source, .. }
            | Self::ReadDeployment { source, .. }
            | Self::ReadService { source, .. }
            | Self::ApplyService { source, .. }
            | Self::ListApiServices { source }
            | Self::ApplyApiService { source, .. }
            | Self::DeleteApiService { source, .. }
            | Self::DeleteService { source, .. } => class_of(source),
            Self::ForeignApiService { .. } => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadNamespace { .. } => "extension.register.read_namespace",
            Self::ReadDeployment { .. } => "extension.register.read_deployment",
            Self::ReadService { .. } => "extension.register.read_service",
            Self::ApplyService { .. } => "extension.register.apply_service",
            Self::ListApiServices { .. } => "extension.register.list_api_services",
            Self::ApplyApiService { .. } => "extension.register.apply_api_service",
            Self::ForeignApiService { .. } => "extension.register.foreign_api_service",
            Self::DeleteApiService { .. } => "extension.register.delete_api_service",
            Self::DeleteService { .. } => "extension.register.delete_service",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ForeignApiService { name, .. } => Some(format!(
                "end what serves it, then `kubectl delete apiservice {name}`; this installation registers its own within \
                 seconds"
            )),
            error if error.class() == ErrorClass::Denied => Some(
                "the account needs the rights to namespaces, Services and APIServices that docs/operations/api.md lists"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Registration {
    /// The names that our serving certificate must bear.
    pub fn dns_names(&self) -> Vec<String> {
        vec![
            format!("{}.{}.svc", self.service, self.namespace),
            format!("{}.{}.svc.cluster.local", self.service, self.namespace),
        ]
    }

    /// Writes the Service and the APIServices, whoever had them. Doing it again changes nothing.
    pub async fn register(&self, client: &Client, authorities_pem: &str) -> Result<(), RegisterError> {
        self.apply_service(client).await?;
        for version in group_versions() {
            self.apply_api_service(client, version, authorities_pem, Resources::Listed).await?;
        }
        Ok(())
    }

    /// Removes what `register` wrote, and nothing that another installation wrote.
    pub async fn unregister(&self, client: &Client) -> Result<(), RegisterError> {
        let ours = self.address();
        remove_api_services(client, |found| judge(found, &ours, true) == Claim::Ours).await?;
        delete_service(client, &ours).await.map(drop)
    }

    fn address(&self) -> Address {
        Address { namespace: self.namespace.clone(), name: self.service.clone() }
    }

    async fn apply_service(&self, client: &Client) -> Result<(), RegisterError> {
        let services: Api<Service> = Api::namespaced(client.clone(), &self.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(self.service_object());
        within(services.patch(&self.service, &params, &patch)).await.map(drop).map_err(|source| {
            RegisterError::ApplyService {
                namespace: self.namespace.clone(),
                name: self.service.clone(),
                source: Box::new(source),
            }
        })
    }

    async fn apply_api_service(
        &self,
        client: &Client,
        version: GroupVersion,
        authorities_pem: &str,
        resources: Resources,
    ) -> Result<(), RegisterError> {
        let api_services: Api<APIService> = Api::all(client.clone());
        let name = api_service_name(version);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(self.api_service(version, authorities_pem, resources));
        within(api_services.patch(&name, &params, &patch))
            .await
            .map(drop)
            .map_err(|source| RegisterError::ApplyApiService { name, source: Box::new(source) })
    }

    fn service_object(&self) -> Service {
        let port = |target_port: Option<u16>| ServicePort {
            name: Some(PORT_NAME.to_owned()),
            port: i32::from(self.port),
            protocol: Some("TCP".to_owned()),
            target_port: target_port.map(|port| IntOrString::Int(i32::from(port))),
            ..ServicePort::default()
        };
        let spec = match &self.reach {
            Reach::Pods { selector, target_port } => ServiceSpec {
                selector: Some(selector.clone()),
                ports: Some(vec![port(Some(*target_port))]),
                ..ServiceSpec::default()
            },
            Reach::Host { name } => ServiceSpec {
                type_: Some("ExternalName".to_owned()),
                external_name: Some(name.clone()),
                ports: Some(vec![port(None)]),
                ..ServiceSpec::default()
            },
        };
        Service {
            metadata: ObjectMeta {
                name: Some(self.service.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    }

    fn api_service(&self, version: GroupVersion, authorities_pem: &str, resources: Resources) -> APIService {
        let annotations = match resources {
            Resources::Listed => None,
            Resources::Withheld => {
                Some(BTreeMap::from([(annotation::DATA_AWAY.to_owned(), "true".to_owned())]))
            }
        };
        APIService {
            metadata: ObjectMeta {
                name: Some(api_service_name(version)),
                annotations,
                ..ObjectMeta::default()
            },
            spec: Some(APIServiceSpec {
                group: Some(version.group.to_owned()),
                version: Some(version.version.to_owned()),
                group_priority_minimum: GROUP_PRIORITY,
                version_priority: VERSION_PRIORITY,
                ca_bundle: Some(ByteString(authorities_pem.as_bytes().to_vec())),
                // Another installation may have left `true`, which is refused beside a bundle.
                insecure_skip_tls_verify: Some(false),
                service: Some(ServiceReference {
                    name: Some(self.service.clone()),
                    namespace: Some(self.namespace.clone()),
                    port: Some(i32::from(self.port)),
                }),
            }),
            status: None,
        }
    }
}

/// `v1alpha1.apps.kio.kasten.io`.
pub fn api_service_name(version: GroupVersion) -> String {
    format!("{}.{}", version.version, version.group)
}

/// Deletes those of our names that `is_meant`, each as it was read. Answers the names.
async fn remove_api_services(
    client: &Client,
    is_meant: impl Fn(&APIService) -> bool,
) -> Result<Vec<String>, RegisterError> {
    let mut removed = Vec::new();
    for attempt in 1.. {
        let found = cluster::find_api_services(client).await?;
        let mut changed = None;
        for api_service in found.values().filter(|found| is_meant(found)) {
            match delete_api_service(client, api_service).await {
                Ok(()) => removed.extend(api_service.metadata.name.clone()),
                Err(error) if error.class() == ErrorClass::Conflict => changed = Some(error),
                Err(error) => return Err(error),
            }
        }
        match changed {
            Some(error) if attempt == REMOVAL_TRIES_MAX => return Err(error),
            Some(_) => {}
            None => break,
        }
    }
    Ok(removed)
}

/// Deletes it as it was read: what somebody registered anew since then stays.
async fn delete_api_service(client: &Client, found: &APIService) -> Result<(), RegisterError> {
    let api_services: Api<APIService> = Api::all(client.clone());
    let name = found.metadata.name.clone().unwrap_or_default();
    let params = cluster::as_read(&found.metadata);
    absent_is_fine(within(api_services.delete(&name, &params)).await)
        .map_err(|source| RegisterError::DeleteApiService { name, source: Box::new(source) })
}

/// Whether there was one.
async fn delete_service(client: &Client, address: &Address) -> Result<bool, RegisterError> {
    let services: Api<Service> = Api::namespaced(client.clone(), &address.namespace);
    match within(services.delete(&address.name, &DeleteParams::default())).await {
        Ok(_) => Ok(true),
        Err(error) => {
            absent_is_fine::<()>(Err(error)).map(|()| false).map_err(|source| RegisterError::DeleteService {
                namespace: address.namespace.clone(),
                name: address.name.clone(),
                source: Box::new(source),
            })
        }
    }
}
