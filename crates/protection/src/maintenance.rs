//! Frees what no restore point needs: once a day every repository that this instance owns is pruned, and once a week
//! repacked. Where a store locks, what restore points do need is kept locked.
//!
//! Guarantees: nothing goes without a proof of ownership made anew before each step; a take-over waits a day (see
//! `ownership`). What a stop or a failure leaves half done the next pass finishes. One repository is worked on at a time;
//! those whose prune waits for sessions are come back to. A repository that people have taken out of maintenance is left as
//! it is, and none is worked on for longer than they allow; how it went is told by its `StorageRepository`.

pub(crate) mod foresee;
mod locks;
mod places;
mod run;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Change, Class, Expect, RowKey, RowKind};
use keelson_model::{Chain, Classified, ErrorClass, is_due, later};
use keelson_repository::{
    JudgedRetirements, Open, Ownership, Prune, PruneReport, PruneStep, RepackError, RepackThresholds,
    Repository, SessionPurpose,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::epochs::{Inherited, RetiredBefore, StrangersList};
use crate::layout::ClusterFolder;
use crate::maintenance::locks::Needed;
use crate::maintenance::places::Place;
use crate::maintenance::run::Run;
use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::unnamed::{self, Named};
use crate::streams::{hold_writer, new_session};
use crate::{epochs, orphans, ownership};

const LOOK_EVERY: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// After the first start: an instance that was just recovered has better things to do.
const FIRST_AFTER: Duration = Duration::from_secs(2 * 3600);
const REPACK_EVERY_PASSES: u64 = 7;
/// No write takes this long: whoever left a temporary file so long ago is dead.
const LEFT_BEHIND_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// How often sessions are looked for that a prune waits for.
const SESSIONS_EVERY: Duration = Duration::from_secs(60);
/// Prunes that wait at once. What a further one has begun the next pass finishes.
const WAITING_MAX: usize = 16;
/// A report names so many; it counts all.
const NOTES_MAX: usize = 20;

/// The passes of this instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Passes {
    pub next: Timestamp,
    pub count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<PassReport>,
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PassReport {
    pub at: Timestamp,
    pub repositories: u64,
    pub restore_points_removed: u64,
    pub packs_removed: u64,
    pub bytes_freed: u64,
    /// What writers that died had left in directories.
    #[serde(default)]
    pub leftovers_removed: u64,
    /// Restore points whose locks were about to end.
    #[serde(default)]
    pub locks_lengthened: u64,
    /// Places that are not this instance's to maintain, and what went wrong; the first of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    pub failures_total: u64,
}

impl PassReport {
    fn count(&mut self, pruned: PruneReport) {
        self.repositories += 1;
        self.restore_points_removed += pruned.outcomes_removed;
        self.packs_removed += pruned.packs_removed;
        self.bytes_freed += pruned.bytes_freed;
    }

    fn refuse(&mut self, why: String) {
        if self.refused.len() < NOTES_MAX && !self.refused.contains(&why) {
            self.refused.push(why);
        }
    }

    fn fail(&mut self, what: &str, why: &str) {
        tracing::warn!(
            repository = what,
            cause = why,
            "maintenance failed here; trying again with the next pass"
        );
        self.failures_total += 1;
        if self.failures.len() < NOTES_MAX {
            self.failures.push(format!("{what}: {why}"));
        }
    }
}

fn key() -> RowKey {
    RowKey::new(RowKind::new("maintenance"), "", "self")
}

/// The last pass, and when the next is due.
pub fn passes(platform: &Platform) -> Option<Passes> {
    let stored = platform.instance.read(&key()).ok().flatten()?;
    serde_json::from_slice(&stored.row.body).ok()
}

async fn write(platform: &Platform, passes: &Passes) {
    let row = plain_row(key(), Class::Local, passes, platform.clock.now());
    let written =
        commit(&platform.instance, "maintenance", vec![Change::Put { row, expect: Expect::Any }]).await;
    if let Err(error) = written {
        tracing::warn!(error = &error as &dyn std::error::Error, "a pass of maintenance was not recorded");
    }
}

/// The next pass comes at once, or behind the one that is under way.
pub(crate) async fn pass_soon(platform: &Platform) {
    if let Some(passes) = passes(platform) {
        write(platform, &Passes { next: platform.clock.now(), ..passes }).await;
    }
}

pub(crate) async fn run_maintenance(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let now = platform.clock.now();
        let Some(due) = passes(&platform) else {
            write(&platform, &Passes { next: later(now, FIRST_AFTER), count: 0, last: None }).await;
            continue;
        };
        if !is_due(due.next, EVERY, now) {
            continue;
        }
        let report = tokio::select! {
            report = pass(&platform, due.count) => report,
            () = stop.cancelled() => return,
        };
        tracing::info!(
            repositories = report.repositories,
            bytes_freed = report.bytes_freed,
            failures = report.failures_total,
            "maintenance has passed"
        );
        // Somebody may have asked for another pass while this one was under way.
        let asked = passes(&platform).map(|passes| passes.next).filter(|next| *next != due.next);
        let next = asked.unwrap_or_else(|| later(platform.clock.now(), EVERY));
        write(&platform, &Passes { next, count: due.count + 1, last: Some(report) }).await;
    }
}

/// A prune that waits for sessions.
struct Waiting {
    place: Place,
    run: Run,
    prune: Prune,
}

async fn pass(platform: &Platform, number: u64) -> PassReport {
    let mut report = PassReport { at: platform.clock.now(), ..PassReport::default() };
    let mut waiting = Vec::new();
    let mut failed = Vec::new();
    let places = places::all(platform, &mut |why| failed.push(why)).await;
    failed.iter().for_each(|why| report.fail("a location", why));
    let needed = match locks::read_needed(platform, &places) {
        Ok(needed) => needed,
        Err(why) => {
            report.fail("locks", &why);
            Needed::default()
        }
    };
    for place in places {
        let (repositories, Inherited { list, stranger }) = match stand(platform, &place).await {
            Ok(stands) => stands,
            Err(Trouble::Refused(why)) => {
                report.refuse(why);
                continue;
            }
            Err(Trouble::Failed(why)) => {
                report.fail(&place.to_string(), &why);
                run::note_all_failed(platform, &place, &why).await;
                continue;
            }
        };
        if let Some(StrangersList { path, source }) = stranger {
            let why = format!(
                "counts for nothing, and what was retired before that epoch is kept: {}; hint: delete the object from \
                 the store",
                Chain(&source)
            );
            report.fail(path.as_str(), &why);
        }
        for repository in repositories {
            // Also where people want no maintenance: a lock that has ended cannot be had back.
            keep_locked(&repository, &needed, &mut report).await;
            let run = match Run::begin(platform, &repository) {
                Ok(run) => run,
                Err(Trouble::Refused(why)) => {
                    report.refuse(why);
                    continue;
                }
                Err(Trouble::Failed(why)) => {
                    report.fail(repository.root().as_str(), &why);
                    continue;
                }
            };
            let repack = number % REPACK_EVERY_PASSES == REPACK_EVERY_PASSES - 1;
            let stands = (&place, &repository, list.as_ref());
            if let Some(prune) = maintain(platform, stands, repack, run, &mut report).await {
                // What a further one has begun the next pass finishes.
                match waiting.len() < WAITING_MAX {
                    true => waiting.push(prune),
                    false => prune.run.end(platform, Some(WAITS.to_owned())).await,
                }
            }
        }
    }
    wait_for_sessions(platform, waiting, &mut report).await;
    report
}

/// What is said of a run that has come as far as it could.
const WAITS: &str = "sessions are still waited for; the next pass goes on";

/// One run in one repository. What it has begun and cannot end yet is returned.
async fn maintain(
    platform: &Platform,
    (place, repository, list): (&Place, &Repository<Open>, Option<&RetiredBefore>),
    repack: bool,
    mut run: Run,
    report: &mut PassReport,
) -> Option<Waiting> {
    match run.step(platform, "sweep", repository.sweep(LEFT_BEHIND_AFTER)).await {
        Ok(count) => report.leftovers_removed += count,
        Err(Trouble::Refused(why) | Trouble::Failed(why)) => report.fail(run.name(), &why),
    }
    let why = match prune(platform, (place, repository, list), repack, &mut run).await {
        Ok(Pruned::Done(pruned)) => {
            report.count(pruned);
            None
        }
        Ok(Pruned::Waits(prune)) => return Some(Waiting { place: place.clone(), run, prune: *prune }),
        Err(trouble) => Some(tell(trouble, run.name(), report)),
    };
    run.end(platform, why).await;
    None
}

fn tell(trouble: Trouble, name: &str, report: &mut PassReport) -> String {
    match trouble {
        Trouble::Refused(why) => {
            report.refuse(why.clone());
            why
        }
        Trouble::Failed(why) => {
            report.fail(name, &why);
            why
        }
    }
}

async fn wait_for_sessions(platform: &Platform, mut waiting: Vec<Waiting>, report: &mut PassReport) {
    let until = tokio::time::Instant::now() + EVERY;
    while !waiting.is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(SESSIONS_EVERY).await;
        for Waiting { place, mut run, mut prune } in std::mem::take(&mut waiting) {
            let why = match run.step(platform, PRUNE, advance(platform, &place, &mut prune)).await {
                Ok(true) => {
                    report.count(prune.report());
                    None
                }
                Ok(false) => {
                    waiting.push(Waiting { place, run, prune });
                    continue;
                }
                Err(trouble) => Some(tell(trouble, run.name(), report)),
            };
            run.end(platform, why).await;
        }
    }
    for Waiting { run, .. } in waiting {
        run.end(platform, Some(WAITS.to_owned())).await;
    }
}

/// Does not wait for what a prune may free.
async fn keep_locked(repository: &Repository<Open>, needed: &Needed, report: &mut PassReport) {
    match locks::lengthen(repository, needed).await {
        Ok(count) => report.locks_lengthened += count,
        Err(Trouble::Refused(why) | Trouble::Failed(why)) => report.fail(repository.root().as_str(), &why),
    }
}

/// Why a place was left as it is.
enum Trouble {
    /// It is not this instance's to maintain, or not yet.
    Refused(String),
    Failed(String),
}

impl<E: Classified> From<E> for Trouble {
    fn from(error: E) -> Self {
        let told = match error.hint() {
            Some(hint) => format!("{}; hint: {hint}", Chain(&error)),
            None => Chain(&error).to_string(),
        };
        if error.class() == ErrorClass::Denied { Self::Refused(told) } else { Self::Failed(told) }
    }
}

/// Proves ownership, and finds out by what to judge the retirements there.
async fn stand(platform: &Platform, place: &Place) -> Result<(Vec<Repository<Open>>, Inherited), Trouble> {
    let proof = place.prove(platform).await?;
    let repositories = place.open(platform).await?;
    let Place::Shared { location, cluster, .. } = place else {
        return Ok((repositories, Inherited::default()));
    };
    let (lineage, keys) = (platform.identity().lineage, ownership::lineage_keys(platform)?);
    let (store, folder, epoch) = (&*location.store, ClusterFolder::new(cluster), epochs::epoch_of(&proof));
    let inherited = epochs::inherit(store, &folder, lineage, &keys, epoch, &repositories).await?;
    Ok((repositories, inherited))
}

/// How far a prune came.
enum Pruned {
    Done(PruneReport),
    Waits(Box<Prune>),
}

const PRUNE: &str = "prune";

async fn prune(
    platform: &Platform,
    (place, repository, list): (&Place, &Repository<Open>, Option<&RetiredBefore>),
    repack: bool,
    run: &mut Run,
) -> Result<Pruned, Trouble> {
    let retiring = async {
        let proof = place.prove(platform).await?;
        retire_unnamed(platform, place, repository, &proof).await?;
        orphans::retire(platform, repository, &proof).await?;
        judge(platform, place, repository, list).await
    };
    let (proof, judged) = run.step(platform, "retire", retiring).await?;
    if repack {
        run.step(platform, "repack", self::repack(platform, repository, &proof, &judged)).await?;
    }
    let pruning = async {
        let plan = repository.plan_prune(&proof, &judged).await?;
        if plan.is_empty() {
            return Ok(Pruned::Done(PruneReport::default()));
        }
        tracing::info!(repository = %repository.root(), %plan, "pruning");
        let mut prune = repository.begin_prune(plan);
        match advance(platform, place, &mut prune).await? {
            true => Ok::<_, Trouble>(Pruned::Done(prune.report())),
            false => Ok(Pruned::Waits(Box::new(prune))),
        }
    };
    run.step(platform, PRUNE, pruning).await
}

/// In a repository of disaster recovery: what a process left that ended before it was named.
async fn retire_unnamed(
    platform: &Platform,
    place: &Place,
    repository: &Repository<Open>,
    proof: &Ownership,
) -> Result<(), Trouble> {
    let Place::Shared { cluster, .. } = place else { return Ok(()) };
    let folder = ClusterFolder::new(cluster).dr_repository(repository.id());
    if folder.repository() != repository.root() {
        return Ok(());
    }
    let named = Named::read(platform, repository, &folder).await?;
    let now = platform.clock.now();
    let retired = unnamed::retire_unnamed(repository, &folder, &named, proof, now).await?;
    if retired > 0 {
        tracing::info!(outcomes = retired, "outcomes that nothing names are retired");
    }
    Ok(())
}

async fn judge(
    platform: &Platform,
    place: &Place,
    repository: &Repository<Open>,
    list: Option<&RetiredBefore>,
) -> Result<(Ownership, JudgedRetirements), Trouble> {
    match place {
        // Nobody else can reach the platform's own volume.
        Place::Local => {
            let retirements = repository.list_retired().await?;
            let valid = retirements.iter().map(|retirement| retirement.outcome).collect();
            let judged = JudgedRetirements { valid, ..JudgedRetirements::default() };
            Ok((place.prove(platform).await?, judged))
        }
        Place::Shared { .. } => {
            let lineage = platform.identity().lineage;
            epochs::find_counting(repository, lineage, list, place.prove(platform)).await
        }
    }
}

/// Whether it has come to its end.
async fn advance(platform: &Platform, place: &Place, prune: &mut Prune) -> Result<bool, Trouble> {
    let proof = place.prove(platform).await?;
    match prune.advance(&proof, platform.clock.now(), &|_| {}).await? {
        PruneStep::Complete(_) => Ok(true),
        PruneStep::Settling { .. } | PruneStep::Waiting { .. } => Ok(false),
    }
}

async fn repack(
    platform: &Platform,
    repository: &Repository<Open>,
    proof: &Ownership,
    judged: &JudgedRetirements,
) -> Result<(), Trouble> {
    let clock = &*platform.clock;
    let indexed = repository.load_index().await?;
    let begun = indexed.begin_repack(proof, new_session(SessionPurpose::Repack, clock.now())).await?;
    let life = begun.life();
    let working = async {
        let repack = begun.survey(RepackThresholds::DEFAULT, judged).await?;
        repack.carry_out(clock.now()).await
    };
    hold_writer(clock, life, working, |source| RepackError::Alive { source }).await?;
    Ok(())
}
