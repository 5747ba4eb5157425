//! Upgrade of repositories: what was exported long ago and is never written to again opens as what is exported today.
//!
//! Guarantees: a repository that is upgraded opens with the newest key and with every passphrase slot of today, also one
//! whose slots somebody deleted; one of a newer format, of other keys or of another owner is left as it is, and like one that
//! is out of reach for now it is named and keeps no other from being upgraded; only where the whole location is, an attempt
//! ends. One that was interrupted is made again from its beginning, and finds done what is. Limits: there is one format so far, so that what is stored is never written anew.

use std::collections::BTreeSet;

use keelson_catalog::{Query, ReadError, RowKey};
use keelson_model::{Chain, Classified, ErrorClass, RepositoryId};
use keelson_resources::actions::upgrade::UpgradeActionSpec;
use keelson_store::StorePath;
use serde_json::json;

use crate::actions::Finished;
use crate::engine::{Failure, Job, read};
use crate::locations::Location;
use crate::records::Record;
use crate::repositories::{self, RepositoriesError, RepositoryRow};
use crate::restore_points::ContentInternal;
use crate::{kinds, policies, storage_repositories};

/// So many refusals are told one by one: the action must hold them.
const REFUSALS_TOLD_MAX: usize = 20;

/// Repositories that were not upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("there is no storage repository '{name}'")]
    NoRepository { name: String },
    #[error(
        "storage repository '{name}' holds no exports of this installation that profile '{profile}' leads to"
    )]
    Elsewhere { name: String, profile: String },
    #[error("no export of policy '{policy}' lies where profile '{profile}' leads to")]
    NothingExported { policy: String, profile: String },
    #[error("list what policy '{policy}' exported")]
    List { policy: String, source: ReadError },
    #[error("list the repositories of exports")]
    ListRepositories { source: ReadError },
    #[error("{upgraded} of {all} repositories were upgraded, the others not: {told}")]
    Refused { upgraded: usize, all: usize, told: String, decisive: RepositoriesError },
}

impl Classified for UpgradeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoRepository { .. } => ErrorClass::NotFound,
            Self::Elsewhere { .. } | Self::NothingExported { .. } => ErrorClass::Invalid,
            Self::List { source, .. } | Self::ListRepositories { source } => source.class(),
            Self::Refused { decisive, .. } => decisive.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRepository { .. } => "upgrade.no_repository",
            Self::Elsewhere { .. } => "upgrade.elsewhere",
            Self::NothingExported { .. } => "upgrade.nothing_exported",
            Self::List { .. } => "upgrade.list",
            Self::ListRepositories { .. } => "upgrade.list_repositories",
            Self::Refused { .. } => "upgrade.refused",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere { .. } => Some(
                "name the profile of its location; the platform's own volume opens with the instance Secret alone, each run \
                 of the DR policy brings that of disaster recovery up to date, and what was imported is its source's"
                    .to_owned(),
            ),
            Self::Refused { decisive, .. } => decisive.hint(),
            _ => None,
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let asked: UpgradeActionSpec = job.action.spec()?;
    let location = job.platform.open_writable(&asked.profile.name).await?;
    let found = job.phase("Finding repositories", find(job, &asked, &location)).await?;
    job.phase("Upgrading repositories", upgrade_all(job, &location, &found)).await?;
    let mut finished = Finished::default();
    finished.status.insert("upgradedRepositories".to_owned(), json!(found.len()));
    Ok(finished)
}

/// Upgrades each that can be, whatever becomes of the others. A location that does not answer is not asked for each of them.
async fn upgrade_all(
    job: &Job,
    location: &Location,
    found: &[(RowKey, RepositoryRow)],
) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for (done, (key, row)) in found.iter().enumerate() {
        job.check_cancelled()?;
        if let Err(error) = job.platform.upgrade_export(location, key, row).await {
            let is_away = is_of_location(&error);
            refused.push((row.root(), error));
            if is_away {
                let untried = found.len() - done - 1;
                return Ok(unless_refused(found.len(), untried, refused)?);
            }
        }
        job.progress((100 * done / found.len()).min(99) as u8).await;
    }
    Ok(unless_refused(found.len(), 0, refused)?)
}

/// It was asked whose the location is, and did not say.
fn is_of_location(error: &RepositoriesError) -> bool {
    matches!(error, RepositoriesError::NotOwned { source } if source.class().is_retryable())
}

/// One error for all that were not upgraded. Its class and hint are those of the first that another attempt may mend, so that
/// there is one; without any, of the first.
fn unless_refused(
    all: usize,
    untried: usize,
    refused: Vec<(StorePath, RepositoriesError)>,
) -> Result<(), UpgradeError> {
    let upgraded = all - untried - refused.len();
    let told = refused.iter().take(REFUSALS_TOLD_MAX);
    let mut told: Vec<_> = told.map(|(root, error)| format!("'{root}': {}", Chain(error))).collect();
    if let more @ 1.. = refused.len().saturating_sub(REFUSALS_TOLD_MAX) {
        told.push(format!("and {more} more"));
    }
    if untried > 0 {
        told.push(format!("{untried} were not tried"));
    }
    let decisive = refused.iter().position(|(_, error)| error.class().is_retryable()).unwrap_or_default();
    match refused.into_iter().nth(decisive) {
        Some((_, decisive)) => Err(UpgradeError::Refused { upgraded, all, told: told.join("; "), decisive }),
        None => Ok(()),
    }
}

async fn find(
    job: &Job,
    asked: &UpgradeActionSpec,
    location: &Location,
) -> Result<Vec<(RowKey, RepositoryRow)>, Failure> {
    let (name, profile) = (asked.subject.name.clone(), location.profile.clone());
    let (wanted, nothing) = if asked.subject.kind.as_deref() == Some("Policy") {
        let namespace = asked.subject.namespace.as_deref().unwrap_or(&job.action.namespace);
        policies::fetch_valid(&job.platform, namespace, &name).await?;
        let wanted = exported_by(job, namespace, &name)?;
        (wanted, UpgradeError::NothingExported { policy: name, profile })
    } else {
        let key = RowKey::new(kinds::storage_repositories(), &job.action.namespace, &name);
        let object = read(&job.database, &key)?;
        let object = object.ok_or_else(|| UpgradeError::NoRepository { name: name.clone() })?;
        let wanted = BTreeSet::from([storage_repositories::repository_of(&object)?]);
        (wanted, UpgradeError::Elsewhere { name, profile })
    };
    let rows = repositories::export_rows(&job.database);
    let mut rows = rows.map_err(|source| UpgradeError::ListRepositories { source })?;
    rows.retain(|(_, row)| wanted.contains(&row.repository) && row.place == location.place);
    if rows.is_empty() { Err(nothing.into()) } else { Ok(rows) }
}

/// Where the exports of a policy lie that are still there.
fn exported_by(job: &Job, namespace: &str, policy: &str) -> Result<BTreeSet<RepositoryId>, UpgradeError> {
    let labels = policies::made_by(namespace, policy);
    let contents = job.database.rows(Query { labels, ..Query::of(kinds::restore_point_contents()) });
    let mut found = BTreeSet::new();
    for stored in contents {
        let stored = stored.map_err(|source| UpgradeError::List { policy: policy.to_owned(), source })?;
        let internal =
            Record::parse(&stored).ok().and_then(|content| content.internal::<ContentInternal>().ok());
        let artifact =
            internal.map(|internal| internal.artifact).filter(|artifact| artifact.exported.is_some());
        found.extend(artifact.map(|artifact| artifact.repository));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(application: &str) -> (StorePath, RepositoriesError) {
        let root: StorePath = format!("k10/x/exports/{application}").parse().unwrap();
        (root.clone(), RepositoriesError::Gone { root: root.to_string(), profile: "vault".to_owned() })
    }

    /// Only the first was told, and nothing of how many had been upgraded.
    #[test]
    fn whatever_was_refused_is_told_with_what_was_upgraded_and_as_much_as_an_action_holds() {
        assert!(unless_refused(3, 0, Vec::new()).is_ok());
        let error = unless_refused(3, 0, vec![gone("shop"), gone("wiki")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of 3 repositories were upgraded, the others not: \
             'k10/x/exports/shop': repository 'k10/x/exports/shop' is not in 'vault' any more; \
             'k10/x/exports/wiki': repository 'k10/x/exports/wiki' is not in 'vault' any more"
        );
        assert!(matches!(error.class(), ErrorClass::NotFound));

        let many = (0..REFUSALS_TOLD_MAX + 2).map(|index| gone(&format!("of-{index}"))).collect();
        let error = unless_refused(REFUSALS_TOLD_MAX + 2, 0, many).unwrap_err().to_string();
        assert!(error.starts_with("0 of 22") && error.ends_with("; and 2 more"), "{error}");
        assert!(error.contains("exports/of-19'") && !error.contains("exports/of-20'"), "{error}");
    }

    /// One that was out of reach in every attempt hid what was refused, and how many had been upgraded.
    #[test]
    fn what_is_out_of_reach_for_now_brings_another_attempt_and_hides_no_refusal() {
        let root: StorePath = "k10/x/exports/wiki".parse().unwrap();
        let away = || RepositoriesError::MakeFolder {
            folder: "/data/wiki".into(),
            source: std::io::Error::other("the disk is away"),
        };
        for refused in [vec![gone("shop"), (root.clone(), away())], vec![(root, away()), gone("shop")]] {
            let error = unless_refused(3, 0, refused).unwrap_err();
            assert!(error.class().is_retryable(), "{error}");
            let told = error.to_string();
            assert!(told.starts_with("1 of 3 repositories"), "{told}");
            assert!(told.contains("'k10/x/exports/shop'") && told.contains("the disk is away"), "{told}");
        }
    }

    /// Each repository waited for a location that was away: hours, in one of the few turns that there are.
    #[test]
    fn what_was_not_tried_is_told_and_counts_as_not_upgraded() {
        let error = unless_refused(5, 3, vec![gone("shop")]).unwrap_err().to_string();
        assert!(error.starts_with("1 of 5") && error.ends_with("any more; 3 were not tried"), "{error}");
    }
}
