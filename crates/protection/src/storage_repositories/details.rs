//! What a repository holds at this moment: counted from listings of its store, for whoever asks.

use std::time::Duration;

use keelson_repository::{Counted, Locked, Open, Repository, Unlock, Usage};
use keelson_resources::Time;
use keelson_resources::storage_repository::{
    RepositoryDetails, SizeStat, StorageRepositorySpec, StorageRepositoryStatus, StorageUsage, UsageStats,
};

use super::known::{Internal, Shared};
use crate::grants::{self, ImportedRow};
use crate::maintenance;
use crate::platform::Platform;
use crate::records::{DecodeRecordError, Record};
use crate::repositories::{RepositoriesError, parse_root};
use crate::validation::told;

/// A request ends after a minute, and should say by then what it knows.
const LOOK_FOR: Duration = Duration::from_secs(30);

pub(crate) async fn details(
    platform: &Platform,
    record: &Record,
) -> Result<RepositoryDetails, DecodeRecordError> {
    let Internal { repository, shared } = record.internal()?;
    let spec: StorageRepositorySpec = record.spec()?;
    let status: StorageRepositoryStatus = record.status()?;
    let is_maintained = !spec.disable_maintenance && !status.read_only;
    let passes = maintenance::passes(platform).filter(|_| is_maintained);
    let mut details = RepositoryDetails {
        id: repository.to_string(),
        root: shared.as_ref().map(|shared| shared.root.clone()).unwrap_or_default(),
        profile: shared.as_ref().map(|shared| shared.profile.clone()),
        cluster_id: shared.as_ref().map(|shared| shared.cluster.to_string()),
        next_process_time: passes.map(|passes| Time(passes.next)),
        ..RepositoryDetails::default()
    };
    match tokio::time::timeout(LOOK_FOR, look(platform, shared.as_ref())).await {
        Ok(Ok(usage)) => {
            let now = Some(Time(platform.clock.now()));
            let stats = |counted: Counted| UsageStats {
                completed_time: now,
                size_stat: SizeStat { count: counted.objects, size_b: counted.bytes },
            };
            details.modified_time = usage.newest_outcome.map(Time);
            details.storage_usage =
                Some(StorageUsage { blob_stats: stats(usage.packs), snapshot_stats: stats(usage.outcomes) });
        }
        Ok(Err(why)) => details.error = Some(why),
        Err(_) => {
            details.error = Some(format!("its objects could not be counted within {} s", LOOK_FOR.as_secs()))
        }
    }
    Ok(details)
}

async fn look(platform: &Platform, shared: Option<&Shared>) -> Result<Usage, String> {
    let repository = match shared {
        None => platform.local_repository().await.map_err(|error| told(&error))?,
        Some(shared) => open(platform, shared).await.map_err(|error| told(&error))?,
    };
    repository.measure().await.map_err(|error| told(&error))
}

async fn open(platform: &Platform, shared: &Shared) -> Result<Repository<Open>, RepositoriesError> {
    let Shared { profile, place, root, imported, cluster: _ } = shared;
    let location =
        platform.open_location(profile).await.map_err(|source| RepositoriesError::Location { source })?;
    if location.place != *place {
        return Err(RepositoriesError::OtherPlace { profile: profile.clone() });
    }
    if let Some(ImportedRow { grant, row }) = imported {
        return grants::open(platform, &location, grant, row).await;
    }
    let locked = Repository::<Locked>::at(location.store, parse_root(root)?);
    let locked = locked.map_err(|source| RepositoriesError::OpenFolder { source })?;
    locked.open(Unlock::Vault(&platform.vault())).await.map_err(|source| RepositoriesError::Open {
        root: root.clone(),
        profile: profile.clone(),
        source,
    })
}
