//! `keelson serve`: opens the platform, makes itself known to the cluster, and runs until it is told to stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use keelson_extension::{Extension, Reach, Registration, ServingCertificates};
use keelson_model::{Clock, ErrorClass};
use keelson_protection::{CLOCK_DIFFERENCE_MAX, KdfCost, OWNERSHIP_GRACE, Platform, Settings};
use keelson_workload::{Cluster, ClusterAccess};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::arguments::{access, kubeconfig};
use crate::clock::SystemClock;
use crate::failure::{failed, refuse};
use crate::files::io_failed;
use crate::metrics;

const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);
/// A cluster that is going away itself must not hold us up.
const UNREGISTERED_WITHIN: Duration = Duration::from_secs(10);
const SERVICE: &str = "keelson-api";

/// Run the platform: catalog, API server, controllers, scheduler.
#[derive(Debug, Args)]
#[command(after_help = "Example, outside a cluster:\n  keelson serve --kubeconfig admin.conf --data ./data \
    --claim dr-share=/mnt/share --listen 127.0.0.1:0")]
pub(crate) struct Serve {
    /// Run outside the cluster, with these credentials; without it the pod's own account is used.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", value_parser = kubeconfig())]
    kubeconfig: Option<PathBuf>,
    /// The namespace of the installation.
    #[arg(long, short, default_value = keelson_model::names::DEFAULT_INSTALL_NAMESPACE)]
    namespace: String,
    /// The platform's own volume. Must not lie on a network file system.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where claims of file-store profiles are mounted: <DIR>/<claim>.
    #[arg(long, value_name = "DIR", default_value = "/mnt/claims")]
    mounts: PathBuf,
    /// Where one claim lies instead; may be repeated.
    #[arg(long = "claim", value_name = "CLAIM=DIR", value_parser = parse_claim)]
    claims: Vec<(String, PathBuf)>,
    /// Where the extension API server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:10250")]
    listen: SocketAddr,
    /// Answer Prometheus there, in plain HTTP and to whoever asks; without it nowhere.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// The host under which the API server of the cluster reaches us, outside a cluster.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    advertise: String,
    /// How long the ownership ConfigMap must be gone before ownership is claimed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = OWNERSHIP_GRACE.as_secs())]
    ownership_grace: u64,
    /// Quick disaster recovery for a DR policy that does not say.
    #[arg(long)]
    quick_mode: bool,
    /// FIPS mode: slots cost PBKDF2-HMAC-SHA256, and a passphrase under 14 bytes is refused.
    #[arg(long)]
    fips: bool,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

fn parse_claim(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((claim, directory)) if !claim.is_empty() && !directory.is_empty() => {
            Ok((claim.to_owned(), directory.into()))
        }
        _ => Err("expected <claim>=<directory>".to_owned()),
    }
}

pub(crate) async fn run(serve: Serve) -> Result<()> {
    init_logs(serve.log_json);
    let access = access(serve.kubeconfig.as_deref(), ClusterAccess::InCluster);
    let cluster = Cluster::connect(&access).await.map_err(failed)?;
    let listener = listen(serve.listen).await?;
    let metrics_listener = match serve.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let client = cluster.client();
    prepare_cluster(&cluster, &serve.namespace).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings {
        install_namespace: serve.namespace.clone(),
        data: serve.data.clone(),
        mounts: serve.mounts.clone(),
        claims: serve.claims.iter().cloned().collect::<BTreeMap<_, _>>(),
        ownership_grace: Duration::from_secs(serve.ownership_grace),
        clock_difference_max: CLOCK_DIFFERENCE_MAX,
        quick_mode: serve.quick_mode,
        passphrase_cost: if serve.fips { KdfCost::FIPS } else { KdfCost::RECOMMENDED },
    };
    let platform = Platform::open(settings, cluster, clock.clone()).await.map_err(failed)?;
    let stop = CancellationToken::new();
    let registration = registration(&serve, &access, listener.local_addr()?.port());
    let certificates =
        Arc::new(ServingCertificates::generate(&registration.dns_names(), clock.now()).map_err(failed)?);
    let extension = Extension::new(platform.clone(), client.clone(), stop.clone());
    extension.read_trust().await.map_err(failed)?;
    let authority = certificates.authority_pem().to_owned();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { extension.serve(listener, certificates).await });
    tasks.spawn(keelson_protection::run(platform.clone(), stop.clone()));
    tasks.spawn(keelson_controllers::run(platform.clone(), client.clone(), stop.clone()));
    if let Some(listener) = metrics_listener {
        info!(address = %listener.local_addr()?, "metrics are served");
        tasks.spawn(metrics::serve(listener, platform.clone(), clock.clone(), stop.clone()));
    }
    registration.register(&client, &authority).await.map_err(failed)?;
    info!(port = registration.port, "serving");
    let asked = tokio::select! {
        () = wait_for_signal() => true,
        // Nothing of it ends by itself.
        _ = tasks.join_next() => false,
    };
    info!("stopping");
    leave(&registration, &client).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    info!("stopped");
    if asked { Ok(()) } else { Err(refuse(ErrorClass::Bug, "a part of the platform ended by itself")) }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| io_failed(format!("listen on {address}"), &error))
}

fn init_logs(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn,aws_=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { builder.json().init() } else { builder.with_ansi(false).init() }
}

/// The namespace and the definitions of our configuration kinds.
async fn prepare_cluster(cluster: &Cluster, namespace: &str) -> Result<()> {
    let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    cluster.apply_manifest(&manifest).await.map_err(failed)?;
    let definitions = keelson_resources::crd::crds();
    for (_, definition) in &definitions {
        cluster.apply_manifest(definition).await.map_err(failed)?;
    }
    for (_, definition) in &definitions {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        cluster.wait_established(name, ESTABLISHED_WITHIN).await.map_err(failed)?;
    }
    Ok(())
}

fn registration(serve: &Serve, access: &ClusterAccess, port: u16) -> Registration {
    let reach = match access {
        ClusterAccess::Kubeconfig(_) | ClusterAccess::Usual => Reach::Host { name: serve.advertise.clone() },
        ClusterAccess::InCluster => Reach::Pods {
            selector: BTreeMap::from([("component".to_owned(), "crypto".to_owned())]),
            target_port: port,
        },
    };
    Registration { namespace: serve.namespace.clone(), service: SERVICE.to_owned(), port, reach }
}

/// Outside a cluster nobody takes over or cleans up, and an APIService without a server keeps every namespace of the
/// cluster from going. Inside, the next `serve` finds its registration as it was.
async fn leave(registration: &Registration, client: &kube::Client) {
    if !matches!(registration.reach, Reach::Host { .. }) {
        return;
    }
    let removed = tokio::time::timeout(UNREGISTERED_WITHIN, registration.unregister(client)).await;
    match removed.map_err(anyhow::Error::from).and_then(|removed| removed.map_err(failed)) {
        Ok(()) => info!("the API is no longer registered"),
        Err(error) => tracing::warn!(
            "{error:#}; until `keelson serve` runs again or the APIServices of *.kio.kasten.io are deleted, no namespace of \
             the cluster can be removed"
        ),
    }
}

async fn wait_for_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime handles signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime handles signals");
    tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
}
