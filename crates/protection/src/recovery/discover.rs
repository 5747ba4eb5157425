//! What lies in a location of which nothing is known: which clusters, how far each chain goes by the names of its
//! objects, and with a passphrase what opens. Reads only, and little: names, cards, and the newest document of a chain.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::TryStreamExt;
use jiff::Timestamp;
use keelson_crypto::Passphrase;
use keelson_model::recovery::DrMode;
use keelson_model::{Chain, Classified, ClusterId, RepositoryId};
use keelson_store::{Store, StoreExt, StorePath};
use serde::Serialize;

use crate::layout::{self, ClusterFolder, DrFolder, Epoch, Position, name_of};
use crate::recovery::documents::CardDocument;
use crate::recovery::open::{OpenChain, list_clusters, list_repositories, open_chains};
use crate::recovery::{RecoveryError, cards};

/// Profiles lie a few folders below the root of a bucket or share.
const DEPTH_MAX: usize = 4;
const FOLDERS_MAX: usize = 2_000;

/// Everything of one cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundCluster {
    /// The path of a profile that leads here.
    pub path: String,
    #[serde(rename = "clusterID")]
    pub cluster: String,
    /// In cleartext: hints by whoever can write here, not facts.
    pub cards: Vec<CardDocument>,
    pub lineages: Vec<FoundLineage>,
    pub chains: Vec<FoundChain>,
    pub applications: Vec<String>,
    /// What a passphrase could not be tried on, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Claims of ownership, by their names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundLineage {
    pub lineage: String,
    pub newest_epoch: u32,
}

/// A chain by its names, and once it is open by what it says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundChain {
    pub repository: RepositoryId,
    pub slots: u64,
    pub bases: u64,
    pub segments: u64,
    pub runs: u64,
    /// Of the whole repository.
    pub objects: u64,
    pub bytes: u64,
    /// The newest name; the chain goes at least so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_written: Option<Timestamp>,
    /// Absent where no passphrase was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<OpenedChain>,
}

/// What an open chain says of itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenedChain {
    pub through: String,
    pub committed_at: Timestamp,
    pub mode: DrMode,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The paths below which backups of ours lie, the store's own root first. Looks so deep and at so many folders.
pub async fn find_places(store: &Arc<dyn Store>) -> Result<Vec<StorePath>, RecoveryError> {
    let ours = layout::clusters();
    let (mut places, mut seen) = (Vec::new(), 0);
    let mut open = VecDeque::from([(StorePath::root(), 0)]);
    while let Some((folder, depth)) = open.pop_front() {
        let failed = |source| RecoveryError::List { folder: folder.clone(), source };
        let names = store.list_folders(&folder).await.map_err(failed)?;
        for name in names {
            seen += 1;
            if name == ours.name() {
                places.push(folder.clone());
            } else if depth < DEPTH_MAX && seen < FOLDERS_MAX {
                open.extend(folder.join(&name).ok().map(|child| (child, depth + 1)));
            }
        }
    }
    Ok(places)
}

/// All clusters of one place, whose path is for people.
pub async fn discover(
    store: &Arc<dyn Store>,
    path: &str,
    passphrases: &[Arc<Passphrase>],
) -> Result<Vec<FoundCluster>, RecoveryError> {
    let mut found = Vec::new();
    for name in list_clusters(store).await? {
        let Ok(cluster) = name.parse::<ClusterId>() else { continue };
        found.push(look(store, path, &cluster, passphrases).await?);
    }
    Ok(found)
}

async fn look(
    store: &Arc<dyn Store>,
    path: &str,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
) -> Result<FoundCluster, RecoveryError> {
    let folder = ClusterFolder::new(cluster);
    let mut chains = Vec::new();
    for repository in list_repositories(store, cluster).await? {
        chains.push(count(store, &folder.dr_repository(repository), repository).await?);
    }
    let mut notes = Vec::new();
    if !passphrases.is_empty() && !chains.is_empty() {
        let (opened, told) = match open_chains(store, cluster, passphrases).await {
            Ok(opened) => opened,
            Err(RecoveryError::WrongPassphrase { .. }) => (Vec::new(), Vec::new()),
            Err(error) if error.class().is_lasting() => (Vec::new(), vec![Chain(&error).to_string()]),
            Err(error) => return Err(error),
        };
        notes = told;
        chains.iter_mut().for_each(|chain| tell_opened(chain, &opened));
    }
    let exports = folder.exports();
    let failed = |source| RecoveryError::List { folder: exports.clone(), source };
    Ok(FoundCluster {
        path: path.to_owned(),
        cluster: cluster.to_string(),
        cards: cards::read(&**store, &folder).await?,
        lineages: list_lineages(store, &folder).await?,
        applications: store.list_folders(&exports).await.map_err(failed)?,
        chains,
        notes,
    })
}

fn tell_opened(chain: &mut FoundChain, opened: &[OpenChain]) {
    let open = opened.iter().find(|open| open.chain.repository == chain.repository);
    chain.opens = Some(open.is_some());
    chain.opened = open.and_then(|open| {
        Some(OpenedChain {
            through: open.chain.latest()?.to_string(),
            committed_at: open.end_at,
            mode: open.mode(),
            warnings: open.warnings.clone(),
        })
    });
}

/// Names, lengths and times alone.
async fn count(
    store: &Arc<dyn Store>,
    folder: &DrFolder,
    repository: RepositoryId,
) -> Result<FoundChain, RecoveryError> {
    let root = folder.repository().clone();
    let failed = |source| RecoveryError::List { folder: root.clone(), source };
    let (bases, segments, runs) = (folder.bases(), folder.segments(), folder.manifests());
    let mut chain = FoundChain {
        repository,
        slots: 0,
        bases: 0,
        segments: 0,
        runs: 0,
        objects: 0,
        bytes: 0,
        newest_name: None,
        last_written: None,
        opens: None,
        opened: None,
    };
    let mut newest: Option<Position> = None;
    let mut objects = store.stream(&root);
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        chain.objects += 1;
        chain.bytes += object.length;
        chain.last_written = chain.last_written.max(Some(object.modified));
        let parent = object.path.parent();
        let counted = match parent.as_ref() {
            Some(parent) if *parent == bases => &mut chain.bases,
            Some(parent) if *parent == segments => &mut chain.segments,
            Some(parent) if *parent == runs => &mut chain.runs,
            Some(parent) if parent.name() == "slots" => {
                chain.slots += 1;
                continue;
            }
            Some(_) | None => continue,
        };
        *counted += 1;
        newest = newest.max(name_of(&object.path));
    }
    chain.newest_name = newest.map(|at| at.to_string());
    Ok(chain)
}

async fn list_lineages(
    store: &Arc<dyn Store>,
    folder: &ClusterFolder,
) -> Result<Vec<FoundLineage>, RecoveryError> {
    let lineages = folder.lineages();
    let failed = |source| RecoveryError::List { folder: lineages.clone(), source };
    let mut found = Vec::new();
    for lineage in store.list_folders(&lineages).await.map_err(failed)? {
        let Ok(id) = lineage.parse() else { continue };
        let mut newest = None;
        let mut objects = store.stream(&folder.epochs(id));
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            let number = object.path.name().parse().ok().and_then(|number: u32| Epoch::try_from(number).ok());
            newest = newest.max(number);
        }
        found.extend(newest.map(|newest| FoundLineage { lineage, newest_epoch: newest.0 }));
    }
    Ok(found)
}
