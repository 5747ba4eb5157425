//! Import: makes restore points of what another installation has exported and granted.
//!
//! Guarantees: nothing is written to the location. Each export is taken in once: what somebody deleted here does not come
//! back. What its source has retired, or lost, goes from here with the next import, and the action says so. What is damaged
//! or makes no sense is passed over and told, and keeps nothing else away. What was imported is bound to no namespace:
//! whoever may restore it decides where it is seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::StreamExt;
use jiff::Timestamp;
use keelson_catalog::{Change, Class, CommitError, Database, Expect, Query, ReadError, RowKey, RowKind};
use keelson_model::names::label;
use keelson_model::naming::{check_label_value, check_namespace, check_object_name};
use keelson_model::retention::Tiers;
use keelson_model::{Chain, Classified, ErrorClass, RepositoryId, SessionId};
use keelson_repository::{Open, Outcome, Repository};
use keelson_resources::ReceiveString;
use keelson_resources::actions::import::{ImportActionSpec, ImportDetails};
use keelson_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actions::Finished;
use crate::backup::BackupDescription;
use crate::engine::{Failure, Job, read};
use crate::grants::{self, GrantName, ImportedRow};
use crate::kinds;
use crate::layout::{ClusterFolder, parse_granted};
use crate::locations::{self, Location};
use crate::platform::commit;
use crate::records::{Record, plain_row};
use crate::recovery::exports::{live_outcomes, unless_unread};
use crate::repositories::RepositoryRow;
use crate::requests::application_labels;
use crate::restore_points::{self, Artifact, ContentInternal, ExportedTo, NewPoint};

const ACTOR: &str = "import";
/// Repositories that one import looks into: a location that somebody filled with folders does not fill our memory.
const REPOSITORIES_MAX: usize = 10_000;
/// Sentences of one import about what was passed over.
const TOLD_MAX: usize = 100;

/// An import that was not made.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("list what the grant '{grant}' opens in '{profile}'")]
    List { grant: String, profile: String, source: StoreError },
    #[error(
        "nothing of policy '{policy}' of cluster {cluster} is granted in the location of profile '{profile}'"
    )]
    NothingGranted { policy: String, cluster: String, profile: String },
    #[error("read what was imported before")]
    ReadTaken { source: ReadError },
    #[error("write what was imported")]
    Write { source: CommitError },
}

impl Classified for ImportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } => source.class(),
            Self::NothingGranted { .. } => ErrorClass::NotFound,
            Self::ReadTaken { source } => source.class(),
            Self::Write { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { .. } => "import.list",
            Self::NothingGranted { .. } => "import.nothing_granted",
            Self::ReadTaken { .. } => "import.read_taken",
            Self::Write { .. } => "import.write",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } => source.hint(),
            Self::NothingGranted { .. } => Some(
                "the profile must lead to the bucket or share, and the path in it, that the policy exports to".to_owned(),
            ),
            Self::ReadTaken { .. } | Self::Write { .. } => None,
        }
    }
}

/// An export that was looked at, by grant and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    repository: RepositoryId,
    /// The content that was made; none of an export that is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// Of the action that did.
    by: String,
}

fn taken_rows() -> RowKind {
    RowKind::new("exports-taken")
}

fn taken_key(grant: &GrantName, outcome: SessionId) -> RowKey {
    RowKey::new(taken_rows(), grant.grant.to_string(), outcome.to_string())
}

/// A repository of the source.
struct Source {
    row: RepositoryRow,
    repository: Repository<Open>,
    /// Not retired, of any result.
    live: Vec<SessionId>,
}

/// What one import does, step by step.
struct Import<'a> {
    job: &'a Job,
    grant: GrantName,
    location: Location,
    told: Vec<String>,
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let spec: ImportActionSpec = job.action.spec()?;
    let grant = grants::name_of(&ReceiveString(spec.receive_string))?;
    let opening = async { Ok(job.platform.open_location(&spec.profile.name).await?) };
    let location = job.phase("Opening location", opening).await?;
    let mut import = Import { job, grant, location, told: Vec::new() };
    let looking = async { job.unless_cancelled(import.look()).await };
    let sources = job.phase("Looking for exports", looking).await?;
    let taking = async { job.unless_cancelled(import.take_in(&sources)).await };
    job.phase("Importing RestorePoints", taking).await?;
    let leaving = async { job.unless_cancelled(import.let_go(&sources)).await };
    let removed_count = job.phase("Removing what is gone", leaving).await?;
    import.finish(&sources, removed_count).await
}

impl Import<'_> {
    fn tell(&mut self, sentence: String) {
        match self.told.len() {
            TOLD_MAX => self.told.push("there is more that was passed over".to_owned()),
            told if told < TOLD_MAX => self.told.push(sentence),
            _ => {}
        }
    }

    async fn folders(&self, folder: &keelson_store::StorePath) -> Result<Vec<String>, ImportError> {
        let listed = self.location.store.list_folders(folder).await;
        listed.map_err(|source| ImportError::List {
            grant: self.grant.grant.to_string(),
            profile: self.location.profile.clone(),
            source,
        })
    }

    /// Opens every repository that is granted.
    async fn look(&mut self) -> Result<Vec<Source>, Failure> {
        let mut sources = Vec::new();
        for row in self.list_repositories().await? {
            let opened = grants::open(&self.job.platform, &self.location, &self.grant, &row).await;
            let repository = match opened {
                Ok(repository) => repository,
                Err(error) if matches!(error.class(), ErrorClass::Unavailable { .. }) => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.tell(format!("'{}' was passed over: {}", row.root(), Chain(&error)));
                    continue;
                }
            };
            let live = live_outcomes(&repository).await?;
            self.note_imported(&row).await?;
            sources.push(Source { row, repository, live });
        }
        Ok(sources)
    }

    async fn list_repositories(&mut self) -> Result<Vec<RepositoryRow>, Failure> {
        let folder = ClusterFolder::new(&self.grant.cluster);
        let applications = match &self.grant.application {
            Some(application) => vec![application.clone()],
            None => self.folders(&folder.grant(self.grant.grant)).await?,
        };
        let mut rows = Vec::new();
        for application in applications.into_iter().filter(|name| check_namespace(name).is_ok()) {
            for name in self.folders(&folder.granted(self.grant.grant, &application)).await? {
                let Some((cluster, repository)) = parse_granted(&name) else { continue };
                if rows.len() == REPOSITORIES_MAX {
                    self.tell(format!(
                        "more than {REPOSITORIES_MAX} repositories are granted: the others were passed over"
                    ));
                    return Ok(rows);
                }
                rows.push(RepositoryRow {
                    application: application.clone(),
                    profile: self.location.profile.clone(),
                    place: self.location.place.clone(),
                    cluster,
                    repository,
                    slots: Vec::new(),
                });
            }
        }
        if rows.is_empty() {
            let (policy, cluster) = (self.grant.policy.clone(), self.grant.cluster.to_string());
            let profile = self.location.profile.clone();
            return Err(ImportError::NothingGranted { policy, cluster, profile }.into());
        }
        Ok(rows)
    }

    /// So that the repository is listed among those that the platform knows.
    async fn note_imported(&self, row: &RepositoryRow) -> Result<(), ImportError> {
        let key = RowKey::new(grants::imported_rows(), row.application.as_str(), row.repository.to_string());
        let known = self.job.database.read(&key).map_err(|source| ImportError::ReadTaken { source })?;
        let imported = ImportedRow { grant: self.grant.clone(), row: row.clone() };
        let now = self.job.platform.clock.now();
        let row = plain_row(key, Class::Configuration, &imported, now);
        if known.is_some_and(|known| known.row.body == row.body) {
            return Ok(());
        }
        self.commit(vec![Change::Put { row, expect: Expect::Any }]).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), ImportError> {
        commit(&self.job.database, ACTOR, changes)
            .await
            .map(drop)
            .map_err(|source| ImportError::Write { source })
    }

    async fn take_in(&mut self, sources: &[Source]) -> Result<(), Failure> {
        let known: HashSet<SessionId> = taken(&self.job.database, &self.grant)?.into_keys().collect();
        for source in sources {
            let new = source.live.iter().copied().filter(|outcome| !known.contains(outcome)).collect();
            let mut outcomes = std::pin::pin!(source.repository.committed_outcomes(new));
            while let Some(outcome) = outcomes.next().await {
                match unless_unread(outcome)? {
                    Ok(outcome) => self.take(source, &outcome).await?,
                    Err(error) => {
                        let application = &source.row.application;
                        self.tell(format!("an export of '{application}' was passed over: {}", Chain(&error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a content of an export of the policy, and notes that any other is not meant.
    async fn take(&mut self, source: &Source, outcome: &Outcome) -> Result<(), Failure> {
        let point = match self.point_of(source, outcome) {
            Ok(point) => point,
            Err(why) => {
                let application = &source.row.application;
                self.tell(format!("export {} of '{application}' was passed over: {why}", outcome.id));
                return Ok(());
            }
        };
        let now = self.job.platform.clock.now();
        let mut content = None;
        let mut changes = Vec::new();
        if let Some(mut point) = point {
            if read(&self.job.database, &restore_points::content_key(&point))?.is_some() {
                point.tell_apart(outcome.id);
            }
            content = Some(restore_points::content_key(&point).name);
            changes = restore_points::create(&point, None, now);
        }
        let taken = Taken { repository: source.row.repository, content, by: self.job.action.uid.clone() };
        let row = plain_row(taken_key(&self.grant, outcome.id), Class::Configuration, &taken, now);
        changes.push(Change::Put { row, expect: Expect::Absent });
        match self.commit(changes).await {
            // Another import of the same grant was a moment faster.
            Err(ImportError::Write { source: CommitError::Conflict { .. } }) => Ok(()),
            committed => Ok(committed?),
        }
    }

    /// None of an export that is another policy's. What the source says of itself is checked: it comes from outside.
    fn point_of(&self, source: &Source, outcome: &Outcome) -> Result<Option<NewPoint>, String> {
        let description: BackupDescription =
            serde_json::from_slice(outcome.description()).map_err(|error| error.to_string())?;
        let application = &source.row.application;
        if description.application != *application {
            return Err(format!("it is of application '{}'", description.application));
        }
        let label = |name: &str| description.labels.get(name).map(String::as_str).unwrap_or_default();
        let policy = (label(label::POLICY_NAMESPACE), label(label::POLICY_NAME));
        if policy != (&*self.grant.policy_namespace, &*self.grant.policy) {
            return Ok(None);
        }
        let named = check_object_name(&description.point).map_err(|error| error.to_string());
        named.and_then(|()| check_label_value(&description.point).map_err(|error| error.to_string()))?;
        let artifact = Artifact {
            repository: source.row.repository,
            outcome: outcome.id,
            exported: Some(ExportedTo {
                profile: self.location.profile.clone(),
                place: self.location.place.clone(),
                root: source.row.root().to_string(),
                granted: Some(self.grant.clone()),
            }),
            copy: None,
            objects: description.report.objects,
            bytes: description.bytes,
            // Nothing was written for it here.
            stored_bytes: 0,
        };
        let mut labels = application_labels(application);
        labels.extend(locations::export_labels(&self.location.profile));
        for of_policy in [label::POLICY_NAME, label::POLICY_NAMESPACE] {
            labels.extend(
                self.job
                    .action
                    .labels
                    .get_key_value(of_policy)
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        Ok(Some(NewPoint {
            application: application.clone(),
            name: description.point,
            labels,
            action_time: description.action_time,
            scheduled_time: description.scheduled_time,
            internal: ContentInternal {
                artifact,
                // Its source decides how long it stays, and no retention of a policy here.
                manual: true,
                tiers: Tiers::NONE,
                expires_at: description.expires_at,
                retiring: None,
            },
        }))
    }

    /// Removes contents whose exports are retired or gone. Of a repository that could not be looked into none is.
    async fn let_go(&mut self, sources: &[Source]) -> Result<u64, Failure> {
        let live: HashMap<RepositoryId, HashSet<SessionId>> = sources
            .iter()
            .map(|source| (source.row.repository, source.live.iter().copied().collect()))
            .collect();
        let mut removed = 0;
        for (outcome, taken) in taken(&self.job.database, &self.grant)? {
            if live.get(&taken.repository).is_none_or(|live| live.contains(&outcome)) {
                continue;
            }
            let mut changes =
                vec![Change::Delete { key: taken_key(&self.grant, outcome), expect: Expect::Any }];
            if let Some(content) = self.content_of(&taken, outcome)? {
                self.tell(format!("'{}' was removed: its source has retired what it led to", content.name));
                changes.extend(gone(&self.job.database, &content)?);
                removed += 1;
            }
            self.commit(changes).await?;
        }
        Ok(removed)
    }

    /// The content that an export became, if it is there and still leads to it.
    fn content_of(&self, taken: &Taken, outcome: SessionId) -> Result<Option<Record>, Failure> {
        let Some(name) = &taken.content else { return Ok(None) };
        let content =
            read(&self.job.database, &RowKey::new(kinds::restore_point_contents(), "", name.as_str()))?;
        let Some(content) = content else { return Ok(None) };
        let internal: ContentInternal = content.internal()?;
        let is_it = internal.artifact.outcome == outcome && internal.artifact.repository == taken.repository;
        Ok(is_it.then_some(content))
    }

    async fn finish(self, sources: &[Source], removed_count: u64) -> Result<Finished, Failure> {
        let mut newest: BTreeMap<String, (Timestamp, String)> = BTreeMap::new();
        let mut imported_count = 0;
        for (outcome, taken) in taken(&self.job.database, &self.grant)? {
            if taken.by != self.job.action.uid {
                continue;
            }
            let Some(content) = self.content_of(&taken, outcome)? else { continue };
            imported_count += 1;
            let at = content.body.status["actionTime"].as_str().and_then(|text| text.parse().ok());
            let made = (at.unwrap_or(content.created), content.name.clone());
            let of = newest.entry(content.label(label::APP_NAMESPACE).to_owned()).or_insert(made.clone());
            if *of < made {
                *of = made;
            }
        }
        let mut finished = Finished { exceptions: self.told, ..Finished::default() };
        if let Some((_, name)) = newest.values().max() {
            finished.status.insert("restorePointContent".to_owned(), json!({ "name": name }));
        }
        let details = ImportDetails {
            found_count: sources.iter().map(|source| source.live.len() as u64).sum(),
            imported_count,
            removed_count,
            restore_point_contents: newest.into_values().map(|(_, name)| name).collect(),
            ..ImportDetails::default()
        };
        self.job.tell_details(&details).await;
        Ok(finished)
    }
}

/// What was looked at of a grant's exports.
fn taken(catalog: &Database, grant: &GrantName) -> Result<HashMap<SessionId, Taken>, ImportError> {
    let query = Query { namespace: Some(grant.grant.to_string()), ..Query::of(taken_rows()) };
    let mut taken = HashMap::new();
    for stored in catalog.rows(query) {
        let row = stored.map_err(|source| ImportError::ReadTaken { source })?.row;
        let entry = row.name.parse().ok().zip(serde_json::from_slice(&row.body).ok());
        taken.extend(entry);
    }
    Ok(taken)
}

/// The changes by which a content goes, and the restore point that is bound to it.
fn gone(catalog: &Database, content: &Record) -> Result<Vec<Change>, Failure> {
    let delete = |record: &Record| Change::Delete {
        key: record.key(),
        expect: record.revision.map_or(Expect::Any, Expect::At),
    };
    let mut changes = vec![delete(content)];
    if let Some(bound) = restore_points::bound_to(content) {
        let key = RowKey::new(kinds::restore_points(), bound.namespace, bound.name);
        changes.extend(read(catalog, &key)?.as_ref().map(delete));
    }
    Ok(changes)
}
