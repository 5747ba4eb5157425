//! How runs of maintenance went, kept with the objects of their repositories.

use keelson_catalog::{CommitError, Database, RowKey};
use keelson_model::RepositoryId;
use keelson_resources::storage_repository::{ContentType, ProcessResult, StorageRepositoryStatus};

use super::{ACTOR, Outcome, known, make, may_create};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::{kinds, ownership};

/// Tries while others change the object.
const TRIES_MAX: usize = 16;

/// Notes a run with the object of its repository, which is made where there is none.
pub(crate) async fn note_run(platform: &Platform, id: RepositoryId, result: &ProcessResult) {
    platform.unlisted.note_use(id);
    if let Err(error) = note(platform, id, result).await {
        tracing::warn!(error = &*error, repository = %id, "how maintenance went was not recorded");
    }
}

async fn note(platform: &Platform, id: RepositoryId, result: &ProcessResult) -> Outcome<()> {
    let catalog = platform.catalog()?;
    let mut tries_left = TRIES_MAX;
    loop {
        tries_left -= 1;
        let Some(mut record) = find_or_make(platform, &catalog, id).await? else { return Ok(()) };
        let mut status: StorageRepositoryStatus = record.status()?;
        status.process_results.push(result.clone());
        record.body.status = serde_json::to_value(status).expect("plain data");
        match commit(&catalog, ACTOR, vec![record.replace()]).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { .. }) if tries_left > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn find_or_make(platform: &Platform, catalog: &Database, id: RepositoryId) -> Outcome<Option<Record>> {
    for content in ContentType::ALL {
        let namespace = platform.settings.install_namespace.as_str();
        let key = RowKey::new(kinds::storage_repositories(), namespace, known::name_of(content, id));
        if let Some(stored) = catalog.read(&key)? {
            return Ok(Some(Record::parse(&stored)?));
        }
    }
    let Some(known) = known::all(platform, catalog)?.into_values().find(|known| known.id == id) else {
        return Ok(None);
    };
    if !may_create(platform).await? {
        return Ok(None);
    }
    Ok(Some(make(platform, catalog, &known, &ownership::read(&platform.instance)?)?))
}
