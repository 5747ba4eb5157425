//! What the first pass after a take-over would free, told while it waits: whoever sees more than he expects has taken over
//! by mistake, and has time.
//!
//! Guarantees: reads only. Limits: counts what was retired by the owners before and what has expired since; what retention
//! will retire is not known before a policy runs.

use std::collections::BTreeSet;

use keelson_model::{Chain, ClusterId};
use keelson_repository::Ownership;

use super::Trouble;
use super::places::{self, Place};
use crate::contents;
use crate::epochs;
use crate::layout::ClusterFolder;
use crate::locations::Location;
use crate::ownership::{self, Foreseen};
use crate::platform::Platform;

/// Tells it of each place that was taken over a short while ago, once. False if some place could not be looked at.
pub(crate) async fn tell(platform: &Platform, known: &ownership::Ownership) -> bool {
    let now = platform.clock.now();
    let untold = known.held.iter().filter(|(_, held)| held.waits_until(now).is_some());
    let untold = untold.filter(|(_, held)| held.foreseen.is_none()).map(|(key, _)| key.clone());
    let mut untold: BTreeSet<_> = untold.collect();
    if untold.is_empty() {
        return true;
    }
    let mut fail = |why: String| tracing::warn!(why, "what would be freed is not known");
    let places = places::all(platform, &mut fail).await;
    for place in places {
        let Place::Shared { location, cluster, .. } = &place else { continue };
        let key = ownership::held_key(&location.place, cluster);
        if !untold.contains(&key) {
            continue;
        }
        match foresee(platform, &place, location, cluster).await {
            Ok(foreseen) => {
                let told = ownership::update(platform, |ownership| {
                    if let Some(held) = ownership.held.get_mut(&key) {
                        held.foreseen = Some(foreseen.clone());
                    }
                });
                match told.await {
                    Ok(_) => drop(untold.remove(&key)),
                    Err(error) => fail(Chain(&error).to_string()),
                }
            }
            Err(Trouble::Refused(why) | Trouble::Failed(why)) => fail(format!("{place}: {why}")),
        }
    }
    untold.is_empty()
}

async fn foresee(
    platform: &Platform,
    place: &Place,
    location: &Location,
    cluster: &ClusterId,
) -> Result<Foreseen, Trouble> {
    let lineage = platform.identity().lineage;
    let epoch = ownership::prove(platform, location, cluster).await?;
    let repositories = place.open(platform).await?;
    let (store, folder, keys) =
        (&*location.store, ClusterFolder::new(cluster), ownership::lineage_keys(platform)?);
    let inherited = epochs::foresee_inherited(store, &folder, lineage, &keys, epoch, &repositories).await?;
    let mut foreseen = Foreseen {
        at: platform.clock.now(),
        retired: 0,
        packs: 0,
        bytes: 0,
        expired: count_expired(platform, location, cluster)?,
    };
    for repository in &repositories {
        // Without the wait that a pass keeps: nothing is removed.
        let proving = async {
            let epoch = ownership::prove(platform, location, cluster).await?;
            Ok::<_, Trouble>(Ownership::proven_by_newest_epoch(lineage, u64::from(epoch.0)))
        };
        let (proof, judged) =
            epochs::find_counting(repository, lineage, inherited.list.as_ref(), proving).await?;
        let plan = repository.plan_prune(&proof, &judged).await?;
        foreseen.retired += plan.outcomes_to_remove();
        foreseen.packs += plan.packs_to_free();
        foreseen.bytes += plan.bytes_to_free();
    }
    Ok(foreseen)
}

/// Restore points that wait to be retired.
fn count_expired(platform: &Platform, location: &Location, cluster: &ClusterId) -> Result<u64, Trouble> {
    let now = platform.clock.now();
    let catalog = platform.catalog()?;
    let mut expired = 0;
    for content in contents::all_internal(&catalog) {
        let content = content?;
        let is_here = content.artifact.exported.as_ref().is_some_and(|exported| {
            exported.place == location.place && exported.cluster().as_ref() == Some(cluster)
        });
        expired += u64::from(is_here && content.expires_at.is_some_and(|at| at <= now));
    }
    Ok(expired)
}
