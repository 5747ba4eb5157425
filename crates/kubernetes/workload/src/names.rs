//! Names that reach a URL of the API server are parsed first: a name out of a backup may be an attacker's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot be the name it was given as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {expected}")]
pub struct InvalidName {
    text: String,
    expected: &'static str,
}

impl InvalidName {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// The name of a namespace: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NamespaceName(String);

impl NamespaceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NamespaceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let plain = !text.is_empty() && text.len() <= 63 && text.bytes().all(inner);
        if plain && !text.starts_with('-') && !text.ends_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName::new(text, "namespace's name"))
    }
}

impl<'de> Deserialize<'de> for NamespaceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a namespaced object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    pub namespace: String,
    pub name: String,
}

impl NamespacedName {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Longest object name the API server accepts anywhere.
const SEGMENT_BYTES_MAX: usize = 253;

/// Appends `/segment` to a URL, or refuses what the API server refuses in a name: it reads `%2F` as a slash,
/// so that encoding alone would let a name climb to another resource.
pub(crate) fn push_segment(url: &mut String, segment: &str) -> Result<(), InvalidName> {
    check_segment(segment)?;
    url.push('/');
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(())
}

pub(crate) fn check_segment(segment: &str) -> Result<(), InvalidName> {
    let hostile = |c: char| c == '/' || c == '%' || c.is_control();
    if segment.is_empty()
        || segment == "."
        || segment == ".."
        || segment.len() > SEGMENT_BYTES_MAX
        || segment.contains(hostile)
    {
        return Err(InvalidName::new(segment, "name of an object"));
    }
    Ok(())
}

/// Encodes a value of a query.
pub(crate) fn push_query(url: &mut String, key: &str, value: &str) {
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(key);
    url.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_climb_out_of_its_url() {
        for name in ["", ".", "..", "a/b", "a%2Fb", "a\nb", &"x".repeat(254)] {
            assert!(push_segment(&mut String::new(), name).is_err(), "{name:?}");
        }
        let mut url = "/api/v1".to_owned();
        push_segment(&mut url, "system:basic user?x#y").expect("an odd but legal name");
        assert_eq!(url, "/api/v1/system:basic%20user%3Fx%23y");
    }

    #[test]
    fn a_namespace_is_a_dns_label() {
        for name in ["shop", "a", "team-1"] {
            assert!(name.parse::<NamespaceName>().is_ok(), "{name}");
        }
        for name in ["", "Shop", "-a", "a-", "a.b", "a/b", "..", &"x".repeat(64)] {
            assert!(name.parse::<NamespaceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_query_value_cannot_add_parameters() {
        let mut url = "/api".to_owned();
        push_query(&mut url, "labelSelector", "a=b&dryRun=All");
        push_query(&mut url, "limit", "5");
        assert_eq!(url, "/api?labelSelector=a%3Db%26dryRun%3DAll&limit=5");
    }
}
