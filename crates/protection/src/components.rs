//! What an application, or a restore point, is made of: for details, which show names and kinds and no content.
//!
//! Guarantees: what is read and held for one answer is bounded, nothing is written for it, and what it does not tell it
//! names with the reason. Limits: of a restore point whose streams are longer than is read, not every name is found.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use jiff::Timestamp;
use keelson_model::names::label;
use keelson_repository::{NamedStream, Reader};
use keelson_resources::LocalReference;
use keelson_resources::apps::application::ApplicationDetails;
use keelson_resources::apps::components::{
    ComponentObject, ComponentVolume, Components, Incomplete, whole_gigabytes,
};
use keelson_resources::apps::{ArtifactDetails, ArtifactInfo};
use keelson_workload::{
    CapturedObject, Component, DecodeObjectsError, Inventory, InventoryGap, Layer, ListedClaim, ListedObject,
    NamespaceName, decode_objects,
};

use crate::backup::BackupDescription;
use crate::platform::Platform;
use crate::records::{DecodeRecordError, Record};
use crate::restore_points::{Artifact, ContentInternal};
use crate::validation::told;

/// A request ends after a minute, and should say by then what it knows.
const LOOK_FOR: Duration = Duration::from_secs(30);
/// What is read of one stream of a restore point: some ten thousand objects as they mostly are.
const STREAM_BYTES_MAX: usize = 16 << 20;

/// What a backup of the application would capture now.
///
/// Read with the platform's own rights and told to whoever has the right to this sub-resource, which is a right of its
/// own: see `docs/decisions/0028-details-name-and-show-nothing.md`.
pub(crate) async fn of_application(platform: &Platform, application: &Record) -> ApplicationDetails {
    let mut inventory = Inventory::default();
    if application.body.status["state"] == "Deleted" {
        inventory
            .note_gap(None, "the namespace is gone; details of its restore points tell what was captured");
        return application_details(inventory);
    }
    let ended = within_time(list(platform, application, &mut inventory)).await;
    if let Err(why) = ended {
        inventory.note_gap(None, why);
    }
    application_details(inventory)
}

async fn list(platform: &Platform, application: &Record, inventory: &mut Inventory) -> Result<(), String> {
    let name = application.body.spec["namespace"]["name"].as_str().unwrap_or_default();
    let namespace = name.parse::<NamespaceName>().map_err(|error| error.to_string())?;
    platform.cluster.take_inventory(&namespace, inventory).await.map_err(|error| told(&error))
}

fn application_details(inventory: Inventory) -> ApplicationDetails {
    let (components, incomplete) = sort(inventory);
    ApplicationDetails { components, incomplete }
}

/// What was captured, by the artifact's own record of it.
pub(crate) async fn of_content(
    platform: &Platform,
    content: &Record,
) -> Result<ArtifactDetails, DecodeRecordError> {
    let ContentInternal { artifact, manual: _, tiers: _, expires_at: _, retiring: _ } = content.internal()?;
    let mut found = Found::default();
    let ended = within_time(look(platform, &artifact, &mut found)).await;
    let Found { mut inventory, uploaded, counts } = found;
    if let Err(why) = ended {
        inventory.note_gap(None, format!("what was captured could not be read to its end: {why}"));
    }
    let (components, incomplete) = sort(inventory);
    let policy = content.labels.get(label::POLICY_NAME);
    Ok(ArtifactDetails {
        artifacts: vec![describe(&artifact, uploaded)],
        originating_policies: policy.into_iter().map(|name| LocalReference { name: name.clone() }).collect(),
        components,
        object_counts: counts,
        incomplete,
    })
}

/// Of a restore point whose content is not there.
pub(crate) fn without_content(name: &str) -> ArtifactDetails {
    let message = format!("its content '{name}' is not there");
    ArtifactDetails { incomplete: vec![Incomplete { resource: None, message }], ..ArtifactDetails::default() }
}

async fn within_time(looking: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = || format!("the time for an answer was over after {} s", LOOK_FOR.as_secs());
    tokio::time::timeout(LOOK_FOR, looking).await.unwrap_or_else(|_| Err(late()))
}

/// What was found in a repository so far.
#[derive(Default)]
struct Found {
    inventory: Inventory,
    uploaded: Option<Timestamp>,
    counts: BTreeMap<String, u64>,
}

/// Reads without announcing it: whoever only looks leaves nothing behind, least of all where it would stay for as long as
/// objects are locked. Maintenance does not wait for it then, which may end it early.
async fn look(platform: &Platform, artifact: &Artifact, found: &mut Found) -> Result<(), String> {
    let opened = platform.open_artifact(artifact, None).await;
    let (repository, artifact) = opened.map_err(|error| told(&error))?;
    let indexed = repository.load_index().await.map_err(|error| told(&error))?;
    let reader = indexed.begin_reading_unannounced().await.map_err(|error| told(&error))?;
    let outcome = reader.outcome(artifact.outcome).await.map_err(|error| told(&error))?;
    found.uploaded = Some(outcome.created());
    let description: BackupDescription = serde_json::from_slice(outcome.description())
        .map_err(|error| format!("the description of what was stored is not readable: {error}"))?;
    found.counts = description.report.counts;
    for layer in Layer::ALL {
        if let Some(stream) = outcome.stream(layer.name()) {
            read_stream(&reader, stream, &mut found.inventory).await?;
        }
    }
    Ok(())
}

async fn read_stream(reader: &Reader, stream: &NamedStream, inventory: &mut Inventory) -> Result<(), String> {
    let objects = decode_objects(reader.read(&stream.reference));
    add_objects(objects, &stream.name, inventory).await.map_err(|error| told(&error))
}

/// Adds what a stream holds, and says so where there is more in it than is read.
async fn add_objects(
    objects: impl Stream<Item = Result<CapturedObject, DecodeObjectsError>> + Send,
    stream: &str,
    inventory: &mut Inventory,
) -> Result<(), DecodeObjectsError> {
    let mut objects = pin!(objects);
    let mut read = 0;
    while let Some(object) = objects.try_next().await? {
        if read > STREAM_BYTES_MAX {
            let mib = STREAM_BYTES_MAX >> 20;
            inventory.note_gap(None, format!("only the first {mib} MiB of stream '{stream}' were read"));
            return Ok(());
        }
        inventory.add_captured(&object);
        let managed = object.managed_fields.as_ref().map_or(0, |fields| fields.get().len());
        read += object.object.get().len() + managed;
    }
    Ok(())
}

fn describe(artifact: &Artifact, uploaded: Option<Timestamp>) -> ArtifactInfo {
    let Artifact { repository, outcome, exported, copy, objects, bytes, stored_bytes } = artifact;
    ArtifactInfo {
        repository: repository.to_string(),
        outcome: outcome.to_string(),
        exported: serde_json::to_value(exported).expect("plain data"),
        copy: serde_json::to_value(copy).expect("plain data"),
        objects: *objects,
        bytes: *bytes,
        stored_bytes: *stored_bytes,
        upload_end_time: uploaded.map(Into::into),
    }
}

fn sort(inventory: Inventory) -> (Components, Vec<Incomplete>) {
    let (objects, gaps) = inventory.into_parts();
    let mut components = Components::default();
    for object in objects {
        let component = Component::of(&object.kind);
        let (shown, claim) = show(object);
        match component {
            Component::Config => components.config.push(shown),
            Component::Network => components.network.push(shown),
            Component::Workloads => components.workloads.push(shown),
            Component::CustomResources => components.customresources.push(shown),
            Component::Volumes => components.volumes.push(show_volume(shown, claim.unwrap_or_default())),
        }
    }
    let incomplete =
        gaps.into_iter().map(|InventoryGap { resource, why }| Incomplete { resource, message: why });
    (components, incomplete.collect())
}

fn show(object: ListedObject) -> (ComponentObject, Option<ListedClaim>) {
    let ListedObject { kind, namespace, name, claim } = object;
    let shown = ComponentObject {
        kind: kind.kind.clone(),
        name,
        namespace,
        api_version: kind.api_version(),
        group: kind.group.clone(),
        resource: kind.resource.clone(),
    };
    (shown, claim)
}

fn show_volume(object: ComponentObject, claim: ListedClaim) -> ComponentVolume {
    let ListedClaim { size, provisioner, pod } = claim;
    ComponentVolume {
        persistent_volume_claim_name: object.name.clone(),
        object,
        pod_name: pod,
        size: size.as_deref().and_then(whole_gigabytes),
        provider: provisioner,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream;
    use keelson_workload::Kind;
    use serde_json::value::to_raw_value;

    use super::*;

    fn object(name: &str, bytes: usize) -> Result<CapturedObject, DecodeObjectsError> {
        Ok(CapturedObject {
            layer: Layer::Configuration,
            kind: Arc::new(Kind::namespaced("v1", "ConfigMap", "configmaps")),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
            uid: String::new(),
            object: to_raw_value(&"x".repeat(bytes)).unwrap(),
            managed_fields: None,
        })
    }

    async fn check(
        objects: Vec<Result<CapturedObject, DecodeObjectsError>>,
        names: &[&str],
        told: Option<&str>,
    ) {
        let mut inventory = Inventory::default();
        add_objects(stream::iter(objects), "configuration", &mut inventory).await.unwrap();
        let (found, gaps) = inventory.into_parts();
        assert_eq!(found.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), names);
        assert_eq!(gaps.iter().map(|gap| gap.why.as_str()).collect::<Vec<_>>(), Vec::from_iter(told));
    }

    /// A stream whose last object passed the limit was read whole, and was said to be cut.
    #[tokio::test]
    async fn a_stream_is_told_to_be_cut_only_where_something_of_it_is_left_out() {
        let long = || object("long", STREAM_BYTES_MAX + 1);
        check(vec![object("a", 1), long()], &["a", "long"], None).await;
        let cut = "only the first 16 MiB of stream 'configuration' were read";
        check(vec![long(), object("other", 1)], &["long"], Some(cut)).await;
    }
}
