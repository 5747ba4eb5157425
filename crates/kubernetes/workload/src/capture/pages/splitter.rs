//! Cuts a list into its items while it arrives, without knowing more of JSON than where things begin and end.

use std::collections::VecDeque;

/// An item as the server sends it, before cleaning: an object of 3 MiB with a large status still fits.
const ITEM_BYTES_MAX: usize = 8 << 20;
/// All of a list but its items.
const ENVELOPE_BYTES_MAX: usize = 1 << 20;
/// The key that is looked for is shorter.
const KEY_BYTES_MAX: usize = 16;

pub(super) enum Piece {
    Item(Vec<u8>),
    TooLarge,
}

/// Where in the list the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Envelope,
    BetweenItems,
    Item,
}

pub(super) struct Splitter {
    place: Place,
    /// Open braces and brackets.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The last string directly inside the list: a key, when a bracket follows.
    key: Vec<u8>,
    item: Vec<u8>,
    item_too_large: bool,
    envelope: Vec<u8>,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            place: Place::Envelope,
            depth: 0,
            in_string: false,
            escaped: false,
            key: Vec::new(),
            item: Vec::new(),
            item_too_large: false,
            envelope: Vec::new(),
        }
    }
}

/// Items are the elements of an array in the top-level object: they open at this depth.
const ITEM_DEPTH: u32 = 2;

impl Splitter {
    pub(super) fn feed(&mut self, chunk: &[u8], pieces: &mut VecDeque<Piece>) {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            // Most bytes lie within strings; they are taken in runs.
            if self.in_string && !self.escaped {
                let run = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
                if run > 0 {
                    self.keep_text(&rest[..run]);
                    rest = &rest[run..];
                    continue;
                }
            }
            rest = after;
            self.step(byte, pieces);
        }
    }

    /// The list without its items. Meaningful once all was fed.
    pub(super) fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    fn step(&mut self, byte: u8, pieces: &mut VecDeque<Piece>) {
        if self.in_string {
            if byte == b'"' && !self.escaped {
                self.in_string = false;
                self.keep(b"\"");
            } else {
                self.escaped = byte == b'\\' && !self.escaped;
                self.keep_text(&[byte]);
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.key.clear();
                self.keep(b"\"");
            }
            b'{' | b'[' => {
                let items = byte == b'[' && self.depth == 1 && self.key == b"items";
                if self.place == Place::BetweenItems {
                    self.place = Place::Item;
                }
                self.keep(&[byte]);
                self.depth += 1;
                if items {
                    self.place = Place::BetweenItems;
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.place == Place::BetweenItems {
                    self.place = Place::Envelope;
                }
                self.keep(&[byte]);
                if self.place == Place::Item && self.depth == ITEM_DEPTH {
                    self.place = Place::BetweenItems;
                    pieces.push_back(self.end_item());
                }
            }
            _ => self.keep(&[byte]),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.place {
            Place::BetweenItems => {}
            Place::Item if self.item.len() + bytes.len() > ITEM_BYTES_MAX => self.item_too_large = true,
            Place::Item => self.item.extend_from_slice(bytes),
            Place::Envelope => {
                if self.envelope.len() + bytes.len() <= ENVELOPE_BYTES_MAX {
                    self.envelope.extend_from_slice(bytes);
                }
            }
        }
    }

    /// Keeps what lies inside a string: part of a key, perhaps.
    fn keep_text(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        if self.depth == 1 {
            let room = KEY_BYTES_MAX.saturating_sub(self.key.len());
            self.key.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn end_item(&mut self) -> Piece {
        let item = std::mem::take(&mut self.item);
        if std::mem::take(&mut self.item_too_large) { Piece::TooLarge } else { Piece::Item(item) }
    }
}

/// A list, for `fuzz`: it falls into the same pieces wherever it is cut, and keeps no more than it was given.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_list(bytes: &[u8]) -> bool {
    let split = |chunk: usize| {
        let (mut splitter, mut pieces) = (Splitter::default(), VecDeque::new());
        bytes.chunks(chunk.max(1)).for_each(|chunk| splitter.feed(chunk, &mut pieces));
        let items: Vec<Option<Vec<u8>>> = pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Item(bytes) => Some(bytes),
                Piece::TooLarge => None,
            })
            .collect();
        (items, splitter.envelope().to_vec())
    };
    let (items, envelope) = split(bytes.len());
    assert_eq!(split(3), (items.clone(), envelope.clone()));
    assert!(items.iter().flatten().map(Vec::len).sum::<usize>() + envelope.len() <= bytes.len());
    // A list that JSON can be read of is no more and no less than its items and the rest.
    let Ok(list) = serde_json::from_slice::<serde_json::Value>(bytes) else { return false };
    let readable = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
    if list["items"].as_array().is_some_and(|items| items.iter().all(serde_json::Value::is_object)) {
        assert!(items.iter().flatten().all(|item| readable(item)) && readable(&envelope), "{list}");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn split(list: &str, chunk: usize) -> (Vec<Value>, Value) {
        let (mut splitter, mut pieces) = (Splitter::default(), VecDeque::new());
        list.as_bytes().chunks(chunk).for_each(|chunk| splitter.feed(chunk, &mut pieces));
        let items = pieces.into_iter().map(|piece| match piece {
            Piece::Item(bytes) => serde_json::from_slice(&bytes).expect("an item is JSON"),
            Piece::TooLarge => Value::Null,
        });
        let items = items.collect();
        (items, serde_json::from_slice(splitter.envelope()).expect("the envelope is JSON"))
    }

    #[test]
    fn a_list_falls_into_its_items_wherever_it_is_cut() {
        let items = vec![
            json!({"metadata": {"name": "a"}, "data": {"items": "[{}]", "quote": "\"}]\\"}}),
            json!({"metadata": {"name": "b"}, "spec": {"items": [{"x": [1, [2]]}, "]"]}}),
            json!({}),
        ];
        let before = json!({"metadata": {"continue": "t", "items": [1]}});
        for list in [
            json!({"kind": "List", "items": items, "metadata": {"continue": "t", "items": [1]}}).to_string(),
            format!(
                r#"{{"metadata":{},"items" : [ {} , {},{}]}}"#,
                before["metadata"], items[0], items[1], items[2]
            ),
        ] {
            for chunk in [1, 2, 3, 5, 1000] {
                let (split_items, envelope) = split(&list, chunk);
                assert_eq!(split_items, items, "{chunk}: {list}");
                assert_eq!(envelope["metadata"]["continue"], "t");
                assert_eq!(envelope["items"], json!([]));
            }
        }
    }

    #[test]
    fn a_list_without_items_is_only_its_envelope() {
        for list in [r#"{"items":[],"metadata":{}}"#, r#"{"items":null,"metadata":{}}"#, r#"{"metadata":{}}"#]
        {
            assert_eq!(split(list, 4).0, Vec::<Value>::new());
        }
    }

    #[test]
    fn an_item_without_bounds_is_skipped_and_the_next_is_read() {
        let large = "x".repeat(ITEM_BYTES_MAX);
        let list = format!(r#"{{"items":[{{"a":"{large}"}},{{"b":1}}],"metadata":{{}}}}"#);
        assert_eq!(split(&list, 64 << 10).0, [Value::Null, json!({"b": 1})]);
    }
}
