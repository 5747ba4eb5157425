//! What the next base sends when few rows have changed since the last one: two bases, as the shipper streams them, into a
//! repository of their own that is made as the platform's is.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures::stream;
use keelson_catalog::{Change, Database, Query, Row, Scope, ShipError};
use keelson_crypto::{InstanceKey, VaultKey, VaultKeyring};
use keelson_model::{Clock, RepositoryId, later};
use keelson_protection::Body;
use keelson_repository::{
    Indexed, NamedStream, NewRepository, NewSession, OutcomeDraft, Repository, SessionPurpose,
};
use keelson_store::StorePath;
use keelson_store::providers::filesystem::FilesystemStore;
use tokio::sync::mpsc;

use super::seed::{self, Commits};
use crate::clock::WallClock;
use crate::cluster::Cluster;
use crate::index::folder_bytes;
use crate::report::ratio;

/// One row in so many changes, evenly spread over the order of a base.
const EVERY: u64 = 100;
const PAGE_ROWS: usize = 5_000;
const PIECES_IN_FLIGHT: usize = 8;
const SESSION_LIFE: std::time::Duration = std::time::Duration::from_secs(3600);

#[derive(Debug, Clone, Copy)]
pub(super) struct Rebased {
    pub rows: u64,
    pub changed: u64,
    pub first_bytes: u64,
    pub next_bytes: u64,
}

impl Rebased {
    /// What was sent, of what the first base took.
    pub(super) fn share(&self) -> Option<f64> {
        ratio(self.next_bytes as f64, self.first_bytes as f64)
    }
}

/// On the data directory of a platform that has ended, which ships the changed rows when it is started again.
pub(super) async fn measure(cluster: &Cluster, data: &Path) -> Result<Rebased> {
    let folder = tempfile::tempdir().context("make a folder for bases")?;
    let (folder, repository) = (folder.path(), create(folder.path()).await?);
    let (at, runtime) = (folder.to_owned(), tokio::runtime::Handle::current());
    let work = move |catalog: Database, _| {
        let empty = folder_bytes(&at)?;
        runtime.block_on(ship(&catalog, &repository))?;
        let first = folder_bytes(&at)?;
        let (rows, changed) = change(&catalog)?;
        runtime.block_on(ship(&catalog, &repository))?;
        let next = folder_bytes(&at)?;
        Ok(Rebased { rows, changed, first_bytes: first - empty, next_bytes: next - first })
    };
    seed::with_catalog(cluster, data, work).await
}

async fn create(folder: &Path) -> Result<Repository<Indexed>> {
    let store = FilesystemStore::open(folder).await.context("open the folder for bases")?;
    let vault = VaultKeyring::new(VaultKey::derive_local(&InstanceKey::from_slice(&[7; 32])?));
    let id = RepositoryId::from_bytes([1; 16]);
    let new = NewRepository { id, vault: &vault, slots: &[], chunks: Default::default() };
    let repository = Repository::at(Arc::new(store), StorePath::root())?.create(new).await?;
    Ok(repository.load_index().await?)
}

async fn ship(catalog: &Database, repository: &Repository<Indexed>) -> Result<()> {
    let now = WallClock.now();
    let new = NewSession { purpose: SessionPurpose::Base, lives_until: later(now, SESSION_LIFE), now };
    let session = repository.begin(new).await.context("begin a base")?;
    let (pieces, received) = mpsc::channel::<Result<Bytes, ShipError>>(PIECES_IN_FLIGHT);
    let reader = catalog.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let send = |piece| pieces.blocking_send(piece).map_err(|_| "the base's writer has stopped");
        let read = reader.base(Scope::ConfigurationAndLocal, b"", &mut |piece| {
            send(Ok(Bytes::copy_from_slice(piece))).map_err(Into::into)
        });
        // Where nobody takes it, the write has failed already and says why.
        read.map(drop).or_else(|error| send(Err(error)))
    });
    let pieces = stream::unfold(received, |mut received| async move {
        received.recv().await.map(|piece| (piece, received))
    });
    let reference = session.write(pieces).await.context("store a base")?;
    reading.await.context("read a base")?.map_err(|what| anyhow!(what))?;
    let rows = NamedStream { name: "rows".to_owned(), reference, attributes: Default::default() };
    let draft =
        OutcomeDraft { created: now, description: b"base".to_vec(), streams: vec![rows], retain_until: None };
    session.commit(draft).await.map(drop).context("commit a base")
}

/// Annotates one row in so many, in key order, an entry a row. Returns how many rows there are and how many it changed.
fn change(catalog: &Database) -> Result<(u64, u64)> {
    let mut commits = Commits::new(catalog.clone());
    let mut rows = 0;
    for kind in seed::row_kinds() {
        let mut query = Query::all(kind, PAGE_ROWS);
        loop {
            let page = catalog.list(&query).context("read rows")?;
            for stored in page.rows {
                rows += 1;
                if rows % EVERY == 0 {
                    commits.put(vec![annotate(stored.row, rows)?])?;
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    Ok((rows, commits.finish()?))
}

fn annotate(mut row: Row, number: u64) -> Result<Change> {
    let mut body: Body = serde_json::from_slice(&row.body).context("read a row")?;
    body.annotations.insert("bench/changed".to_owned(), number.to_string());
    row.body = serde_json::to_vec(&body).context("write a row")?;
    Ok(Change::put(row))
}
