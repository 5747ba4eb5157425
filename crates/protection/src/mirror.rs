//! Mirrors configuration from the cluster into the catalog, so that what is shipped always holds it.
//!
//! Watches tell what is there; a pass makes the catalog say the same: every kind of configuration, and the Secrets that
//! profiles and Passkeys name, sealed under the catalog's key. A pass follows every change. What it could not write stays due, and from time
//! to time everything is: a catalog that was switched, or an event that was missed, is made up for.
//!
//! Guarantees: until a recovery has finished nothing is removed, because the cluster does not hold yet what the recovered
//! catalog does, and nothing is written over but by what somebody has changed since; nor is removed, later, what the cluster
//! did not take of it and is tried again.

mod known;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keelson_catalog::{Change, CommitError, Database, Expect, Query, ReadError, Row, RowKey, RowKind};
use keelson_crypto::Sha256;
use keelson_model::{Chain, Generation};
use keelson_workload::{ConfigEvent, RequestError};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::kinds;
use crate::mirror::known::Known;
use crate::passkeys::{self, PasskeyError};
use crate::platform::{CatalogAway, Platform, commit};
use crate::recovery::state::Owed;
use crate::recovery::{self, RecoveryError};

pub(crate) use self::secrets::{MirroredSecret, open_secret};

const ACTOR: &str = "mirror";
/// After a pass that left something due.
const AGAIN: Duration = Duration::from_secs(5);
/// Without any event.
const BY_ITSELF: Duration = Duration::from_secs(60);
/// The watches show what a recovery has written a moment after its end.
const AFTER_RECOVERY: Duration = Duration::from_secs(30);

/// Something of the cluster's configuration is not in the catalog yet.
#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("read the catalog")]
    Read { source: ReadError },
    #[error("write the catalog")]
    Commit { source: CommitError },
    #[error("read Secret '{name}'")]
    ReadSecret { name: String, source: RequestError },
    #[error("read which Secrets Passkeys name")]
    ReadPasskeys { source: PasskeyError },
    #[error("read what the cluster has not taken of the recovered configuration")]
    ReadOwed { source: RecoveryError },
}

pub(crate) async fn run_mirror(platform: Arc<Platform>, stop: CancellationToken) {
    let namespace = platform.settings.install_namespace.clone();
    let configuration = kinds::configuration().map(|(kind, _)| kind).collect();
    let configuration = platform.cluster.watch(configuration, None);
    let of_secrets = platform.cluster.watch(vec![secrets::kind()], Some(&namespace));
    let mut events = pin!(futures::stream::select(configuration, of_secrets));
    let (known, held) = (Known::new(&namespace), Held::default());
    let mut mirror = Mirror { known, generation: None, unfinished: None, held };
    let mut wait = BY_ITSELF;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    mirror.take(&platform, event);
                    while let Some(Some(event)) = events.next().now_or_never() {
                        mirror.take(&platform, event);
                    }
                }
                None => return,
            },
            () = platform.passkeys.named.notified() => (),
            () = tokio::time::sleep(wait) => if wait == BY_ITSELF { mirror.known.all_is_due() },
            () = stop.cancelled() => return,
        }
        wait = match mirror.pass(&platform).await {
            Ok(Passed::Whole) => BY_ITSELF,
            Ok(Passed::Unfinished) => AGAIN,
            Err(error) => {
                warn!(cause = %Chain(&error), "configuration is not mirrored; trying again");
                AGAIN
            }
        };
    }
}

/// How far a pass came.
enum Passed {
    Whole,
    /// A recovery is under way: what it has in the catalog was left as it is, and all stays due.
    Unfinished,
}

struct Mirror {
    known: Known,
    /// Of the catalog that the last pass wrote to.
    generation: Option<Generation>,
    /// When a recovery was last seen under way.
    unfinished: Option<Instant>,
    held: Held,
}

/// What is not written over until a recovery has finished: each object as it was first seen since. One that is another by
/// then was put back, or somebody has changed it.
#[derive(Debug, Default)]
struct Held(BTreeMap<RowKey, Sha256>);

impl Held {
    fn is_as_it_was(&mut self, key: RowKey, now: Sha256) -> bool {
        *self.0.entry(key).or_insert(now) == now
    }
}

impl Mirror {
    fn take(&mut self, platform: &Platform, event: Result<ConfigEvent, RequestError>) {
        match event {
            Ok(event) => self.known.take(event, platform.clock.now()),
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "the watch of configuration was interrupted"
                );
            }
        }
    }

    /// Writes what is due. After an error the rest stays due.
    async fn pass(&mut self, platform: &Platform) -> Result<Passed, MirrorError> {
        let catalog = platform.catalog().map_err(|source| MirrorError::Away { source })?;
        // In this order: a catalog that was recovered comes into use after this is known.
        let unfinished = recovery::is_unfinished(platform);
        if self.generation.replace(catalog.generation()) != Some(catalog.generation()) {
            self.known.all_is_due();
        }
        let named = passkeys::named_secrets(platform, &catalog);
        self.known.passkeys_name(named.map_err(|source| MirrorError::ReadPasskeys { source })?);
        // Secrets first: no profile is shipped before what it needs.
        let mut held = unfinished.then_some(&mut self.held);
        while let Some(name) = self.known.due_secret() {
            secrets::mirror(platform, &catalog, &name, held.as_deref_mut()).await?;
            self.known.secret_is_done(&name);
        }
        while let Some(row) = self.known.due_row() {
            put(&catalog, &row, held.as_deref_mut()).await?;
            self.known.row_is_done(&row.key());
        }
        // One that has switched meanwhile has not finished either.
        if unfinished || recovery::is_unfinished(platform) {
            self.unfinished = Some(Instant::now());
            self.known.all_is_due();
            return Ok(Passed::Unfinished);
        }
        self.held = Held::default();
        let settled = self.unfinished.is_none_or(|at| at.elapsed() > AFTER_RECOVERY);
        if settled && self.known.removal_is_due() {
            self.remove_gone(platform, &catalog).await?;
            self.known.removal_is_done();
        }
        Ok(Passed::Whole)
    }

    /// Removes rows of objects that are gone, and of Secrets that nothing names any more.
    async fn remove_gone(&self, platform: &Platform, catalog: &Database) -> Result<(), MirrorError> {
        let owed = recovery::state::owed(platform).map_err(|source| MirrorError::ReadOwed { source })?;
        let owed: BTreeSet<RowKey> = owed.iter().map(Owed::key).collect();
        for (_, kind) in kinds::configuration() {
            if let Some(present) = self.known.all_of(&kind) {
                remove_others(catalog, &kind, &(&present | &owed)).await?;
            }
        }
        // A profile that is not there yet may name any of them.
        let needed = owed.iter().any(|owed| owed.kind == kinds::profiles());
        match self.known.named_secrets().filter(|_| !needed) {
            Some(named) => remove_others(catalog, &kinds::secrets(), &(&named | &owed)).await,
            None => Ok(()),
        }
    }
}

/// A put of the same row would be an entry that says nothing.
async fn put(catalog: &Database, row: &Row, held: Option<&mut Held>) -> Result<(), MirrorError> {
    let keeps = held.is_some_and(|held| held.is_as_it_was(row.key(), wish_of(row)));
    let stored = catalog.read(&row.key()).map_err(|source| MirrorError::Read { source })?;
    let same = |stored: &Row| stored.body == row.body && stored.labels == row.labels;
    if stored.is_some_and(|stored| keeps || same(&stored.row)) {
        return Ok(());
    }
    let change = Change::Put { row: row.clone(), expect: Expect::Any };
    commit(catalog, ACTOR, vec![change]).await.map(drop).map_err(|source| MirrorError::Commit { source })
}

/// What the user wants of an object, without what controllers say of it.
fn wish_of(row: &Row) -> Sha256 {
    let mut object = object_of(&row.body).unwrap_or_default();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    Sha256::of(object.to_string().as_bytes())
}

async fn remove_others(
    catalog: &Database,
    kind: &RowKind,
    present: &BTreeSet<RowKey>,
) -> Result<(), MirrorError> {
    for stored in catalog.rows(Query::of(kind.clone())) {
        let key = stored.map_err(|source| MirrorError::Read { source })?.row.key();
        if !present.contains(&key) {
            let gone = vec![Change::delete(key)];
            commit(catalog, ACTOR, gone).await.map_err(|source| MirrorError::Commit { source })?;
        }
    }
    Ok(())
}

/// The object that a mirrored row holds.
pub(crate) fn object_of(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}
