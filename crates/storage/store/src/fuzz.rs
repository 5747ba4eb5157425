//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

use crate::StorePath;
use crate::providers::filesystem::withstand_mounts;
use crate::providers::s3::withstand_key;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] =
    &[("path", path), ("key of a bucket", withstand_key), ("table of mounts", withstand_mounts)];

/// Inputs that the targets take.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let samples = [
        ("path", ""),
        ("path", "k10/0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa/dr/00000001-00000001-00000000000001"),
        ("path", "packs/0a/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"),
        ("key of a bucket", "k10/cluster/dr/0a0b/bases/00000001-00000001-00000000000001"),
        (
            "table of mounts",
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 0:5 / /a rw shared:1 - nfs4 s:/a rw,acdirmax=60\n",
        ),
        ("table of mounts", "30 21 0:5 / /a rw - cifs //s/a rw,actimeo=1\n"),
    ];
    samples.map(|(target, text)| (target, text.as_bytes().to_vec())).to_vec()
}

/// A path climbs nowhere, hides nothing, and is one spelling of one place.
fn path(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(path) = text.parse::<StorePath>() else { return false };
    assert_eq!(path.to_string(), text);
    assert_eq!(path.segments().collect::<Vec<_>>().join("/"), text);
    for segment in path.segments() {
        assert!(
            !matches!(segment, "" | "." | "..") && !segment.contains(['/', '\\', '\0', '\n']),
            "{segment:?}"
        );
    }
    if let Some(parent) = path.parent() {
        assert_eq!(parent.join(path.name()).as_ref(), Ok(&path));
        assert_eq!(parent.join_path(&path.strip_prefix(&parent).expect("it lies there")).as_ref(), Ok(&path));
    }
    let folder: StorePath = "k10/cluster".parse().expect("a plain path");
    if let Ok(beneath) = folder.join_path(&path) {
        assert_eq!(beneath.strip_prefix(&folder), (!path.is_root()).then_some(path));
    }
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_bytes_they_are_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples()).run();
    }
}
