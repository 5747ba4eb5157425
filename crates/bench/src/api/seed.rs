//! What is there before anything is measured: restore points, contents that are still to be bound, and custom copies of
//! the restore points.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use keelson_catalog::Expect;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Connection, New};
use super::lists::{PAGE, page_path, token_of};
use super::side::{Side, copy_of, spare_name};
use crate::cluster::Cluster;
use crate::recovery::seed::{self, BATCH, Commits, Size, with_catalog};

/// Requests on their way while copies are made.
const COPIERS: usize = 16;
const PAGE_ROOM: usize = 2 << 20;

/// Fills a catalog that no program has open.
pub(super) async fn fill(cluster: &Cluster, data: &Path, rows: usize, spares: usize) -> Result<()> {
    seed::fill(cluster, data, Size { points: rows, actions: 0 }).await?;
    with_catalog(cluster, data, move |catalog, now| {
        let mut commits = Commits::new(catalog);
        let numbers: Vec<usize> = (0..spares).collect();
        for numbers in numbers.chunks(BATCH) {
            let content =
                |number: &usize| seed::content(*number, &spare_name(*number), now).put(Expect::Absent);
            commits.put(numbers.iter().map(content).collect())?;
        }
        commits.finish()
    })
    .await
    .map(drop)
}

/// Makes a custom object of every restore point that is served.
pub(super) async fn copy(client: &Client, rows: usize) -> Result<()> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Value>,
    }
    let mut reader = client.connect().await?;
    let mut writers = try_join_all((0..COPIERS).map(|_| client.connect())).await?;
    let (mut token, mut copied) = (None, 0);
    loop {
        let bytes = reader.read(&page_path(Side::Ours, Some(PAGE), token.as_deref()), PAGE_ROOM).await?;
        let list: List = serde_json::from_slice(&bytes).context("read a page of restore points")?;
        let copies = list.items.iter().map(copy_of).collect::<Result<Vec<_>>>()?;
        let parts = copies.chunks(copies.len().div_ceil(COPIERS).max(1));
        try_join_all(writers.iter_mut().zip(parts).map(|(writer, part)| create_all(writer, part))).await?;
        copied += copies.len();
        token = token_of(&bytes);
        if token.is_none() {
            ensure!(copied == rows, "{copied} restore points are served instead of {rows}");
            return Ok(());
        }
    }
}

async fn create_all(writer: &mut Connection, objects: &[New]) -> Result<()> {
    for object in objects {
        writer.create(object).await?;
    }
    Ok(())
}
