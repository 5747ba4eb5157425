//! Where repositories of this instance lie: its own volume, and for each location and cluster id one place.

use std::collections::BTreeMap;
use std::fmt;

use keelson_catalog::RowKey;
use keelson_model::{Chain, ClusterId, RepositoryId};
use keelson_repository::{Locked, Open, OpenRepositoryError, Ownership, Repository, Unlock};
use keelson_store::StorePath;

use super::Trouble;
use crate::layout::{ClusterFolder, name_of};
use crate::locations::{self, Location};
use crate::ownership;
use crate::platform::Platform;
use crate::recovery::{former, state};
use crate::repositories::{self, RepositoryRow};

/// Repositories that are owned, or not, together.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Local,
    Shared { location: Location, cluster: ClusterId, roots: Vec<StorePath> },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => write!(f, "the platform's volume"),
            Self::Shared { location, cluster, .. } => {
                write!(f, "backups of cluster {cluster} in '{}'", location.profile)
            }
        }
    }
}

impl Place {
    /// Whether what is created there is locked.
    pub(super) fn retains(&self) -> bool {
        match self {
            Self::Local => false,
            Self::Shared { location, .. } => location.store.capabilities().retention.is_some(),
        }
    }

    /// Proves anew that something may be removed there.
    pub(super) async fn prove(&self, platform: &Platform) -> Result<Ownership, Trouble> {
        match self {
            Self::Local => Ok(Ownership::proven_by_newest_epoch(platform.identity().lineage, 1)),
            Self::Shared { location, cluster, .. } => {
                Ok(ownership::prove_removal(platform, location, cluster).await?)
            }
        }
    }

    /// Those that it is known to hold.
    pub(super) fn repositories(&self, platform: &Platform) -> Vec<RepositoryId> {
        match self {
            Self::Local => vec![platform.local_repository_id()],
            Self::Shared { roots, .. } => roots.iter().filter_map(name_of).collect(),
        }
    }

    /// All of them, or an error: what was retired in one that cannot be opened now would count as void.
    pub(super) async fn open(&self, platform: &Platform) -> Result<Vec<Repository<Open>>, Trouble> {
        let Self::Shared { location, roots, .. } = self else {
            return Ok(vec![platform.local_repository().await?]);
        };
        let mut opened = Vec::new();
        for root in roots {
            let locked = Repository::<Locked>::at(location.store.clone(), root.clone())?;
            match locked.indexed_in(&platform.index_cache).open(Unlock::Vault(&platform.vault())).await {
                Ok(repository) => opened.push(repository),
                // Announced in the catalog and never made.
                Err(OpenRepositoryError::Absent { .. }) => {}
                Err(error) => return Err(Trouble::Failed(format!("'{root}': {}", Chain(&error)))),
            }
        }
        Ok(opened)
    }
}

/// What is known of a place before it is opened.
#[derive(Default)]
struct Known {
    /// The profiles that something was known to lie behind, in the order in which to try them.
    profiles: Vec<String>,
    clusters: BTreeMap<ClusterId, Vec<StorePath>>,
}

/// Every place, the platform's own first. What cannot be told is told to `fail`.
pub(super) async fn all(platform: &Platform, fail: &mut (dyn FnMut(String) + Send)) -> Vec<Place> {
    let mut shared: BTreeMap<locations::Place, Known> = BTreeMap::new();
    let mut add = |profile: String, place: locations::Place, cluster: ClusterId, root: StorePath| {
        let Known { profiles, clusters } = shared.entry(place).or_default();
        if !profiles.contains(&profile) {
            profiles.push(profile);
        }
        let roots = clusters.entry(cluster).or_default();
        // One that is about to be left is in force and a former one.
        if !roots.contains(&root) {
            roots.push(root);
        }
    };
    if let Ok(Some(known)) = state::enabled(platform) {
        let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(known.repository);
        add(known.profile, known.place, platform.cluster_id.clone(), folder.repository().clone());
    }
    let former = former::list(platform).unwrap_or_else(|error| {
        fail(Chain(&error).to_string());
        Vec::new()
    });
    for known in former {
        let folder = ClusterFolder::new(&known.cluster).dr_repository(known.repository);
        add(known.profile, known.place, known.cluster, folder.repository().clone());
    }
    match rows(platform) {
        Ok(rows) => {
            for (_, row) in rows {
                let root = row.root();
                add(row.profile, row.place, row.cluster, root);
            }
        }
        Err(why) => fail(why),
    }
    let mut places = vec![Place::Local];
    for (place, Known { profiles, clusters }) in shared {
        match platform.open_place(&place, &profiles).await {
            Ok(location) => places.extend(clusters.into_iter().map(|(cluster, roots)| Place::Shared {
                location: location.clone(),
                cluster,
                roots,
            })),
            Err(error) => fail(Chain(&error).to_string()),
        }
    }
    places
}

fn rows(platform: &Platform) -> Result<Vec<(RowKey, RepositoryRow)>, String> {
    let catalog = platform.catalog().map_err(|error| Chain(&error).to_string())?;
    repositories::export_rows(&catalog).map_err(|error| Chain(&error).to_string())
}
