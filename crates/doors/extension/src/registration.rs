//! Making ourselves known to the API server: one Service, one APIService for each group and version.
//!
//! An APIService without a server behind it leaves every terminating namespace of the cluster stuck. So it is
//! applied last, when the server answers, and removed by whoever knows that no server will come back.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use keelson_model::{Classified, ErrorClass};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};

use crate::discovery::{GroupVersion, group_versions};

const FIELD_MANAGER: &str = "keelson";

/// Ours are looked at after the groups of Kubernetes, as is the custom of extensions.
const GROUP_PRIORITY: i32 = 1_000;
const VERSION_PRIORITY: i32 = 15;

/// The name of the port, for those who list the Service.
const PORT_NAME: &str = "https";

/// Where the API server finds us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// In the cluster: the pods of a selector, which listen on `target_port`.
    Pods { selector: BTreeMap<String, String>, target_port: u16 },
    /// Outside: a host that the API server can resolve, `localhost` where both run on one machine.
    Host { name: String },
}

/// How we make ourselves known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub reach: Reach,
}

/// A registration could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("apply Service '{namespace}/{name}'")]
    ApplyService { namespace: String, name: String, source: Box<kube::Error> },
    #[error("apply APIService '{name}'")]
    ApplyApiService { name: String, source: Box<kube::Error> },
    #[error("read APIService '{name}'")]
    ReadApiService { name: String, source: Box<kube::Error> },
    #[error("delete APIService '{name}'")]
    DeleteApiService { name: String, source: Box<kube::Error> },
    #[error("delete Service '{namespace}/{name}'")]
    DeleteService { namespace: String, name: String, source: Box<kube::Error> },
}

impl Classified for RegisterError {
    fn class(&self) -> ErrorClass {
        let source = match self {
            Self::ApplyService { source, .. }
            | Self::ApplyApiService { source, .. }
            | Self::ReadApiService { source, .. }
            | Self::DeleteApiService { source, .. }
            | Self::DeleteService { source, .. } => source,
        };
        match &**source {
            kube::Error::Api(status) if status.code == 401 || status.code == 403 => ErrorClass::Denied,
            kube::Error::Api(status) if status.code == 409 => ErrorClass::Conflict,
            kube::Error::Api(status) if (400..500).contains(&status.code) => ErrorClass::Invalid,
            _ => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ApplyService { .. } => "extension.register.apply_service",
            Self::ApplyApiService { .. } => "extension.register.apply_api_service",
            Self::ReadApiService { .. } => "extension.register.read_api_service",
            Self::DeleteApiService { .. } => "extension.register.delete_api_service",
            Self::DeleteService { .. } => "extension.register.delete_service",
        }
    }

    fn hint(&self) -> Option<String> {
        (self.class() == ErrorClass::Denied)
            .then(|| "the platform's account must be allowed to write Services and APIServices".to_owned())
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

    /// Writes the Service and the APIServices. Doing it again changes nothing.
    pub async fn register(&self, client: &Client, authority_pem: &str) -> Result<(), RegisterError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let services: Api<Service> = Api::namespaced(client.clone(), &self.namespace);
        services.patch(&self.service, &params, &Patch::Apply(self.service_object())).await.map_err(
            |source| RegisterError::ApplyService {
                namespace: self.namespace.clone(),
                name: self.service.clone(),
                source: Box::new(source),
            },
        )?;
        let api_services: Api<APIService> = Api::all(client.clone());
        for version in group_versions() {
            let object = self.api_service(version, authority_pem);
            let name = api_service_name(version);
            api_services.patch(&name, &params, &Patch::Apply(object)).await.map_err(|source| {
                RegisterError::ApplyApiService { name: name.clone(), source: Box::new(source) }
            })?;
        }
        Ok(())
    }

    /// Removes what `register` wrote, and nothing that another installation wrote.
    pub async fn unregister(&self, client: &Client) -> Result<(), RegisterError> {
        let api_services: Api<APIService> = Api::all(client.clone());
        for version in group_versions() {
            let name = api_service_name(version);
            let found = api_services.get_opt(&name).await.map_err(|source| {
                RegisterError::ReadApiService { name: name.clone(), source: Box::new(source) }
            })?;
            let Some(found) = found.filter(|found| self.is_ours(found)) else { continue };
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: found.metadata.uid, resource_version: None }),
                ..DeleteParams::default()
            };
            absent_is_fine(api_services.delete(&name, &params).await)
                .map_err(|source| RegisterError::DeleteApiService { name, source: Box::new(source) })?;
        }
        let services: Api<Service> = Api::namespaced(client.clone(), &self.namespace);
        absent_is_fine(services.delete(&self.service, &DeleteParams::default()).await).map_err(|source| {
            RegisterError::DeleteService {
                namespace: self.namespace.clone(),
                name: self.service.clone(),
                source: Box::new(source),
            }
        })
    }

    fn is_ours(&self, found: &APIService) -> bool {
        let service = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
        service.is_some_and(|service| {
            service.name.as_deref() == Some(&self.service)
                && service.namespace.as_deref() == Some(&self.namespace)
        })
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

    fn api_service(&self, version: GroupVersion, authority_pem: &str) -> APIService {
        APIService {
            metadata: ObjectMeta { name: Some(api_service_name(version)), ..ObjectMeta::default() },
            spec: Some(APIServiceSpec {
                group: Some(version.group.to_owned()),
                version: Some(version.version.to_owned()),
                group_priority_minimum: GROUP_PRIORITY,
                version_priority: VERSION_PRIORITY,
                ca_bundle: Some(ByteString(authority_pem.as_bytes().to_vec())),
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

fn absent_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
