//! `keelson serve`: opens the platform, makes itself known to the cluster, and runs until it is told to stop.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::builder::TypedValueParser;
use clap::{ArgAction, Args};
use keelson_extension::{
    Extension, Farewell, LeaseError, Reach, Readiness, ServingCertificates, Standing, Successor,
};
use keelson_model::{Clock, ErrorClass};
use keelson_protection::{
    AwsEnvironment, CLOCK_DIFFERENCE_MAX, KdfCost, OWNERSHIP_GRACE, Platform, RecoveryBounds, Settings,
};
use keelson_resources::k10restore::TIMEOUT_MINUTES_MAX;
use keelson_workload::{Cluster, ClusterAccess};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::arguments::{access, kubeconfig};
use crate::clock::SystemClock;
use crate::failure::{failed, is_unavailable, refuse};
use crate::files::io_failed;
use crate::signals::Ending;
use crate::{logs, metrics, output, standing};

const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);
/// An API server that is away at our start is asked again after this.
const TRY_AGAIN: Duration = Duration::from_secs(2);

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
    /// The Deployment that runs this, in the namespace of the installation. At its end this process takes the API off the
    /// cluster if the Deployment is gone or wants no pod. Without it nothing is taken off inside a cluster, and outside all.
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// How long the ownership ConfigMap must be gone before ownership is claimed, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = OWNERSHIP_GRACE.as_secs())]
    ownership_grace: u64,
    /// How long a KastenDRRestore may take that names no bound of its own; a week at most.
    #[arg(long, value_name = "MINUTES", default_value_t = RecoveryBounds::USUAL.restore, value_parser = minutes())]
    restore_timeout: u64,
    /// How long a KastenDRReview may take.
    #[arg(long, value_name = "MINUTES", default_value_t = RecoveryBounds::USUAL.review, value_parser = minutes())]
    review_timeout: u64,
    /// Quick disaster recovery for a DR policy that does not say.
    #[arg(long)]
    quick_mode: bool,
    /// FIPS mode: slots cost PBKDF2-HMAC-SHA256, and a passphrase under 14 bytes is refused.
    #[arg(long)]
    fips: bool,
    /// Print an audit event of each write, and of each that was refused, to stdout: one line of JSON each.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    audit_output: bool,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

fn minutes() -> impl TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(1..=u64::from(TIMEOUT_MINUTES_MAX))
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
    logs::init(serve.log_json);
    let mut ending = Ending::listen();
    let access = access(serve.kubeconfig.as_deref(), ClusterAccess::InCluster);
    let mut started = tokio::select! {
        started = start(&serve, &access) => started?,
        () = ending.asked() => return Ok(()),
    };
    let end = tokio::select! {
        () = ending.asked() => End::Asked,
        end = started.work() => end,
    };
    info!("stopping");
    started.readiness.leave();
    if !matches!(end, End::Superseded(_)) {
        standing::withdraw(&mut started.standing, &serve.successor(&access)).await;
    }
    started.stop.cancel();
    while started.tasks.join_next().await.is_some() {}
    // Behind all others, so that it tells of the last of them too.
    started.stop_trail.cancel();
    while started.trail.join_next().await.is_some() {}
    standing::release(&mut started.standing).await;
    info!("stopped");
    match end {
        End::Asked => Ok(()),
        End::Superseded(error) => Err(failed(error)),
        End::Broken => Err(refuse(ErrorClass::Bug, "a part of the platform ended by itself")),
    }
}

/// Why it ends.
enum End {
    Asked,
    /// Another `serve` took the Lease.
    Superseded(LeaseError),
    /// Nothing of it ends by itself.
    Broken,
}

/// A platform that is open and answers, and does nothing yet.
struct Started {
    platform: Arc<Platform>,
    client: kube::Client,
    standing: Standing,
    readiness: Arc<Readiness>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// Tells what the others do.
    trail: JoinSet<()>,
    stop_trail: CancellationToken,
    port: u16,
}

async fn start(serve: &Serve, access: &ClusterAccess) -> Result<Started> {
    let cluster = Cluster::connect(access).await.map_err(failed)?;
    let listener = listen(serve.listen).await?;
    let port = listener.local_addr()?.port();
    let metrics_listener = match serve.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let client = cluster.client();
    patiently("prepare the cluster", async || prepare_cluster(&cluster, &serve.namespace).await).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let platform = Platform::open(serve.settings(), cluster, clock.clone()).await.map_err(failed)?;
    let stop = CancellationToken::new();
    let registration = standing::registration(serve.reach(access, port), &serve.namespace, port);
    let certificates =
        Arc::new(ServingCertificates::generate(&registration.dns_names(), clock.now()).map_err(failed)?);
    let extension = Extension::new(platform.clone(), client.clone(), stop.clone());
    patiently("read who may ask", async || extension.read_trust().await.map_err(failed)).await?;
    let standing = standing::standing(
        &platform,
        client.clone(),
        registration,
        certificates.clone(),
        extension.withheld(),
    );
    let readiness = extension.readiness();
    let mut tasks = JoinSet::new();
    tasks.spawn(keelson_protection::follow_namespaces(platform.clone(), stop.clone()));
    tasks.spawn(async move { extension.serve(Farewell::USUAL, listener, certificates).await });
    if let Some(listener) = metrics_listener {
        info!(address = %listener.local_addr()?, "metrics are served");
        tasks.spawn(metrics::serve(listener, platform.clone(), clock, stop.clone()));
    }
    let (mut trail, stop_trail) = (JoinSet::new(), CancellationToken::new());
    let sink = serve.audit_output.then(output::audit_sink);
    trail.spawn(keelson_protection::audit::run(platform.clone(), sink, stop_trail.clone()));
    Ok(Started { platform, client, standing, readiness, tasks, stop, trail, stop_trail, port })
}

impl Started {
    /// Waits until no other `serve` works here, then does all that the platform does.
    async fn work(&mut self) -> End {
        let Self { platform, client, standing, readiness, tasks, stop, trail, stop_trail: _, port } = self;
        tokio::select! {
            () = standing.acquire() => {}
            _ = tasks.join_next() => return End::Broken,
            _ = trail.join_next() => return End::Broken,
        }
        readiness.stand();
        tasks.spawn(keelson_protection::run(platform.clone(), stop.clone()));
        tasks.spawn(keelson_controllers::run(platform.clone(), client.clone(), stop.clone()));
        info!(port, "serving");
        tokio::select! {
            lost = standing.keep() => End::Superseded(lost),
            _ = tasks.join_next() => End::Broken,
            _ = trail.join_next() => End::Broken,
        }
    }
}

impl Serve {
    fn settings(&self) -> Settings {
        Settings {
            install_namespace: self.namespace.clone(),
            data: self.data.clone(),
            mounts: self.mounts.clone(),
            claims: self.claims.iter().cloned().collect(),
            ownership_grace: Duration::from_secs(self.ownership_grace),
            clock_difference_max: CLOCK_DIFFERENCE_MAX,
            quick_mode: self.quick_mode,
            recovery_bounds: RecoveryBounds { restore: self.restore_timeout, review: self.review_timeout },
            passphrase_cost: if self.fips { KdfCost::FIPS } else { KdfCost::RECOMMENDED },
            aws: aws_environment(),
        }
    }

    /// Outside a cluster a host, inside the pods of the Deployment.
    fn reach(&self, access: &ClusterAccess, port: u16) -> Reach {
        match access {
            ClusterAccess::Kubeconfig(_) | ClusterAccess::Usual => {
                Reach::Host { name: self.advertise.clone() }
            }
            ClusterAccess::InCluster => standing::pods(port),
        }
    }

    fn successor(&self, access: &ClusterAccess) -> Successor {
        match (&self.deployment, access) {
            (Some(name), _) => Successor::Deployment(name.clone()),
            (None, ClusterAccess::InCluster) => Successor::Somebody,
            (None, ClusterAccess::Kubeconfig(_) | ClusterAccess::Usual) => Successor::Nobody,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "binaries are where the environment is read")]
fn aws_environment() -> AwsEnvironment {
    AwsEnvironment::read(|name| std::env::var(name).ok())
}

/// An API server that is away for a moment is waited for.
async fn patiently<T>(doing: &str, step: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut told = String::new();
    loop {
        let error = match step().await {
            Err(error) if is_unavailable(&error) => error.to_string(),
            ended => return ended,
        };
        if error != told {
            warn!(doing, error, "the cluster does not answer yet");
            told = error;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// All addresses of IPv4 means those of IPv6 too, where there are any: in a cluster of IPv6 alone a pod has no others.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    if address.ip() == Ipv4Addr::UNSPECIFIED {
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        if let Ok(listener) = TcpListener::bind(all).await {
            return Ok(listener);
        }
    }
    TcpListener::bind(address).await.map_err(|error| io_failed(format!("listen on {address}"), &error))
}

/// The namespace and the definitions of our configuration kinds.
async fn prepare_cluster(cluster: &Cluster, namespace: &str) -> Result<()> {
    let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    cluster.apply_manifest(&manifest).await.map_err(failed)?;
    let definitions = keelson_resources::crd::crds();
    for (_, definition) in &definitions {
        cluster.apply_unless_made(definition).await.map_err(failed)?;
    }
    for (_, definition) in &definitions {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        cluster.wait_established(name, ESTABLISHED_WITHIN).await.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() -> Result<()> {
        let listener = listen("0.0.0.0:0".parse()?).await?;
        let port = listener.local_addr()?.port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        // A machine without IPv6 has the one family alone.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await?;
        }
        let taken = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await;
        assert!(taken.is_err_and(|error| error.to_string().contains("listen on 0.0.0.0")));
        Ok(())
    }
}
