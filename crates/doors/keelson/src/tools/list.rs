//! `tools list`: cards and folders without a passphrase; with one, which repositories open and what they hold.

use std::sync::Arc;

use anyhow::Result;
use futures::TryStreamExt;
use keelson_crypto::Passphrase;
use keelson_model::{Chain, Classified, ErrorClass, RepositoryId};
use keelson_repository::{Locked, OpenRepositoryError, Repository, SessionPurpose, SessionResult, Unlock};
use keelson_store::{Store, StoreExt, StorePath};
use serde::Serialize;
use serde_json::Value;

use super::Place;
use crate::failure::{failed, refuse_with};
use crate::output::data;

/// A card has a few hundred bytes.
const CARD_BYTES_MAX: u64 = 16 * 1024;
/// A cluster leaves a card with each repository. Others were put there by somebody else.
const CARDS_MAX: usize = 100;

/// What one cluster left in a location.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterListing {
    #[serde(rename = "clusterID")]
    cluster_id: String,
    cards: Vec<Value>,
    repositories: Vec<RepositoryListing>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RepositoryListing {
    pub path: String,
    /// `dr`, or the application.
    pub of: String,
    pub id: RepositoryId,
    /// Whether the passphrase opens it; absent where none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<usize>,
    /// Why nothing can be said about what it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

pub(super) async fn list(place: Place) -> Result<()> {
    let store = place.open().await?;
    let passphrase = place.passphrase()?;
    let mut clusters = Vec::new();
    let root = path("k10")?;
    for cluster_id in store.list_folders(&root).await.map_err(failed)? {
        let folder = child(&root, &cluster_id)?;
        let mut repositories = find_repositories(&*store, &folder).await?;
        if let Some(passphrase) = &passphrase {
            for repository in &mut repositories {
                look_into(&store, repository, passphrase).await?;
            }
        }
        let cards = read_cards(&*store, &child(&folder, "cards")?).await?;
        clusters.push(ClusterListing { cluster_id, cards, repositories });
    }
    data(place.output, &clusters, |clusters| clusters.iter().map(print).collect::<Vec<_>>().join("\n"));
    judge(&clusters)
}

/// Somebody who looks for backups and finds none must not be told that all is well.
fn judge(clusters: &[ClusterListing]) -> Result<()> {
    let mut repositories = clusters.iter().flat_map(|cluster| &cluster.repositories).peekable();
    if clusters.is_empty() {
        return Err(super::nothing_here());
    }
    if repositories.peek().is_some() && repositories.all(|repository| repository.opens == Some(false)) {
        return Err(refuse_with(
            ErrorClass::Denied,
            "none of the repositories here opens with this passphrase",
            "give the passphrase that was used when disaster recovery was enabled",
        ));
    }
    let mut repositories = clusters.iter().flat_map(|cluster| &cluster.repositories).peekable();
    if repositories.peek().is_some()
        && repositories.all(|repository| repository.opens.is_none() && repository.damage.is_some())
    {
        return Err(refuse_with(
            ErrorClass::Corrupt,
            "no repository here can be opened: each is damaged",
            "keelson tools verify names what is damaged or lost",
        ));
    }
    Ok(())
}

fn path(text: &str) -> Result<StorePath> {
    Ok(text.parse()?)
}

fn child(folder: &StorePath, name: &str) -> Result<StorePath> {
    Ok(folder.join(name)?)
}

async fn read_cards(store: &dyn Store, folder: &StorePath) -> Result<Vec<Value>> {
    let mut cards = Vec::new();
    let mut listed = store.stream(folder);
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        if object.length > CARD_BYTES_MAX {
            continue;
        }
        if cards.len() == CARDS_MAX {
            break;
        }
        let bytes = store.fetch_all(&object.path).await.map_err(failed)?;
        // Cards are cleartext: a hint by anybody who can write here, not a fact.
        cards.extend(serde_json::from_slice::<Value>(&bytes).ok());
    }
    Ok(cards)
}

/// Every folder that is named like a repository, below `dr/` and below each application of `exports/`.
pub(super) async fn find_repositories(
    store: &dyn Store,
    cluster: &StorePath,
) -> Result<Vec<RepositoryListing>> {
    let mut places = vec![("dr".to_owned(), child(cluster, "dr")?)];
    let exports = child(cluster, "exports")?;
    for application in store.list_folders(&exports).await.map_err(failed)? {
        places.push((application.clone(), child(&exports, &application)?));
    }
    let mut found = Vec::new();
    for (of, folder) in places {
        for name in store.list_folders(&folder).await.map_err(failed)? {
            let Ok(id) = name.parse() else { continue };
            let path = child(&folder, &name)?.to_string();
            found.push(RepositoryListing {
                path,
                of: of.clone(),
                id,
                opens: None,
                outcomes: None,
                damage: None,
            });
        }
    }
    Ok(found)
}

async fn look_into(
    store: &Arc<dyn Store>,
    listing: &mut RepositoryListing,
    passphrase: &Arc<Passphrase>,
) -> Result<()> {
    let locked = Repository::<Locked>::at(store.clone(), path(&listing.path)?).map_err(failed)?;
    match locked.open(Unlock::Passphrase(passphrase)).await {
        Ok(repository) => {
            let (mut committed, mut damaged) = (0, 0_usize);
            for id in repository.list_outcomes().await.map_err(failed)? {
                let outcome = match repository.fetch_outcome(id).await {
                    Ok(outcome) => outcome,
                    Err(error) if !error.class().is_retryable() => {
                        damaged += 1;
                        continue;
                    }
                    Err(error) => return Err(failed(error)),
                };
                let holds = outcome.result() == SessionResult::Committed
                    && outcome.purpose() != SessionPurpose::Repack;
                committed += usize::from(holds);
            }
            listing.damage = (damaged > 0).then(|| format!("{damaged} outcomes are damaged or lost"));
            listing.opens = Some(true);
            listing.outcomes = Some(committed);
            Ok(())
        }
        Err(OpenRepositoryError::WrongPassphrase { .. } | OpenRepositoryError::Absent { .. }) => {
            listing.opens = Some(false);
            Ok(())
        }
        // The others are still to be listed.
        Err(error) if !error.class().is_retryable() => {
            listing.damage = Some(Chain(&error).to_string());
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

fn print(cluster: &ClusterListing) -> String {
    let mut lines = vec![format!("cluster {}", cluster.cluster_id)];
    for card in &cluster.cards {
        let text = |field: &str| one_line(card[field].as_str().unwrap_or("?"));
        lines.push(format!("  card        version {}, made {}", text("productVersion"), text("created")));
    }
    for repository in &cluster.repositories {
        let opens = match (repository.opens, repository.outcomes) {
            (None, _) => String::new(),
            (Some(false), _) => "  does not open with this passphrase".to_owned(),
            (Some(true), outcomes) => format!("  opens, {} outcomes", outcomes.unwrap_or(0)),
        };
        let damage = repository.damage.as_ref().map(|damage| format!("  {damage}")).unwrap_or_default();
        lines.push(format!("  repository  {} of {}{opens}{damage}", repository.id, repository.of));
    }
    lines.join("\n")
}

/// Without what a terminal would act on: anybody can have written it.
fn one_line(text: &str) -> String {
    let shown = text.chars().take(64);
    shown.map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use keelson_store::providers::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_strangers_cards_are_bounded_and_change_no_terminal() {
        let store = MemoryStore::new();
        let folder = path("cards").unwrap();
        let escape =
            serde_json::json!({ "productVersion": "\u{1b}]0;x\u{7}\u{9b}2J\n1", "created": "c".repeat(999) });
        store.tamper(&child(&folder, "00").unwrap(), escape.to_string().into());
        let long = serde_json::json!({ "productVersion": "l".repeat(1 << 20) });
        store.tamper(&child(&folder, "01").unwrap(), long.to_string().into());
        for number in 0..200 {
            store.tamper(&child(&folder, &format!("1{number:03}")).unwrap(), b"{}".to_vec().into());
        }
        let cards = read_cards(&store, &folder).await.unwrap();
        assert_eq!(cards.len(), CARDS_MAX);
        assert!(cards[1] == serde_json::json!({}), "the long one was not read");
        let listing = ClusterListing { cluster_id: "c".to_owned(), cards, repositories: Vec::new() };
        let printed = print(&listing);
        assert!(printed.lines().all(|line| !line.contains(char::is_control)), "{printed:?}");
        assert_eq!(printed.lines().count(), 1 + CARDS_MAX);
        assert!(printed.lines().nth(1).unwrap().chars().count() < 200);
    }
}
