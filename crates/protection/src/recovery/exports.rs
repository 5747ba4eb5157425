//! A catalog from the exports alone, where nothing that was shipped is left: every outcome says of itself what its
//! restore point was.
//!
//! Guarantees: what does not open with the passphrase, or is damaged, is named and keeps nothing else away. What is out of
//! reach for now is an error: nothing looks for it a second time. Outcomes are read one by one, never all at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_catalog::{Expect, FirstTransaction, RebuildError};
use keelson_crypto::{Keyring, Passphrase, VaultKeyring, random_bytes};
use keelson_model::{Chain, Classified, ClusterId, LineageId, SessionId};
use keelson_repository::{Locked, ObjectError, Open, OpenRepositoryError, Outcome, Repository, Unlock};
use keelson_store::{Store, StorePath};
use tokio::sync::mpsc;

use crate::backup::{BackupDescription, new_point};
use crate::epochs;
use crate::layout::ClusterFolder;
use crate::locations::{self, Location};
use crate::namespaces::NamespaceId;
use crate::recovery::RecoveryError;
use crate::recovery::adopt::{is_continued, warn_of_replaced};
use crate::recovery::open::list_clusters;
use crate::repositories::RepositoryRow;
use crate::restore_points::{self, Artifact, ExportedTo, NewPoint};

/// So far may reading be ahead of the database.
pub(crate) const POINTS_IN_FLIGHT: usize = 64;

/// What the exports of a cluster are, opened.
pub(crate) struct Exports {
    pub lineage: LineageId,
    pub repositories: Vec<ExportRepository>,
    /// Restore points that are there.
    pub outcomes: u64,
    /// What was passed over, and why.
    pub warnings: Vec<String>,
}

/// The repository of one application.
pub(crate) struct ExportRepository {
    pub application: String,
    pub root: StorePath,
    pub repository: Repository<Open>,
    /// Not retired, of any result.
    pub outcomes: Vec<SessionId>,
}

/// Opens what one of the passphrases opens. At least one repository, or an error that says why none.
pub(crate) async fn survey(
    location: &Location,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
) -> Result<Exports, RecoveryError> {
    let folder = ClusterFolder::new(cluster);
    let roots = list_roots(location, &folder).await?;
    if roots.is_empty() {
        let known = list_clusters(&location.store).await?;
        let cluster = cluster.clone();
        return Err(match known.iter().any(|name| name == cluster.as_str()) {
            true => RecoveryError::NoExports { cluster },
            false => RecoveryError::UnknownCluster { cluster, known },
        });
    }
    let mut opener = Opener { cluster, passphrases, keys: None, warnings: Vec::new() };
    let mut repositories = Vec::new();
    for (application, root) in &roots {
        if let Some(repository) = opener.open(location, root).await? {
            let outcomes = fetch_outcomes(&repository).await?.live;
            repositories.push(ExportRepository {
                application: application.clone(),
                root: root.clone(),
                repository,
                outcomes,
            });
        }
    }
    let Opener { keys, warnings, .. } = opener;
    let Some(vault) = keys else {
        let repositories = repositories_of(&roots);
        return Err(RecoveryError::WrongPassphrase { cluster: cluster.clone(), repositories });
    };
    let lineage = find_lineage(location, &folder, &vault).await?;
    let outcomes = repositories.iter().map(|repository| repository.outcomes.len() as u64).sum();
    Ok(Exports { lineage, repositories, outcomes, warnings })
}

/// The repositories that lie below `exports/`, each with its application.
pub(in crate::recovery) async fn list_roots(
    location: &Location,
    folder: &ClusterFolder,
) -> Result<Vec<(String, StorePath)>, RecoveryError> {
    let mut roots = Vec::new();
    for application in folders(&*location.store, &folder.exports()).await? {
        let Ok(below) = folder.exports().join(&application) else { continue };
        let ids = folders(&*location.store, &below).await?;
        for id in ids.iter().filter_map(|name| name.parse().ok()) {
            roots.push((application.clone(), folder.export_repository(&application, id)));
        }
    }
    Ok(roots)
}

async fn folders(store: &dyn Store, folder: &StorePath) -> Result<Vec<String>, RecoveryError> {
    store.list_folders(folder).await.map_err(|source| RecoveryError::List { folder: folder.clone(), source })
}

fn repositories_of(roots: &[(String, StorePath)]) -> Vec<keelson_model::RepositoryId> {
    roots.iter().filter_map(|(_, root)| root.name().parse().ok()).collect()
}

/// Opens repositories that share the keys of the first that a passphrase opened.
struct Opener<'a> {
    cluster: &'a ClusterId,
    passphrases: &'a [Arc<Passphrase>],
    keys: Option<VaultKeyring>,
    warnings: Vec<String>,
}

impl Opener<'_> {
    /// A passphrase is tried only where the keys at hand do not open: it takes a third of a second each time.
    async fn open(
        &mut self,
        location: &Location,
        root: &StorePath,
    ) -> Result<Option<Repository<Open>>, RecoveryError> {
        let locked = || {
            Repository::<Locked>::at(location.store.clone(), root.clone())
                .map_err(|source| RecoveryError::Root { source })
        };
        let settle = |opened| unless_out_of_reach(opened, self.cluster, root);
        if let Some(keys) = &self.keys
            && let Ok(repository) = settle(locked()?.open(Unlock::Vault(keys)).await)?
        {
            return Ok(Some(repository));
        }
        let opened = match settle(self.open_with_any(&locked).await?)? {
            Ok(repository) => repository,
            // Announced and never finished: nothing was exported there.
            Err(OpenRepositoryError::Absent { .. }) => return Ok(None),
            Err(error) => {
                self.warnings.push(format!("'{root}' was passed over: {}", Chain(&error)));
                return Ok(None);
            }
        };
        self.warnings.extend(warn_of_replaced(&opened));
        match &mut self.keys {
            None => self.keys = Some(opened.vault_keys().clone()),
            // The keys at hand may be older ones of the same lineage.
            Some(keys) if is_continued(keys, opened.vault_keys()) => *keys = opened.vault_keys().clone(),
            Some(_) => {
                self.warnings.push(format!(
                    "'{root}' was passed over: it belongs to another installation with the same passphrase"
                ));
                return Ok(None);
            }
        }
        Ok(Some(opened))
    }

    /// With the first passphrase that leads to the newest key, or else with the one that leads furthest.
    async fn open_with_any(
        &self,
        locked: &(impl Fn() -> Result<Repository<Locked>, RecoveryError> + Sync),
    ) -> Result<Result<Repository<Open>, OpenRepositoryError>, RecoveryError> {
        let mut best: Option<Result<Repository<Open>, OpenRepositoryError>> = None;
        for passphrase in self.passphrases {
            let opened = locked()?.open(Unlock::Passphrase(passphrase)).await;
            let newest = |open: &Repository<Open>| open.vault_keys().newest().number();
            best = match (best, opened) {
                (Some(Ok(best)), Ok(opened)) if newest(&best) < newest(&opened) => Some(Ok(opened)),
                (Some(Ok(_)), Err(error)) if is_out_of_reach(&error) => Some(Err(error)),
                (Some(Ok(best)), _) => Some(Ok(best)),
                (_, opened) => Some(opened),
            };
            let ends = match &best {
                Some(Ok(open)) => !open.names_newer_key(),
                Some(Err(error)) => is_out_of_reach(error),
                None => false,
            };
            if ends {
                break;
            }
        }
        Ok(best.expect("there is always a first passphrase"))
    }
}

fn is_out_of_reach(error: &OpenRepositoryError) -> bool {
    matches!(error, OpenRepositoryError::Fetch { source, .. } if !source.class().is_lasting())
}

/// What lies there is the caller's to tell and pass over; that it could not be looked at now is not.
pub(in crate::recovery) fn unless_out_of_reach(
    opened: Result<Repository<Open>, OpenRepositoryError>,
    cluster: &ClusterId,
    root: &StorePath,
) -> Result<Result<Repository<Open>, OpenRepositoryError>, RecoveryError> {
    match (opened, root.name().parse()) {
        (Err(source), Ok(repository)) if is_out_of_reach(&source) => {
            Err(RecoveryError::Open { cluster: cluster.clone(), repository, source })
        }
        (opened, _) => Ok(opened),
    }
}

/// The same of an outcome.
pub(crate) fn unless_unread(
    outcome: Result<Outcome, ObjectError>,
) -> Result<Result<Outcome, ObjectError>, RecoveryError> {
    match outcome {
        Err(source) if !source.is_damage() => Err(RecoveryError::FetchObject { source }),
        outcome => Ok(outcome),
    }
}

/// What a repository says of its outcomes.
pub(crate) struct Outcomes {
    /// Not retired, of any result.
    pub live: Vec<SessionId>,
    /// Stated to be retired, whether they still lie there or not.
    pub retired: HashSet<SessionId>,
}

pub(crate) async fn fetch_outcomes(repository: &Repository<Open>) -> Result<Outcomes, RecoveryError> {
    let retired = repository.list_retired().await.map_err(|source| RecoveryError::ListRetired { source })?;
    let retired: HashSet<_> = retired.into_iter().map(|retirement| retirement.outcome).collect();
    let folder = repository.root().clone();
    let outcomes = repository.list_outcomes().await;
    let outcomes = outcomes.map_err(|source| RecoveryError::List { folder, source })?;
    let live = outcomes.into_iter().filter(|outcome| !retired.contains(outcome)).collect();
    Ok(Outcomes { live, retired })
}

/// The lineage whose claims these keys open; a new one where no claim is left.
async fn find_lineage(
    location: &Location,
    folder: &ClusterFolder,
    vault: &VaultKeyring,
) -> Result<LineageId, RecoveryError> {
    for name in folders(&*location.store, &folder.lineages()).await? {
        let Ok(lineage) = name.parse::<LineageId>() else { continue };
        let Some(keys) = Keyring::of_lineage(vault, lineage) else { continue };
        let claims = epochs::read_claims(&*location.store, folder, lineage, &keys).await;
        let claims = claims.map_err(|source| RecoveryError::Claims { source })?;
        if claims.holder.is_some() {
            return Ok(lineage);
        }
    }
    Ok(LineageId::from_bytes(random_bytes()))
}

/// What a rebuilding catalog takes in.
pub(crate) enum Found {
    RestorePoint { point: Box<NewPoint>, outcome: SessionId },
    Repository(RepositoryRow),
}

/// Sends every restore point that the exports hold, and the repositories themselves. Returns what was passed over.
pub(crate) async fn send_all(
    exports: &Exports,
    location: &Location,
    cluster: &ClusterId,
    found: mpsc::Sender<Found>,
) -> Result<Vec<String>, RecoveryError> {
    let mut warnings = Vec::new();
    let mut newest: BTreeMap<&str, (Timestamp, &ExportRepository)> = BTreeMap::new();
    for export in &exports.repositories {
        let application = export.application.as_str();
        let mut outcomes = std::pin::pin!(export.repository.committed_outcomes(export.outcomes.clone()));
        while let Some(outcome) = outcomes.next().await {
            let read =
                unless_unread(outcome)?.map_err(|error| Chain(&error).to_string()).and_then(|outcome| {
                    let made = newest.entry(application).or_insert((outcome.created(), export));
                    if outcome.created() > made.0 {
                        *made = (outcome.created(), export);
                    }
                    let point = point_of(export, &outcome, location);
                    point
                        .map(|point| (outcome.id, point))
                        .map_err(|error| format!("outcome {}: {error}", outcome.id))
                });
            let message = match read {
                Ok((outcome, point)) => Found::RestorePoint { point: Box::new(point), outcome },
                Err(why) => {
                    warnings.push(format!("a restore point of '{application}' was passed over: {why}"));
                    continue;
                }
            };
            if found.send(message).await.is_err() {
                return Ok(warnings);
            }
        }
    }
    // New exports of an application go on in the repository that it was last exported to.
    for (application, (_, export)) in newest {
        let row = RepositoryRow {
            application: application.to_owned(),
            profile: location.profile.clone(),
            place: location.place.clone(),
            cluster: cluster.clone(),
            repository: export.repository.id(),
            slots: Vec::new(),
        };
        if found.send(Found::Repository(row)).await.is_err() {
            break;
        }
    }
    Ok(warnings)
}

pub(in crate::recovery) fn point_of(
    export: &ExportRepository,
    outcome: &Outcome,
    location: &Location,
) -> Result<NewPoint, serde_json::Error> {
    let description: BackupDescription = serde_json::from_slice(outcome.description())?;
    let artifact = Artifact {
        repository: export.repository.id(),
        outcome: outcome.id,
        exported: Some(ExportedTo {
            profile: location.profile.clone(),
            place: location.place.clone(),
            root: export.root.to_string(),
            granted: None,
        }),
        copy: None,
        objects: description.report.objects,
        bytes: description.bytes,
        // The location says which packs it needs, and not which of them were written for it.
        stored_bytes: None,
    };
    let mut point = new_point(&description, artifact, &description.point);
    point.labels.extend(locations::export_labels(&location.profile));
    Ok(point)
}

/// Takes in what is sent, as the first transaction of a new generation.
pub(crate) fn take_in(
    transaction: &mut FirstTransaction<'_>,
    mut found: mpsc::Receiver<Found>,
    namespaces: &HashMap<String, NamespaceId>,
    now: Timestamp,
) -> Result<u64, RebuildError> {
    let mut taken = 0;
    while let Some(found) = found.blocking_recv() {
        let changes = match found {
            Found::Repository(row) => vec![row.put(&row.place.key(), now, Expect::Absent)],
            Found::RestorePoint { mut point, outcome } => {
                if transaction.read(&restore_points::content_key(&point))?.is_some() {
                    point.tell_apart(outcome);
                }
                taken += 1;
                restore_points::create(&point, namespaces.get(&point.application).cloned(), now)
            }
        };
        for change in changes {
            transaction.change(change)?;
        }
    }
    Ok(taken)
}

#[cfg(test)]
pub(in crate::recovery) mod tests;
