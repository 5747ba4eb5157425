//! Changing an object's `spec` by a merge patch (RFC 7386). Nothing else of an object changes, so a patch that would
//! change more is refused by the fields' names.
//!
//! A patch says what it changes and not what it leaves, so of two at the same time both are kept: the later one is merged
//! into what the earlier one has made. Whoever wants to be told instead gives the version that he has read.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use http::Uri;
use keelson_catalog::{CommitError, Stored};
use keelson_protection::requests::{self, Asked, Effect, RequestError};
use keelson_resources::{FieldPath, Reference, prune_fields, validate_change};
use serde_json::{Map, Value};

use crate::body::{Decoded, WithShare};
use crate::create::{add_warnings, check_references, validate_fields};
use crate::get::{self, refuse_request};
use crate::limits::{PATCHES_TRIED, REFERENCES_MAX};
use crate::object::Object;
use crate::options::{FieldValidation, Freshness, WriteOptions};
use crate::refusal::{About, FieldError, Refusal};
use crate::response::{hold, json_bytes};
use crate::shared::{Shared, refuse_failure};
use crate::target::ObjectPath;
use crate::view::View;

pub(crate) async fn patch(
    shared: &Arc<Shared>,
    asked: Asked<'_>,
    path: ObjectPath<'_>,
    uri: &Uri,
    patch: WithShare<Decoded>,
    view: View,
) -> Result<Response, Refusal> {
    let options = WriteOptions::parse("PatchOptions", uri)?;
    let mut patch = WithShare { value: Patch::parse(patch.value)?, share: patch.share };
    let effect = if options.dry_run { Effect::DryRun } else { Effect::Apply };
    let about = About { kind: path.kind, name: path.name.unwrap_or_default() };
    let mut tries_left = PATCHES_TRIED;
    let (stored, warnings, share) = loop {
        tries_left -= 1;
        let found = get::read(shared, path, Freshness::Latest).await?;
        let applied = apply(shared, path, patch, found, options.validation).await?;
        let WithShare { value: Applied { patch: tried, found, changed }, share } = applied;
        let Changed { spec, warnings, references } = changed;
        check_references(shared, asked.requester, about, &references).await?;
        match requests::change(&shared.platform, asked, path.kind, found, spec, effect).await {
            Ok(stored) => break (stored, warnings, share),
            Err(RequestError::Commit { source: CommitError::Conflict { .. } }) if tries_left > 0 => {
                patch = WithShare { value: tried, share };
            }
            Err(error) => return Err(refuse_request(about, &error)),
        }
    };
    let object = Object::parse(path.kind, &stored).map_err(|error| refuse_failure(&error))?;
    let mut response = json_bytes(view.single(&object));
    add_warnings(&mut response, &warnings);
    Ok(hold(response, share))
}

/// Merges and looks at every field, of which there may be many.
async fn apply(
    shared: &Shared,
    path: ObjectPath<'_>,
    patch: WithShare<Patch>,
    found: Stored,
    validation: FieldValidation,
) -> Result<WithShare<Applied>, Refusal> {
    let [namespace, name] = [path.namespace, path.name].map(|part| part.map(str::to_owned));
    let kind = path.kind;
    let install_namespace = shared.install_namespace().to_owned();
    let apply = move |patch: Patch| {
        let (namespace, name) = (namespace.as_deref(), name.as_deref());
        let path = ObjectPath { kind, namespace, name, details: false };
        let changed = patch.apply(path, &found, validation, &install_namespace)?;
        Ok(Applied { patch, found, changed })
    };
    patch.make(apply).await
}

/// As many fields as a client is told that he must not change.
const FIELDS_NAMED_MAX: usize = 32;

/// A patch as a client sent it.
#[derive(Debug)]
struct Patch {
    fields: Value,
    duplicates: Vec<String>,
}

/// A patch with the object that it was merged into.
struct Applied {
    patch: Patch,
    found: Stored,
    changed: Changed,
}

/// What a patch makes of an object.
#[derive(Debug)]
struct Changed {
    spec: Value,
    warnings: Vec<String>,
    references: Vec<Reference>,
}

impl Patch {
    fn parse(decoded: Decoded) -> Result<Self, Refusal> {
        let Decoded { value: fields, duplicates } = decoded;
        if !fields.is_object() {
            return Err(Refusal::bad_request("the patch provided cannot be decoded: it is no object"));
        }
        Ok(Self { fields, duplicates })
    }

    fn apply(
        &self,
        path: ObjectPath<'_>,
        found: &Stored,
        validation: FieldValidation,
        install_namespace: &str,
    ) -> Result<Changed, Refusal> {
        let kind = path.kind;
        let about = About { kind, name: path.name.unwrap_or_default() };
        let before = Object::parse(kind, found).map_err(|error| refuse_failure(&error))?.to_value();
        self.check_preconditions(about, &before["metadata"])?;
        let mut after = before.clone();
        merge(&mut after, &self.fields);
        let mut errors: Vec<FieldError> = changed_beside_spec(&before, &after)
            .into_iter()
            .take(FIELDS_NAMED_MAX)
            .map(|field| FieldPath::Field(&FieldPath::Object, &field).text())
            .map(|field| FieldError::forbidden(field, "of this kind only spec can be changed"))
            .collect();
        if !errors.is_empty() {
            return Err(Refusal::invalid(about, &errors));
        }
        // What the platform says of the object is not the client's to answer for.
        if let Some(fields) = after.as_object_mut() {
            fields.remove("status");
        }
        if after["spec"].is_null() {
            after["spec"] = Value::Object(Map::new());
        }
        let warnings = validate_fields(kind, &after, &self.duplicates, validation)?;
        prune_fields(kind, &mut after);
        errors.extend(validate_change(kind, &after, install_namespace).into_iter().map(FieldError::from));
        let references =
            if errors.is_empty() { (kind.references)(&after, install_namespace) } else { Vec::new() };
        if references.len() > REFERENCES_MAX {
            errors
                .push(FieldError::too_many("spec", format!("refers to more than {REFERENCES_MAX} objects")));
        }
        if !errors.is_empty() {
            return Err(Refusal::invalid(about, &errors));
        }
        Ok(Changed { spec: after["spec"].take(), warnings, references })
    }

    /// A patch that names a version or a uid is meant for that object and no other.
    fn check_preconditions(&self, about: About<'_>, metadata: &Value) -> Result<(), Refusal> {
        let named = |field: &str| {
            let text = self.fields["metadata"][field].as_str().filter(|text| !text.is_empty());
            text.filter(|text| Some(*text) != metadata[field].as_str())
        };
        if named("uid").is_some() {
            return Err(Refusal::conflict(about, "the uid in the precondition is another object's"));
        }
        if named("resourceVersion").is_some() {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Refusal::conflict(about, why));
        }
        Ok(())
    }
}

/// The spec that a patch makes of an object, before anything is written.
#[cfg(any(test, fuzzing))]
pub(crate) fn try_patch(
    kind: &'static keelson_resources::KindInfo,
    found: &Stored,
    bytes: &[u8],
) -> Result<Value, Refusal> {
    let path = ObjectPath { kind, namespace: Some("kasten-io"), name: Some("x1"), details: false };
    let patch = Patch::parse(crate::body::decode_alone(crate::body::Format::MergePatch, bytes)?)?;
    patch.apply(path, found, FieldValidation::Warn, "kasten-io").map(|changed| changed.spec)
}

/// Merges a patch into a value: what it names is set, what it sets to null goes, and the rest stays.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// The fields beside `spec` that differ. A version that was given has been compared already; and when an object was made
/// is sent back empty by clients that know only the type.
fn changed_beside_spec(before: &Value, after: &Value) -> Vec<String> {
    let differing = |before: &Value, after: &Value, but: &[&str]| -> BTreeSet<String> {
        let fields = [before, after].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
        let differs = |name: &&String| !but.contains(&name.as_str()) && before[*name] != after[*name];
        fields.filter(differs).cloned().collect()
    };
    let top = differing(before, after, &["spec", "metadata"]);
    let (before, after) = (&before["metadata"], &after["metadata"]);
    if !after.is_object() {
        return top.into_iter().chain(["metadata".to_owned()]).collect();
    }
    let is_change = |name: &String| match name.as_str() {
        "resourceVersion" => !(after[name].is_string() || after[name].is_null()),
        "creationTimestamp" => !after[name].is_null(),
        _ => true,
    };
    let metadata = differing(before, after, &[]).into_iter().filter(is_change);
    top.into_iter().chain(metadata.map(|name| format!("metadata.{name}"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7386, appendix A.
    #[test]
    fn a_patch_is_merged_as_the_standard_says() {
        for (mut target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        }
    }

    #[test]
    fn what_differs_beside_spec_is_named() {
        let before = json!({
            "kind": "A", "metadata": {"name": "a", "resourceVersion": "5", "creationTimestamp": "t"}, "status": {},
        });
        let check = |patch: Value, expected: &[&str]| {
            let mut after = before.clone();
            merge(&mut after, &patch);
            assert_eq!(changed_beside_spec(&before, &after), expected, "{patch}");
        };
        check(json!({"spec": {"n": 1}, "kind": "A", "metadata": {"name": "a"}}), &[]);
        check(json!({"metadata": {"resourceVersion": null, "creationTimestamp": null, "uid": null}}), &[]);
        check(
            json!({"metadata": {"labels": {"x": "y"}, "name": "b"}}),
            &["metadata.labels", "metadata.name"],
        );
        check(json!({"metadata": {"resourceVersion": "7"}}), &[]);
        check(json!({"metadata": {"resourceVersion": 7}}), &["metadata.resourceVersion"]);
        check(json!({"metadata": null}), &["metadata"]);
        check(json!({"kind": "B", "status": {"n": 1}, "extra": 1}), &["extra", "kind", "status"]);
    }
}
