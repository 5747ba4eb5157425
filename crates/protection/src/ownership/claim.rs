//! Makes this instance the owner of what lies in one place.

use keelson_model::ClusterId;

use super::{OwnershipError, held_key, lineage_keys, read};
use crate::epochs;
use crate::layout::{ClusterFolder, Epoch};
use crate::locations::Location;
use crate::platform::Platform;

/// Claims the next epoch. Where claims are gone from the store, one after the other is made until it is none below the one that
/// was held: what is shipped from then on must not sort below what was. Not that one at once: two who claim at the same moment
/// must want the same number.
pub(super) async fn claim(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
) -> Result<Epoch, OwnershipError> {
    let identity = platform.identity();
    let keys = lineage_keys(platform)?;
    let folder = ClusterFolder::new(cluster);
    let held = read(&platform.instance)?.held.get(&held_key(&location.place, cluster)).map(|held| held.epoch);
    loop {
        let (claimant, now) = ((identity.instance, platform.cluster_id.clone()), platform.clock.now());
        let claimed = epochs::claim(&*location.store, &folder, identity.lineage, &keys, claimant, now).await;
        let epoch =
            claimed.map_err(|source| OwnershipError::Claims { profile: location.profile.clone(), source })?;
        if held.is_none_or(|held| epoch >= held) {
            return Ok(epoch);
        }
    }
}
