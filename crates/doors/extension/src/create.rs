//! Creating an object: decode, check every field, look at the namespace, review every reference, then the use case.
//!
//! No admission runs for aggregated kinds. What Kubernetes would have checked for us is checked here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use axum::response::Response;
use http::header::WARNING;
use http::{HeaderValue, StatusCode, Uri};
use keelson_model::Chain;
use keelson_protection::Requester;
use keelson_protection::requests::{self, Asked, Effect, NamespacePlace, NewObject, RequestError};
use keelson_resources::{KindInfo, Reference, ignored_fields, prune_fields, unknown_fields, validate_create};
use serde::Deserialize;
use serde_json::Value;
use tracing::error;

use crate::authorization::Verdict;
use crate::body::{Decoded, WithShare};
use crate::get::refuse_request;
use crate::limits::{GENERATED_NAMES_TRIED, REFERENCES_MAX, WARNINGS_MAX};
use crate::object::Object;
use crate::options::{FieldValidation, WriteOptions};
use crate::refusal::{About, FieldError, Refusal};
use crate::response::{hold, json_bytes};
use crate::shared::{Shared, refuse_failure};
use crate::target::ObjectPath;
use crate::view::View;

pub(crate) async fn create(
    shared: &Arc<Shared>,
    asked: Asked<'_>,
    path: ObjectPath<'_>,
    uri: &Uri,
    object: WithShare<Decoded>,
    view: View,
) -> Result<Response, Refusal> {
    let options = WriteOptions::parse("CreateOptions", uri)?;
    let checked = check_submitted(shared, path, object, options.validation).await?;
    let WithShare { value: submitted, share } = checked;
    check_namespace(shared, path, &submitted).await?;
    let about = About { kind: path.kind, name: submitted.name() };
    check_references(shared, asked.requester, about, &submitted.references).await?;

    let effect = if options.dry_run { Effect::DryRun } else { Effect::Apply };
    let mut tries_left = GENERATED_NAMES_TRIED;
    let stored = loop {
        tries_left -= 1;
        let object = submitted.new_object(path);
        let name = object.name.clone();
        match requests::create(&shared.platform, asked, path.kind, object, effect).await {
            Ok(stored) => break stored,
            Err(RequestError::AlreadyExists { .. }) if submitted.name().is_empty() && tries_left > 0 => {}
            Err(error) => return Err(refuse_request(About { kind: path.kind, name: &name }, &error)),
        }
    };
    let object = Object::parse(path.kind, &stored).map_err(|error| refuse_failure(&error))?;
    let mut response = json_bytes(view.single(&object));
    *response.status_mut() = StatusCode::CREATED;
    add_warnings(&mut response, &submitted.warnings);
    Ok(hold(response, share))
}

/// Looks at every field, of which there may be many.
async fn check_submitted(
    shared: &Shared,
    path: ObjectPath<'_>,
    object: WithShare<Decoded>,
    validation: FieldValidation,
) -> Result<WithShare<Submitted>, Refusal> {
    let (kind, namespace) = (path.kind, path.namespace.map(str::to_owned));
    let install_namespace = shared.install_namespace().to_owned();
    let check = move |object| {
        let path = ObjectPath { kind, namespace: namespace.as_deref(), name: None, details: false };
        Submitted::check(path, object, validation, &install_namespace)
    };
    object.make(check).await
}

/// What is wrong with a request that is carried out all the same.
pub(crate) fn add_warnings(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace(['\\', '"'], "'"));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// An object as a client sent it, every field checked.
#[derive(Debug)]
struct Submitted {
    metadata: NewMetadata,
    spec: Value,
    warnings: Vec<String>,
    references: Vec<Reference>,
}

/// The metadata that a client may choose. What only the server says is passed over, as in Kubernetes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Room for the five characters that the server appends, in a name that still fits a label's value.
const GENERATE_NAME_KEPT: usize = 58;

impl Submitted {
    fn check(
        path: ObjectPath<'_>,
        decoded: Decoded,
        validation: FieldValidation,
        install_namespace: &str,
    ) -> Result<Self, Refusal> {
        let Decoded { value: mut object, duplicates } = decoded;
        check_place(path, &object)?;
        let mut warnings = validate_fields(path.kind, &object, &duplicates, validation)?;
        warnings.extend(ignored_fields(path.kind, &object));
        // What nobody knows is kept by nobody, as with custom resources.
        prune_fields(path.kind, &mut object);
        // Where an object is, is said by the path; and its status by nobody but us.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let (Some(namespace), Some(metadata)) = (path.namespace, object["metadata"].as_object_mut()) {
            metadata.insert("namespace".to_owned(), Value::from(namespace));
        }
        let mut errors: Vec<FieldError> = validate_create(path.kind, &object, install_namespace)
            .into_iter()
            .map(FieldError::from)
            .collect();
        let references =
            if errors.is_empty() { (path.kind.references)(&object, install_namespace) } else { Vec::new() };
        if references.len() > REFERENCES_MAX {
            errors
                .push(FieldError::too_many("spec", format!("refers to more than {REFERENCES_MAX} objects")));
        }
        if !errors.is_empty() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Refusal::invalid(About { kind: path.kind, name }, &errors));
        }
        let metadata = NewMetadata::deserialize(object["metadata"].take()).map_err(|error| {
            Refusal::bad_request(format!("the object provided cannot be decoded: metadata: {error}"))
        })?;
        Ok(Self { metadata, spec: object["spec"].take(), warnings, references })
    }

    /// Empty where the server is to make one up.
    fn name(&self) -> &str {
        self.metadata.given_name().unwrap_or_default()
    }

    /// The object under the name that it asks for, or under a new one that begins as it asks.
    fn new_object(&self, path: ObjectPath<'_>) -> NewObject {
        NewObject {
            namespace: path.namespace.unwrap_or_default().to_owned(),
            name: self.metadata.choose_name(),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            annotations: self.metadata.annotations.clone().unwrap_or_default(),
            spec: self.spec.clone(),
        }
    }
}

impl NewMetadata {
    fn given_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    fn choose_name(&self) -> String {
        if let Some(name) = self.given_name() {
            return name.to_owned();
        }
        let prefix = self.generate_name.as_deref().unwrap_or_default();
        let kept = prefix.floor_char_boundary(GENERATE_NAME_KEPT);
        format!("{}{}", &prefix[..kept], random_suffix())
    }
}

/// Five characters as Kubernetes appends them: no vowels, nothing that looks like another.
///
/// They need not be secret, only different; a name that is taken is followed by another.
fn random_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = RandomState::new().build_hasher().finish();
    let mut next = || {
        let character = ALPHABET[(bits % 27) as usize];
        bits /= 27;
        char::from(character)
    };
    std::array::from_fn::<char, 5, _>(|_| next()).into_iter().collect()
}

/// Judges the fields that the schema does not know as strictly as the client asks.
pub(crate) fn validate_fields(
    kind: &KindInfo,
    object: &Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<Vec<String>, Refusal> {
    if validation == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    let unknown = unknown_fields(kind, object);
    let faults = duplicates.iter().map(|field| format!("duplicate field \"{field}\""));
    let faults = faults.chain(unknown.iter().map(|field| format!("unknown field \"{field}\"")));
    let faults: Vec<String> = faults.take(WARNINGS_MAX).collect();
    if validation == FieldValidation::Strict && !faults.is_empty() {
        return Err(Refusal::bad_request(format!("strict decoding error: {}", faults.join(", "))));
    }
    Ok(faults)
}

/// Refuses objects of another kind, version or namespace than the path says. What a client leaves out is taken
/// from the path.
fn check_place(path: ObjectPath<'_>, object: &Value) -> Result<(), Refusal> {
    let kind = path.kind;
    if !object.is_object() || !object["metadata"].is_object() {
        return Err(Refusal::bad_request("the object provided cannot be decoded: it has no metadata"));
    }
    let api_version = text(&object["apiVersion"], "apiVersion")?;
    if !api_version.is_empty() && api_version != kind.api_version() {
        return Err(Refusal::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    let found = text(&object["kind"], "kind")?;
    if !found.is_empty() && found != kind.kind {
        return Err(Refusal::bad_request(format!(
            "{found} in version \"{}\" cannot be handled as a {}",
            kind.version, kind.kind
        )));
    }
    let namespace = text(&object["metadata"]["namespace"], "metadata.namespace")?;
    if !namespace.is_empty() && path.namespace.is_some_and(|expected| namespace != expected) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(message));
    }
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    match value {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => {
            Err(Refusal::bad_request(format!("the object provided cannot be decoded: {field} is no string")))
        }
    }
}

async fn check_namespace(
    shared: &Shared,
    path: ObjectPath<'_>,
    submitted: &Submitted,
) -> Result<(), Refusal> {
    let Some(name) = path.namespace else { return Ok(()) };
    let place = requests::find_place(&shared.platform, name).await.map_err(|error| {
        error!(chain = %Chain(&error), namespace = name, "a namespace could not be read");
        Refusal::unavailable("the API server did not say whether the namespace exists")
    })?;
    match place {
        NamespacePlace::Staying => Ok(()),
        NamespacePlace::Absent => Err(Refusal::namespace_not_found(name)),
        NamespacePlace::Terminating => {
            let about = About { kind: path.kind, name: submitted.name() };
            Err(Refusal::namespace_terminating(about, name))
        }
    }
}

pub(crate) async fn check_references(
    shared: &Shared,
    requester: &Requester,
    about: About<'_>,
    references: &[Reference],
) -> Result<(), Refusal> {
    for reference in references {
        let verdict = shared.reviews.review(requester, reference, shared.now()).await;
        match verdict.map_err(|error| refuse_failure(&error))? {
            Verdict::Allowed => {}
            Verdict::Denied => return Err(Refusal::forbidden(about, &denial(requester, reference))),
        }
    }
    Ok(())
}

/// In the words of the API server's own authorization, so that people know what to grant.
fn denial(requester: &Requester, reference: &Reference) -> String {
    let place = match &reference.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let name =
        reference.name.as_ref().map(|name| format!(" (its spec names \"{name}\")")).unwrap_or_default();
    format!(
        "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {place}{name}",
        requester.name(),
        reference.verb.as_str(),
        reference.resource,
        reference.group,
    )
}
