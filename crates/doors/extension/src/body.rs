//! Reading bodies: bounded in bytes, time and memory; JSON or YAML, with the first keys that are given twice.
//!
//! A body holds a share of the memory for all bodies, from before it is read until its request is answered; where that is
//! cut, until the blocking pool has done what it began with it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use keelson_protection::Requester;
use keelson_resources::FieldPath;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::fairness::{Share, Shares};
use crate::limits::{
    BODY_BYTES_MAX, BODY_STEP_BYTES, BODY_TIMEOUT, DECODED_BYTES_MAX, DECODED_STEP_BYTES, WARNINGS_MAX,
    WRITE_BYTES, YAML_NODES_MAX, YAML_REPEATED_MAX,
};
use crate::refusal::Refusal;
use crate::shared::blocking;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    /// The one sort of patch that is taken (RFC 7386).
    MergePatch,
}

/// The media type of merge patches.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// The types of bodies that are taken where an object is.
pub(crate) const BODY_TYPES: [&str; 2] = [JSON, YAML];

impl Format {
    /// Of an object, or of options.
    pub(crate) fn of_object(headers: &HeaderMap) -> Result<Self, Refusal> {
        match media_type(headers).as_deref() {
            Some(JSON | "") => Ok(Self::Json),
            Some(YAML) => Ok(Self::Yaml),
            Some(_) | None => Err(Refusal::unsupported_media_type()),
        }
    }

    pub(crate) fn of_patch(headers: &HeaderMap) -> Result<Self, Refusal> {
        if media_type(headers).as_deref() != Some(MERGE_PATCH) {
            return Err(Refusal::unsupported_patch_type());
        }
        Ok(Self::MergePatch)
    }

    /// What is written in it.
    fn content(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => "object",
            Self::MergePatch => "patch",
        }
    }
}

/// The type of a body without its parameters: empty where none is given, none where it is no text.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Some(String::new()) };
    let text = value.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A body that was read, and what its request holds of the memory for bodies.
pub(crate) struct Received {
    bytes: Vec<u8>,
    share: Share,
}

/// Reads a body if there is memory for as much as it says that it is; where it does not say, for as much as comes.
pub(crate) async fn receive(
    bodies: &Arc<Shares>,
    requester: &Requester,
    body: Body,
) -> Result<Received, Refusal> {
    let stated = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let room = stated.unwrap_or(0);
    if room > BODY_BYTES_MAX {
        return Err(Refusal::body_too_large(BODY_BYTES_MAX));
    }
    let share = bodies.take_many(requester, room + WRITE_BYTES);
    let mut share = share.ok_or_else(|| Refusal::too_many_requests("bodies"))?;
    let read = tokio::time::timeout(BODY_TIMEOUT, read(body, room, &mut share)).await;
    Ok(Received { bytes: read.map_err(|_| Refusal::timed_out())??, share })
}

/// Into one piece: one that comes byte by byte takes no more than one that comes at once. There is room for so much; what is
/// more is taken in steps.
async fn read(mut body: Body, mut room: usize, share: &mut Share) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(room);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad_request("the body of the request could not be read"))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > BODY_BYTES_MAX {
            return Err(Refusal::body_too_large(BODY_BYTES_MAX));
        }
        if length > room {
            let more = (length - room).next_multiple_of(BODY_STEP_BYTES);
            if !share.grow(more) {
                return Err(Refusal::too_many_requests("bodies"));
            }
            room += more;
            bytes.reserve_exact(room - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

impl Received {
    /// What it says.
    pub(crate) async fn decode(mut self, format: Format) -> Result<WithShare<Decoded>, Refusal> {
        blocking(move || {
            let value = decode(format, &self.bytes, &mut self.share)?;
            Ok(WithShare { value, share: self.share })
        })
        .await
    }

    /// The same where it may be empty, and says nothing then.
    pub(crate) async fn decode_any(self, headers: &HeaderMap) -> Result<WithShare<Option<Decoded>>, Refusal> {
        if self.bytes.is_empty() {
            return Ok(WithShare { value: None, share: self.share });
        }
        let WithShare { value, share } = self.decode(Format::of_object(headers)?).await?;
        Ok(WithShare { value: Some(value), share })
    }
}

/// What was made of a body, and what its request holds of the memory for bodies until it is answered.
pub(crate) struct WithShare<T> {
    pub(crate) value: T,
    pub(crate) share: Share,
}

impl<T: Send + 'static> WithShare<T> {
    /// Makes something of it on the blocking pool. There work goes on when its request is cut, and holds the share until it
    /// is done.
    pub(crate) async fn make<U: Send + 'static>(
        self,
        work: impl FnOnce(T) -> Result<U, Refusal> + Send + 'static,
    ) -> Result<WithShare<U>, Refusal> {
        let Self { value, share } = self;
        blocking(move || Ok(WithShare { value: work(value)?, share })).await
    }
}

/// A decoded body. Of a key given twice the last value counts, as in Kubernetes.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Paths of the first keys that were given twice: `spec.subject.name`.
    pub(crate) duplicates: Vec<String>,
}

fn decode(format: Format, bytes: &[u8], share: &mut Share) -> Result<Decoded, Refusal> {
    let mut made = Made { share, bytes: 0, taken: 0, refusal: None, duplicates: Vec::new() };
    let decoded = match format {
        Format::Json | Format::MergePatch => read_json(bytes, &mut made).map_err(|error| error.to_string()),
        Format::Yaml => read_yaml(bytes, &mut made).map_err(|error| error.to_string()),
    };
    let Made { refusal, duplicates, .. } = made;
    match (refusal, decoded) {
        (Some(refusal), _) => Err(refusal),
        (None, Ok(value)) => Ok(Decoded { value, duplicates }),
        (None, Err(why)) => {
            let content = format.content();
            Err(Refusal::bad_request(format!("the {content} provided cannot be decoded: {why}")))
        }
    }
}

/// Decodes where nobody else asks for anything.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_alone(format: Format, bytes: &[u8]) -> Result<Decoded, Refusal> {
    let nobody = Requester::User(keelson_protection::User {
        name: String::new(),
        uid: String::new(),
        groups: Vec::new(),
        extra: std::collections::BTreeMap::new(),
    });
    let share = Shares::new(crate::limits::BODIES).take_many(&nobody, bytes.len() + WRITE_BYTES);
    let mut share = share.ok_or_else(|| Refusal::too_many_requests("bodies"))?;
    decode(format, bytes, &mut share)
}

fn read_json(bytes: &[u8], made: &mut Made<'_>) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Place { path: &FieldPath::Object, made }.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// What the reader of YAML keeps of each node while it is open.
const YAML_NODE_BYTES: usize = 128;
/// And of each part of what may be repeated, in a list that has grown to twice what it holds, beside its text.
pub(crate) const YAML_REPEATED_BYTES: usize = 384;

fn read_yaml(bytes: &[u8], made: &mut Made<'_>) -> Result<Value, serde_saphyr::Error> {
    made.take::<serde_saphyr::Error>(bytes.len().min(YAML_NODES_MAX) * YAML_NODE_BYTES)?;
    // Without an anchor nothing is.
    if bytes.contains(&b'&') {
        let repeated = bytes.len().min(YAML_REPEATED_MAX) * YAML_REPEATED_BYTES;
        made.take::<serde_saphyr::Error>(repeated + bytes.len())?;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: YAML_NODES_MAX,
            max_recorded_anchor_events: YAML_REPEATED_MAX,
            max_recorded_anchor_bytes: bytes.len(),
            max_total_scalar_bytes: BODY_BYTES_MAX,
        },
    };
    serde_saphyr::with_deserializer_from_slice_with_options(bytes, options, |yaml| {
        Place { path: &FieldPath::Object, made }.deserialize(yaml)
    })
}

/// What has been made of a body so far.
struct Made<'a> {
    share: &'a mut Share,
    /// Of memory; nothing that was replaced or left out is taken off.
    bytes: usize,
    /// Of the share, for that.
    taken: usize,
    /// Why it is not decoded any further.
    refusal: Option<Refusal>,
    duplicates: Vec<String>,
}

/// A value, in a list that has grown to twice what it holds.
const VALUE_BYTES: usize = 2 * size_of::<Value>();
/// The first node of a map has room for eleven fields, whether they come or not.
const OBJECT_BYTES: usize = 640;
/// A field where nodes are half full.
const FIELD_BYTES: usize = 128;
/// What the allocator adds to a text.
const TEXT_BYTES: usize = 32;

impl Made<'_> {
    /// Takes what is made now from the share.
    fn take<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.taken {
            return Ok(());
        }
        let step = (self.bytes - self.taken).next_multiple_of(DECODED_STEP_BYTES);
        let refusal = if self.bytes > DECODED_BYTES_MAX {
            Refusal::decoded_too_large(DECODED_BYTES_MAX)
        } else if self.share.grow(step) {
            self.taken += step;
            return Ok(());
        } else {
            Refusal::too_many_requests("bodies")
        };
        let error = E::custom(refusal.message());
        self.refusal = Some(refusal);
        Err(error)
    }

    fn note_duplicate(&mut self, path: FieldPath<'_>) {
        if self.duplicates.len() < WARNINGS_MAX {
            self.duplicates.push(path.text());
        }
    }
}

/// A place in a body at which a value is read.
struct Place<'a, 'b> {
    path: &'a FieldPath<'a>,
    made: &'a mut Made<'b>,
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES)?;
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES)?;
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES + TEXT_BYTES + value.len())?;
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES + TEXT_BYTES + value.len())?;
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.made.take::<E>(VALUE_BYTES)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let Self { path, made } = self;
        made.take::<A::Error>(VALUE_BYTES)?;
        let mut values = Vec::new();
        loop {
            let path = FieldPath::Item(path, values.len());
            let Some(value) = access.next_element_seed(Place { path: &path, made: &mut *made })? else {
                return Ok(Value::Array(values));
            };
            values.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let Self { path, made } = self;
        made.take::<A::Error>(VALUE_BYTES)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let of_map = if map.is_empty() { OBJECT_BYTES } else { FIELD_BYTES };
            made.take::<A::Error>(of_map + TEXT_BYTES + key.len())?;
            let path = FieldPath::Field(path, &key);
            let value = access.next_value_seed(Place { path: &path, made: &mut *made })?;
            if map.contains_key(&key) {
                made.note_duplicate(path);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
