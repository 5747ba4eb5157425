//! Import: makes restore points of what another installation has exported and granted.
//!
//! Guarantees: nothing is written to the location. Each export is taken in once: what somebody deleted here does not
//! come back; what a retirement took does once the place that stated it has the export live again. What its source has
//! retired goes from here with the next import from a place that states it, what was lost with the next from the same
//! place, and the action says so. Where the profile leads elsewhere than it did, and the export lies there too, it is
//! read from there. What is damaged or makes no sense is passed over and told, and keeps nothing else away. Of each
//! application the newest is offered to be restored, once and after nothing newer, whatever became of the imports
//! before. What was imported is bound to no namespace: whoever may restore it decides where it is seen. Limits: what is
//! known of grants, repositories and exports stays in the catalog, also when nothing is imported any more.

mod offers;
pub(crate) mod taken;

use std::collections::{BTreeSet, HashMap};

use futures::StreamExt;
use keelson_catalog::{Change, Class, CommitError, Database, Expect, ReadError, RowKey};
use keelson_model::names::label;
use keelson_model::naming::{check_label_value, check_namespace, check_object_name};
use keelson_model::retention::Tiers;
use keelson_model::{Chain, Classified, ErrorClass, RepositoryId, SessionId};
use keelson_repository::{Open, OpenRepositoryError, Outcome, Repository};
use keelson_resources::ReceiveString;
use keelson_resources::actions::import::{ImportActionSpec, ImportDetails};
use keelson_store::StoreError;
use serde_json::json;

use self::offers::{Offers, moment};
use self::taken::{Fate, Known, Seen, Taken};
use crate::actions::Finished;
use crate::backup::BackupDescription;
use crate::engine::{Failure, Job, read};
use crate::grants::{self, GrantName, ImportedRow};
use crate::kinds;
use crate::layout::{ClusterFolder, parse_granted};
use crate::locations::{self, Location};
use crate::platform::commit;
use crate::policies;
use crate::records::{Record, plain_row};
use crate::recovery::exports::{Outcomes, fetch_outcomes, unless_unread};
use crate::repositories::{RepositoriesError, RepositoryRow};
use crate::requests::application_labels;
use crate::restore_points::{self, Artifact, ContentInternal, ExportedTo, NewPoint};

const ACTOR: &str = "import";
/// Repositories that one import looks into: a location that somebody filled with folders does not fill our memory.
const REPOSITORIES_MAX: usize = 10_000;
/// Sentences of one import about what was passed over,
const TOLD_MAX: usize = 100;
/// and so much of each: they quote what comes from outside, and must fit the action.
const SENTENCE_BYTES_MAX: usize = 500;
/// Rows that are noted at once.
const ROWS_PER_COMMIT: usize = 500;

/// An import that was not made.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("list what the grant '{grant}' opens in '{profile}'")]
    List { grant: String, profile: String, source: StoreError },
    #[error(
        "nothing of policy '{policy}' of cluster {cluster} is granted in the location of profile '{profile}'"
    )]
    NothingGranted { policy: String, cluster: String, profile: String },
    #[error("none of the {count} repositories that are granted opens")]
    NothingOpened { count: usize, source: RepositoriesError },
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
            Self::NothingOpened { source, .. } => source.class(),
            Self::ReadTaken { source } => source.class(),
            Self::Write { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { .. } => "import.list",
            Self::NothingGranted { .. } => "import.nothing_granted",
            Self::NothingOpened { .. } => "import.nothing_opened",
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
            Self::NothingOpened { source, .. } => source.hint(),
            Self::ReadTaken { .. } | Self::Write { .. } => None,
        }
    }
}

/// A repository of the source.
struct Source {
    row: RepositoryRow,
    repository: Repository<Open>,
    outcomes: Outcomes,
}

/// What one import does, step by step.
struct Import<'a> {
    job: &'a Job,
    grant: GrantName,
    location: Location,
    told: Told,
}

/// What was passed over or removed, in sentences.
#[derive(Debug, Default)]
struct Told(Vec<String>);

impl Told {
    fn push(&mut self, mut sentence: String) {
        if sentence.len() > SENTENCE_BYTES_MAX {
            sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES_MAX));
            sentence.push('…');
        }
        match self.0.len() {
            TOLD_MAX => self.0.push("there is more that was passed over".to_owned()),
            told if told < TOLD_MAX => self.0.push(sentence),
            _ => {}
        }
    }
}

/// It says nothing about what lies there, and is as true of every other repository: not now, or not for us.
fn is_out_of_reach(error: &RepositoriesError) -> bool {
    match error {
        RepositoriesError::Open { source: OpenRepositoryError::Fetch { source, .. }, .. } => {
            !source.class().is_lasting()
        }
        RepositoriesError::Granted { .. } => true,
        error => matches!(error.class(), ErrorClass::Unavailable { .. }),
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let spec: ImportActionSpec = job.action.spec()?;
    let grant = grants::name_of(&ReceiveString(spec.receive_string))?;
    let opening = async { Ok(job.platform.open_location(&spec.profile.name).await?) };
    let location = job.phase("Opening location", opening).await?;
    let mut import = Import { job, grant, location, told: Told::default() };
    let looking = async { job.unless_cancelled(import.look()).await };
    let sources = job.phase("Looking for exports", looking).await?;
    let taking = async { job.unless_cancelled(import.take_in(&sources)).await };
    job.phase("Importing RestorePoints", taking).await?;
    let leaving = async { job.unless_cancelled(import.let_go(&sources)).await };
    let removed_count = job.phase("Removing what is gone", leaving).await?;
    import.finish(&sources, removed_count).await
}

impl Import<'_> {
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
        let mut first_fault = None;
        let rows = self.list_repositories().await?;
        let count = rows.len();
        for row in rows {
            let opened = grants::open(&self.job.platform, &self.location, &self.grant, &row).await;
            let repository = match opened {
                Ok(repository) => repository,
                Err(error) if is_out_of_reach(&error) => return Err(error.into()),
                Err(error) => {
                    self.told.push(format!("'{}' was passed over: {}", row.root(), Chain(&error)));
                    first_fault.get_or_insert(error);
                    continue;
                }
            };
            let outcomes = fetch_outcomes(&repository).await?;
            self.note_imported(&row).await?;
            sources.push(Source { row, repository, outcomes });
        }
        match first_fault {
            Some(source) if sources.is_empty() => Err(ImportError::NothingOpened { count, source }.into()),
            _ => Ok(sources),
        }
    }

    async fn list_repositories(&mut self) -> Result<Vec<RepositoryRow>, Failure> {
        let folder = ClusterFolder::new(&self.grant.cluster);
        let install_namespace = &self.job.platform.settings.install_namespace;
        let applications = match &self.grant.application {
            Some(application) => vec![application.clone()],
            None => self.folders(&folder.grant(self.grant.grant)).await?,
        };
        let mut rows = Vec::new();
        for application in applications.into_iter().filter(|name| check_namespace(name).is_ok()) {
            // The location is not believed: no policy exports these.
            if policies::is_reserved(install_namespace, &application) {
                self.told
                    .push(format!("'{application}' was passed over: it is no application's namespace here"));
                continue;
            }
            for name in self.folders(&folder.granted(self.grant.grant, &application)).await? {
                let Some((cluster, repository)) = parse_granted(&name) else { continue };
                if rows.len() == REPOSITORIES_MAX {
                    self.told.push(format!(
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
        let name = format!("{}.{}", row.repository, row.place.key());
        let key = RowKey::new(grants::imported_rows(), row.application.as_str(), name);
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

    fn taken(&self) -> Result<HashMap<SessionId, Known>, ImportError> {
        let taken = taken::read_all(&self.job.database, &self.grant);
        taken.map_err(|source| ImportError::ReadTaken { source })
    }

    async fn take_in(&mut self, sources: &[Source]) -> Result<(), Failure> {
        let known = self.taken()?;
        for source in sources {
            let mut new = Vec::new();
            for &outcome in &source.outcomes.live {
                match known.get(&outcome) {
                    Some(known) if !known.taken.is_taken_anew(&self.location.place) => {
                        self.follow(source, outcome, known).await?;
                    }
                    _ => new.push(outcome),
                }
            }
            let mut outcomes = std::pin::pin!(source.repository.committed_outcomes(new));
            while let Some(outcome) = outcomes.next().await {
                match unless_unread(outcome)? {
                    Ok(outcome) => {
                        let known = known.get(&outcome.id);
                        let expect = known.map_or(Expect::Absent, |known| Expect::At(known.revision));
                        self.take(source, &outcome, expect).await?;
                    }
                    Err(error) => {
                        let application = &source.row.application;
                        self.told
                            .push(format!("an export of '{application}' was passed over: {}", Chain(&error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The profile leads to another place than it did, and the export lies there too: what it became is read from there.
    async fn follow(
        &self,
        source: &Source,
        outcome: SessionId,
        Known { taken, revision }: &Known,
    ) -> Result<(), Failure> {
        if taken.place.as_ref() == Some(&self.location.place) {
            return Ok(());
        }
        let Some(mut content) = self.content_of(taken, outcome)? else { return Ok(()) };
        let mut internal: ContentInternal = content.internal()?;
        let exported = internal.artifact.exported.as_mut();
        let Some(exported) = exported.filter(|exported| exported.profile == self.location.profile) else {
            return Ok(());
        };
        exported.place = self.location.place.clone();
        exported.root = source.row.root().to_string();
        content.body.internal = serde_json::to_value(internal).expect("plain data");
        let moved = Taken { place: Some(self.location.place.clone()), ..taken.clone() };
        let key = taken::key(&self.grant, outcome);
        let moved = moved.put(key, self.job.platform.clock.now(), Expect::At(*revision));
        match self.commit(vec![content.replace(), moved]).await {
            // Somebody has deleted it meanwhile, or another import has done the same.
            Err(ImportError::Write { source: CommitError::Conflict { .. } }) => Ok(()),
            committed => Ok(committed?),
        }
    }

    /// Makes a content of an export of the policy, and notes that any other is not meant. The row takes the place of what was
    /// known of it, so that what is taken anew is offered anew.
    async fn take(&mut self, source: &Source, outcome: &Outcome, expect: Expect) -> Result<(), Failure> {
        let point = match self.point_of(source, outcome) {
            Ok(point) => point,
            Err(why) => {
                let application = &source.row.application;
                self.told.push(format!("export {} of '{application}' was passed over: {why}", outcome.id));
                return Ok(());
            }
        };
        let now = self.job.platform.clock.now();
        let key = taken::key(&self.grant, outcome.id);
        let mut taken = Taken {
            repository: source.row.repository,
            place: Some(self.location.place.clone()),
            content: None,
            retired_in: None,
            by: self.job.action.uid.clone(),
            offered_to: BTreeSet::new(),
        };
        let mut made = Vec::new();
        if let Some(mut point) = point {
            if read(&self.job.database, &restore_points::content_key(&point))?.is_some() {
                point.tell_apart(outcome.id);
            }
            taken.content = Some(restore_points::content_key(&point).name);
            made = restore_points::create(&point, None, now);
        }
        let mut changes = vec![taken.put(key.clone(), now, expect)];
        changes.append(&mut made);
        let there = match self.commit(changes).await {
            Err(ImportError::Write { source: CommitError::Conflict { key, .. } }) => key,
            committed => return Ok(committed?),
        };
        // Else another import of the same grant was a moment faster.
        if there != key {
            let application = &source.row.application;
            let outcome = outcome.id;
            self.told
                .push(format!("export {outcome} of '{application}' was passed over: {there} exists already"));
        }
        Ok(())
    }

    /// None of an export that is another policy's. What the source says of itself is checked: it comes from outside.
    fn point_of(&self, source: &Source, outcome: &Outcome) -> Result<Option<NewPoint>, String> {
        let description: BackupDescription =
            serde_json::from_slice(outcome.description()).map_err(|error| error.to_string())?;
        let application = &source.row.application;
        if description.application != *application {
            return Err(format!("it is of application '{}'", description.application));
        }
        let granted = (self.grant.policy_namespace.as_str(), self.grant.policy.as_str());
        if policies::policy_of(&description.labels) != Some(granted) {
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
            stored_bytes: Some(0),
        };
        let mut labels = application_labels(application);
        labels.extend(locations::export_labels(&self.location.profile));
        labels.insert(label::IMPORTED_FROM.to_owned(), self.grant.cluster.to_string());
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
        let seen = sources.iter().map(|source| (source.row.repository, Seen::of(&source.outcomes)));
        let seen: HashMap<RepositoryId, Seen<'_>> = seen.collect();
        let mut removed = 0;
        for (outcome, Known { taken, revision }) in self.taken()? {
            let Some(seen) = seen.get(&taken.repository) else { continue };
            let key = taken::key(&self.grant, outcome);
            let fate = taken.decide_fate(outcome, &self.location.place, seen);
            let mut changes = match fate {
                Fate::Stays => continue,
                Fate::Retired => Vec::new(),
                Fate::Gone => vec![Change::Delete { key: key.clone(), expect: Expect::Any }],
            };
            if let Some(content) = self.content_of(&taken, outcome)? {
                self.told
                    .push(format!("'{}' was removed: its source has retired what it led to", content.name));
                changes.extend(gone(&self.job.database, &content)?);
                if fate == Fate::Retired {
                    let retired = Taken { retired_in: Some(self.location.place.clone()), ..taken };
                    changes.push(retired.put(key, self.job.platform.clock.now(), Expect::At(revision)));
                }
                removed += 1;
            }
            if !changes.is_empty() {
                self.commit(changes).await?;
            }
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

    /// Names the newest of each application, unless an import has named that or a newer one. That it was named is one commit
    /// with the end of the action, so that one that fails leaves it to the next.
    async fn finish(self, sources: &[Source], removed_count: u64) -> Result<Finished, Failure> {
        let now = self.job.platform.clock.now();
        let consumer = self.consumer();
        let mut offers = Offers::default();
        let mut imported_count = 0;
        for (outcome, Known { taken, revision }) in self.taken()? {
            let is_new = taken.by == self.job.action.uid;
            let Some(content) = self.content_of(&taken, outcome)? else { continue };
            imported_count += u64::from(is_new);
            let application = content.label(label::APP_NAMESPACE).to_owned();
            if taken.offered_to.contains(&consumer) {
                offers.note_named(application, moment(&content));
                continue;
            }
            if !self.is_meant(&taken, &application) {
                continue;
            }
            let key = taken::key(&self.grant, outcome);
            let mut noted = taken;
            noted.offered_to.insert(consumer.clone());
            let noted = noted.put(key, now, Expect::At(revision));
            offers.add(application, (moment(&content), noted));
        }
        let (newest, older) = offers.part();
        for changes in older.chunks(ROWS_PER_COMMIT) {
            self.commit(changes.to_vec()).await?;
        }
        let mut finished = Finished { exceptions: self.told.0, ..Finished::default() };
        if let Some((_, content)) = newest.values().map(|(moment, _)| moment).max() {
            finished.status.insert("restorePointContent".to_owned(), json!({ "name": content }));
        }
        let details = ImportDetails {
            found_count: sources.iter().map(|source| source.outcomes.live.len() as u64).sum(),
            imported_count,
            removed_count,
            restore_point_contents: newest.values().map(|((_, content), _)| content.clone()).collect(),
            ..ImportDetails::default()
        };
        finished.details = Some(json!(details));
        finished.changes = newest.into_values().map(|(_, noted)| noted).collect();
        Ok(finished)
    }

    /// Each policy that imports restores, or does not, what it has imported itself.
    fn consumer(&self) -> String {
        let (namespace, name) = policies::policy_of(&self.job.action.labels).unwrap_or_default();
        format!("{namespace}/{name}")
    }

    /// One grant may be imported by several policies: of one application, or from another place.
    fn is_meant(&self, taken: &Taken, application: &str) -> bool {
        let is_granted = self.grant.application.as_ref().is_none_or(|only| only == application);
        is_granted && taken.is_of(&self.location.place)
    }
}

/// The changes by which a content goes, and the restore point that is bound to it.
fn gone(catalog: &Database, content: &Record) -> Result<Vec<Change>, Failure> {
    let delete = |record: &Record| Change::Delete {
        key: record.key(),
        expect: record.revision.map_or(Expect::Any, Expect::At),
    };
    let mut changes = vec![delete(content)];
    if let Some(bound) = restore_points::bound_to(content) {
        changes.extend(read(catalog, &bound.key())?.as_ref().map(delete));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use keelson_store::{Operation, StorePath};

    use super::*;

    /// The error of a decoder quotes what it decodes: one outcome filled the action, and no import could end any more.
    #[test]
    fn what_is_told_is_bounded_whatever_it_quotes() {
        let mut told = Told::default();
        told.push("short".to_owned());
        told.push("ü".repeat(1 << 20));
        assert_eq!(told.0[0], "short");
        assert_eq!(told.0[1], format!("{}…", "ü".repeat(SENTENCE_BYTES_MAX / 2)));
        for _ in 0..2 * TOLD_MAX {
            told.push("more".to_owned());
        }
        assert_eq!(told.0.len(), TOLD_MAX + 1);
        assert_eq!(told.0.last().unwrap(), "there is more that was passed over");
    }

    /// Credentials that may no longer read passed every repository over, and the import was complete.
    #[test]
    fn what_the_store_refuses_is_no_fault_of_a_repository() {
        let path: StorePath = "k10/x".parse().unwrap();
        let opened = |source| RepositoriesError::Open {
            root: "k10/x".to_owned(),
            profile: "vault".to_owned(),
            source: OpenRepositoryError::Fetch { path: path.clone(), source },
        };
        let forbidden = StoreError::Forbidden {
            operation: Operation::Fetch,
            path: path.clone(),
            location: "s3://bucket".to_owned(),
            source: std::io::Error::other("denied").into(),
        };
        assert!(is_out_of_reach(&opened(forbidden)));
        let gone = StoreError::NotFound { operation: Operation::Fetch, path: path.clone() };
        assert!(!is_out_of_reach(&opened(gone)));
        assert!(!is_out_of_reach(&RepositoriesError::NoExport { root: "x".to_owned() }));
    }
}
