//! An extension server on loopback, outside the cluster, is reached through the API server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_testkit::{ControlPlane, eventually};
use kube::Client;
use kube::api::{Api, PostParams};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::control_plane::create_namespace;

const NAMESPACE: &str = "aggregation";
const SERVICE: &str = "echo";
const GROUP: &str = "echo.keelson.test";

#[tokio::test]
async fn a_service_of_type_external_name_leads_to_a_server_on_loopback() -> Result<()> {
    // One of its own: an extension server that has gone keeps namespaces of the whole cluster from ending.
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    create_namespace(&client, NAMESPACE).await?;
    let authority = authority()?;
    let (address, _server) = serve(&authority, &front_proxy_authority(&client).await?).await?;
    register(&client, address, &authority.pem()).await?;

    let services: Api<APIService> = Api::all(client.clone());
    eventually("the APIService is available", async || {
        let status = services.get(&format!("v1.{GROUP}")).await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        Ok(conditions.iter().any(|it| it.type_ == "Available" && it.status == "True").then_some(()))
    })
    .await?;

    // What is said to be available is passed on some moments later.
    let answer: Value = eventually("the API server passes requests on", async || {
        let request = Request::get(format!("/apis/{GROUP}/v1/whoami")).body(Vec::new())?;
        Ok(client.request(request).await.ok())
    })
    .await?;
    assert_eq!(answer, json!({ "user": "admin", "groups": ["system:masters", "system:authenticated"] }));
    Ok(())
}

/// The Service has neither selector nor endpoints: endpoints may not be loopback addresses, a name may.
async fn register(client: &Client, address: SocketAddr, authority: &str) -> Result<()> {
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": SERVICE },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    }))?;
    Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &service).await?;
    let mut api_service: APIService = serde_json::from_value(json!({
        "metadata": { "name": format!("v1.{GROUP}") },
        "spec": {
            "group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "service": { "namespace": NAMESPACE, "name": SERVICE, "port": address.port() },
        },
    }))?;
    let spec = api_service.spec.as_mut().context("the spec was just given")?;
    spec.ca_bundle = Some(k8s_openapi::ByteString(authority.as_bytes().to_vec()));
    Api::all(client.clone()).create(&PostParams::default(), &api_service).await?;
    Ok(())
}

/// Where an extension server learns whose word about users to trust.
async fn front_proxy_authority(client: &Client) -> Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = maps.get("extension-apiserver-authentication").await?;
    let data = map.data.unwrap_or_default();
    data.get("requestheader-client-ca-file").cloned().context("find the front proxy's authority")
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

async fn serve(
    authority: &CertifiedIssuer<'_, KeyPair>,
    front_proxies: &str,
) -> Result<(SocketAddr, AbortOnDropHandle<()>)> {
    let key = KeyPair::generate()?;
    let host = format!("{SERVICE}.{NAMESPACE}.svc");
    let certificate = CertificateParams::new(vec![host])?.signed_by(&key, authority)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(front_proxies.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let private_key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], private_key)?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = accept(listener, TlsAcceptor::from(Arc::new(config)));
    #[expect(clippy::disallowed_methods, reason = "the handle that is returned owns the task")]
    let server = AbortOnDropHandle::new(tokio::spawn(server));
    Ok((address, server))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let builder = auto::Builder::new(TokioExecutor::new());
            // The peer may hang up whenever it likes.
            let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers();
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let body = if request.uri().path().ends_with("/whoami") {
        json!({ "user": values("x-remote-user").concat(), "groups": values("x-remote-group") })
    } else {
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1"), "resources": [] })
    };
    let mut response = Response::new(Full::from(body.to_string()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}
