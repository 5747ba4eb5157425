//! `tools verify`: builds what disaster recovery shipped anew, reads every repository that the passphrase opens, and
//! names what is damaged or lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use keelson_crypto::Passphrase;
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, SessionId};
use keelson_protection::recovery::RecoveryError;
use keelson_protection::recovery::prove::{ChainProof, Proof, prove};
use keelson_repository::{Depth, Locked, OpenRepositoryError, Repository, Unlock, Verification};
use keelson_store::Store;
use serde::Serialize;

use super::list::{RepositoryListing, find_repositories};
use super::{Place, nothing_here};
use crate::clock::SystemClock;
use crate::failure::{failed, refuse, refuse_with};
use crate::files::io_failed;
use crate::output::{data, say};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  keelson tools verify --directory /mnt/share --passphrase-file ./passphrase"
)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Look only whether the packs are there with the right length.
    #[arg(long)]
    index_only: bool,
    /// Where the catalog is built to prove it, instead of the system's folder for temporary files. Takes the room of
    /// the catalog for a while.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

/// What one cluster's backups are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedCluster {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    chains: Vec<VerifiedChain>,
    repositories: Vec<VerifiedRepository>,
    /// Of the cluster as a whole.
    findings: Vec<String>,
    /// Restore points whose repository is not here: it lies in another location, or is lost.
    elsewhere: BTreeMap<String, usize>,
}

/// What disaster recovery shipped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedChain {
    repository: String,
    bases: u64,
    segments: u64,
    runs: u64,
    /// The last entry of the catalog that was built from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<String>,
    findings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedRepository {
    repository: String,
    of: String,
    outcomes: u64,
    packs: u64,
    bytes_read: u64,
    findings: Vec<String>,
}

impl From<ChainProof> for VerifiedChain {
    fn from(proof: ChainProof) -> Self {
        let ChainProof { repository, bases, segments, runs, built, findings } = proof;
        let through = built.map(|built| built.through.to_string());
        Self { repository: repository.to_string(), bases, segments, runs, through, findings }
    }
}

impl VerifiedCluster {
    fn findings(&self) -> usize {
        let chains = self.chains.iter().map(|chain| chain.findings.len());
        let repositories = self.repositories.iter().map(|repository| repository.findings.len());
        self.findings.len() + chains.chain(repositories).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.repositories.is_empty() && self.findings.is_empty()
    }
}

pub(super) async fn verify(arguments: Verify) -> Result<()> {
    let Verify { place, index_only, work } = arguments;
    let store = place.open().await?;
    let passphrase = place.passphrase()?.ok_or_else(|| {
        refuse_with(ErrorClass::Invalid, "verifying needs the passphrase", "add --passphrase-file <FILE>")
    })?;
    let depth = if index_only { Depth::Index } else { Depth::Full };
    let work = match work {
        Some(folder) => {
            let failed = |error| io_failed(format!("make a folder in '{}'", folder.display()), &error);
            tempfile::tempdir_in(&folder).map_err(failed)?
        }
        None => tempfile::tempdir().map_err(|error| io_failed("make a folder for the catalog", &error))?,
    };
    let look = Look { store, passphrase, depth, work };
    let mut verified = Vec::new();
    let clusters: keelson_store::StorePath = "k10".parse()?;
    for cluster in look.store.list_folders(&clusters).await.map_err(failed)? {
        verified.push(
            look.at_cluster(&cluster, find_repositories(&*look.store, &clusters.join(&cluster)?).await?)
                .await?,
        );
    }
    let damaged: usize = verified.iter().map(VerifiedCluster::findings).sum();
    if verified.is_empty() {
        return Err(nothing_here());
    }
    let opened = verified.iter().any(|cluster| !cluster.is_empty());
    data(place.output, &verified, |verified| verified.iter().map(print).collect::<Vec<_>>().join("\n"));
    match (opened, damaged) {
        (false, _) => Err(refuse(ErrorClass::NotFound, "no repository here opens with this passphrase")),
        (true, 0) => Ok(()),
        (true, damaged) => Err(refuse(ErrorClass::Corrupt, format!("{damaged} objects are damaged or lost"))),
    }
}

/// What every look has in common.
struct Look {
    store: Arc<dyn Store>,
    passphrase: Arc<Passphrase>,
    depth: Depth,
    work: tempfile::TempDir,
}

impl Look {
    async fn at_cluster(&self, cluster: &str, listed: Vec<RepositoryListing>) -> Result<VerifiedCluster> {
        let mut proof = self.chains_of(cluster).await?;
        let mut repositories = Vec::new();
        for listing in listed {
            let expected = proof.expected.remove(&listing.path).unwrap_or_default().outcomes;
            repositories.extend(self.at_repository(listing, expected).await?);
        }
        Ok(VerifiedCluster {
            cluster_id: cluster.to_owned(),
            chains: proof.chains.into_iter().map(VerifiedChain::from).collect(),
            repositories,
            findings: proof.findings,
            elsewhere: proof
                .expected
                .into_iter()
                .map(|(root, needed)| (root, needed.outcomes.len()))
                .collect(),
        })
    }

    async fn chains_of(&self, cluster: &str) -> Result<Proof> {
        let Ok(id) = cluster.parse::<ClusterId>() else { return Ok(Proof::default()) };
        let clock = Arc::new(SystemClock);
        match prove(&self.store, &id, std::slice::from_ref(&self.passphrase), self.work.path(), clock).await {
            Ok(proof) => Ok(proof),
            // Its repositories say so one by one.
            Err(RecoveryError::NeverRan { .. } | RecoveryError::WrongPassphrase { .. }) => {
                Ok(Proof::default())
            }
            Err(error) if error.class().is_lasting() => {
                Ok(Proof { findings: vec![Chain(&error).to_string()], ..Proof::default() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn at_repository(
        &self,
        listing: RepositoryListing,
        expected: Vec<SessionId>,
    ) -> Result<Option<VerifiedRepository>> {
        let locked = Repository::<Locked>::at(self.store.clone(), listing.path.parse()?).map_err(failed)?;
        let unusable = |finding: String| VerifiedRepository {
            repository: listing.path.clone(),
            of: listing.of.clone(),
            outcomes: 0,
            packs: 0,
            bytes_read: 0,
            findings: vec![finding],
        };
        let repository = match locked.open(Unlock::Passphrase(&self.passphrase)).await {
            Ok(repository) => repository,
            Err(OpenRepositoryError::WrongPassphrase { .. } | OpenRepositoryError::Absent { .. })
                if expected.is_empty() =>
            {
                say(&format!("{} does not open with this passphrase", listing.path));
                return Ok(None);
            }
            Err(error) if error.class().is_lasting() || !expected.is_empty() => {
                return Ok(Some(unusable(Chain(&error).to_string())));
            }
            Err(error) => return Err(failed(error)),
        };
        let indexed = repository.load_index().await.map_err(failed)?;
        let reader = indexed.begin_reading_unannounced().await.map_err(failed)?;
        let verification = Verification { depth: self.depth, expected };
        let report = reader.verify(&verification, &|_| ()).await.map_err(failed)?;
        Ok(Some(VerifiedRepository {
            outcomes: report.outcomes,
            packs: report.packs,
            bytes_read: report.bytes_read,
            findings: report.findings.iter().map(|finding| finding.to_string()).collect(),
            ..unusable(String::new())
        }))
    }
}

fn print(cluster: &VerifiedCluster) -> String {
    let mut lines = vec![format!("cluster {}", cluster.cluster_id)];
    let tell = |lines: &mut Vec<String>, findings: &[String]| {
        lines.extend(findings.iter().map(|finding| format!("    {finding}")));
    };
    tell(&mut lines, &cluster.findings);
    for chain in &cluster.chains {
        let through = chain.through.as_deref().unwrap_or("nothing");
        lines.push(format!(
            "  catalog     in {}: built through {through}; {} bases, {} segments, {} runs, {} findings",
            chain.repository,
            chain.bases,
            chain.segments,
            chain.runs,
            chain.findings.len()
        ));
        tell(&mut lines, &chain.findings);
    }
    for repository in &cluster.repositories {
        lines.push(format!(
            "  repository  {}: {} outcomes, {} packs, {} bytes read, {} findings",
            repository.repository,
            repository.outcomes,
            repository.packs,
            repository.bytes_read,
            repository.findings.len()
        ));
        tell(&mut lines, &repository.findings);
    }
    for (root, points) in &cluster.elsewhere {
        lines.push(format!("  not here    {root}: {points} restore points name it"));
    }
    lines.join("\n")
}
