//! Single objects of any kind as JSON trees: read, list, create, replace, apply, patch, delete.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cluster, FIELD_MANAGER};
use crate::configuration::Creation;
use crate::kinds::Kind;
use crate::names::{InvalidName, push_query};
use crate::objects::ObjectRef;
use crate::request::{Call, Content, RequestError, Verb};

/// Objects per page of a list.
pub(crate) const PAGE_OBJECTS: u32 = 500;

/// Pages of a list that is held in memory: our own configuration, never an application.
const PAGES_MAX: usize = 200;

impl Cluster {
    pub async fn read_object(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, RequestError> {
        let target = reference(kind, namespace, name);
        let url = named(Verb::Read, &target, kind.object_url(namespace, name))?;
        match self.wire().send_json(&Call::new(Verb::Read, &target, url)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_status(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind, held in memory: for our own configuration.
    pub async fn list_objects(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        label_selector: Option<&str>,
    ) -> Result<Vec<Value>, RequestError> {
        #[derive(Deserialize)]
        struct Page {
            metadata: PageMetadata,
            items: Vec<Value>,
        }
        #[derive(Deserialize)]
        struct PageMetadata {
            #[serde(default)]
            r#continue: String,
        }
        let mut objects = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let mut url = named(Verb::List, kind, kind.collection_url(namespace))?;
            push_query(&mut url, "limit", &PAGE_OBJECTS.to_string());
            if let Some(selector) = label_selector {
                push_query(&mut url, "labelSelector", selector);
            }
            if !token.is_empty() {
                push_query(&mut url, "continue", &token);
            }
            let page: Page = self.wire().send_json(&Call::new(Verb::List, kind, url)).await?;
            objects.extend(page.items.into_iter().map(|item| with_type(kind, item)));
            token = page.metadata.r#continue;
            if token.is_empty() {
                return Ok(objects);
            }
        }
        Err(RequestError::AnswerTooLong {
            verb: Verb::List,
            target: kind.to_string(),
            bytes_max: PAGES_MAX * PAGE_OBJECTS as usize,
        })
    }

    /// Creates the object, or says that it was there.
    pub async fn create_object(&self, kind: &Kind, object: &Value) -> Result<Creation, RequestError> {
        let place = Place::of(Verb::Create, kind, object)?;
        let mut url = named(Verb::Create, &place.target, kind.collection_url(place.namespace))?;
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        let body = encode(Verb::Create, &place, kind, object)?;
        let call = Call::new(Verb::Create, &place.target, url).body(Content::Json, body);
        match self.wire().send_json(&call).await {
            Ok(created) => Ok(Creation::Created(created)),
            Err(error) if error.is_already_exists() => Ok(Creation::Existed),
            Err(error) => Err(error),
        }
    }

    /// Replaces the object under the `resourceVersion` it carries.
    pub async fn replace_object(&self, kind: &Kind, object: &Value) -> Result<Value, RequestError> {
        let place = Place::of(Verb::Replace, kind, object)?;
        let mut url = named(Verb::Replace, &place.target, kind.object_url(place.namespace, place.name))?;
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        let body = encode(Verb::Replace, &place, kind, object)?;
        self.wire().send_json(&Call::new(Verb::Replace, &place.target, url).body(Content::Json, body)).await
    }

    /// Server-side apply of the fields given, taking them from whoever had them.
    pub async fn apply_object(&self, kind: &Kind, object: &Value) -> Result<Value, RequestError> {
        let place = Place::of(Verb::Apply, kind, object)?;
        let mut url = named(Verb::Apply, &place.target, kind.object_url(place.namespace, place.name))?;
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        push_query(&mut url, "force", "true");
        let body = encode(Verb::Apply, &place, kind, object)?;
        self.wire().send_json(&Call::new(Verb::Apply, &place.target, url).body(Content::Apply, body)).await
    }

    /// Makes `spec` the whole of an object's specification, whoever has written what was there.
    pub async fn replace_spec(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        spec: &Value,
    ) -> Result<Value, RequestError> {
        let target = reference(kind, namespace, name);
        let mut url = named(Verb::Patch, &target, kind.object_url(namespace, name))?;
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        let patch = json!([{ "op": "add", "path": "/spec", "value": spec }]).to_string();
        self.wire().send_json(&Call::new(Verb::Patch, &target, url).body(Content::JsonPatch, patch)).await
    }

    /// Says who has written which fields of an object, as it was read.
    pub(crate) async fn replace_managers(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        (object, managers): (&Value, Vec<Value>),
    ) -> Result<Value, RequestError> {
        let target = reference(kind, namespace, name);
        let mut url = named(Verb::Patch, &target, kind.object_url(namespace, name))?;
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        // With its version, so that a change in between is a conflict.
        let patch = json!([
            { "op": "replace", "path": "/metadata/managedFields", "value": managers },
            { "op": "replace", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"] },
        ])
        .to_string();
        self.wire().send_json(&Call::new(Verb::Patch, &target, url).body(Content::JsonPatch, patch)).await
    }

    /// Merges `status` into the object's status subresource.
    pub async fn patch_status(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        status: &Value,
    ) -> Result<Value, RequestError> {
        let target = reference(kind, namespace, name);
        let mut url = named(Verb::Patch, &target, kind.object_url(namespace, name))?;
        url.push_str("/status");
        push_query(&mut url, "fieldManager", FIELD_MANAGER);
        let body = json!({ "status": status }).to_string();
        self.wire().send_json(&Call::new(Verb::Patch, &target, url).body(Content::MergePatch, body)).await
    }

    /// Deletes the object; one that is not there is deleted already.
    pub async fn delete_object(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), RequestError> {
        let target = reference(kind, namespace, name);
        let mut url = named(Verb::Delete, &target, kind.object_url(namespace, name))?;
        push_query(&mut url, "propagationPolicy", "Background");
        match self.wire().send(&Call::new(Verb::Delete, &target, url)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_status(404) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn reference(kind: &Kind, namespace: Option<&str>, name: &str) -> ObjectRef {
    ObjectRef {
        resource: kind.resource_name(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

pub(crate) fn named<T: std::fmt::Display>(
    verb: Verb,
    target: &T,
    url: Result<String, InvalidName>,
) -> Result<String, RequestError> {
    url.map_err(|source| RequestError::Name { verb, target: target.to_string(), source })
}

/// Where an object says it is.
struct Place<'a> {
    target: ObjectRef,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(verb: Verb, kind: &Kind, object: &'a Value) -> Result<Self, RequestError> {
        let namespace = object["metadata"]["namespace"].as_str();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let target = reference(kind, namespace, name);
        if name.is_empty() {
            let target = target.to_string();
            return Err(RequestError::FieldMissing { verb, target, field: "metadata.name" });
        }
        Ok(Self { target, namespace, name })
    }
}

fn encode(verb: Verb, place: &Place<'_>, kind: &Kind, object: &Value) -> Result<Bytes, RequestError> {
    let body = serde_json::to_vec(&with_type(kind, object.clone()));
    body.map(Bytes::from).map_err(|source| RequestError::EncodeObject {
        verb,
        target: place.target.to_string(),
        source,
    })
}

/// Items of a list come without the names of their type; an object to be written needs them.
fn with_type(kind: &Kind, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.clone().into());
    }
    object
}
