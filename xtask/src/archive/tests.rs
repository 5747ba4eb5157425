//! What an archive lists, that it never differs, and a reader of archives for whoever tests what is in one.

use std::io::Read;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;

use super::*;

/// One entry as it stands in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) time: u64,
    pub(crate) kind: char,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn list(tar: &[u8]) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut rest = tar;
    while rest[0] != 0 {
        let (header, behind) = rest.split_at(BLOCK_BYTES);
        assert_eq!(number(&header[148..156]), sum_of(header), "the checksum of a header");
        assert_eq!(&header[257..265], b"ustar\x0000");
        let size = number(&header[124..136]) as usize;
        let (prefix, name) = (text(&header[345..500]), text(&header[..100]));
        listed.push(Listed {
            path: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
            mode: number(&header[100..108]) as u32,
            owner: (number(&header[108..116]) as u32, number(&header[116..124]) as u32),
            time: number(&header[136..148]),
            kind: char::from(header[156]),
            content: behind[..size].to_vec(),
        });
        rest = &behind[size.next_multiple_of(BLOCK_BYTES)..];
    }
    assert_eq!(rest, END, "the end of the archive");
    listed
}

pub(crate) fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).unwrap()
}

fn number(field: &[u8]) -> u64 {
    u64::from_str_radix(text(field).trim_end(), 8).unwrap()
}

fn sum_of(header: &[u8]) -> u64 {
    let plain = header[..148].iter().chain(&header[156..]).map(|byte| u64::from(*byte)).sum::<u64>();
    plain + 8 * u64::from(b' ')
}

/// Longer than the field of a name.
fn long_path() -> String {
    format!("{}/{}/{}", "d".repeat(60), "e".repeat(60), "n".repeat(90))
}

fn sample() -> Archive {
    let mut archive = Archive::default();
    archive.add_file("usr/share/b", 0o644, vec![7; 513]).unwrap();
    archive.add_file("a", 0o755, b"first".to_vec()).unwrap();
    archive.add_file(&long_path(), 0o644, Vec::new()).unwrap();
    archive
}

#[test]
fn an_archive_lists_its_files_in_order_owned_by_root_and_of_no_time() {
    let listed = list(&sample().to_tar().unwrap());
    let paths: Vec<_> = listed.iter().map(|entry| (entry.path.as_str(), entry.mode)).collect();
    assert_eq!(paths, [("a", 0o755), (long_path().as_str(), 0o644), ("usr/share/b", 0o644)]);
    assert!(listed.iter().all(|entry| (entry.owner, entry.time, entry.kind) == ((0, 0), 0, '0')));
    assert_eq!(listed[2].content, vec![7; 513]);
}

#[test]
fn folders_come_before_what_lies_in_them() {
    let mut archive = sample();
    archive.add_folders().unwrap();
    let listed = list(&archive.to_tar().unwrap());
    let paths: Vec<_> =
        listed.iter().filter(|entry| entry.kind == '5').map(|entry| entry.path.as_str()).collect();
    let (outer, inner) = (format!("{}/", "d".repeat(60)), format!("{}/{}/", "d".repeat(60), "e".repeat(60)));
    assert_eq!(paths, [outer.as_str(), inner.as_str(), "usr/", "usr/share/"]);
    let before = |path: &str| listed.iter().position(|entry| entry.path == path).unwrap();
    assert!(before("usr/share/") < before("usr/share/b"));
    archive.add_file("usr/share/b/below", 0o644, Vec::new()).unwrap();
    assert!(archive.add_folders().is_err());
}

#[test]
fn the_same_content_is_the_same_bytes_in_whatever_order_it_came() {
    let mut other = Archive::default();
    for (path, entry) in sample().entries.into_iter().rev() {
        let Entry::File { mode, content } = entry else { continue };
        other.add_file(&path, mode, content).unwrap();
    }
    let packed = |archive: &Archive| gzip(&archive.to_tar().unwrap()).unwrap();
    assert_eq!(packed(&sample()), packed(&other));
    assert_eq!(packed(&sample())[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    assert_eq!(unpacked(&packed(&sample())), sample().to_tar().unwrap());
}

#[test]
fn a_path_that_leads_out_or_is_there_twice_or_is_too_long_is_refused() {
    for path in ["", "/etc/passwd", "a/../b", "a//b", "./a"] {
        let refused = Archive::default().add_file(path, 0o644, Vec::new()).unwrap_err().to_string();
        assert_eq!(refused, format!("'{path}' is no path inside an archive"));
    }
    let twice = sample().add_file("a", 0o644, Vec::new()).unwrap_err().to_string();
    assert_eq!(twice, "'a' would be in the archive twice");
    let mut long = Archive::default();
    long.add_file(&"x".repeat(101), 0o644, Vec::new()).unwrap();
    assert!(long.to_tar().unwrap_err().root_cause().to_string().ends_with("is too long for an archive"));
}

#[test]
fn tar_itself_reads_what_is_written() {
    let mut child = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--file=-"])
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&sample().to_tar().unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let first: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first, ["-rwxr-xr-x", "0/0", "5", "1970-01-01", "00:00", "a"]);
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn a_digest_is_that_of_the_standard() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc"), abc);
}
