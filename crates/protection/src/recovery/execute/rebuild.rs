//! Builds the catalog of the new generation from what was shipped, and its first transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use keelson_catalog::{
    Actor, FirstTransaction, Head, Prepared, Query, Rebuild, RebuildError, RowKind, Scope, Until,
};
use keelson_crypto::CatalogKey;
use keelson_model::action::ActionState;
use keelson_model::{Chain, ErrorClass, Sequence};
use keelson_repository::Reader;
use keelson_workload::{NamespacePhase, NamespaceState};
use tokio::sync::mpsc;

use crate::actions::{self, Told};
use crate::identity::wrap_catalog_key;
use crate::kinds;
use crate::layout::Position;
use crate::locations::Location;
use crate::namespaces::NamespaceId;
use crate::platform::Platform;
use crate::records::Record;
use crate::recovery::RecoveryError;
use crate::recovery::chain::Replay;
use crate::recovery::documents::{BaseDocument, StateSummary};
use crate::recovery::exports::{self, Exports};
use crate::recovery::open::OpenChain;
use crate::recovery::plan::RecoveryPlan;
use crate::recovery::read::is_damage;
use crate::recovery::ship::base::ROWS;
use crate::recovery::ship::summary_of;
use crate::restore_points;
use crate::streams::{EndingReader, PIECES_IN_FLIGHT, begin_reading, hold};

const PAGE: usize = 500;
/// Segments that are fetched while one is applied: each is at most a few MiB.
const SEGMENTS_IN_FLIGHT: usize = 4;

fn begin(platform: &Platform, plan: &RecoveryPlan, key: &CatalogKey) -> Result<Rebuild, RecoveryError> {
    let wrapped = wrap_catalog_key(&platform.instance_key, key);
    let begun = platform.data.begin_recovery(plan.generation, key, &wrapped);
    begun.map_err(|source| RecoveryError::Rebuild { source })
}

/// Reads base and segments, applies them, compares, and ends with the first transaction of the new generation.
pub(crate) async fn from_chain(
    platform: &Platform,
    plan: &RecoveryPlan,
    open: &OpenChain,
    base: &BaseDocument,
    wanted: &Replay,
    key: &CatalogKey,
) -> Result<(Prepared, StateSummary), RecoveryError> {
    let rebuild = begin(platform, plan, key)?;
    let indexed = open.repository.load_index().await.map_err(|source| RecoveryError::LoadIndex { source })?;
    let reader = begin_reading(&indexed, platform.clock.now()).await;
    let reader = reader.map_err(|source| RecoveryError::Begin { source })?;
    let reader = EndingReader::of(platform, reader);
    let replaying = replay(rebuild, open, &reader, base, wanted);
    let replayed = hold(&*platform.clock, reader.life(), replaying).await;
    let (rebuild, head) = replayed.map_err(|source| RecoveryError::Hold { source })??;
    drop(reader);
    let state = summary_of(&head, rebuild.scope(), base.state.counts.clone());
    let namespaces = present_namespaces(platform).await?;
    let source = plan.source.to_string();
    let now = platform.clock.now();
    let prepared = tokio::task::spawn_blocking(move || {
        rebuild.finish(&Actor::new("recovery"), |transaction| {
            fail_unfinished(transaction, &source, now)?;
            unbind_absent(transaction, &namespaces)
        })
    });
    let prepared = prepared.await.map_err(|_| RecoveryError::Interrupted)??;
    Ok((prepared, state))
}

/// Takes over a base and the segments behind it, and compares what came out.
pub(in crate::recovery) async fn replay(
    rebuild: Rebuild,
    open: &OpenChain,
    reader: &Reader,
    base: &BaseDocument,
    replay: &Replay,
) -> Result<(Rebuild, Head), RecoveryError> {
    let Replay { base: _, segments, through } = replay;
    let rebuild = put_base(rebuild, reader, base).await?;
    let rebuild = apply_segments(rebuild, open, segments, *through).await?;
    let head = rebuild.head().ok_or(RecoveryError::Mismatch { what: "no base was read".to_owned() })?;
    compare(&head, *through, open)?;
    Ok((rebuild, head))
}

/// Reads what every export says of itself into the first transaction of the new generation.
pub(crate) async fn from_exports(
    platform: &Platform,
    plan: &RecoveryPlan,
    location: &Location,
    exports: &Exports,
    key: &CatalogKey,
) -> Result<(Prepared, StateSummary, Vec<String>), RecoveryError> {
    let mut rebuild = begin(platform, plan, key)?;
    rebuild.start_empty().map_err(|source| RecoveryError::Rebuild { source })?;
    let namespaces = staying_namespaces(platform).await?;
    let now = platform.clock.now();
    let (sender, receiver) = mpsc::channel(exports::POINTS_IN_FLIGHT);
    let building = tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        let prepared = rebuild.finish(&Actor::new("recovery"), |transaction| {
            taken = exports::take_in(transaction, receiver, &namespaces, now)?;
            Ok::<_, RecoveryError>(())
        })?;
        Ok::<_, RecoveryError>((prepared, taken))
    });
    let notes = exports::send_all(exports, location, &plan.source, sender).await;
    // Also if not everything came: what it has built of the rest is dropped.
    let built = building.await.map_err(|_| RecoveryError::Interrupted)?;
    let (notes, (prepared, taken)) = (notes?, built?);
    let head = prepared.database().head();
    let counts = BTreeMap::from([(kinds::restore_point_contents().to_string(), taken)]);
    let state = summary_of(&head, Some(Scope::ConfigurationAndLocal), counts);
    Ok((prepared, state, notes))
}

/// Feeds the base's rows from the repository into the database, a few pieces in memory at a time.
async fn put_base(
    mut rebuild: Rebuild,
    reader: &Reader,
    base: &BaseDocument,
) -> Result<Rebuild, RecoveryError> {
    let failed = |source| RecoveryError::FetchOutcome { source };
    let outcome = reader.outcome(base.outcome).await.map_err(failed)?;
    let rows = outcome.stream(ROWS).map(|stream| stream.reference);
    let rows =
        rows.ok_or_else(|| RecoveryError::Mismatch { what: "the base's outcome holds no rows".to_owned() })?;
    let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let loading = tokio::task::spawn_blocking(move || {
        let mut source = PieceReader { pieces: receiver, current: Bytes::new() };
        rebuild.put_base(&mut source).map(|_| rebuild)
    });
    let mut stream = std::pin::pin!(reader.read(&rows));
    let mut broken = None;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                if pieces.send(piece).await.is_err() {
                    break;
                }
            }
            Err(source) => {
                broken = Some(RecoveryError::ReadStream { source });
                break;
            }
        }
    }
    drop(pieces);
    let loaded = loading.await.map_err(|_| RecoveryError::Interrupted)?;
    // A stream that broke also looks truncated to the loader; the stream's own error says why.
    if let Some(broken) = broken {
        return Err(broken);
    }
    loaded.map_err(|source| RecoveryError::Rebuild { source })
}

/// Gives a blocking reader what an asynchronous stream brings.
struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// In order, a few on their way at a time. What does not open, or is a copy of another, was not shipped under its name:
/// it is passed over, and told only if the chain is not whole without it.
async fn apply_segments(
    mut rebuild: Rebuild,
    open: &OpenChain,
    segments: &[Position],
    through: Sequence,
) -> Result<Rebuild, RecoveryError> {
    let shelf = open.shelf();
    let fetch = |at: Position| async move { (at, shelf.bytes(&shelf.folder.segment(at)).await) };
    let mut fetched = futures::stream::iter(segments.to_vec()).map(fetch).buffered(SEGMENTS_IN_FLIGHT);
    let mut passed_over = None;
    while let Some((at, bytes)) = fetched.next().await {
        let entries = match bytes.and_then(|bytes| shelf.open_segment(at, &bytes)) {
            Ok((_, entries)) => entries,
            Err(error) if is_damage(&error) => {
                tracing::warn!(segment = %at, cause = %Chain(&error), "passed over");
                passed_over.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let applied = tokio::task::spawn_blocking(move || {
            rebuild.apply_segment_until(&entries, Until::Sequence(through)).map(|_| rebuild)
        });
        rebuild = match applied.await.map_err(|_| RecoveryError::Interrupted)? {
            Ok(rebuild) => rebuild,
            Err(source) => return Err(passed_over.unwrap_or(RecoveryError::Rebuild { source })),
        };
    }
    let reached = rebuild.head().map(|head| head.revision.sequence());
    match passed_over {
        Some(error) if reached != Some(through) => Err(error),
        Some(_) | None => Ok(rebuild),
    }
}

/// The rebuilt state is the shipped one: at the point itself, and in the digests of the run that named the point.
fn compare(head: &Head, through: Sequence, open: &OpenChain) -> Result<(), RecoveryError> {
    if head.revision.sequence() != through {
        let what = format!("the chain ends at {} instead of {}", head.revision.sequence().0, through.0);
        return Err(RecoveryError::Mismatch { what });
    }
    let at = |manifest: &&crate::recovery::ManifestDocument| manifest.at.sequence == through;
    let Some(manifest) = open.manifests.iter().find(at) else { return Ok(()) };
    if manifest.at.generation == head.revision.generation() && manifest.state.chain != hex::encode(head.chain)
    {
        let what = "the journal's chain differs from the one that the run recorded".to_owned();
        return Err(RecoveryError::Mismatch { what });
    }
    Ok(())
}

async fn list_namespaces(platform: &Platform) -> Result<Vec<NamespaceState>, RecoveryError> {
    let namespaces = platform.cluster.namespaces().await;
    namespaces
        .map_err(|source| RecoveryError::Cluster { what: "nothing: list namespaces".to_owned(), source })
}

async fn present_namespaces(platform: &Platform) -> Result<HashSet<String>, RecoveryError> {
    Ok(list_namespaces(platform).await?.into_iter().map(|state| state.name).collect())
}

/// Where restore points may be bound.
async fn staying_namespaces(platform: &Platform) -> Result<HashMap<String, NamespaceId>, RecoveryError> {
    let cluster = &platform.cluster_id;
    let present = list_namespaces(platform).await?.into_iter();
    let staying = present.filter(|state| state.phase == NamespacePhase::Active);
    Ok(staying.map(|state| (state.name, NamespaceId { cluster: cluster.clone(), uid: state.uid })).collect())
}

/// Nothing of the lost instance resumes here: what had not ended has failed.
fn fail_unfinished(
    transaction: &mut FirstTransaction<'_>,
    source: &str,
    now: Timestamp,
) -> Result<(), RecoveryError> {
    let told = Told::plain(&format!("interrupted by the loss of {source}"), ErrorClass::Cancelled);
    for kind in kinds::actions() {
        each(transaction, kind, |action| {
            let unfinished = actions::state(&action).is_some_and(|state: ActionState| !state.is_finished());
            let mut action = action;
            if unfinished { actions::fail(&mut action, &told, now) } else { Vec::new() }
        })?;
    }
    each(transaction, kinds::restore_point_contents(), |mut content| {
        if restore_points::retired_by(&content).is_none() {
            return Vec::new();
        }
        restore_points::clear_retiring(&mut content);
        vec![content.replace()]
    })
}

/// A restore point needs its namespace; its content does not.
fn unbind_absent(
    transaction: &mut FirstTransaction<'_>,
    namespaces: &HashSet<String>,
) -> Result<(), RecoveryError> {
    each(transaction, kinds::restore_points(), |point| {
        if namespaces.contains(&point.namespace) {
            return Vec::new();
        }
        vec![keelson_catalog::Change::delete(point.key())]
    })?;
    each(transaction, kinds::restore_point_contents(), |mut content| {
        let absent = |bound: restore_points::BoundTo| {
            !bound.is_of_cluster_scope() && !namespaces.contains(&bound.namespace)
        };
        if !restore_points::bound_to(&content).is_some_and(absent) {
            return Vec::new();
        }
        restore_points::unbind(&mut content);
        vec![content.replace()]
    })
}

pub(in crate::recovery) fn each(
    transaction: &mut FirstTransaction<'_>,
    kind: RowKind,
    mut decide: impl FnMut(Record) -> Vec<keelson_catalog::Change>,
) -> Result<(), RecoveryError> {
    let mut query = Query::all(kind, PAGE);
    loop {
        let page = transaction.list(&query)?;
        for stored in &page.rows {
            let Ok(record) = Record::parse(stored) else { continue };
            for change in decide(record) {
                transaction.change(change)?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

impl From<RebuildError> for RecoveryError {
    fn from(source: RebuildError) -> Self {
        Self::Rebuild { source }
    }
}
