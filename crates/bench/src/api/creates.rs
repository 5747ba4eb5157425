//! How many objects a second are created by one client or many, and how long one takes meanwhile.
//!
//! Each writer has a connection of its own and waits for an answer before it asks again. Connections and bodies are made
//! before the clock runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde::Serialize;
use tokio::task::JoinSet;

use super::client::{Client, Connection, New};
use crate::report::percentile;

pub(super) const WRITERS: [usize; 3] = [1, 16, 200];

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) per_second: f64,
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
}

pub(super) async fn create(client: &Client, objects: Vec<New>, writers: usize) -> Result<Created> {
    let connections = try_join_all((0..writers).map(|_| client.connect())).await?;
    let count = objects.len();
    let (objects, next) = (Arc::new(objects), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for connection in connections {
        tasks.spawn(write(connection, Arc::clone(&objects), Arc::clone(&next)));
    }
    let mut milliseconds = Vec::with_capacity(count);
    while let Some(written) = tasks.join_next().await {
        milliseconds.extend(written.context("a writer")??);
    }
    Ok(Created {
        per_second: count as f64 / began.elapsed().as_secs_f64(),
        median_ms: percentile(&milliseconds, 50),
        p99_ms: percentile(&milliseconds, 99),
    })
}

/// One writer: takes what nobody has taken, and tells how long each answer took.
async fn write(
    mut connection: Connection,
    objects: Arc<Vec<New>>,
    next: Arc<AtomicUsize>,
) -> Result<Vec<f64>> {
    let mut milliseconds = Vec::new();
    while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
        let began = Instant::now();
        connection.create(object).await?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(milliseconds)
}
