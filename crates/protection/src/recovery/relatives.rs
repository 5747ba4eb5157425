//! Chains below other cluster ids than the one asked for: those that its chains came from, and those that go on from them.
//! A recovered instance ships below its own id, and its bases name the chain that it left.
//!
//! Guarantees: a chain counts here only if vault keys of the chains at hand open it and its base says that it was written
//! below that id. What somebody else puts into a location, copies among them, leads nowhere.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use keelson_crypto::VaultKeyring;
use keelson_model::{Chain, ClusterId, RepositoryId};
use keelson_repository::Unlock;
use keelson_store::Store;

use crate::layout::Position;
use crate::recovery::RecoveryError;
use crate::recovery::chain::{ShippedChain, find_continuations};
use crate::recovery::documents::Fork;
use crate::recovery::open::{OpenChain, is_settled, list_clusters, list_repositories, open_chain};

/// More clusters than a platform lives on.
const ANCESTORS_MAX: usize = 64;
/// Of clusters that share a location, and of their repositories, so many are looked at.
const OTHERS_MAX: usize = 256;

/// Opens the chains that these came from, and those before them. Those below the id asked for are open already.
///
/// With what is wrong with them, in words for a person. Errors: one is out of reach for now.
pub(crate) async fn open_ancestors(
    store: &Arc<dyn Store>,
    asked: &ClusterId,
    chains: &[OpenChain],
) -> Result<(Vec<OpenChain>, Vec<String>), RecoveryError> {
    let (mut ancestors, mut warnings) = (Vec::<OpenChain>::new(), Vec::new());
    let mut tried = BTreeSet::<ClusterId>::new();
    while tried.len() < ANCESTORS_MAX {
        let next = chains.iter().chain(&ancestors).find_map(|open| {
            let fork = open.chain.parent.as_ref()?;
            let is_new = fork.cluster != *asked && !tried.contains(&fork.cluster);
            is_new.then(|| (fork.clone(), open.vault_keys().clone()))
        });
        let Some((fork, keys)) = next else { break };
        tried.insert(fork.cluster.clone());
        let mut why = "it is not there".to_owned();
        for repository in list_beside(store, &fork).await? {
            match open_below(store, &fork.cluster, repository, &keys).await {
                Ok(open) => ancestors.extend(open),
                Err(error) if is_settled(&error) && repository != fork.repository => {}
                Err(error) if is_settled(&error) => why = Chain(&error).to_string(),
                Err(error) => return Err(error),
            }
        }
        if ancestors.iter().any(|open| open.chain.repository == fork.repository) {
            continue;
        }
        tracing::warn!(cluster = %fork.cluster, repository = %fork.repository, why, "a chain that was left is not used");
        warnings.push(format!(
            "no moment before {} can be recovered, where repository {} of cluster {} was left: {why}",
            fork.at, fork.repository, fork.cluster
        ));
    }
    Ok((ancestors, warnings))
}

/// The repository that was left, and those beside it: its instance may have shipped to others before.
async fn list_beside(store: &Arc<dyn Store>, fork: &Fork) -> Result<Vec<RepositoryId>, RecoveryError> {
    let mut repositories = list_repositories(store, &fork.cluster).await?;
    repositories.retain(|repository| *repository != fork.repository);
    repositories.insert(0, fork.repository);
    repositories.truncate(OTHERS_MAX);
    Ok(repositories)
}

/// None where nothing was shipped, or what lies there was written elsewhere.
async fn open_below(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    repository: RepositoryId,
    keys: &VaultKeyring,
) -> Result<Option<OpenChain>, RecoveryError> {
    let opened = open_chain(store, cluster, repository, Unlock::Vault(keys)).await?;
    Ok(opened.filter(|open| open.base.cluster == *cluster))
}

/// Pure: a chain that came from another one proves how far that one went.
pub(crate) fn find_cut(chains: &[OpenChain], ancestors: &[OpenChain]) -> Vec<String> {
    let forks = chains.iter().chain(ancestors).filter_map(|open| open.chain.parent.as_ref());
    let lost = forks.filter_map(|fork| {
        let left = ancestors.iter().find(|open| open.chain.repository == fork.repository)?;
        let end = left.chain.latest().filter(|end| end.revision() < fork.at.revision())?;
        Some(format!(
            "lost: repository {} of cluster {} was left at {}, and nothing behind {end} can be read",
            fork.repository, fork.cluster, fork.at
        ))
    });
    lost.collect()
}

/// Tells of each other cluster that goes on from these chains, the newest state first, whether it owns the backups or not.
/// A hint: what cannot be looked at now is named, and no recovery waits for it.
pub(crate) async fn warn_of_continuations(
    store: &Arc<dyn Store>,
    asked: &ClusterId,
    chains: &[OpenChain],
) -> Vec<String> {
    let keys = chains.iter().map(OpenChain::vault_keys).max_by_key(|keys| keys.newest().number());
    let Some(keys) = keys else { return Vec::new() };
    let (others, unseen) = open_others(store, asked, keys).await;
    let shipped = |chains: &[OpenChain]| -> Vec<ShippedChain> {
        chains.iter().map(|open| open.chain.clone()).collect()
    };
    let all = shipped(&others);
    let continuing: BTreeSet<RepositoryId> =
        find_continuations(&shipped(chains), &all).into_iter().map(|chain| chain.repository).collect();
    let mut going_on: Vec<&OpenChain> =
        others.iter().filter(|open| continuing.contains(&open.chain.repository)).collect();
    going_on.sort_by_key(|open| Reverse(open.chain.latest().map(Position::revision)));
    let mut told = BTreeSet::new();
    going_on.retain(|open| told.insert(open.cluster.clone()));
    let told = going_on.into_iter().filter_map(|open| describe_continuation(asked, open));
    told.chain(unseen).collect()
}

fn describe_continuation(asked: &ClusterId, open: &OpenChain) -> Option<String> {
    let (fork, end) = (open.chain.parent.as_ref()?, open.chain.latest()?);
    let (cluster, end_at) = (&open.cluster, open.end_at);
    Some(format!(
        "cluster {cluster} goes on from what is here of cluster {asked}: it left at {} and its newest state is {end}, committed \
         at {end_at}; that state is not among these points, so ask for cluster {cluster} if it is the one you want",
        fork.at
    ))
}

/// What the keys open below other ids, and what could not be looked at. What they do not open is somebody else's.
async fn open_others(
    store: &Arc<dyn Store>,
    asked: &ClusterId,
    keys: &VaultKeyring,
) -> (Vec<OpenChain>, Vec<String>) {
    let (mut opened, mut unseen) = (Vec::new(), Vec::new());
    let not_looked_at = |what: &str| format!("whether {what} goes on from here was not found out");
    let others = match list_others(store, asked).await {
        Ok(others) => others,
        Err(error) => {
            unseen.push(format!("{}: {}", not_looked_at("another cluster"), Chain(&error)));
            return (opened, unseen);
        }
    };
    for (cluster, repository) in others.iter().take(OTHERS_MAX) {
        match open_below(store, cluster, *repository, keys).await {
            Ok(open) => opened.extend(open),
            Err(error) if is_settled(&error) => {}
            Err(error) => {
                unseen.push(format!("{}: {}", not_looked_at(&format!("cluster {cluster}")), Chain(&error)));
            }
        }
    }
    if others.len() > OTHERS_MAX {
        unseen.push(not_looked_at(&format!("one of more than {OTHERS_MAX} repositories of other clusters")));
    }
    (opened, unseen)
}

/// The DR repositories below other ids, by their names: a few more than are looked at, if there are so many.
async fn list_others(
    store: &Arc<dyn Store>,
    asked: &ClusterId,
) -> Result<Vec<(ClusterId, RepositoryId)>, RecoveryError> {
    let names = list_clusters(store).await?;
    let clusters = names.iter().filter_map(|name| name.parse::<ClusterId>().ok());
    let clusters: Vec<_> = clusters.filter(|cluster| cluster != asked).take(OTHERS_MAX).collect();
    let mut others = Vec::new();
    for cluster in clusters {
        let repositories = list_repositories(store, &cluster).await?;
        others.extend(repositories.into_iter().map(|repository| (cluster.clone(), repository)));
        if others.len() > OTHERS_MAX {
            break;
        }
    }
    Ok(others)
}
