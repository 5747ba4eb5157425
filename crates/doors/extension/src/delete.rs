//! Deleting one object, and deleting all that a selector means.
//!
//! The namespace controller calls the latter in every terminating namespace of the cluster, again and again until
//! nothing is left. What a request does not come to in its time stays, and it says so.

use std::sync::Arc;

use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use http::Uri;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusDetails};
use keelson_catalog::Stored;
use keelson_model::selector::FieldSelector;
use keelson_protection::requests::{self, Asked, Effect, RequestError};
use keelson_resources::KindInfo;

use crate::body::Decoded;
use crate::delete_options::{DeleteOptions, parse_delete, take_delete};
use crate::get::refuse_request;
use crate::limits::{DELETIONS_AT_ONCE, PAGE_BYTES, PAGE_ROWS};
use crate::object::Object;
use crate::options::take_collection;
use crate::parameters::Parameters;
use crate::refusal::{About, Refusal};
use crate::response::json_bytes;
use crate::rows::{Extent, Rows};
use crate::shared::{Shared, blocking};
use crate::target::ObjectPath;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    asked: Asked<'_>,
    path: ObjectPath<'_>,
    uri: &Uri,
    options: Option<Decoded>,
) -> Result<Response, Refusal> {
    let options = parse_delete(uri, options)?;
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    shared.database(path.kind)?;
    let deleted = delete_one(shared, asked, path.kind, (namespace, name), &options)
        .await
        .map_err(|error| refuse_request(About { kind: path.kind, name }, &error))?;
    Ok(success(path.kind, Some(&deleted)))
}

pub(crate) async fn delete_collection(
    shared: &Arc<Shared>,
    asked: Asked<'_>,
    extent: Extent,
    uri: &Uri,
    options: Option<Decoded>,
) -> Result<Response, Refusal> {
    let asked = Asked { verb: Some("deletecollection"), ..asked };
    let mut parameters = Parameters::parse("ListOptions", uri)?;
    let (selection, limit) = take_collection(extent.kind, &mut parameters)?;
    let options = take_delete(&mut parameters, options)?;
    parameters.finish()?;
    let kind = extent.kind;
    let mut walk = Walk {
        rows: Rows::new(shared.database(kind)?, &extent, &selection, None, PAGE_BYTES),
        fields: selection.fields,
        kind,
        left: limit.unwrap_or(usize::MAX),
    };
    while walk.left > 0 && !walk.rows.is_exhausted() {
        let names;
        (walk, names) = blocking(move || walk.next_names()).await?;
        // Side by side, so that several deletions share one write to the disk.
        stream::iter(names)
            .map(|(namespace, name)| {
                let options = &options;
                async move {
                    match delete_one(shared, asked, kind, (&namespace, &name), options).await {
                        // Somebody else deleted it, which is what was asked for.
                        Ok(_) | Err(RequestError::NotFound { .. }) => Ok(()),
                        Err(error) => Err(refuse_request(About { kind, name: &name }, &error)),
                    }
                }
            })
            .buffer_unordered(DELETIONS_AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    Ok(success(kind, None))
}

/// The objects that are meant, a page at a time. Pages follow keys, so that what vanishes meanwhile makes it skip nothing.
struct Walk {
    rows: Rows,
    fields: FieldSelector,
    kind: &'static KindInfo,
    left: usize,
}

impl Walk {
    fn next_names(mut self) -> Result<(Self, Vec<(String, String)>), Refusal> {
        let page = self.rows.next_page(PAGE_ROWS)?;
        let objects = page.rows.iter().map(|stored| Object::one_of_many(self.kind, stored));
        let meant = objects.filter(|object| object.matches(&self.fields)).take(self.left);
        let names: Vec<_> = meant.map(|object| object.key()).collect();
        self.left -= names.len();
        Ok((self, names))
    }
}

async fn delete_one(
    shared: &Shared,
    asked: Asked<'_>,
    kind: &'static KindInfo,
    object: (&str, &str),
    options: &DeleteOptions,
) -> Result<Stored, RequestError> {
    let effect = if options.dry_run { Effect::DryRun } else { Effect::Apply };
    requests::delete(&shared.platform, asked, kind, object, &options.preconditions, effect).await
}

/// Objects go at once, so the answer is a status, as for every kind without graceful deletion.
pub(crate) fn success(kind: &KindInfo, deleted: Option<&Stored>) -> Response {
    let details = deleted.map(|stored| StatusDetails {
        name: Some(stored.row.name.clone()),
        group: Some(kind.group.to_owned()),
        kind: Some(kind.plural.to_owned()),
        uid: Some(stored.row.uid.clone()),
        ..StatusDetails::default()
    });
    let status = Status { status: Some("Success".to_owned()), details, ..Status::default() };
    json_bytes(serde_json::to_vec(&status).expect("a status of strings is JSON"))
}
