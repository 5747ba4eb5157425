//! The bytes of a stored stream of objects: the only code that turns captured objects into bytes and back.
//!
//! ```text
//! 0   4   magic "KOBJ"
//! 4   2   version, 0
//! 6   2   zero
//! 8   …   frames: length of the frame (4, at most FRAME_BYTES_MAX), then that many bytes of JSON
//! ```
//! Integers are little-endian. What keeps the stream whole and secret is the repository around it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use keelson_model::{Classified, ErrorClass};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::kinds::{Kind, Scope};
use crate::layers::Layer;
use crate::names::{InvalidName, check_segment};
use crate::objects::CapturedObject;

/// A cleaned object is at most this long. The API server takes requests of 3 MiB.
pub const OBJECT_BYTES_MAX: usize = 3 << 20;
/// An object with its managed fields and its names.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// The encoder hands out pieces of about this size.
pub const CHUNK_BYTES: usize = 256 << 10;

const MAGIC: &[u8; 4] = b"KOBJ";
const VERSION: u16 = 0;
const HEADER_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

/// Bytes that are not a stream of objects.
#[derive(Debug, thiserror::Error)]
pub enum DecodeObjectsError {
    #[error("read the stream of objects")]
    ReadStream { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the stream does not begin like a stream of objects")]
    Magic,
    #[error("the stream of objects has version {version}, newer than this program knows")]
    Version { version: u16 },
    #[error("the stream of objects ends in the middle of object {number}")]
    Truncated { number: u64 },
    #[error("object {number} claims {bytes} bytes, more than {FRAME_BYTES_MAX}")]
    FrameTooLong { number: u64, bytes: u32 },
    #[error("object {number} is not readable")]
    Frame { number: u64, source: serde_json::Error },
    #[error("object {number} has an impossible name")]
    Name { number: u64, source: InvalidName },
}

impl Classified for DecodeObjectsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadStream { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::Version { .. } => ErrorClass::Invalid,
            Self::Magic
            | Self::Truncated { .. }
            | Self::FrameTooLong { .. }
            | Self::Frame { .. }
            | Self::Name { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadStream { .. } => "workload.objects.read_stream",
            Self::Magic => "workload.objects.magic",
            Self::Version { .. } => "workload.objects.version",
            Self::Truncated { .. } => "workload.objects.truncated",
            Self::FrameTooLong { .. } => "workload.objects.frame_too_long",
            Self::Frame { .. } => "workload.objects.frame",
            Self::Name { .. } => "workload.objects.name",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    layer: Layer,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    managed_fields: Option<&'a RawValue>,
}

/// Turns objects of one stream into bytes.
pub struct ObjectEncoder {
    buffer: BytesMut,
}

impl Default for ObjectEncoder {
    fn default() -> Self {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        buffer.put_slice(MAGIC);
        buffer.put_u16_le(VERSION);
        buffer.put_u16_le(0);
        Self { buffer }
    }
}

impl ObjectEncoder {
    /// Adds an object; hands out a chunk when one is full.
    pub fn push(&mut self, object: &CapturedObject) -> Option<Bytes> {
        let start = self.buffer.len();
        self.buffer.put_u32_le(0);
        let frame = Frame::of(object);
        serde_json::to_writer((&mut self.buffer).writer(), &frame)
            .expect("texts and checked JSON always serialize, and memory takes every write");
        let length = self.buffer.len() - start - LENGTH_BYTES;
        debug_assert!(length <= FRAME_BYTES_MAX, "capture leaves out what is larger");
        self.buffer[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
        (self.buffer.len() >= CHUNK_BYTES).then(|| self.buffer.split().freeze())
    }

    /// The rest. Even a stream without objects has its header.
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}

impl<'a> Frame<'a> {
    fn of(object: &'a CapturedObject) -> Self {
        let CapturedObject { layer, kind, namespace, name, uid, object, managed_fields } = object;
        Self {
            layer: *layer,
            group: Cow::Borrowed(&kind.group),
            version: Cow::Borrowed(&kind.version),
            kind: Cow::Borrowed(&kind.kind),
            resource: Cow::Borrowed(&kind.resource),
            namespace: namespace.as_deref().map(Cow::Borrowed),
            name: Cow::Borrowed(name),
            uid: Cow::Borrowed(uid),
            object,
            managed_fields: managed_fields.as_deref(),
        }
    }

    fn check_names(&self) -> Result<(), InvalidName> {
        let group = (!self.group.is_empty()).then_some(&*self.group);
        let names = [&*self.version, &*self.kind, &*self.resource, &*self.name];
        names.into_iter().chain(group).chain(self.namespace.as_deref()).try_for_each(check_segment)
    }

    fn is_of(&self, kind: &Kind) -> bool {
        kind.group == self.group
            && kind.version == self.version
            && kind.kind == self.kind
            && kind.resource == self.resource
            && (kind.scope == Scope::Namespaced) == self.namespace.is_some()
    }
}

/// Reads a stream back, object by object. Holds one chunk and one object.
pub fn decode_objects<E>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send,
) -> impl Stream<Item = Result<CapturedObject, DecodeObjectsError>> + Send
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let decoder = Decoder { chunks: Box::pin(chunks), buffer: BytesMut::new(), number: 0, last_kind: None };
    stream::try_unfold(decoder, |mut decoder| async move {
        let object = decoder.next().await?;
        Ok(object.map(|object| (object, decoder)))
    })
}

struct Decoder<S> {
    chunks: S,
    buffer: BytesMut,
    /// Objects read so far, counted from 1 in messages; 0 before the header.
    number: u64,
    /// Neighbours are mostly of one kind; they share its names.
    last_kind: Option<Arc<Kind>>,
}

impl<S, E> Decoder<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn next(&mut self) -> Result<Option<CapturedObject>, DecodeObjectsError> {
        if self.number == 0 {
            self.read_header().await?;
        }
        self.number += 1;
        if !self.fill(LENGTH_BYTES).await? {
            let truncated = DecodeObjectsError::Truncated { number: self.number };
            return if self.buffer.is_empty() { Ok(None) } else { Err(truncated) };
        }
        let bytes = self.buffer.get_u32_le();
        if bytes as usize > FRAME_BYTES_MAX {
            return Err(DecodeObjectsError::FrameTooLong { number: self.number, bytes });
        }
        if !self.fill(bytes as usize).await? {
            return Err(DecodeObjectsError::Truncated { number: self.number });
        }
        let frame = self.buffer.split_to(bytes as usize);
        self.decode(&frame).map(Some)
    }

    async fn read_header(&mut self) -> Result<(), DecodeObjectsError> {
        if !self.fill(HEADER_BYTES).await? || !self.buffer.starts_with(MAGIC) {
            return Err(DecodeObjectsError::Magic);
        }
        self.buffer.advance(MAGIC.len());
        let version = self.buffer.get_u16_le();
        if version > VERSION {
            return Err(DecodeObjectsError::Version { version });
        }
        if self.buffer.get_u16_le() != 0 {
            return Err(DecodeObjectsError::Magic);
        }
        Ok(())
    }

    /// Reads until so many bytes are there; false if the stream ends before.
    async fn fill(&mut self, bytes: usize) -> Result<bool, DecodeObjectsError> {
        while self.buffer.len() < bytes {
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(DecodeObjectsError::ReadStream { source: error.into() }),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<CapturedObject, DecodeObjectsError> {
        let number = self.number;
        let frame: Frame<'_> =
            serde_json::from_slice(bytes).map_err(|source| DecodeObjectsError::Frame { number, source })?;
        frame.check_names().map_err(|source| DecodeObjectsError::Name { number, source })?;
        let kind = match &self.last_kind {
            Some(kind) if frame.is_of(kind) => kind.clone(),
            _ => Arc::new(Kind {
                group: frame.group.clone().into_owned(),
                version: frame.version.clone().into_owned(),
                kind: frame.kind.clone().into_owned(),
                resource: frame.resource.clone().into_owned(),
                scope: if frame.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster },
            }),
        };
        self.last_kind = Some(kind.clone());
        Ok(CapturedObject {
            layer: frame.layer,
            kind,
            namespace: frame.namespace.map(Cow::into_owned),
            name: frame.name.into_owned(),
            uid: frame.uid.into_owned(),
            object: frame.object.to_owned(),
            managed_fields: frame.managed_fields.map(RawValue::to_owned),
        })
    }
}

#[cfg(test)]
mod tests;
