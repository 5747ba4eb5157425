//! How much of what was acknowledged is lost when process and disk vanish together, under load.
//!
//! Each round is a platform of its own that protects itself to a directory of its own. Clients create backups as fast as
//! they are answered; the process is killed in the middle and its disk thrown away. What a recovery would bring back is
//! found by building the catalog from the directory.

mod figures;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keelson_model::{Chain, Revision};
use keelson_protection::Position;
use keelson_testkit::Supervisor;
use keelson_workload::{ClusterAccess, Creation, Kind};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) use self::figures::Figures;
use self::figures::Round;
use crate::cluster::Cluster;
use crate::instance::Instance;
use crate::say;

const PROFILE: &str = "vault";
const PASSPHRASE: &str = "a passphrase of a bench, kept nowhere";
const APPLICATION: &str = "busy";
/// Each waits for the answer before it asks again.
const CLIENTS: u64 = 4;
/// Kills come so long after the load has begun, at another moment in each round.
const BUSY_MIN: Duration = Duration::from_secs(7);
const BUSY_SPREAD: Duration = Duration::from_secs(3);

/// Of a client who was refused.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A backup that was acknowledged: when, and as which entry of the journal.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    at: Instant,
    revision: Revision,
}

pub(crate) async fn measure(program: &Path, kills: u64) -> Result<Figures> {
    let cluster = Cluster::start().await?;
    cluster.create_passphrase(PASSPHRASE).await?;
    cluster.create_namespaces([APPLICATION.to_owned()]).await?;
    let mut rounds = Vec::new();
    for number in 0..kills {
        let round = play(program, &cluster, number).await.with_context(|| format!("round {number}"))?;
        say(&format!("{:>4} of {kills}: {round}", number + 1));
        rounds.push(round);
    }
    cluster.destroy().await?;
    Ok(Figures { rounds })
}

async fn play(program: &Path, cluster: &Cluster, number: u64) -> Result<Round> {
    let location = Supervisor::start("bench-location")?;
    let share = location.directory().join("share");
    std::fs::create_dir(&share).context("create the location")?;
    let mut instance = Instance::new(program, cluster.kubeconfig(), &share)?;
    instance.serve()?;
    if number == 0 {
        cluster.connect_location(PROFILE).await?;
    }
    cluster.wait_served().await?;
    instance.answer(&["dr", "enable", "--profile", PROFILE]).await?;

    let busy = BUSY_MIN + BUSY_SPREAD.mul_f64((number as f64 * 0.618_034).fract());
    let mut clients = JoinSet::new();
    let until = Instant::now() + busy;
    for client in 0..CLIENTS {
        clients.spawn(ask(cluster.kubeconfig().to_owned(), format!("r{number}-c{client}"), until));
    }
    tokio::time::sleep_until(until.into()).await;
    instance.kill()?;
    let killed = Instant::now();
    let (mut acknowledged, mut refusals) = (Vec::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        let client = client.context("a client")??;
        acknowledged.extend(client.acknowledged);
        refusals.extend(client.refused);
    }
    instance.destroy().await?;
    cluster.forget_instance().await?;
    ensure!(!acknowledged.is_empty(), "nothing was acknowledged: {refusals:?}");
    let recoverable = recoverable(program, &location, &share).await?;
    Ok(Round::of(&acknowledged, recoverable, killed))
}

/// What a client was told.
#[derive(Debug, Default)]
struct Client {
    acknowledged: Vec<Acknowledged>,
    /// The last refusal, in words.
    refused: Option<String>,
}

/// Creates backups until the platform is killed.
async fn ask(kubeconfig: std::path::PathBuf, name: String, until: Instant) -> Result<Client> {
    let access = ClusterAccess::Kubeconfig(kubeconfig);
    let cluster = keelson_workload::Cluster::connect(&access).await.context("connect")?;
    let kind = Kind::namespaced("actions.kio.kasten.io/v1alpha1", "BackupAction", "backupactions");
    let mut client = Client::default();
    for number in 0.. {
        let action = json!({
            "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
            "metadata": { "name": format!("{name}-{number}"), "namespace": APPLICATION },
            "spec": { "subject": { "name": APPLICATION, "namespace": APPLICATION } },
        });
        let created = tokio::time::timeout_at(until.into(), cluster.create_object(&kind, &action)).await;
        let object = match created {
            Ok(Ok(Creation::Created(object))) => object,
            // A busy machine: the API server has not found the platform yet, or has no room for us.
            Ok(refused) => {
                client.refused = refused.err().map(|error| Chain(&error).to_string());
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            Err(_) => break,
        };
        let revision = object["metadata"]["resourceVersion"].as_str().context("no version")?.parse()?;
        client.acknowledged.push(Acknowledged { at: Instant::now(), revision });
    }
    Ok(client)
}

/// The last entry of the catalog that can be built from the location.
async fn recoverable(program: &Path, location: &Supervisor, share: &Path) -> Result<Revision> {
    let passphrase = location.directory().join("passphrase");
    std::fs::write(&passphrase, PASSPHRASE)?;
    let mut command = tokio::process::Command::new(program);
    command.args(["tools", "verify", "--index-only", "--output", "json", "--directory"]).arg(share);
    let output = command.arg("--passphrase-file").arg(&passphrase).output().await.context("run keelson")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "keelson tools verify: {}", complaint.trim());
    let verified: Value = serde_json::from_slice(&output.stdout).context("read what verify said")?;
    let through = verified[0]["chains"][0]["through"].as_str().context("nothing can be built")?;
    Ok(through.parse::<Position>()?.revision())
}
