//! Reads what a report tells: from the catalog in pages, from the cluster, and from the platform's own volume.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use keelson_catalog::{Database, Query, ReadError, RowKind};
use keelson_model::{Chain, RepositoryId};
use keelson_resources::report::{DiskUsage, ServiceResult, StorageResults, StorageUse};
use serde_json::Value;

use super::compliance::Managed;
use super::ends::{self, Ends};
use super::{ReportError, Span};
use crate::engine::{Failure, Job};
use crate::locations::Place;
use crate::platform::{INDEX_FOLDER, Platform};
use crate::policies::{self, Policy};
use crate::recovery::state;
use crate::repositories::LOCAL_FOLDER;
use crate::restore_points::{Artifact, ContentInternal};
use crate::{audit, contents, kinds, mirror};

/// The parts that keep data in folders of their own; everything else beside them is the catalog.
const FOLDERS: [(&str, &str); 3] =
    [("snapshots", LOCAL_FOLDER), ("audit", audit::FOLDER), ("index", INDEX_FOLDER)];

/// All that a report tells.
pub(super) struct Observed {
    pub span: Span,
    pub install_namespace: String,
    pub cluster_id: String,
    pub cluster_version: Option<String>,
    /// Namespaces that are applications.
    pub applications: Vec<String>,
    pub managed: Vec<Managed>,
    pub ends: Ends,
    pub storage: StorageResults,
    /// As they are mirrored, in the order of their names.
    pub policies: Vec<Value>,
    pub profiles: Vec<Value>,
    /// The profile that the platform is protected through.
    pub protected_through: Option<String>,
    pub services: Vec<ServiceResult>,
    /// What could not be learnt, as sentences.
    pub unknown: Vec<String>,
}

pub(super) async fn observe(job: &Job, span: Span) -> Result<Observed, Failure> {
    let platform = &job.platform;
    let kept = read_kept(platform, &job.database).await?;
    let Kept { storage, mut unknown, policies, runnable, profiles, services } = kept;
    let version = platform.cluster.version().await;
    let cluster_version = version.map_err(|error| {
        unknown.push(format!("the version of the cluster is not in the report: {}", Chain(&error)));
    });
    let namespaces = platform.cluster.namespaces().await;
    let namespaces = namespaces.map_err(|source| ReportError::ListNamespaces { source })?;
    let mut managed = Vec::new();
    for policy in runnable {
        let applications = policies::select_among(platform, &policy, &namespaces).await?;
        managed.push(Managed { policy: policy.parsed, applications });
    }
    let ends = read_ends(&job.database, span, &managed).await?;
    let install_namespace = platform.settings.install_namespace.clone();
    let protected_through = state::enabled(platform)?.map(|enabled| enabled.profile);
    Ok(Observed {
        span,
        applications: policies::applications(&install_namespace, &namespaces),
        install_namespace,
        cluster_id: platform.cluster_id.to_string(),
        cluster_version: cluster_version.ok(),
        managed,
        ends,
        storage,
        policies,
        profiles,
        protected_through,
        services,
        unknown,
    })
}

/// What is read from the platform's own volume.
struct Kept {
    storage: StorageResults,
    /// What of it could not be learnt, as sentences.
    unknown: Vec<String>,
    policies: Vec<Value>,
    /// Those that are valid and not paused.
    runnable: Vec<Policy>,
    profiles: Vec<Value>,
    services: Vec<ServiceResult>,
}

async fn read_kept(platform: &Arc<Platform>, catalog: &Database) -> Result<Kept, ReportError> {
    let (platform, catalog) = (platform.clone(), catalog.clone());
    collect(move || {
        let install_namespace = &platform.settings.install_namespace;
        let (storage, unknown) = read_storage(&platform, &catalog)?;
        Ok(Kept {
            storage,
            unknown,
            runnable: read_runnable(&catalog, install_namespace)?,
            policies: read_configured(&catalog, kinds::policies())?,
            profiles: read_configured(&catalog, kinds::profiles())?,
            services: measure_services(&platform.settings.data),
        })
    })
    .await
}

/// The history is long: last ends are kept of what the policies protect now, and of nothing else.
async fn read_ends(catalog: &Database, span: Span, managed: &[Managed]) -> Result<Ends, ReportError> {
    let catalog = catalog.clone();
    let protected: HashSet<_> = managed.iter().flat_map(Managed::protected).collect();
    collect(move || ends::read(&catalog, span, protected)).await
}

async fn collect<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReportError> {
    let read = tokio::task::spawn_blocking(read).await.map_err(|source| ReportError::Collect { source })?;
    read.map_err(|source| ReportError::ReadCatalog { source })
}

fn read_configured(catalog: &Database, kind: RowKind) -> Result<Vec<Value>, ReadError> {
    let objects = catalog.rows(Query::of(kind));
    let object = |stored: Result<keelson_catalog::Stored, ReadError>| {
        stored.map(|stored| mirror::object_of(&stored.row.body)).transpose()
    };
    objects.filter_map(object).collect()
}

/// Which applications a policy protects can be told of those that back up.
fn read_runnable(catalog: &Database, install_namespace: &str) -> Result<Vec<Policy>, ReadError> {
    let mut runnable = Vec::new();
    for stored in catalog.rows(Query::of(kinds::policies())) {
        let policy = policies::runnable(catalog, &stored?.row.body, install_namespace)?;
        runnable.extend(policy.filter(|policy| policy.parsed.selector.is_some()));
    }
    Ok(runnable)
}

/// With what of it is not recorded, as sentences.
fn read_storage(platform: &Platform, catalog: &Database) -> Result<(StorageResults, Vec<String>), ReadError> {
    let own = platform.local_repository_id();
    let (mut snapshots, mut objects, mut files) = (Held::default(), Held::default(), Held::default());
    for internal in contents::all_internal(catalog) {
        let ContentInternal { artifact, .. } = internal?;
        let Some(held) = held(&artifact, own) else { continue };
        let held_in = match held.exported.as_ref().map(|exported| &exported.place) {
            None => &mut snapshots,
            Some(Place::ObjectStore { .. }) => &mut objects,
            Some(Place::FileStore { .. }) => &mut files,
        };
        held_in.add(held);
    }
    let mut unknown = Vec::new();
    let storage = StorageResults {
        snapshot_storage: snapshots.tell("snapshotStorage", &mut unknown),
        object_storage: objects.tell("objectStorage", &mut unknown),
        file_storage: files.tell("fileStorage", &mut unknown),
    };
    Ok((storage, unknown))
}

/// What takes space of ours for a restore point.
fn held(artifact: &Artifact, own: RepositoryId) -> Option<&Artifact> {
    // Of what was local to a lost cluster only the copy in a location is left, if there is one.
    let is_lost = artifact.exported.is_none() && artifact.repository != own;
    let held = if is_lost { artifact.copy.as_deref() } else { Some(artifact) };
    held.filter(|held| !held.is_imported())
}

/// What restore points of one sort hold.
#[derive(Default)]
struct Held {
    count: u64,
    logical_bytes: u64,
    physical_bytes: u64,
    /// Those of which nothing says what was written for them.
    unrecorded: u64,
}

impl Held {
    fn add(&mut self, artifact: &Artifact) {
        self.count += 1;
        self.logical_bytes += artifact.bytes;
        match artifact.stored_bytes {
            Some(bytes) => self.physical_bytes += bytes,
            None => self.unrecorded += 1,
        }
    }

    /// A sum of which a part is not known is none.
    fn tell(self, field: &str, unknown: &mut Vec<String>) -> StorageUse {
        let Self { count, logical_bytes, physical_bytes, unrecorded } = self;
        if unrecorded > 0 {
            unknown.push(format!(
                "physicalBytes of {field} is not in the report: it is not recorded what was written for {unrecorded} of its \
                 {count} restore points"
            ));
        }
        let physical_bytes = (unrecorded == 0).then_some(physical_bytes);
        StorageUse { count, logical_bytes, physical_bytes }
    }
}

/// Files come and go while they are counted; those that cannot be looked at are not.
fn measure_services(data: &Path) -> Vec<ServiceResult> {
    let used = FOLDERS.map(|(name, folder)| (name, used_below(&data.join(folder))));
    let apart: u64 = used.iter().map(|(_, bytes)| bytes).sum();
    let catalog = ("catalog", used_below(data).saturating_sub(apart));
    let service = |(name, used_bytes): (&str, u64)| ServiceResult {
        name: name.to_owned(),
        disk_usage: DiskUsage { used_bytes },
    };
    [catalog].into_iter().chain(used).map(service).collect()
}

fn used_below(folder: &Path) -> u64 {
    let (mut used, mut open) = (0, vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => used += metadata.len(),
                Err(_) => {}
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was found in a location counted as if nothing had been written for it. Where all is stored already, nothing is.
    #[test]
    fn bytes_that_are_not_recorded_are_not_told_and_no_bytes_are() {
        let artifact = |stored: Option<u64>| {
            let mut artifact = serde_json::json!({ "repository": "0123456789abcdef0123456789abcdef",
                "outcome": "0123456789abcdef0123456789abcdef", "objects": 3, "bytes": 9 });
            if let Some(stored) = stored {
                artifact["storedBytes"] = stored.into();
            }
            serde_json::from_value::<Artifact>(artifact).unwrap()
        };
        let check = |stored: &[Option<u64>], physical_bytes: Option<u64>, told: &[&str]| {
            let (mut held, mut unknown) = (Held::default(), Vec::new());
            stored.iter().for_each(|stored| held.add(&artifact(*stored)));
            let count = stored.len() as u64;
            let expected = StorageUse { count, logical_bytes: 9 * count, physical_bytes };
            assert_eq!(held.tell("objectStorage", &mut unknown), expected);
            assert_eq!(unknown, told);
        };
        check(&[], Some(0), &[]);
        check(&[Some(7), Some(0)], Some(7), &[]);
        let told = "physicalBytes of objectStorage is not in the report: it is not recorded what was written for 1 of its \
             2 restore points";
        check(&[Some(7), None], None, &[told]);
    }

    #[test]
    fn each_part_is_told_what_lies_in_its_folder_and_the_catalog_the_rest() {
        let data = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: usize| {
            let path = data.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![7; bytes]).unwrap();
        };
        put("instance.sqlite", 100);
        put("1/catalog.sqlite", 1000);
        put("local/packs/ab/cd", 10);
        put("audit/catalog.jsonl", 1);
        let told: Vec<_> = measure_services(data.path())
            .into_iter()
            .map(|service| (service.name, service.disk_usage.used_bytes))
            .collect();
        let expected = [("catalog", 1100), ("snapshots", 10), ("audit", 1), ("index", 0)];
        assert_eq!(told, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
    }
}
