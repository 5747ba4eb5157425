//! Carries a recovery out.
//!
//! The order: 1 the new generation is built beside the old and compared; 2 its first transaction settles what was
//! unfinished; 3 ownership of the source is given up; 4 the keys of the lineage are kept for the new generation; 5
//! `CURRENT` names it; 6 this instance adopts the lineage and forgets what it believed; 7 configuration is put back.
//!
//! Guarantees: before 5 a stop, a timeout or a kill leaves the old catalog in use, and what 3 placed is withdrawn. 3, and
//! 4 to 6, are not stopped half-way: they are done, and what was placed is withdrawn, in turns of `enabling` only. From 5
//! on the run only rolls forward: after a restart, and for the next restore of the same point, it goes on at the first
//! step that is not done.

pub(super) mod configuration;
pub(super) mod rebuild;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use keelson_catalog::Prepared;
use keelson_crypto::CatalogKey;
use keelson_model::names::OWNERSHIP_CONFIG_MAP;
use keelson_model::passphrase::VaultAccess;
use keelson_model::recovery::DrMode;
use keelson_model::skip::SkipResources;
use keelson_model::{Chain, Generation, LineageId};
use keelson_workload::{ConfigMap, NamespacedName};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::identity::RepositoryKeys;
use crate::kinds;
use crate::locations::Location;
use crate::ownership;
use crate::platform::Platform;
use crate::recovery::adopt::adopt_keys;
use crate::recovery::documents::{BaseDocument, StateSummary};
use crate::recovery::execute::configuration::PutBack;
use crate::recovery::exports::{self, Exports};
use crate::recovery::open::OpenChain;
use crate::recovery::plan::{self, Existing, Material, Observed, RecoveryPlan};
use crate::recovery::review::{Reviewed, Source, parse_point, read_passphrases, review};
use crate::recovery::state::{self, DrRepository, Recovered};
use crate::recovery::{RecoveryError, cards, ship};

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

/// What is asked for: a source, what to take of it, and what to leave out.
#[derive(Debug, Clone)]
pub(crate) struct RecoveryRequest {
    pub source: Source,
    /// How Vault is reached, where it holds the passphrase and the request says so.
    pub vault: Option<VaultAccess>,
    pub wanted: Wanted,
    pub skip: SkipResources,
    pub existing: Existing,
}

/// Which state of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Latest,
    Point(String),
    /// What the exports say, without anything that was shipped.
    Exports,
}

/// The point that a catalog made from exports is said to come from.
pub(crate) const EXPORTS: &str = "exports";

/// A location, opened for a plan.
pub(crate) enum Opened {
    Chains(Reviewed),
    Exports(Location, Exports),
}

impl Opened {
    fn seen_until(&self) -> Option<Timestamp> {
        match self {
            Self::Chains(reviewed) => reviewed.seen_until,
            Self::Exports(..) => None,
        }
    }
}

/// Tells a door which step has begun.
pub(crate) type Phase<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Decides the plan from what the location holds now. Touches nothing.
pub(crate) async fn make_plan(
    platform: &Platform,
    request: &RecoveryRequest,
) -> Result<(RecoveryPlan, Opened), RecoveryError> {
    if request.wanted == Wanted::Exports {
        return plan_from_exports(platform, request).await;
    }
    let named = match &request.wanted {
        Wanted::Point(id) => Some(parse_point(id)?.repository),
        Wanted::Latest | Wanted::Exports => None,
    };
    let reviewed = review(platform, &request.source, request.vault.as_ref(), named).await?;
    let plan = plan_from_chain(platform, request, &reviewed).await?;
    Ok((plan, Opened::Chains(reviewed)))
}

pub(crate) async fn plan_from_chain(
    platform: &Platform,
    request: &RecoveryRequest,
    reviewed: &Reviewed,
) -> Result<RecoveryPlan, RecoveryError> {
    let id = match &request.wanted {
        Wanted::Point(id) => id.clone(),
        Wanted::Latest | Wanted::Exports => reviewed.points[0].id.clone(),
    };
    let (open, generation, through) = reviewed.find(&id)?;
    let mut found = reviewed.warnings.clone();
    let (replay, base) = open.plan_replay(generation, through, &mut found).await?;
    let point = reviewed.points.iter().find(|point| point.id == id);
    let opened = reviewed.chains.iter().chain(&reviewed.ancestors);
    let seen = opened.flat_map(|open| &open.chain.bases);
    let highest = seen.map(|at| at.generation).max().unwrap_or(Generation(0));
    Ok(plan::decide(Observed {
        profile: &request.source.profile_name,
        // Below whose id the point lies: its backups are what is owned later, or not.
        source: &open.cluster,
        asked: &request.source.source_cluster_id,
        moment: request.source.point_in_time,
        target: &platform.cluster_id,
        point: &id,
        mode: base.mode,
        material: Material::of_chain(open.chain.repository, replay),
        highest_generation: highest.max(own_generation(platform)),
        counts: base.state.counts,
        skip: request.skip,
        existing: request.existing,
        present: present_contents(platform),
        created: point.map_or(base.created, |point| point.creation_time),
        cards: &cards::hints(&reviewed.store, &open.cluster).await,
        fips: cards::runs_fips(platform),
        warnings: found,
    }))
}

async fn plan_from_exports(
    platform: &Platform,
    request: &RecoveryRequest,
) -> Result<(RecoveryPlan, Opened), RecoveryError> {
    let profile = &request.source.profile_name;
    let location =
        platform.open_location(profile).await.map_err(|source| RecoveryError::Location { source })?;
    let passphrases = read_passphrases(platform, request.vault.as_ref()).await?;
    let source = &request.source.source_cluster_id;
    let exports = exports::survey(&location, source, &passphrases).await?;
    let plan = plan::decide(Observed {
        profile,
        source,
        asked: source,
        moment: None,
        target: &platform.cluster_id,
        point: EXPORTS,
        mode: DrMode::QuickNoSnapshot,
        material: Material::Exports,
        highest_generation: own_generation(platform),
        counts: BTreeMap::from([
            ("repositories".to_owned(), exports.repositories.len() as u64),
            (kinds::restore_point_contents().to_string(), exports.outcomes),
        ]),
        skip: request.skip,
        existing: request.existing,
        present: present_contents(platform),
        created: platform.clock.now(),
        cards: &cards::hints(&location.store, source).await,
        fips: cards::runs_fips(platform),
        warnings: exports.warnings.clone(),
    });
    Ok((plan, Opened::Exports(location, exports)))
}

/// A catalog may have gone on in a later generation than the folder in which it was made.
fn own_generation(platform: &Platform) -> Generation {
    let folder = platform.data.current_generation().ok().flatten().unwrap_or(Generation(0));
    platform.catalog().map_or(folder, |catalog| catalog.generation().max(folder))
}

fn present_contents(platform: &Platform) -> u64 {
    let count = |catalog: keelson_catalog::Database| catalog.count(&kinds::restore_point_contents()).ok();
    platform.catalog().ok().and_then(count).unwrap_or(0)
}

/// A new catalog, and what this instance needs to become its own.
struct Built {
    prepared: Prepared,
    key: CatalogKey,
    lineage: LineageId,
    keys: RepositoryKeys,
    /// The repository that it was recovered from.
    came_from: Option<DrRepository>,
    state: StateSummary,
    /// Nothing later is known of the source.
    is_latest: bool,
    notes: Vec<String>,
}

/// Steps 1 to 7.
pub(crate) async fn execute(
    platform: &Arc<Platform>,
    vault: Option<&VaultAccess>,
    plan: &RecoveryPlan,
    opened: &Opened,
    phase: Phase<'_>,
) -> Result<RecoveryReport, RecoveryError> {
    let mut steps = Steps::default();
    phase("Rebuilding the catalog");
    let built = build(platform, vault, plan, opened).await?;
    let (state, mut notes) = (built.state.clone(), built.notes.clone());
    steps.done("rebuild");

    phase("Placing the ownership ConfigMap");
    in_turn(platform, place_config_map(platform.clone(), plan.clone(), opened.seen_until())).await?;
    steps.done("ownership");

    phase("Switching to the recovered catalog");
    in_turn(platform, switch(platform.clone(), plan.clone(), built)).await?;
    steps.done("switch");

    notes.extend(finish(platform, plan, phase).await?);
    steps.done("configuration");
    Ok(RecoveryReport { state, generation: plan.generation.0, steps: steps.list, notes })
}

async fn build(
    platform: &Platform,
    vault: Option<&VaultAccess>,
    plan: &RecoveryPlan,
    opened: &Opened,
) -> Result<Built, RecoveryError> {
    match opened {
        Opened::Chains(reviewed) => {
            let (open, ..) = reviewed.find(&plan.point)?;
            let replay = plan.material.replay().ok_or(RecoveryError::Interrupted)?;
            let base = open.shelf().base(replay.base).await?;
            let key = catalog_key(open, &base)?;
            let others = reviewed.chains.iter().chain(&reviewed.ancestors).map(|open| &open.repository);
            let keys = adopt_keys(platform, vault, &open.repository, others).await?;
            let (prepared, state) = rebuild::from_chain(platform, plan, open, &base, &replay, &key).await?;
            let came_from = Some(DrRepository {
                profile: plan.profile.clone(),
                place: reviewed.place.clone(),
                cluster: plan.source.clone(),
                repository: open.chain.repository,
                slots: keys.slots_in(&open.repository),
            });
            let (lineage, notes) = (open.base.lineage, Vec::new());
            let is_latest = reviewed.seen_until.is_none()
                && reviewed.points.first().is_some_and(|latest| latest.id == plan.point);
            Ok(Built { prepared, key, lineage, keys, came_from, state, is_latest, notes })
        }
        Opened::Exports(location, exports) => {
            let (lineage, came_from, key) = (exports.lineage, None, CatalogKey::generate());
            let mut repositories = exports.repositories.iter().map(|export| &export.repository);
            let Some(first) = repositories.next() else { return Err(RecoveryError::Interrupted) };
            let keys = adopt_keys(platform, vault, first, repositories).await?;
            let (prepared, state, notes) =
                rebuild::from_exports(platform, plan, location, exports, &key).await?;
            // It has just read them all.
            let is_latest = false;
            Ok(Built { prepared, key, lineage, keys, came_from, state, is_latest, notes })
        }
    }
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

/// Does a step while nobody else changes what is enabled, in a task that goes on when the restore is stopped. One that
/// was stopped before its turn came does nothing any more, so that whoever withdraws in a later turn finds either nothing
/// of a step or all of it.
async fn in_turn(
    platform: &Arc<Platform>,
    step: impl Future<Output = Result<(), RecoveryError>> + Send + 'static,
) -> Result<(), RecoveryError> {
    let stopped = CancellationToken::new();
    let _stops = stopped.clone().drop_guard();
    let (tasks, platform) = (platform.tasks().clone(), platform.clone());
    let doing = tasks.spawn(async move {
        let _turn = platform.enabling.lock().await;
        if stopped.is_cancelled() {
            return Err(RecoveryError::Interrupted);
        }
        step.await
    });
    doing.await.map_err(|_| RecoveryError::Interrupted)?
}

/// Placed by every recovery; only its existence is the signal, the rest is for people.
async fn place_config_map(
    platform: Arc<Platform>,
    plan: RecoveryPlan,
    seen_until: Option<Timestamp>,
) -> Result<(), RecoveryError> {
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
    ownership::await_release(&platform, &plan.source, plan.generation, seen_until)
        .await
        .map_err(|source| RecoveryError::Ownership { source })?;
    platform.cluster.apply_config_map(&map).await.map_err(|source| RecoveryError::Cluster {
        what: format!("ConfigMap '{OWNERSHIP_CONFIG_MAP}'"),
        source,
    })
}

/// Takes back what a recovery placed that did not come to its switch. Waits for one that is at it.
pub(crate) async fn withdraw(platform: &Platform) -> Result<(), RecoveryError> {
    let _turn = platform.enabling.lock().await;
    let withdrawn = ownership::withdraw_release(platform, own_generation(platform)).await;
    let withdrawn = withdrawn.map_err(|source| RecoveryError::Ownership { source })?;
    if withdrawn != ownership::Withdrawn::OwnsAgain {
        return Ok(());
    }
    let at = NamespacedName::new(&platform.settings.install_namespace, OWNERSHIP_CONFIG_MAP);
    platform.cluster.delete_config_map(&at).await.map_err(|source| RecoveryError::Cluster {
        what: format!("ConfigMap '{OWNERSHIP_CONFIG_MAP}', to be removed again"),
        source,
    })
}

/// The catalog key stands in the base, wrapped by the vault key that the passphrase has opened.
pub(in crate::recovery) fn catalog_key(
    open: &OpenChain,
    base: &BaseDocument,
) -> Result<CatalogKey, RecoveryError> {
    let vault = open.vault_keys();
    let wrapped = hex::decode(&base.catalog_key).unwrap_or_default();
    let wrapper = vault.find(base.vault_key).unwrap_or_else(|| vault.newest());
    CatalogKey::unwrap(wrapper, &ship::catalog_key_context(open.chain.repository), &wrapped)
        .map_err(|source| RecoveryError::CatalogKey { source })
}

/// Steps 4 to 6.
async fn switch(platform: Arc<Platform>, plan: RecoveryPlan, built: Built) -> Result<(), RecoveryError> {
    let Built { prepared, key, lineage, keys, came_from, state, is_latest, notes: _ } = built;
    let mut identity = platform.identity();
    let (own_key, generation) = (&platform.instance_key, plan.generation);
    identity.prepare_adoption(own_key, generation, lineage, plan.source.clone(), &keys);
    let written = identity.write(&platform.instance, platform.clock.now()).await;
    written.map_err(|source| RecoveryError::Identity { source })?;
    let late_exports = is_latest.then(|| platform.clock.now());
    let recovered = Recovered {
        plan,
        state,
        came_from,
        settled: false,
        finished: false,
        finished_at: None,
        late_exports,
    };
    state::write_recovered(&platform, &recovered).await?;
    ship::stop(&platform).await;
    let switched = tokio::task::block_in_place(|| platform.data.switch(prepared));
    let database = switched.map_err(|source| RecoveryError::Rebuild { source })?;
    platform.use_catalog(database, key);
    settle(&platform, identity).await
}

/// Step 6: what follows from the new generation being in use. Repeated until it was done once.
async fn settle(platform: &Platform, mut identity: Identity) -> Result<(), RecoveryError> {
    let Some(recovered) = state::recovered(platform)?.filter(|recovered| !recovered.settled) else {
        return Ok(());
    };
    if identity.complete_adoption(recovered.plan.generation) {
        platform.become_identity(identity).await.map_err(|source| RecoveryError::Identity { source })?;
    }
    // What was claimed as another lineage says nothing about the one that is recovered.
    ownership::forget_held(platform).await.map_err(|source| RecoveryError::Ownership { source })?;
    ship::stop(platform).await;
    state::begin_lineage(platform, &recovered).await?;
    state::write_recovered(platform, &Recovered { settled: true, ..recovered }).await
}

/// Steps 6 and 7, and again after a restart: every object is written as if for the first time.
pub(crate) async fn finish(
    platform: &Platform,
    plan: &RecoveryPlan,
    phase: Phase<'_>,
) -> Result<Vec<String>, RecoveryError> {
    let turn = platform.enabling.lock().await;
    settle(platform, platform.identity()).await?;
    drop(turn);
    let PutBack { mut notes, owed } = configuration::put_back(platform, plan, phase).await?;
    state::finish(platform, &owed).await?;
    drop_older_generations(platform);
    // Policies look at themselves from time to time; until then nothing would be shipped.
    notes.extend(configuration::protect_again(platform).await);
    tracing::info!(point = plan.point, "platform recovered");
    phase("Successfully restored resources");
    Ok(notes)
}

/// The catalogs that were replaced are of no use any more. One that cannot be removed now only takes room.
fn drop_older_generations(platform: &Platform) {
    let Ok(Some(current)) = platform.data.current_generation() else { return };
    let older = platform.data.generations().unwrap_or_default().into_iter().filter(|known| *known < current);
    for generation in older {
        if let Err(error) = platform.data.drop_generation(generation) {
            let cause = Chain(&error);
            tracing::warn!(%cause, generation = generation.0, "an old catalog stays");
        }
    }
}
