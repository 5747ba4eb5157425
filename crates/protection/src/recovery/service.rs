//! Carries out KastenDRReviews and KastenDRRestores, which are rows of the instance file, one of each kind at a time.
//!
//! Guarantees: what was asked for is carried out or ends `failed` with a reason, across restarts. A restore keeps the
//! point that it chose: after a kill before the switch it begins again for the same point, after the switch it goes on.
//! One that ended after its switch with something left to do is completed by the next restore of the same cluster, and
//! without one by the platform itself, now and after each start.

mod request;

use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::{Database, Query};
use keelson_model::skip::SkipResources;
use keelson_model::{Causes, Chain, Classified};
use keelson_resources::recovery::restore::{KastenDRRestoreStatus, RecoveryStep};
use keelson_resources::recovery::review::{DrRestorePoint, DrRestorePoints, KastenDRReviewStatus};
use keelson_resources::recovery::{CatalogState, RecoveryProgress, RecoveryState};
use keelson_resources::{KindInfo, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::request::{check_confirmations, source_of, time_left, vault_of, wanted};
use crate::access;
use crate::engine::read;
use crate::kinds;
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::recovery::RecoveryError;
use crate::recovery::documents::StateSummary;
use crate::recovery::execute::{self, EXPORTS, RecoveryReport, RecoveryRequest, StepReport, Wanted};
use crate::recovery::plan::{Existing, RecoveryPlan};
use crate::recovery::review::{ReviewedPoint, review};
use crate::recovery::state::{self, Recovered};
use crate::requester::Requester;

const ACTOR: &str = "recovery";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often what the cluster did not take of the recovered configuration is tried again. The mirror has long seen by
/// then what the last try put back.
const OWED_EVERY: Duration = Duration::from_secs(30);
/// What an earlier process left to do, and what fails again each time, is tried less and less often: each try may replace
/// what somebody has changed to help.
const LEFT_OVER_MAX: Duration = Duration::from_secs(15 * 60);
/// An API server that is away is asked again after this, and then less often. Each request is tried for some seconds.
const AWAY_FIRST: Duration = Duration::from_secs(1);
const AWAY_MAX: Duration = Duration::from_secs(15);

pub(crate) async fn run_recovery(platform: Arc<Platform>, stop: CancellationToken) {
    let bounds = platform.settings().recovery_bounds;
    let mut commits = platform.commits();
    let started = tokio::time::Instant::now();
    let mut owed_at = started;
    let mut left_over_at = waiting(&platform.instance, kinds::dr_restore()).is_none().then_some(started);
    let mut left_over_pause = OWED_EVERY;
    if left_over_at.is_some() {
        tokio::select! {
            () = withdraw(&platform) => (),
            () = stop.cancelled() => return,
        }
    }
    loop {
        commits.borrow_and_update();
        for (kind, minutes) in [(kinds::dr_review(), bounds.review), (kinds::dr_restore(), bounds.restore)] {
            let Some(request) = waiting(&platform.instance, kind) else { continue };
            tokio::select! {
                () = carry_out(&platform, kind, request, minutes) => (),
                // Taken up again by the next process: its row says `running`.
                () = stop.cancelled() => return,
            }
            if state::is_unfinished(&platform) {
                left_over_at.get_or_insert_with(|| tokio::time::Instant::now() + OWED_EVERY);
            }
        }
        let is_due = |at: tokio::time::Instant| at <= tokio::time::Instant::now();
        if left_over_at.is_some_and(is_due) {
            let tried = tokio::select! {
                tried = try_left_over(&platform) => tried,
                () = stop.cancelled() => return,
            };
            left_over_pause = match tried {
                Tried::Done | Tried::ClusterAway => OWED_EVERY,
                Tried::Failed => (left_over_pause * 2).min(LEFT_OVER_MAX),
            };
            left_over_at = (tried != Tried::Done).then(|| tokio::time::Instant::now() + left_over_pause);
        }
        if is_due(owed_at) {
            tokio::select! {
                () = try_owed(&platform) => (),
                () = stop.cancelled() => return,
            }
            owed_at = tokio::time::Instant::now() + OWED_EVERY;
        }
        tokio::select! {
            _ = commits.changed() => (),
            () = tokio::time::sleep(LOOK_EVERY) => (),
            () = stop.cancelled() => return,
        }
    }
}

/// The object of a kind that has not ended.
fn waiting(instance: &Database, kind: &'static KindInfo) -> Option<Record> {
    let mut rows = list(instance, kind).into_iter();
    rows.find(|record| !matches!(record.body.status["state"].as_str(), Some("success" | "failed")))
}

fn list(instance: &Database, kind: &'static KindInfo) -> Vec<Record> {
    let page = instance.list(&Query::all(keelson_catalog::RowKind::new(kind.row_kind()), 10));
    let rows = page.map(|page| page.rows).unwrap_or_default();
    rows.iter().filter_map(|stored| Record::parse(stored).ok()).collect()
}

/// A recovery that did not come to its switch leaves nothing behind.
async fn withdraw(platform: &Platform) {
    if let Err(error) = execute::withdraw(platform).await {
        warn!(cause = %Chain(&error), "what a recovery had placed could not be taken back; a ConfigMap that stays binds nobody, and may be deleted");
    }
}

/// What was built for nothing takes room, without which nobody can be told how it ended.
async fn abandon(platform: &Arc<Platform>) {
    let of = platform.clone();
    let abandoned = tokio::task::spawn_blocking(move || of.data.abandon_recovery()).await;
    if let Ok(Err(error)) = abandoned {
        warn!(cause = %Chain(&error), "what a recovery had built stays until the next one begins");
    }
}

/// What came of a recovery for which nobody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// Nothing of it is left.
    Done,
    ClusterAway,
    Failed,
}

async fn try_left_over(platform: &Arc<Platform>) -> Tried {
    let Err(error) = complete_left_over(platform).await else { return Tried::Done };
    warn!(cause = %Chain(&error), "what a recovery had left to do could not be done; it is tried again");
    if error.is_cluster_away() { Tried::ClusterAway } else { Tried::Failed }
}

/// Its request, if it is still there, tells the end.
async fn complete_left_over(platform: &Arc<Platform>) -> Result<(), RecoveryError> {
    let unfinished = state::recovered(platform)?.filter(|recovered| !recovered.finished);
    let Some(Recovered { plan, state, .. }) = unfinished else { return Ok(()) };
    info!(point = plan.point, "a recovery that has switched catalogs goes on");
    let notes = execute::finish(platform, &plan, &|phase: &str| info!(phase, "recovery")).await?;
    let rows = list(&platform.instance, kinds::dr_restore());
    if let Some(request) = rows.iter().find(|request| is_planned_by(request, &plan)) {
        let report =
            RecoveryReport { state, generation: plan.generation.0, notes, ..RecoveryReport::default() };
        note_success(platform, request, &plan, report).await;
    }
    Ok(())
}

async fn try_owed(platform: &Platform) {
    if let Err(error) = execute::configuration::put_back_owed(platform).await {
        warn!(cause = %Chain(&error), "what is left of the recovered configuration could not be put back; it is tried again");
    }
}

async fn carry_out(platform: &Arc<Platform>, kind: &'static KindInfo, request: Record, minutes: u64) {
    let minutes = request.body.spec["timeoutMinutes"].as_u64().unwrap_or(minutes);
    let begun = request.status::<RecoveryProgress>().unwrap_or_default().start_time.map(|time| time.0);
    // Whoever asked for a restore counts from then on, also while a review is before it.
    let asked = (kind.kind == kinds::dr_restore().kind).then_some(request.created);
    // What has switched rolls forward, however long nothing ran.
    let begun = begun.into_iter().chain(asked).min().filter(|_| !has_switched(platform, &request));
    let left = time_left(begun, minutes, platform.clock.now());
    let limit = async move {
        tokio::time::sleep(left).await;
        RecoveryError::TimedOut { minutes }
    };
    carry_out_within(platform, kind, request, limit).await;
}

/// Until the limit says why no more.
async fn carry_out_within(
    platform: &Arc<Platform>,
    kind: &'static KindInfo,
    request: Record,
    limit: impl Future<Output = RecoveryError>,
) {
    info!(kind = kind.kind, name = request.name, "recovery request begins");
    let begun = now(platform);
    note(platform, &request, |progress: &mut RecoveryProgress| progress.begin(begun)).await;
    let result = tokio::select! {
        // What fails when the time is up as well has run out of time: nobody tries that again.
        biased;
        stopped = limit => Err(stopped),
        result = run(platform, kind, request.clone()) => result,
    };
    match result {
        Ok(()) => info!(kind = kind.kind, name = request.name, "recovery request succeeded"),
        Err(failure) => {
            // A review places nothing, and its end need not wait for a turn.
            let is_restore = kind.kind == kinds::dr_restore().kind;
            if is_restore {
                withdraw(platform).await;
                abandon(platform).await;
            }
            if let Some((plan, state)) = own_finished(platform, &request).filter(|_| is_restore) {
                return note_late_success(platform, &request, &plan, state).await;
            }
            let is_partly_done = is_restore && is_partly_done(platform, &request);
            note_failure(platform, &request, failure, is_partly_done).await;
        }
    }
}

/// Again while the API server is away: whatever was done is done once more or found to be done, as after a kill.
async fn run(
    platform: &Arc<Platform>,
    kind: &'static KindInfo,
    mut request: Record,
) -> Result<(), RecoveryError> {
    let mut pause = AWAY_FIRST;
    loop {
        let ended = match kind.kind {
            "KastenDRReview" => run_review(platform, &request).await,
            _ => run_restore(platform, &request).await,
        };
        let error = match ended {
            Err(error) if error.is_cluster_away() => error,
            ended => return ended,
        };
        warn!(cause = %Chain(&error), "the API server does not answer; the recovery goes on when it does");
        let waiting = "Waiting for the API server";
        note(platform, &request, |progress: &mut RecoveryProgress| waiting.clone_into(&mut progress.phase))
            .await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AWAY_MAX);
        match read(&platform.instance, &request.key()) {
            Ok(Some(now)) if now.uid == request.uid => request = now,
            _ => return Err(error),
        }
    }
}

/// A restore that has switched says that it is to be gone on with, whatever kept it from its end.
async fn note_failure(platform: &Platform, request: &Record, failure: RecoveryError, is_partly_done: bool) {
    let failure = match failure {
        RecoveryError::TimedOut { minutes } if is_partly_done => RecoveryError::TimedOutPartly { minutes },
        failure if is_partly_done => RecoveryError::PartlyDone { source: Box::new(failure) },
        failure => failure,
    };
    let cause = Causes(&failure).to_string();
    let message = match failure.hint() {
        Some(hint) => format!("{}; hint: {hint}", Chain(&failure)),
        None => Chain(&failure).to_string(),
    };
    warn!(
        kind = request.kind.as_str(),
        name = request.name,
        code = failure.code(),
        cause,
        "recovery request failed"
    );
    let (class, ended) = (failure.class().reason().to_owned(), now(platform));
    let fail = |progress: &mut RecoveryProgress| {
        progress.state = RecoveryState::Failed;
        progress.error.clone_from(&message);
        progress.cause.clone_from(&cause);
        progress.error_class = Some(class.clone());
        progress.end_time = Some(ended);
    };
    if !is_partly_done {
        return note(platform, request, fail).await;
    }
    note(platform, request, |status: &mut KastenDRRestoreStatus| {
        fail(&mut status.progress);
        status.partly_done = Some(true);
    })
    .await;
}

/// Whether a plan is the one that a request has stored.
fn is_planned_by(request: &Record, plan: &RecoveryPlan) -> bool {
    own_plan(request).is_some_and(|own| own.generation == plan.generation)
}

fn own_plan(request: &Record) -> Option<RecoveryPlan> {
    request.body.internal.get("plan").and_then(|plan| RecoveryPlan::deserialize(plan).ok())
}

fn has_switched(platform: &Platform, request: &Record) -> bool {
    own_switched(platform, request).is_ok_and(|switched| switched.is_some())
}

/// Whether a request that has ended, as it stands now, has switched catalogs and left something to do.
fn is_partly_done(platform: &Platform, request: &Record) -> bool {
    let stored = read(&platform.instance, &request.key()).ok().flatten();
    stored.is_some_and(|stored| has_switched(platform, &stored)) && state::is_unfinished(platform)
}

/// What a request that has ended has recovered, where all was put back by then.
fn own_finished(platform: &Platform, request: &Record) -> Option<(RecoveryPlan, StateSummary)> {
    let stored = read(&platform.instance, &request.key()).ok().flatten()?;
    let switched = own_switched(platform, &stored).ok().flatten()?;
    (!state::is_unfinished(platform)).then_some(switched)
}

fn now(platform: &Platform) -> Time {
    Time(platform.clock.now())
}

/// Changes the request's status, or the part of it that `Part` is, whoever else writes it at the same time. A request that was
/// deleted meanwhile is not brought back.
async fn note<Part>(platform: &Platform, request: &Record, change: impl Fn(&mut Part))
where
    Part: Default + Serialize + DeserializeOwned,
{
    loop {
        let Ok(Some(mut record)) = read(&platform.instance, &request.key()) else { return };
        if record.uid != request.uid {
            return;
        }
        let mut part = record.status::<Part>().unwrap_or_default();
        change(&mut part);
        merge(&mut record, &part);
        forget_failure(&mut record);
        match commit(&platform.instance, ACTOR, vec![record.replace()]).await {
            Ok(_) => return,
            Err(keelson_catalog::CommitError::Conflict { .. }) => {}
            Err(failure) => {
                error!(
                    error = &failure as &dyn std::error::Error,
                    "the state of a recovery was not recorded"
                );
                return;
            }
        }
    }
}

fn merge(record: &mut Record, part: &impl Serialize) {
    let fields = serde_json::to_value(part).expect("plain data");
    for (field, value) in fields.as_object().into_iter().flatten() {
        record.body.status[field] = value.clone();
    }
}

/// What has gone well in the end says nothing of how it had ended before.
fn forget_failure(record: &mut Record) {
    if record.body.status["state"] != "success" {
        return;
    }
    if let Some(status) = record.body.status.as_object_mut() {
        status.remove("errorClass");
        status.remove("partlyDone");
    }
}

/// Again when it is carried out: rights may be taken away while a request waits.
async fn check_access(platform: &Platform, request: &Record) -> Result<(), RecoveryError> {
    let requester = request.body.internal.get("requester").cloned().map(Requester::deserialize);
    // One that cannot be read is nobody's.
    let requester = requester
        .transpose()
        .map_err(|source| RecoveryError::Request { what: "who asked", why: source.to_string() })?;
    let requester = requester.unwrap_or(Requester::Platform);
    let checked = access::check_references(platform, &requester, request).await;
    checked.map_err(|source| RecoveryError::Access { source })
}

async fn run_review(platform: &Platform, request: &Record) -> Result<(), RecoveryError> {
    check_access(platform, request).await?;
    let source = source_of(&request.body.spec["sourceClusterInfo"])?;
    let fetching = "Fetching data from storage";
    note(platform, request, |progress: &mut RecoveryProgress| fetching.clone_into(&mut progress.phase)).await;
    let newest = RecoveryRequest {
        source,
        vault: vault_of(&request.body.spec)?,
        wanted: Wanted::Latest,
        skip: SkipResources::default(),
        existing: Existing::Keep,
    };
    let reviewed = review(platform, &newest.source, newest.vault.as_ref(), None).await?;
    let plan = execute::plan_from_chain(platform, &newest, &reviewed).await?;
    let points: Vec<_> = reviewed.points.into_iter().map(served_point).collect();
    note(platform, request, |status: &mut KastenDRReviewStatus| {
        status.progress.plan = plan.to_string().lines().map(str::to_owned).collect();
        status.progress.warnings.clone_from(&reviewed.warnings);
        status.rolled_back = reviewed.rollback.as_ref().map(ToString::to_string);
        let count = u32::try_from(points.len()).unwrap_or(u32::MAX);
        status.restore_points = Some(DrRestorePoints { count, restore_point_list: points.clone() });
        status.progress.succeed("Successfully fetched data from storage", now(platform));
    })
    .await;
    Ok(())
}

fn served_point(point: ReviewedPoint) -> DrRestorePoint {
    let ReviewedPoint {
        id,
        version,
        creation_time,
        created_time,
        local_snapshot_taken,
        valid_snapshot_available,
        exported_catalog_available,
    } = point;
    DrRestorePoint {
        id,
        version,
        creation_time: Time(creation_time),
        created_time: Time(created_time),
        local_snapshot_taken,
        valid_snapshot_available,
        exported_catalog_available,
    }
}

async fn run_restore(platform: &Arc<Platform>, request: &Record) -> Result<(), RecoveryError> {
    let phase = phases(platform, request);
    if let Some((plan, state)) = own_switched(platform, request)? {
        return go_on(platform, request, plan, state, &phase).await;
    }
    // Before the review that it may name is read.
    check_access(platform, request).await?;
    let wanted = wanted(platform, request)?;
    note(platform, request, |status: &mut KastenDRRestoreStatus| {
        status.source_cluster_id = Some(wanted.source.source_cluster_id.to_string());
    })
    .await;
    if let Some((plan, state)) = others_switched(platform, request, &wanted)? {
        return go_on(platform, request, plan, state, &phase).await;
    }
    phase("Reading the location");
    let (plan, opened) = execute::make_plan(platform, &wanted).await?;
    check_confirmations(request, &plan, &opened)?;
    keep_plan(platform, request, &plan).await?;
    let report = execute::execute(platform, wanted.vault.as_ref(), &plan, &opened, &phase).await?;
    note_success(platform, request, &plan, report).await;
    Ok(())
}

/// The steps after the switch.
async fn go_on(
    platform: &Arc<Platform>,
    request: &Record,
    plan: RecoveryPlan,
    state: StateSummary,
    phase: execute::Phase<'_>,
) -> Result<(), RecoveryError> {
    phase("Going on after the switch");
    keep_plan(platform, request, &plan).await?;
    let notes = execute::finish(platform, &plan, phase).await?;
    let report = RecoveryReport { state, generation: plan.generation.0, notes, ..RecoveryReport::default() };
    note_success(platform, request, &plan, report).await;
    Ok(())
}

/// Phases reach the row in the order in which they began; the recovery does not wait for them.
fn phases(platform: &Arc<Platform>, request: &Record) -> impl Fn(&str) + Send + Sync + use<> {
    let (platform, request) = (platform.clone(), request.clone());
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
    let tasks = platform.tasks().clone();
    tasks.spawn(async move {
        while let Some(phase) = receiver.recv().await {
            note(&platform, &request, |progress: &mut RecoveryProgress| {
                // One that comes late must not cover how it ended.
                if progress.state == RecoveryState::Running {
                    phase.clone_into(&mut progress.phase);
                }
            })
            .await;
        }
    });
    move |phase: &str| {
        info!(phase, "recovery");
        drop(sender.send(phase.to_owned()));
    }
}

/// This request's own plan, where it has switched catalogs already; perhaps it has ended, and was killed before it could
/// say so. Nothing else is needed to go on: the review that it came from may be gone.
fn own_switched(
    platform: &Platform,
    request: &Record,
) -> Result<Option<(RecoveryPlan, StateSummary)>, RecoveryError> {
    let Some(recovered) = state::recovered(platform)? else { return Ok(None) };
    let own = own_plan(request).filter(|own| own.generation == recovered.plan.generation);
    Ok(own.map(|own| (own, recovered.state)))
}

/// The plan of an earlier request that has switched catalogs and not ended, where this one asks for the same; or that had not
/// when this one was made.
fn others_switched(
    platform: &Platform,
    request: &Record,
    wanted: &RecoveryRequest,
) -> Result<Option<(RecoveryPlan, StateSummary)>, RecoveryError> {
    let Some(recovered) = state::recovered(platform)? else { return Ok(None) };
    let Recovered { plan, state, finished, finished_at, .. } = recovered;
    let same = asks_for(wanted, &plan);
    if finished && !(same && finished_at.is_some_and(|at| at > request.created)) {
        return Ok(None);
    }
    if !same {
        return Err(RecoveryError::Unfinished { point: plan.point });
    }
    // What could not be put back may be left out now.
    Ok(Some((plan.asked_again(wanted.skip, wanted.existing), state)))
}

fn asks_for(wanted: &RecoveryRequest, plan: &RecoveryPlan) -> bool {
    let same = match &wanted.wanted {
        Wanted::Latest => plan.point != EXPORTS,
        Wanted::Point(point) => plan.point == *point,
        Wanted::Exports => plan.point == EXPORTS,
    };
    same && plan.is_of(&wanted.source.source_cluster_id) && plan.moment == wanted.source.point_in_time
}

async fn keep_plan(platform: &Platform, request: &Record, plan: &RecoveryPlan) -> Result<(), RecoveryError> {
    let read_request = || read(&platform.instance, &request.key()).ok().flatten();
    loop {
        let Some(mut record) = read_request() else { return Err(RecoveryError::Interrupted) };
        record.body.internal["plan"] = serde_json::to_value(plan).expect("plain data");
        let mut status = record.status::<KastenDRRestoreStatus>().unwrap_or_default();
        status.source_cluster_id = Some(plan.source.to_string());
        status.progress.plan = plan.to_string().lines().map(str::to_owned).collect();
        merge(&mut record, &status);
        match commit(&platform.instance, ACTOR, vec![record.replace()]).await {
            Ok(_) => return Ok(()),
            Err(keelson_catalog::CommitError::Conflict { .. }) => {}
            Err(source) => return Err(RecoveryError::WriteState { source }),
        }
    }
}

async fn note_success(platform: &Platform, request: &Record, plan: &RecoveryPlan, report: RecoveryReport) {
    let RecoveryReport { state, generation: _, steps, notes } = report;
    let recovered = CatalogState::from(state);
    let step = |StepReport { name, seconds }| RecoveryStep { name, seconds };
    let steps: Vec<_> = steps.into_iter().map(step).collect();
    note(platform, request, |status: &mut KastenDRRestoreStatus| {
        status.restore_point = Some(plan.point.clone());
        status.generation = Some(plan.generation.0);
        status.recovered = Some(recovered.clone());
        status.steps.clone_from(&steps);
        status.notes.clone_from(&notes);
        status.progress.warnings.clone_from(&plan.warnings);
        status.progress.succeed("Successfully restored resources", now(platform));
    })
    .await;
}

/// The time was up when the platform was about to protect itself again, which its policy brings about by itself.
async fn note_late_success(platform: &Platform, request: &Record, plan: &RecoveryPlan, state: StateSummary) {
    info!(name = request.name, "recovery request succeeded, and its time was up");
    let told =
        "the time was up before the platform protected itself again, and before it was told what was kept";
    let (generation, notes) = (plan.generation.0, vec![told.to_owned()]);
    let report = RecoveryReport { state, generation, notes, ..RecoveryReport::default() };
    note_success(platform, request, plan, report).await;
}

#[cfg(test)]
mod tests;
