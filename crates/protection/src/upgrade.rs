//! Upgrade of repositories: what was exported long ago and is never written to again opens as what is exported today.
//!
//! Guarantees: a repository that is upgraded opens with the newest key and with every passphrase slot of today, also one
//! whose slots somebody deleted; one of a newer format, of other keys or of another owner is left as it is; the first of those is named. An
//! attempt that was interrupted is made again from its beginning, and finds done what is. Limits: there is one format so far,
//! so that what is stored is never written anew.

use std::collections::BTreeSet;

use keelson_catalog::{Query, ReadError, RowKey};
use keelson_model::{Classified, ErrorClass, RepositoryId};
use keelson_resources::actions::upgrade::UpgradeActionSpec;
use serde_json::json;

use crate::actions::Finished;
use crate::engine::{Failure, Job, read};
use crate::locations::Location;
use crate::records::Record;
use crate::repositories::{self, RepositoryRow};
use crate::restore_points::ContentInternal;
use crate::{kinds, policies, storage_repositories};

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
}

impl Classified for UpgradeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoRepository { .. } => ErrorClass::NotFound,
            Self::Elsewhere { .. } | Self::NothingExported { .. } => ErrorClass::Invalid,
            Self::List { source, .. } | Self::ListRepositories { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRepository { .. } => "upgrade.no_repository",
            Self::Elsewhere { .. } => "upgrade.elsewhere",
            Self::NothingExported { .. } => "upgrade.nothing_exported",
            Self::List { .. } => "upgrade.list",
            Self::ListRepositories { .. } => "upgrade.list_repositories",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere { .. } => Some(
                "name the profile of its location; the platform's own volume opens with the instance Secret alone, each run \
                 of the DR policy brings that of disaster recovery up to date, and what was imported is its source's"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let asked: UpgradeActionSpec = job.action.spec()?;
    let location = job.platform.open_writable(&asked.profile.name).await?;
    let found = job.phase("Finding repositories", find(job, &asked, &location)).await?;
    let upgrading = async {
        let mut refused = None;
        for (done, (key, row)) in found.iter().enumerate() {
            job.check_cancelled()?;
            match job.platform.upgrade_export(&location, key, row).await {
                Err(error) if error.class().is_retryable() => return Err(error.into()),
                // The others are upgraded all the same.
                Err(error) => refused = refused.or(Some(error)),
                Ok(()) => {}
            }
            job.progress((100 * done / found.len()).min(99) as u8).await;
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    };
    job.phase("Upgrading repositories", upgrading).await?;
    let mut finished = Finished::default();
    finished.status.insert("upgradedRepositories".to_owned(), json!(found.len()));
    Ok(finished)
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
