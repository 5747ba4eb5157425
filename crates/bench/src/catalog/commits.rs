//! Durable commits in a second: of the catalog, of one client and of many, and of plain SQLite on the same disk.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use keelson_catalog::{Change, Database};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{create, seed};
use crate::report::percentile;

/// All three take turns, so that what else the machine does meets each of them.
const ROUNDS: u64 = 7;
/// Commits of one client in a round.
const COMMITS: u64 = 400;
pub(super) const CLIENTS: u64 = 16;
/// Commits of each of many clients in a round.
const COMMITS_EACH: u64 = 100;

/// In a second, in the median round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Commits {
    /// Plain SQLite, one client, a transaction for each row.
    pub(super) plain: f64,
    pub(super) one_client: f64,
    pub(super) many_clients: f64,
}

pub(super) fn measure(folder: &Path) -> Result<Commits> {
    let (_data_dir, database) = create(&folder.join("commits"))?;
    let mut plain = Plain::create(&folder.join("plain.sqlite"))?;
    let (mut of_plain, mut of_one, mut of_many) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for round in 0..ROUNDS {
        let began = Instant::now();
        for number in 0..COMMITS {
            plain.insert(round * COMMITS + number)?;
        }
        of_plain.push(rate(COMMITS, began));

        let began = Instant::now();
        commit(&database, next..next + COMMITS)?;
        next += COMMITS;
        of_one.push(rate(COMMITS, began));

        let began = Instant::now();
        std::thread::scope(|scope| {
            let (database, first) = (&database, next);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| first + client * COMMITS_EACH)
                .map(|first| scope.spawn(move || commit(database, first..first + COMMITS_EACH)))
                .collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        next += CLIENTS * COMMITS_EACH;
        of_many.push(rate(CLIENTS * COMMITS_EACH, began));
    }
    Ok(Commits {
        plain: percentile(&of_plain, 50),
        one_client: percentile(&of_one, 50),
        many_clients: percentile(&of_many, 50),
    })
}

fn rate(commits: u64, began: Instant) -> f64 {
    commits as f64 / began.elapsed().as_secs_f64()
}

/// One client: waits until each is on the disk.
fn commit(database: &Database, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        database.commit(&seed::actor(), vec![Change::create(seed::row(number))]).context("commit a row")?;
    }
    Ok(())
}

/// The same rows with their key's index, and nothing else of what a catalog keeps: no journal, digests or labels' index.
struct Plain(Connection);

impl Plain {
    fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path).context("make a file of plain SQLite")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE objects (id INTEGER PRIMARY KEY, kind TEXT, namespace TEXT, name TEXT, uid TEXT, labels TEXT,
             created INTEGER, body BLOB);
             CREATE UNIQUE INDEX objects_by_key ON objects (kind, namespace, name);",
        )?;
        Ok(Self(connection))
    }

    fn insert(&mut self, number: u64) -> Result<()> {
        let row = seed::row(number);
        let labels = serde_json::to_string(&row.labels)?;
        let mut statement = self.0.prepare_cached(
            "INSERT INTO objects (kind, namespace, name, uid, labels, created, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let values = params![
            row.kind.as_str(),
            row.namespace,
            row.name,
            row.uid,
            labels,
            row.created.as_microsecond(),
            row.body
        ];
        statement.execute(values).map(drop).context("insert a row into plain SQLite")
    }
}
