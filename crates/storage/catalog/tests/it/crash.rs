//! Kills a process that commits, again and again: what it acknowledged is there, what is there is whole.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use keelson_catalog::{Change, DataDir, Query};
use keelson_crypto::{CatalogKey, InstanceKey};
use keelson_model::{Clock, ManualClock, Sequence};

use crate::fixture::{POINTS, actor, kind, put, row, with_body};

/// Names the data directory to the child, which is this same test binary.
const DIRECTORY: &str = "KEELSON_CATALOG_CRASH_DIRECTORY";
const CHILD: &str = "crash::child_commits_until_it_is_killed";
const ROUNDS: usize = 12;
const INSTANCE: [u8; 32] = [7; 32];

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))
}

fn key(data_dir: &DataDir) -> CatalogKey {
    let instance = InstanceKey::from_slice(&INSTANCE).unwrap();
    CatalogKey::unwrap(&instance, b"catalog", &data_dir.current_wrapped_key().unwrap()).unwrap()
}

/// Does nothing unless it was started by the test below.
#[test]
fn child_commits_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let data_dir = DataDir::open(Path::new(&directory), clock()).unwrap();
    let database = data_dir.open_current(&key(&data_dir)).unwrap();
    let start = database.head().revision.sequence().0;
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let database = database.clone();
            scope.spawn(move || {
                for number in start.. {
                    let name = format!("w{writer}-{number}");
                    let body = number.to_string().repeat(200);
                    let pair = [&name, &format!("{name}-twin")];
                    let changes = pair.map(|name| Change::put(with_body(row(name), &body))).into();
                    let revision = database.commit(&actor(), changes).unwrap();
                    // One write, so that a kill leaves no half of a line.
                    let line = format!("ack {} {name}\n", revision.sequence().0);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn run_child_until(directory: &Path, acknowledgements: usize) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        if let ["ack", sequence, name] = words.as_slice() {
            acknowledged.push((sequence.parse().unwrap(), (*name).to_owned()));
        }
        if acknowledged.len() >= acknowledgements && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn whatever_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let catalog_key = CatalogKey::generate();
    let instance = InstanceKey::from_slice(&INSTANCE).unwrap();
    let data_dir = DataDir::open(&path, clock()).unwrap();
    let wrapped = catalog_key.wrap(&instance, b"catalog");
    put(&data_dir.create_first(&catalog_key, &wrapped).unwrap(), row("first"));
    drop(data_dir);
    for round in 0..ROUNDS {
        let acknowledged = run_child_until(&path, round * 17 % 90 + 1);
        assert!(!acknowledged.is_empty());
        let data_dir = DataDir::open(&path, clock()).unwrap();
        let database = data_dir.open_current(&key(&data_dir)).unwrap();
        for (sequence, name) in &acknowledged {
            for name in [name.clone(), format!("{name}-twin")] {
                let stored = database.read(&crate::fixture::key(&name)).unwrap().expect("acknowledged");
                assert_eq!(stored.revision.sequence(), Sequence(*sequence));
            }
        }
        let rows = database.list(&Query::all(kind(POINTS), 10_000)).unwrap();
        let twins = rows.rows.iter().filter(|stored| stored.row.name.ends_with("-twin")).count();
        assert_eq!(rows.rows.len(), 2 * twins + 1, "a commit is there whole or not at all");
        database.verify_digests().unwrap();
        database.verify_chain().unwrap();
        database.check_file().unwrap();
    }
}
