//! Chains below other cluster ids than the one asked for: those that its chains came from, and those that go on from them.
//! A recovered instance ships below its own id, and its bases name the chain that it left.
//!
//! Guarantees: a chain counts here only if vault keys of the chains at hand open it and its base says that it was written
//! below that id. What somebody else puts into a location, copies among them, leads nowhere.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use keelson_crypto::VaultKeyring;
use keelson_model::{Chain, ClusterId, RepositoryId};
use keelson_repository::Unlock;
use keelson_store::Store;
use tokio::time::timeout;

use crate::layout::Position;
use crate::recovery::RecoveryError;
use crate::recovery::chain::{ShippedChain, find_continuations};
use crate::recovery::documents::Fork;
use crate::recovery::open::{OpenChain, is_settled, list_clusters, list_repositories, open_original};

/// More clusters than a platform lives on.
const ANCESTORS_MAX: usize = 64;
/// Of the repositories of clusters that share a location, so many are looked at.
const OTHERS_MAX: usize = 256;
/// Clusters, and their repositories, that are looked at side by side: one that is slow does not hide the others.
const LOOKS_IN_FLIGHT: usize = 8;

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
        let (repositories, unseen) = list_beside(store, &fork).await?;
        warnings.extend(unseen);
        for repository in repositories {
            match open_original(store, &fork.cluster, repository, Unlock::Vault(&keys)).await {
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

/// The repository that was left, and those beside it: its instance may have shipped to others before. With what is not
/// looked at, in words for a person: whoever can write there may leave any number of folders.
async fn list_beside(
    store: &Arc<dyn Store>,
    fork: &Fork,
) -> Result<(Vec<RepositoryId>, Option<String>), RecoveryError> {
    let (mut repositories, mut unseen) = (vec![fork.repository], None);
    match list_repositories(store, &fork.cluster).await {
        Ok(found) => repositories.extend(found.into_iter().filter(|found| *found != fork.repository)),
        Err(error) if is_settled(&error) => unseen = Some(Chain(&error).to_string()),
        Err(error) => return Err(error),
    }
    if repositories.len() > OTHERS_MAX {
        repositories.truncate(OTHERS_MAX);
        unseen = Some(format!("there are more than {OTHERS_MAX}"));
    }
    let warning = unseen.map(|why| {
        let (cluster, at) = (&fork.cluster, fork.at);
        format!("not all repositories of cluster {cluster} are looked at for moments before {at}: {why}")
    });
    Ok((repositories, warning))
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
/// A hint, of what lies there now: what is not found out in time is named, and no recovery waits longer for it.
pub(crate) async fn warn_of_continuations(
    store: &Arc<dyn Store>,
    asked: &ClusterId,
    chains: &[OpenChain],
    within: Duration,
) -> Vec<String> {
    let keys = chains.iter().map(OpenChain::vault_keys).max_by_key(|keys| keys.newest().number());
    let Some(keys) = keys else { return Vec::new() };
    let mut others = Others::default();
    if timeout(within, others.look(store, asked, keys)).await.is_err() {
        let why = format!("looking takes longer than {} seconds", within.as_secs());
        others.miss("one of the other clusters", &why);
    }
    let Others { opened, unseen } = others;
    let shipped = |chains: &[OpenChain]| -> Vec<ShippedChain> {
        chains.iter().map(|open| open.chain.clone()).collect()
    };
    let all = shipped(&opened);
    let continuing: BTreeSet<RepositoryId> =
        find_continuations(&shipped(chains), &all).into_iter().map(|chain| chain.repository).collect();
    let mut going_on: Vec<&OpenChain> =
        opened.iter().filter(|open| continuing.contains(&open.chain.repository)).collect();
    // They come in any order, and are told in one.
    going_on.sort_by_key(|open| (Reverse(open.chain.latest().map(Position::revision)), open.cluster.clone()));
    let mut told = BTreeSet::new();
    going_on.retain(|open| told.insert(open.cluster.clone()));
    let told = going_on.into_iter().filter_map(|open| describe_continuation(asked, open));
    told.chain(unseen).collect()
}

fn describe_continuation(asked: &ClusterId, open: &OpenChain) -> Option<String> {
    let (fork, end) = (open.chain.parent.as_ref()?, open.chain.latest()?);
    let (cluster, end_at) = (&open.cluster, open.end_at);
    Some(format!(
        "cluster {cluster} goes on from what is here of cluster {asked}: it left at {} and came at least to {end}, committed at \
         {end_at}, further where it has changed its passphrase; that state is not among these points, so ask for cluster \
         {cluster} if it is the one you want. So it looks now, whichever moment was asked for, and who has the keys can forge it",
        fork.at
    ))
}

/// What the keys open below other ids, and what was not found out. What they do not open is somebody else's.
#[derive(Default)]
struct Others {
    opened: Vec<OpenChain>,
    unseen: Vec<String>,
}

impl Others {
    /// What was seen until then stays, where it is stopped.
    async fn look(&mut self, store: &Arc<dyn Store>, asked: &ClusterId, keys: &VaultKeyring) {
        let names = match list_clusters(store).await {
            Ok(names) => names,
            Err(error) => return self.miss("another cluster", &Chain(&error)),
        };
        let clusters = names.iter().filter_map(|name| name.parse::<ClusterId>().ok());
        let clusters: Vec<_> = clusters.filter(|cluster| cluster != asked).collect();
        let listed = stream::iter(clusters)
            .map(|cluster| list_below(store, cluster))
            .buffer_unordered(LOOKS_IN_FLIGHT);
        let looks =
            listed.flat_map(stream::iter).map(|(cluster, listed)| look_at(store, cluster, listed, keys));
        let mut looks = pin!(looks.buffer_unordered(LOOKS_IN_FLIGHT));
        let mut looked_at = 0;
        while let Some((cluster, looked)) = looks.next().await {
            if looked_at == OTHERS_MAX {
                let why = format!("there are more than {OTHERS_MAX} of them");
                return self.miss("one of the repositories of other clusters", &why);
            }
            looked_at += 1;
            match looked {
                Ok(open) => self.opened.extend(open),
                Err(error) => self.miss(&format!("cluster {cluster}"), &Chain(&error)),
            }
        }
    }

    fn miss(&mut self, what: &str, why: &dyn Display) {
        self.unseen.push(format!("whether {what} goes on from here was not found out: {why}"));
    }
}

/// The DR repositories of one cluster, each with its id, or why they cannot be listed.
async fn list_below(
    store: &Arc<dyn Store>,
    cluster: ClusterId,
) -> Vec<(ClusterId, Result<RepositoryId, RecoveryError>)> {
    match list_repositories(store, &cluster).await {
        Ok(repositories) => {
            repositories.into_iter().map(|repository| (cluster.clone(), Ok(repository))).collect()
        }
        Err(error) => vec![(cluster, Err(error))],
    }
}

/// None for what is somebody else's.
async fn look_at(
    store: &Arc<dyn Store>,
    cluster: ClusterId,
    listed: Result<RepositoryId, RecoveryError>,
    keys: &VaultKeyring,
) -> (ClusterId, Result<Option<OpenChain>, RecoveryError>) {
    let repository = match listed {
        Ok(repository) => repository,
        Err(error) => return (cluster, Err(error)),
    };
    let opened = open_original(store, &cluster, repository, Unlock::Vault(keys)).await;
    match opened {
        Err(error) if is_settled(&error) => (cluster, Ok(None)),
        opened => (cluster, opened),
    }
}
