//! What this crate reads of texts from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::recovery::DrPointId;
use crate::selector::{FieldSelector, LabelSelector};
use crate::skip::SkipResources;
use crate::{ChunkId, ClusterId, Generation, GoDuration, Revision, Sequence, SessionId};

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("id", canonical::<SessionId>),
    ("chunk id", canonical::<ChunkId>),
    ("cluster id", canonical::<ClusterId>),
    ("revision", stable::<Revision>),
    ("numbers", numbers),
    ("duration", stable::<GoDuration>),
    ("point", canonical::<DrPointId>),
    ("resources to skip", skip),
    ("label selector", label_selector),
    ("field selector", field_selector),
];

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let samples = [
        ("id", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        ("chunk id", "c47bfa4e1ce42bf8839891f68e454bb5ae927b5fc3e7e6bf0eb68e604fd945d1"),
        ("cluster id", "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa"),
        ("revision", "1099511627777"),
        ("numbers", "[1,2,1099511627777]"),
        ("duration", "168h0m0s"),
        ("duration", "1.5h20m300ms"),
        ("point", "0a1b2c3d4e5f60718293a4b5c6d7e8f9.8388607.1099511627775"),
        ("resources to skip", "profiles,policies"),
        ("label selector", "a=b,c!=d,e in (f,g),h notin (i),j,!k,l==m"),
        ("label selector", ""),
        ("field selector", "metadata.name=a,status.state!=b\\,c"),
    ];
    samples.map(|(target, text)| (target, text.as_bytes().to_vec())).to_vec()
}

/// What is read prints as the same text.
fn canonical<T: FromStr + Display>(bytes: &[u8]) -> bool {
    let Some((text, value)) = parse::<T>(bytes) else { return false };
    assert_eq!(value.to_string(), text);
    true
}

/// What is read prints as a text that reads as the same.
fn stable<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Some((_, value)) = parse::<T>(bytes) else { return false };
    let printed = value.to_string();
    assert_eq!(printed.parse::<T>().expect("it was printed by us"), value);
    true
}

fn parse<T: FromStr>(bytes: &[u8]) -> Option<(&str, T)> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some((text, text.parse().ok()?))
}

/// As documents carry them: whatever is read makes a revision.
fn numbers(bytes: &[u8]) -> bool {
    let read = again::<(Generation, Sequence, Revision)>(bytes);
    let Some((generation, sequence, revision)) = read else { return false };
    let made = Revision::new(generation, sequence);
    assert_eq!((made.generation(), made.sequence()), (generation, sequence));
    assert_eq!(revision.to_string().parse(), Ok(revision));
    true
}

fn again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&value).expect("it is plain data");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("it was written by us"), value);
    Some(value)
}

fn skip(bytes: &[u8]) -> bool {
    parse::<SkipResources>(bytes).is_some()
}

fn label_selector(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok() else { return false };
    LabelSelector::parse(text).is_ok()
}

fn field_selector(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok() else { return false };
    FieldSelector::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_text_it_is_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples()).run();
    }
}
