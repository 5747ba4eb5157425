//! The repositories that the platform knows: its own volume's, the one that disaster recovery is enabled to and those
//! before it, one for each application and location that was exported to, and those of others that are imported from.

use std::collections::BTreeMap;

use keelson_catalog::Database;
use keelson_crypto::Sha256;
use keelson_model::names::{DR_POLICY, label};
use keelson_model::{ClusterId, RepositoryId};
use keelson_resources::storage_repository::{
    ContentType, RepositoryBucket, RepositoryLocation, RepositoryLocationType, RepositoryShare,
    StorageRepositoryStatus,
};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::grants::{self, ImportedRow};
use crate::layout::ClusterFolder;
use crate::locations::{self, Place};
use crate::ownership::Ownership;
use crate::platform::Platform;
use crate::records::Record;
use crate::recovery::{former, state};
use crate::repositories::{self, RepositoryRow};

/// The format that we write.
const BACKEND: &str = "keelson";
/// Enough that no two repositories of an installation share them.
const SUFFIX_CHARACTERS: usize = 10;

/// A repository.
pub(super) struct Known {
    pub(super) id: RepositoryId,
    content: ContentType,
    application: Option<String>,
    /// None for the one on the platform's own volume.
    shared: Option<Shared>,
}

/// Where it lies in a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) profile: String,
    pub(super) place: Place,
    pub(super) cluster: ClusterId,
    pub(super) root: String,
    /// Set on one that is only imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) imported: Option<ImportedRow>,
}

/// The private part of an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Internal {
    pub(super) repository: RepositoryId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared: Option<Shared>,
}

/// All of them by the names of their objects.
pub(super) fn all(platform: &Platform, catalog: &Database) -> Outcome<BTreeMap<String, Known>> {
    let mut found = BTreeMap::new();
    let mut add = |known: Known| {
        found.entry(known.name()).or_insert(known);
    };
    add(Known {
        id: platform.local_repository_id(),
        content: ContentType::Metadata,
        application: None,
        shared: None,
    });
    let recovery = |id: RepositoryId, profile: String, place: Place, cluster: ClusterId| {
        let root = ClusterFolder::new(&cluster).dr_repository(id).repository().to_string();
        let application = Some(platform.settings.install_namespace.clone());
        let shared = Some(Shared { profile, place, cluster, root, imported: None });
        Known { id, content: ContentType::Dr, application, shared }
    };
    if let Some(known) = state::enabled(platform)? {
        add(recovery(known.repository, known.profile, known.place, platform.cluster_id.clone()));
    }
    for known in former::list(platform)? {
        add(recovery(known.repository, known.profile, known.place, known.cluster));
    }
    for (_, row) in repositories::export_rows(catalog)? {
        add(Known::exported(row, None));
    }
    for imported in grants::imported(catalog)? {
        add(Known::exported(imported.row.clone(), Some(imported)));
    }
    Ok(found)
}

impl Known {
    /// What was exported to a location, here or by whom it was imported from.
    fn exported(row: RepositoryRow, imported: Option<ImportedRow>) -> Self {
        let root = row.root().to_string();
        let RepositoryRow { application, profile, place, cluster, repository, .. } = row;
        let shared = Some(Shared { profile, place, cluster, root, imported });
        Self { id: repository, content: ContentType::Metadata, application: Some(application), shared }
    }

    pub(super) fn name(&self) -> String {
        name_of(self.content, self.id)
    }

    /// Lets an object tell what is known. Who decides what, and how maintenance went, stays as it is.
    pub(super) fn describe(&self, record: &mut Record, ownership: &Ownership) {
        let Self { id, content, application, shared } = self;
        let before = record.status::<StorageRepositoryStatus>().ok();
        let is_foreign = |shared: &Shared| {
            shared.imported.is_some() || ownership.forbids_writing(&shared.place, &shared.cluster)
        };
        let status = StorageRepositoryStatus {
            content_type: *content,
            backend_type: BACKEND.to_owned(),
            location: location(shared.as_ref()),
            read_only: shared.as_ref().is_some_and(is_foreign),
            app_name: application.clone(),
            process_results: before.map(|before| before.process_results).unwrap_or_default(),
            details: None,
        };
        record.body.status = serde_json::to_value(status).expect("plain data");
        let internal = Internal { repository: *id, shared: shared.clone() };
        record.body.internal = serde_json::to_value(internal).expect("plain data");
        record.labels = self.labels();
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        if let Some(application) = &self.application {
            labels.insert(label::APP_NAME.to_owned(), application.clone());
        }
        if let Some(shared) = &self.shared {
            labels.extend(locations::export_labels(&shared.profile));
        }
        if self.content == ContentType::Dr {
            labels.insert(label::POLICY_NAME.to_owned(), DR_POLICY.to_owned());
        }
        labels
    }
}

/// The name of a repository's object.
pub(super) fn name_of(content: ContentType, id: RepositoryId) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::of(format!("StorageRepository {id}").as_bytes());
    let bytes = digest.as_bytes().iter().take(SUFFIX_CHARACTERS);
    let suffix: String =
        bytes.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
    format!("{}-repository-{suffix}", content.as_str())
}

fn location(shared: Option<&Shared>) -> RepositoryLocation {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (r#type, object_store, file_store) = match shared.map(|shared| &shared.place) {
        None => (RepositoryLocationType::Volume, None, None),
        Some(Place::FileStore { claim, path }) => {
            let share = RepositoryShare { claim_name: claim.clone(), path: given(path) };
            (RepositoryLocationType::FileStore, None, Some(share))
        }
        Some(Place::ObjectStore { endpoint, bucket, path }) => {
            let bucket =
                RepositoryBucket { name: bucket.clone(), endpoint: given(endpoint), path: given(path) };
            (RepositoryLocationType::ObjectStore, Some(bucket), None)
        }
    };
    RepositoryLocation { r#type, object_store, file_store }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever has written the name down finds the object under it after every release.
    #[test]
    fn the_name_of_an_object_follows_from_its_repository() {
        let id = RepositoryId::from_bytes([7; 16]);
        let name = name_of(ContentType::Dr, id);
        assert_eq!(name, name_of(ContentType::Dr, id));
        let suffix = name.strip_prefix("dr-repository-").unwrap();
        assert_eq!(suffix.len(), SUFFIX_CHARACTERS);
        assert!(keelson_model::naming::check_object_name(&name).is_ok(), "{name}");
        assert!(name_of(ContentType::Metadata, id).ends_with(suffix));
        assert_ne!(name, name_of(ContentType::Dr, RepositoryId::from_bytes([8; 16])));
    }
}
