//! Several clients at once, each with caches of its own, and answers that get lost on the way to one.

use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::join_all;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{PutOptions, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{Gate, Share, in_nfs_guest};

use super::{block_on, leftovers, path};

const RACES: usize = 300;

/// Two clients of each version.
async fn clients(share: Share) -> Result<Vec<FilesystemStore>> {
    let mut clients = Vec::new();
    for version in Share::VERSIONS {
        clients.push(FilesystemStore::open(share.mounted(version)).await?);
        clients.push(FilesystemStore::open(share.mount(version, "rw")?).await?);
    }
    Ok(clients)
}

#[test]
fn of_racing_clients_one_wins_and_all_read_its_object() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            let clients = clients(share).await?;
            let mut wins = vec![0; clients.len()];
            for race in 0..RACES {
                let key = path(&format!("marks/{}/{race}", race / 50));
                // Sizes are equal, so that telling the winner apart takes more than a look at a length.
                let body = |client: usize| Bytes::from(format!("race {race} client {client}"));
                let options = if race % 2 == 0 { PutOptions::create() } else { PutOptions::create_unique() };
                let puts = clients.iter().enumerate();
                let puts = puts.map(|(client, store)| store.put(&key, body(client), options));
                let mut winners = Vec::new();
                for (client, outcome) in join_all(puts).await.into_iter().enumerate() {
                    match outcome {
                        Ok(_) => winners.push(client),
                        Err(StoreError::AlreadyExists { .. }) => {}
                        Err(error) => {
                            return Err(error).with_context(|| format!("race {race}, client {client}"));
                        }
                    }
                }
                ensure!(winners.len() == 1, "race {race}: the winners are {winners:?}");
                wins[winners[0]] += 1;
                for store in &clients {
                    ensure!(store.fetch_all(&key).await? == body(winners[0]), "race {race}: others' bytes");
                }
            }
            println!("{RACES} races, won by each client: {wins:?}");
            ensure!(wins.iter().filter(|wins| **wins > 0).count() > 1, "one client won them all: {wins:?}");
            ensure!(leftovers(&share.export())?.is_empty(), "a temporary was left");
            Ok(())
        })
    })
}

/// The client never hears that its link was made. It asks again on a new connection: the server remembers its answer,
/// or, started anew, finds the name taken, and the store must know its own object.
#[test]
fn a_lost_answer_makes_no_second_object_and_no_false_refusal() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            for version in Share::VERSIONS {
                // NFS 4 would take the connection of a mount that knows the same server already.
                share.unmount(&share.mounted(version))?;
                let gate = Gate::open()?;
                let mounted = share.mount(version, &format!("hard,port={}", gate.port()))?;
                let store = FilesystemStore::open(mounted).await?;
                for restart in [false, true] {
                    let name = format!("{version:?}-restart-{restart}");
                    lose_answer(share, &store, &gate, &name, restart).await.context(name)?;
                }
            }
            Ok(())
        })
    })
}

async fn lose_answer(
    share: Share,
    store: &FilesystemStore,
    gate: &Gate,
    name: &str,
    restart: bool,
) -> Result<()> {
    let key = path(&format!("epochs/{name}"));
    // The first request with the final name is the one that links it.
    gate.lose_answers_from(name);
    let answered = Cell::new(false);
    let put = async {
        let outcome = store.create(&key, "ours".into()).await;
        answered.set(true);
        outcome
    };
    let lose = async {
        let waiting = gate.clone();
        tokio::task::spawn_blocking(move || waiting.wait_until_losing()).await??;
        let linked = share.export().join("epochs").join(name);
        while !linked.exists() {
            tokio::task::yield_now().await;
        }
        ensure!(!answered.get(), "the answer was not lost");
        if restart {
            share.stop_server()?;
            share.start_server()?;
        }
        gate.reconnect();
        Ok(())
    };
    let (put, lost) = tokio::join!(put, lose);
    lost?;
    put.context("the create whose answer was lost")?;
    ensure!(store.fetch_all(&key).await? == "ours");
    let other = store.create(&key, "else".into()).await;
    ensure!(matches!(other, Err(StoreError::AlreadyExists { .. })), "{other:?}");
    ensure!(leftovers(&share.export())?.is_empty(), "a temporary was left");
    Ok(())
}

/// Whoever removes the last object of a folder removes the folder, under the hands of others.
#[test]
fn folders_that_come_and_go_disturb_neither_writers_nor_listings() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            let clients = clients(share).await?;
            clients[0].create(&path("stays/object"), "x".into()).await?;
            let work = clients.iter().enumerate().map(|(client, store)| async move {
                for round in 0..60 {
                    let key = path(&format!("goes/deep/{client}-{round}"));
                    store.create(&key, "x".into()).await.with_context(|| format!("create {key}"))?;
                    store.delete(&key, None).await.with_context(|| format!("delete {key}"))?;
                    let listed = store.list_all(&path("stays")).await?;
                    ensure!(listed.len() == 1, "{client} in round {round}: {listed:?}");
                    // Of the rest only its caches know, so that nothing but an answer is asked for.
                    match store.list_all(&StorePath::root()).await {
                        Ok(listed) => ensure!(!listed.is_empty(), "{client} in round {round}"),
                        Err(StoreError::Stale { .. }) => {}
                        Err(error) => return Err(error).context("list"),
                    }
                }
                Ok(())
            });
            join_all(work).await.into_iter().collect::<Result<Vec<()>>>()?;
            ensure!(leftovers(&share.export())?.is_empty(), "a temporary was left");
            Ok(())
        })
    })
}
