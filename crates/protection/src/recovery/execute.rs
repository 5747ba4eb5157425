//! Carries a recovery out.
//!
//! The order: 1 the ownership ConfigMap is placed and this instance owns nothing of its source; 2 the new generation
//! is built beside the old, from a base and its segments, and compared; 3 its first transaction fails what was
//! unfinished and unbinds restore points of absent namespaces; 4 the keys of the lineage are kept for the new generation;
//! 5 `CURRENT` names the new generation; 6 this instance adopts the lineage; 7 secrets, profiles and policies are
//! put back.
//!
//! Guarantees: before 5 a stop, a timeout or a kill leaves the old catalog in use and everything can begin again.
//! From 5 on the run only rolls forward: after a restart it goes on at the first step that is not done.

mod configuration;
mod rebuild;

use std::collections::BTreeMap;
use std::time::Instant;

use keelson_crypto::{CatalogKey, VaultKeyring};
use keelson_model::Generation;
use keelson_model::names::{DR_POLICY, OWNERSHIP_CONFIG_MAP};
use keelson_model::skip::SkipResources;
use keelson_workload::{ConfigMap, NamespacedName};
use serde::{Deserialize, Serialize};

use crate::kinds;
use crate::ownership::{self, Pending};
use crate::platform::Platform;
use crate::recovery::documents::StateSummary;
use crate::recovery::open::OpenChain;
use crate::recovery::plan::{self, Observed, RecoveryPlan};
use crate::recovery::review::{Reviewed, Source, review};
use crate::recovery::state::{self, Recovered};
use crate::recovery::{RecoveryError, ship};

/// What a recovery did, and how long each step took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoveryReport {
    /// The state as it was shipped and as it was rebuilt: the same, or there is no report.
    pub state: StateSummary,
    pub generation: u32,
    pub steps: Vec<StepReport>,
    /// Objects that were kept as they are, or could not be written, each with its reason.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepReport {
    pub name: String,
    pub seconds: f64,
}

/// What is asked for: a source, a point of it or the latest, and what to leave out.
#[derive(Debug, Clone)]
pub(crate) struct RecoveryRequest {
    pub source: Source,
    /// The latest where absent.
    pub point: Option<String>,
    pub skip: SkipResources,
}

/// Tells a door which step has begun.
pub(crate) type Phase<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Decides the plan from what the location holds now. Touches nothing.
pub(crate) async fn make_plan(
    platform: &Platform,
    request: &RecoveryRequest,
) -> Result<(RecoveryPlan, Reviewed), RecoveryError> {
    let reviewed = review(platform, &request.source).await?;
    let id = match &request.point {
        Some(id) => id.clone(),
        None => reviewed.points[0].id.clone(),
    };
    let (open, generation, through) = reviewed.find(&id)?;
    let replay =
        open.chain.replay(generation, through).map_err(|source| RecoveryError::Unreachable { source })?;
    let point = reviewed.points.iter().find(|point| point.id == id);
    let seen = reviewed.chains.iter().flat_map(|open| open.chain.bases.iter().chain(&open.chain.segments));
    let highest = seen.map(|at| at.generation).max().unwrap_or(Generation(0));
    let present =
        platform.catalog().ok().and_then(|catalog| catalog.count(&kinds::restore_point_contents()).ok());
    let own = platform.catalog().map_or(Generation(0), |catalog| catalog.generation());
    let plan = plan::decide(Observed {
        profile: &request.source.profile_name,
        source: &request.source.source_cluster_id,
        target: &platform.cluster_id,
        point: &id,
        repository: open.chain.repository,
        mode: open.mode(),
        replay,
        highest_generation: highest.max(own),
        state: &open.base.state,
        skip: request.skip,
        present: present.unwrap_or(0),
        created: point.map_or(open.base.created, |point| point.creation_time),
    });
    Ok((plan, reviewed))
}

/// Steps 1 to 5: everything that a stop leaves as it was, and the switch.
pub(crate) async fn execute(
    platform: &Platform,
    plan: &RecoveryPlan,
    reviewed: &Reviewed,
    phase: Phase<'_>,
) -> Result<RecoveryReport, RecoveryError> {
    let mut steps = Steps::default();
    let (open, ..) = reviewed.find(&plan.point)?;

    phase("Placing the ownership ConfigMap");
    place_config_map(platform, plan).await?;
    steps.done("ownership");

    phase("Rebuilding the catalog");
    let vault = open.vault_keys().clone();
    let key = catalog_key(open, &vault, plan).await?;
    let (prepared, state) = rebuild::rebuild(platform, plan, open, &key).await?;
    steps.done("rebuild");

    phase("Switching to the recovered catalog");
    switch(platform, plan, open, key, (prepared, state.clone())).await?;
    steps.done("switch");

    let notes = finish(platform, plan, phase).await?;
    steps.done("configuration");
    Ok(RecoveryReport { state, generation: plan.generation.0, steps: steps.list, notes })
}

#[derive(Default)]
struct Steps {
    list: Vec<StepReport>,
    began: Option<Instant>,
}

impl Steps {
    fn done(&mut self, name: &str) {
        let began = self.began.replace(Instant::now());
        let seconds = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        self.list.push(StepReport { name: name.to_owned(), seconds });
    }
}

/// Placed by every recovery; only its existence is the signal, the rest is for people.
async fn place_config_map(platform: &Platform, plan: &RecoveryPlan) -> Result<(), RecoveryError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, OWNERSHIP_CONFIG_MAP);
    let now = platform.clock.now();
    let data = BTreeMap::from([
        ("sourceClusterID".to_owned(), plan.source.to_string()),
        ("restorePoint".to_owned(), plan.point.clone()),
        ("restoredAt".to_owned(), now.to_string()),
        (
            "readme".to_owned(),
            "While this ConfigMap exists, this instance does no maintenance on the backups of its source. Delete it \
             only when no other instance uses the same backup data."
                .to_owned(),
        ),
    ]);
    let mut map = ConfigMap::new(at, data);
    map.labels.insert("app.kubernetes.io/part-of".to_owned(), "k10".to_owned());
    let pending = Pending { source: plan.source.clone(), since: now };
    ownership::update(platform, |ownership| {
        ownership.pending = Some(pending.clone());
        // What was claimed as another lineage says nothing about the one that is recovered.
        ownership.held.clear();
    })
    .await
    .map_err(|source| RecoveryError::Ownership { source })?;
    platform.cluster.apply_config_map(&map).await.map_err(|source| RecoveryError::Cluster {
        what: format!("ConfigMap '{OWNERSHIP_CONFIG_MAP}'"),
        source,
    })
}

/// The catalog key stands in the base, wrapped by the vault key that the passphrase has opened.
async fn catalog_key(
    open: &OpenChain,
    vault: &VaultKeyring,
    plan: &RecoveryPlan,
) -> Result<CatalogKey, RecoveryError> {
    let base = rebuild::base_document(open, plan.base).await?;
    let wrapped = hex::decode(&base.catalog_key).unwrap_or_default();
    let wrapper = vault.find(base.vault_key).unwrap_or_else(|| vault.newest());
    CatalogKey::unwrap(wrapper, &ship::catalog_key_context(open.chain.repository), &wrapped)
        .map_err(|source| RecoveryError::CatalogKey { source })
}

async fn switch(
    platform: &Platform,
    plan: &RecoveryPlan,
    open: &OpenChain,
    key: CatalogKey,
    (prepared, state): (keelson_catalog::Prepared, StateSummary),
) -> Result<(), RecoveryError> {
    let failed = |source| RecoveryError::Identity { source };
    let mut identity = platform.identity();
    identity.prepare_adoption(
        &platform.instance_key,
        plan.generation,
        open.base.lineage,
        plan.source.clone(),
        open.vault_keys(),
    );
    platform.become_identity(identity).await.map_err(failed)?;
    let recovered = Recovered {
        profile: plan.profile.clone(),
        source: plan.source.clone(),
        point: plan.point.clone(),
        parent: plan.fork(),
        state,
        switched: true,
        finished: false,
    };
    ship::stop(platform).await;
    state::forget_enabled(platform).await?;
    // Counts only once `CURRENT` names the new generation: see `resume`.
    state::write_recovered(platform, &recovered).await?;
    let switched = tokio::task::block_in_place(|| platform.data.switch(prepared));
    let database = switched.map_err(|source| RecoveryError::Rebuild { source })?;
    let mut identity = platform.identity();
    identity.complete_adoption(database.generation());
    platform.become_identity(identity).await.map_err(failed)?;
    platform.use_catalog(database, key);
    Ok(())
}

/// Step 7, and again after a restart: every object is written as if for the first time.
pub(crate) async fn finish(
    platform: &Platform,
    plan: &RecoveryPlan,
    phase: Phase<'_>,
) -> Result<Vec<String>, RecoveryError> {
    let notes = configuration::put_back(platform, plan, phase).await?;
    if let Some(recovered) = state::recovered(platform)? {
        state::write_recovered(platform, &Recovered { finished: true, ..recovered }).await?;
    }
    drop_older_generations(platform);
    tracing::info!(point = plan.point, policy = DR_POLICY, "platform recovered");
    Ok(notes)
}

/// The catalogs that were replaced are of no use any more. One that cannot be removed now only takes room.
fn drop_older_generations(platform: &Platform) {
    let Ok(catalog) = platform.catalog() else { return };
    let current = catalog.generation();
    let older = platform.data.generations().unwrap_or_default().into_iter().filter(|known| *known < current);
    for generation in older {
        if let Err(error) = platform.data.drop_generation(generation) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                generation = generation.0,
                "an old catalog stays"
            );
        }
    }
}
