//! What the cluster says of our namespace and of the APIServices with our names. Reads, and decides nothing.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_model::names::group;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tracing::debug;

use super::RegisterError;
use super::claim::{Address, Claim, address_of, judge};
use crate::failure::within;

/// A list brings one event for each APIService of the cluster.
pub(super) const EVENTS_TOGETHER_MAX: usize = 1_024;

/// Whether the namespace of the installation stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Stays,
    /// It terminates, or is gone already.
    Leaves,
}

pub(super) async fn read_home(client: &Client, name: &str) -> Result<Home, RegisterError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = within(namespaces.get_opt(name))
        .await
        .map_err(|source| RegisterError::ReadNamespace { name: name.to_owned(), source: Box::new(source) })?;
    Ok(match found {
        Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => Home::Stays,
        Some(_) | None => Home::Leaves,
    })
}

/// Whether there will be further pods of a Deployment.
pub(super) async fn has_successors(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<bool, RegisterError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = within(deployments.get_opt(name)).await.map_err(|source| RegisterError::ReadDeployment {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(found.is_some_and(|deployment| {
        let replicas = deployment.spec.and_then(|spec| spec.replicas);
        deployment.metadata.deletion_timestamp.is_none() && replicas != Some(0)
    }))
}

/// Those with a name of ours, whoever they are of.
pub(super) async fn find_api_services(
    client: &Client,
) -> Result<BTreeMap<String, APIService>, RegisterError> {
    let api_services: Api<APIService> = Api::all(client.clone());
    let found = within(api_services.list(&ListParams::default()))
        .await
        .map_err(|source| RegisterError::ListApiServices { source: Box::new(source) })?;
    let named =
        found.items.into_iter().filter_map(|found| found.metadata.name.clone().map(|name| (name, found)));
    Ok(named.filter(|(name, _)| is_our_name(name)).collect())
}

/// `v1alpha1.` and a group that we serve, will serve, or that an earlier installation served.
pub(super) fn is_our_name(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(version, of)| version == group::VERSION && group::AGGREGATED.contains(&of))
}

pub(super) async fn is_service_there(client: &Client, at: &Address) -> Result<bool, RegisterError> {
    let services: Api<Service> = Api::namespaced(client.clone(), &at.namespace);
    let found = within(services.get_opt(&at.name)).await.map_err(|source| RegisterError::ReadService {
        namespace: at.namespace.clone(),
        name: at.name.clone(),
        source: Box::new(source),
    })?;
    Ok(found.is_some())
}

/// Whose it is, its Service looked for where that decides.
pub(super) async fn read_claim(
    client: &Client,
    found: &APIService,
    ours: &Address,
) -> Result<Claim, RegisterError> {
    let service_is_there = match address_of(found) {
        Some(at) if at != *ours => is_service_there(client, &at).await?,
        Some(_) | None => true,
    };
    Ok(judge(found, ours, service_is_there))
}

/// Whenever the namespace, or an APIService with a name of ours, may have changed. Whoever listens looks now and then all
/// the same: a watch may be cut off for minutes.
pub(super) fn changes(client: Client, namespace: &str) -> impl Stream<Item = ()> + Send + use<> {
    let api_services = watcher(Api::<APIService>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .touched_objects()
        .filter_map(async |touched| match touched {
            Ok(touched) => touched.metadata.name.filter(|name| is_our_name(name)).map(drop),
            Err(failed) => {
                debug!(error = &failed as &dyn std::error::Error, "the watch of APIServices begins anew");
                None
            }
        });
    futures::stream::select(api_services.boxed(), changes_of_namespace(client, namespace).boxed())
}

/// Whenever a namespace may have changed.
pub(super) fn changes_of_namespace(client: Client, namespace: &str) -> impl Stream<Item = ()> + Send + use<> {
    let only = watcher::Config::default().fields(&format!("metadata.name={namespace}"));
    let touched = watcher(Api::<Namespace>::all(client), only).default_backoff().touched_objects();
    touched.filter_map(async |touched| match touched {
        Ok(_) => Some(()),
        Err(failed) => {
            debug!(error = &failed as &dyn std::error::Error, "the watch of the namespace begins anew");
            None
        }
    })
}

/// Deletes only what is still as it was read.
pub(super) fn as_read(metadata: &ObjectMeta) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
    })
}

pub(super) fn absent_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
