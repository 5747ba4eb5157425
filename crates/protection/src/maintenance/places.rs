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

/// Every place, the platform's own first. What cannot be told is told to `fail`.
pub(super) async fn all(platform: &Platform, fail: &mut (dyn FnMut(String) + Send)) -> Vec<Place> {
    let mut shared: BTreeMap<(String, ClusterId), (String, locations::Place, Vec<StorePath>)> =
        BTreeMap::new();
    let mut add = |profile: String, place: locations::Place, cluster: ClusterId, root: StorePath| {
        let known = shared.entry((place.key(), cluster)).or_insert((profile, place, Vec::new()));
        // One that is about to be left is in force and a former one.
        if !known.2.contains(&root) {
            known.2.push(root);
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
    for ((_, cluster), (profile, place, roots)) in shared {
        match platform.open_location(&profile).await {
            Ok(location) if location.place == place => {
                places.push(Place::Shared { location, cluster, roots })
            }
            Ok(_) => fail(format!("profile '{profile}' leads elsewhere now")),
            Err(error) => fail(Chain(&error).to_string()),
        }
    }
    places
}

fn rows(platform: &Platform) -> Result<Vec<(RowKey, RepositoryRow)>, String> {
    let catalog = platform.catalog().map_err(|error| Chain(&error).to_string())?;
    repositories::export_rows(&catalog).map_err(|error| Chain(&error).to_string())
}
