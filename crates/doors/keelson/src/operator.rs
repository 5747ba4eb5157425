//! `keelson operator`: a small process beside the platform that carries out what a K10restore asks for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use keelson_workload::{Cluster, ClusterAccess};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::arguments::{access, kubeconfig};
use crate::clock::SystemClock;
use crate::failure::failed;
use crate::signals::Ending;
use crate::{health, logs};

/// Carry out each K10restore of a namespace.
///
/// Makes a KastenDRRestore for it, once, follows it, and says in the status of the K10restore how it ended. Holds nothing of
/// its own and may end at any time: the next one goes on. A recovery that is at work goes on without it.
#[derive(Debug, Args)]
#[command(after_help = "Example, outside a cluster:\n  keelson operator --kubeconfig admin.conf")]
pub(crate) struct Operator {
    /// Of the cluster that the platform runs on; without it ~/.kube/config or, in a pod, its own account.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", value_parser = kubeconfig())]
    kubeconfig: Option<PathBuf>,
    /// Where the platform is installed. Only what is asked for in this namespace is carried out.
    #[arg(long, short, default_value = keelson_model::names::DEFAULT_INSTALL_NAMESPACE)]
    namespace: String,
    /// Answer probes there, `GET /healthz` in plain HTTP; without it nowhere.
    #[arg(long, value_name = "ADDRESS")]
    health: Option<SocketAddr>,
    /// Log lines as JSON.
    #[arg(long)]
    log_json: bool,
}

pub(crate) async fn run(operator: Operator) -> Result<()> {
    logs::init(operator.log_json);
    let mut ending = Ending::listen();
    let access = access(operator.kubeconfig.as_deref(), ClusterAccess::Usual);
    let cluster = Cluster::connect(&access).await.map_err(failed)?;
    let listener = health::listen(operator.health).await?;
    info!(namespace = operator.namespace, "carrying out K10restores");
    let stop = CancellationToken::new();
    let asked = async {
        ending.asked().await;
        stop.cancel();
    };
    let work = keelson_controllers::run_operator(
        cluster.clone(),
        Arc::new(SystemClock),
        operator.namespace,
        stop.clone(),
    );
    // Each K10restore waits by itself for what is away; that the process answers is all that there is to see.
    tokio::join!(asked, work, health::serve(listener, || true, stop.clone()));
    cluster.finish_steps().await;
    info!("stopped");
    Ok(())
}
