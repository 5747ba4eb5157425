//! Lists a kind page by page and hands out one object at a time.
//!
//! A page is never held whole: five hundred Secrets of a megabyte each are as flat as five hundred small ones.

mod splitter;

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::Value;

#[cfg(any(test, fuzzing))]
pub(crate) use self::splitter::withstand_list;
use self::splitter::{Piece, Splitter};
use crate::cluster::{Cluster, PAGE_OBJECTS, named};
use crate::format::OBJECT_BYTES_MAX;
use crate::kinds::Kind;
use crate::names::push_query;
use crate::omissions::OmissionReason;
use crate::request::{Call, RequestError, Verb};

/// Times that one page is asked for again when the connection breaks in its middle.
const PAGE_TRIES_MAX: u32 = 4;

/// Times that a list goes on after its token expired. A token lives for minutes.
const EXPIRIES_MAX: u32 = 100;

pub(super) enum Item {
    Object(Value),
    /// Skipped unread: its name is not known.
    Skipped(OmissionReason),
}

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, RequestError>> + Send>>;

/// The objects of one kind: in one namespace, or outside all of them.
pub(super) struct Pages<'a> {
    cluster: &'a Cluster,
    kind: &'a Kind,
    namespace: Option<&'a str>,
    /// Where the current page began; empty for the first.
    token: String,
    page: Option<Page>,
    /// Names of the current page that were handed out: a page that is read again gives them once.
    seen: HashSet<String>,
    tries: u32,
    expiries: u32,
    finished: bool,
}

/// A page as it arrives.
struct Page {
    body: Body,
    splitter: Splitter,
    pieces: VecDeque<Piece>,
}

#[derive(Deserialize)]
struct Envelope {
    metadata: EnvelopeMetadata,
}

#[derive(Deserialize)]
struct EnvelopeMetadata {
    #[serde(default)]
    r#continue: String,
}

impl<'a> Pages<'a> {
    pub(super) fn new(cluster: &'a Cluster, kind: &'a Kind, namespace: Option<&'a str>) -> Self {
        Self {
            cluster,
            kind,
            namespace,
            token: String::new(),
            page: None,
            seen: HashSet::new(),
            tries: 0,
            expiries: 0,
            finished: false,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Item>, RequestError> {
        while !self.finished {
            match self.advance().await {
                Ok(Some(Item::Object(object))) => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    if self.seen.insert(name.to_owned()) {
                        return Ok(Some(Item::Object(self.typed(object))));
                    }
                }
                Ok(Some(skipped @ Item::Skipped(_))) => return Ok(Some(skipped)),
                Ok(None) => {}
                Err(error) => self.recover(error)?,
            }
        }
        Ok(None)
    }

    /// One object of the current page, or None when a page ended.
    async fn advance(&mut self) -> Result<Option<Item>, RequestError> {
        let mut page = match self.page.take() {
            Some(page) => page,
            None => self.open().await?,
        };
        loop {
            if let Some(piece) = page.pieces.pop_front() {
                self.page = Some(page);
                return Ok(Some(parse_item(piece)));
            }
            match page.body.next().await {
                Some(chunk) => page.splitter.feed(&chunk?, &mut page.pieces),
                None => {
                    self.end_page(page)?;
                    return Ok(None);
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Page, RequestError> {
        let mut url = named(Verb::List, self.kind, self.kind.collection_url(self.namespace))?;
        push_query(&mut url, "limit", &PAGE_OBJECTS.to_string());
        if !self.token.is_empty() {
            push_query(&mut url, "continue", &self.token);
        }
        let body = self.cluster.wire().open(&Call::new(Verb::List, self.kind, url)).await?;
        Ok(Page { body: Box::pin(body), splitter: Splitter::default(), pieces: VecDeque::new() })
    }

    fn end_page(&mut self, page: Page) -> Result<(), RequestError> {
        let envelope: Envelope =
            serde_json::from_slice(page.splitter.envelope()).map_err(|source| self.decode_error(source))?;
        self.token = envelope.metadata.r#continue;
        self.finished = self.token.is_empty();
        self.seen.clear();
        self.tries = 0;
        Ok(())
    }

    /// A broken connection: the page is read again. An expired token: the server says how to go on.
    fn recover(&mut self, error: RequestError) -> Result<(), RequestError> {
        self.page = None;
        if let Some(token) = error.refusal().and_then(|refusal| refusal.continue_token.clone()) {
            self.expiries += 1;
            if error.is_status(410) && self.expiries <= EXPIRIES_MAX {
                self.token = token;
                return Ok(());
            }
        }
        self.tries += 1;
        let broken = matches!(error, RequestError::Send { .. } | RequestError::DecodeAnswer { .. });
        if broken && self.tries < PAGE_TRIES_MAX { Ok(()) } else { Err(error) }
    }

    fn decode_error(&self, source: serde_json::Error) -> RequestError {
        RequestError::DecodeAnswer { verb: Verb::List, target: self.kind.to_string(), source }
    }

    /// Items of a list come without the names of their type.
    fn typed(&self, mut object: Value) -> Value {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), self.kind.api_version().into());
            fields.insert("kind".to_owned(), self.kind.kind.clone().into());
        }
        object
    }
}

fn parse_item(piece: Piece) -> Item {
    match piece {
        Piece::TooLarge => Item::Skipped(OmissionReason::TooLarge { bytes_max: OBJECT_BYTES_MAX }),
        Piece::Item(bytes) => {
            serde_json::from_slice(&bytes).map_or(Item::Skipped(OmissionReason::Unreadable), Item::Object)
        }
    }
}

#[cfg(test)]
mod tests;
