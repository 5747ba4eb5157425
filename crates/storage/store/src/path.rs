//! `StorePath`: the only name that a store accepts. What cannot be parsed never reaches a disk or a server.

use std::fmt;
use std::str::FromStr;

/// S3 ends a key at 1,024 bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Most file systems end a name at 255 bytes; what is left belongs to temporary names.
const SEGMENT_BYTES_MAX: usize = 200;
/// Deeper trees are not ours; a walk through a directory stops there.
pub(crate) const SEGMENTS_MAX: usize = 32;
/// NFS clients keep deleted open files under such names.
const NFS_PREFIX: &str = ".nfs";
/// Names that providers need for themselves: temporary files, for one.
pub(crate) const RESERVED_PREFIX: &str = ".keelson-";

/// The name of an object or folder beneath the root of a store: `a/b/c`, or empty for the root itself.
///
/// Guarantees: relative, no empty segment, no `.` or `..`, no control character or backslash, no segment that a
/// provider keeps for itself, within the length that every provider can hold. Orders by bytes, as listings do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

/// A text that no object may be called.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not a path inside a location: {problem}")]
pub struct ParsePathError {
    text: String,
    problem: &'static str,
}

impl StorePath {
    /// The root of a store: a folder, never an object.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The path as its providers spell it; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of `relative` beneath this one. Both sides may have several segments.
    pub fn join(&self, relative: &str) -> Result<Self, ParsePathError> {
        self.join_path(&relative.parse()?)
    }

    /// As `join`, for a path that was parsed before: only the length can be wrong.
    pub fn join_path(&self, relative: &Self) -> Result<Self, ParsePathError> {
        if self.is_root() || relative.is_root() {
            return Ok(Self(format!("{}{}", self.0, relative.0)));
        }
        let joined = format!("{}/{}", self.0, relative.0);
        check_size(&joined)?;
        Ok(Self(joined))
    }

    /// The folder that holds this; nothing holds the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())))
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The segments from the root on.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// What is left of this path beneath `folder`; nothing if it does not lie beneath it.
    pub fn strip_prefix(&self, folder: &Self) -> Option<Self> {
        if folder.is_root() {
            return (!self.is_root()).then(|| self.clone());
        }
        let rest = self.0.strip_prefix(&folder.0)?.strip_prefix('/')?;
        Some(Self(rest.to_owned()))
    }
}

impl FromStr for StorePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        check_size(text)?;
        if !text.is_empty() {
            for segment in text.split('/') {
                check_segment(segment).map_err(|problem| refuse(text, problem))?;
            }
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_size(text: &str) -> Result<(), ParsePathError> {
    if text.len() > PATH_BYTES_MAX {
        return Err(refuse(text, "it is longer than 1024 bytes"));
    }
    if text.split('/').count() > SEGMENTS_MAX {
        return Err(refuse(text, "it has more than 32 segments"));
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("it has an empty segment");
    }
    if segment == "." || segment == ".." {
        return Err("it has a segment that climbs");
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Err("it has a segment longer than 200 bytes");
    }
    if segment.chars().any(|letter| letter.is_control() || letter == '\\') {
        return Err("it has a control character or a backslash");
    }
    if segment.starts_with(NFS_PREFIX) || segment.starts_with(RESERVED_PREFIX) {
        return Err("it has a segment that storage keeps for itself");
    }
    Ok(())
}

fn refuse(text: &str, problem: &'static str) -> ParsePathError {
    let text = text.chars().take(80).flat_map(char::escape_debug).collect();
    ParsePathError { text, problem }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePath({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_climb_hide_or_break_are_refused() {
        let long_segment = "x".repeat(201);
        let long_path = format!("{}y", "abcdefghijklmno/".repeat(64)).replace("no/", "nopqr/");
        let deep_path = format!("{}y", "a/".repeat(32));
        for text in [
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "../etc/passwd",
            "a\\b",
            "a\0b",
            "a\nb",
            "a/.nfs000012",
            ".keelson-tmp-1",
            "\u{7f}",
            &long_segment,
            &long_path,
            &deep_path,
        ] {
            assert!(text.parse::<StorePath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_folder_does_not_hold_its_longer_namesake() {
        let path = |text: &str| text.parse::<StorePath>().unwrap();
        assert_eq!(path("a/b/c").strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("a/bc").strip_prefix(&path("a/b")), None);
        assert_eq!(path("a/b").strip_prefix(&path("a/b")), None);
        assert_eq!(path("a").strip_prefix(&StorePath::root()), Some(path("a")));
    }

    #[test]
    fn a_join_is_bounded() {
        let mut path = StorePath::root();
        while let Ok(longer) = path.join(&"s".repeat(99)) {
            path = longer;
        }
        assert_eq!(path.as_str().len(), 999);
    }

    proptest! {
        #[test]
        fn what_parses_is_made_of_plain_segments(text in "[a./\\\\\u{0}-\u{ff}]{0,12}") {
            if let Ok(path) = text.parse::<StorePath>() {
                prop_assert_eq!(path.segments().collect::<Vec<_>>().join("/"), text);
                prop_assert!(path.segments().all(|segment| segment != ".."));
            }
        }

        #[test]
        fn parent_and_name_make_the_path_again(text in "[a-c]{1,2}(/[a-c]{1,2}){0,3}") {
            let path: StorePath = text.parse().unwrap();
            prop_assert_eq!(path.parent().unwrap().join(path.name()), Ok(path));
        }
    }
}
