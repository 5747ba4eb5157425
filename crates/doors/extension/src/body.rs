//! Reading bodies: bounded in bytes and time, JSON or YAML, with every key that is given twice.

use std::fmt;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT};
use crate::refusal::Refusal;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Yaml,
}

/// A decoded body. Of a key given twice the last value counts, as in Kubernetes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Paths of the keys that were given twice: `spec.subject.name`.
    pub(crate) duplicates: Vec<String>,
}

pub(crate) async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match collected {
        Err(_) => Err(Refusal::timed_out()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal::body_too_large(BODY_BYTES_MAX))
        }
        Ok(Err(_)) => Err(Refusal::bad_request("the body of the request could not be read")),
    }
}

/// Decodes a body by its content type.
pub(crate) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, Refusal> {
    let decoded = match format(headers)? {
        Format::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Format::Yaml => serde_saphyr::from_slice(bytes).map_err(|error| error.to_string()),
    };
    decoded.map_err(|why| Refusal::bad_request(format!("the object provided cannot be decoded: {why}")))
}

/// The one sort of patch that is taken (RFC 7386).
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// Decodes a patch.
pub(crate) fn decode_patch(headers: &HeaderMap, bytes: &[u8]) -> Result<Decoded, Refusal> {
    if media_type(headers).as_deref() != Some(MERGE_PATCH) {
        return Err(Refusal::unsupported_patch_type());
    }
    serde_json::from_slice(bytes)
        .map_err(|why| Refusal::bad_request(format!("the patch provided cannot be decoded: {why}")))
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// The types of bodies that are taken where an object is.
pub(crate) const BODY_TYPES: [&str; 2] = [JSON, YAML];

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    match media_type(headers).as_deref() {
        Some(JSON | "") => Ok(Format::Json),
        Some(YAML) => Ok(Format::Yaml),
        Some(_) | None => Err(Refusal::unsupported_media_type()),
    }
}

/// The type of a body without its parameters: empty where none is given, none where it is no text.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Some(String::new()) };
    let text = value.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecodeVisitor)
    }
}

impl From<Value> for Decoded {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

struct DecodeVisitor;

impl<'de> Visitor<'de> for DecodeVisitor {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Decoded, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Decoded, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Decoded, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Decoded, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Decoded, E> {
        Ok(Value::from(value).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Decoded, E> {
        Ok(Value::from(value).into())
    }

    fn visit_unit<E>(self) -> Result<Decoded, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Decoded, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded, D::Error> {
        Decoded::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Decoded, A::Error> {
        let mut values = Vec::new();
        let mut duplicates = Vec::new();
        while let Some(Decoded { value, duplicates: inner }) = access.next_element()? {
            duplicates.extend(inner.into_iter().map(|path| joined(&format!("[{}]", values.len()), &path)));
            values.push(value);
        }
        Ok(Decoded { value: Value::Array(values), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Decoded, A::Error> {
        let mut map = Map::new();
        let mut duplicates = Vec::new();
        while let Some((key, Decoded { value, duplicates: inner })) =
            access.next_entry::<String, Decoded>()?
        {
            duplicates.extend(inner.into_iter().map(|path| joined(&key, &path)));
            if map.contains_key(&key) {
                duplicates.push(key.clone());
            }
            map.insert(key, value);
        }
        Ok(Decoded { value: Value::Object(map), duplicates })
    }
}

fn joined(parent: &str, child: &str) -> String {
    if child.starts_with('[') { format!("{parent}{child}") } else { format!("{parent}.{child}") }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn keys_given_twice_are_named_by_their_path() {
        let text = br#"{"a":1,"spec":{"list":[{"x":1},{"y":1,"y":2}],"b":1,"b":3},"a":2}"#;
        let decoded = decode(&headers("application/json"), text).unwrap();
        assert_eq!(decoded.value, json!({"a": 2, "spec": {"list": [{"x": 1}, {"y": 2}], "b": 3}}));
        assert_eq!(decoded.duplicates, ["spec.list[1].y", "spec.b", "a"]);
    }

    #[test]
    fn yaml_is_taken_where_it_is_announced() {
        let decoded =
            decode(&headers("application/yaml; charset=utf-8"), b"kind: A\nspec:\n  n: 5\n").unwrap();
        assert_eq!(decoded.value, json!({"kind": "A", "spec": {"n": 5}}));
        assert!(decode(&headers("application/json"), b"kind: A").is_err());
    }

    #[test]
    fn other_formats_are_refused() {
        for content_type in ["application/vnd.kubernetes.protobuf", "text/plain", "application/cbor"] {
            let refusal = decode(&headers(content_type), b"{}").unwrap_err();
            assert_eq!(refusal.code(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        }
    }

    #[test]
    fn a_body_that_nests_too_deep_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(decode(&headers("application/json"), deep.as_bytes()).is_err());
        assert!(decode(&headers("application/yaml"), deep.as_bytes()).is_err());
    }
}
