//! Rules about what stands in a Rust file: size, header, errors, tests, async.

use crate::finding::Finding;
use crate::source::{Line, Source, has_word};
use crate::tree::Tree;

const FILE_LINES_MAX: usize = 600;
const INLINE_TEST_LINES_MAX: usize = 100;
const HEADER_LINES_MAX: usize = 10;

/// Files that are too long, with the length that they may not exceed. Entries shrink and go; none is added.
const TOO_LONG: &[(&str, usize)] = &[];

/// Whoever writes one of these means to come back, and nobody does.
const POSTPONED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Crates whose code computes and never waits.
const SYNCHRONOUS: &[&str] = &["crates/model/src/", "crates/storage/crypto/src/"];
/// Folders and files that decide or encode: what their path begins with and what it contains.
const DECIDING: &[(&str, &str)] = &[
    ("crates/", "/src/format/"),
    ("crates/protection/", "/plan.rs"),
    ("crates/protection/", "/decide.rs"),
    ("crates/doors/", "/decide.rs"),
    ("crates/doors/", "/report.rs"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter(|(path, _)| path.ends_with(".rs"))
        .flat_map(|(path, text)| check_file(path, text))
        .collect()
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::parse(text);
    let test_file = path.contains("/tests/") || path.ends_with("/tests.rs");
    let mut findings = Findings { path, found: Vec::new() };
    findings.check_header(text);
    if !test_file {
        findings.check_length(&source);
    }
    for (number, line) in source.numbered() {
        findings.check_comment(number, line);
        findings.check_test_attributes(number, line);
    }
    let sleeps_in_real_time = !source.lines.iter().any(|line| line.code.contains("start_paused = true"));
    if test_file {
        source.numbered().for_each(|(number, line)| findings.check_test(number, line, sleeps_in_real_time));
    } else {
        source.tests().for_each(|(number, line)| findings.check_test(number, line, sleeps_in_real_time));
        findings.check_errors(&source);
        findings.check_async(&source);
    }
    findings.found
}

struct Findings<'a> {
    path: &'a str,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, line: usize, message: impl Into<String>) {
        self.found.push(Finding::at(self.path, line, message));
    }

    fn check_header(&mut self, text: &str) {
        let length = text.lines().take_while(|line| line.starts_with("//!")).count();
        if length == 0 {
            self.add(1, "begin with `//!`: what the file is for, and what it is not");
        } else if length > HEADER_LINES_MAX {
            self.add(1, format!("the header has {length} lines, {HEADER_LINES_MAX} are allowed"));
        }
    }

    fn check_length(&mut self, source: &Source) {
        let length = source.production().count();
        match TOO_LONG.iter().find(|(path, _)| *path == self.path) {
            Some((_, allowed)) if length < *allowed => {
                self.add(
                    0,
                    format!("lower its entry in TOO_LONG to {length}, or remove it below {FILE_LINES_MAX}"),
                );
            }
            Some((_, allowed)) if length > *allowed => {
                self.add(0, format!("{length} lines; it was already too long with {allowed}"));
            }
            None if length > FILE_LINES_MAX => {
                self.add(0, format!("{length} lines without tests, {FILE_LINES_MAX} are allowed"));
            }
            Some(_) | None => {}
        }
        let tests = source.tests().count();
        if tests > INLINE_TEST_LINES_MAX {
            self.add(
                length + 1,
                format!("{tests} lines of tests: move them to `tests.rs` in the module's folder"),
            );
        }
    }

    fn check_comment(&mut self, number: usize, line: &Line) {
        if let Some(mark) = POSTPONED.iter().find(|mark| has_word(&line.comment, mark)) {
            self.add(number, format!("{mark}: do it, or write down why it need not be done"));
        }
    }

    fn check_test_attributes(&mut self, number: usize, line: &Line) {
        if line.code.contains("#[ignore") {
            self.add(number, "a test that does not run is not a test");
        }
        if line.code.contains("#[should_panic") {
            self.add(number, "assert the error; a panic may come from anywhere");
        }
    }

    fn check_test(&mut self, number: usize, line: &Line, real_time: bool) {
        let sleeps = ["thread::sleep", "time::sleep", "time::sleep_until"];
        if real_time && sleeps.iter().any(|sleep| has_word(&line.code, sleep)) {
            self.add(number, "a test waits for what must happen (`testkit::eventually`) or pauses time");
        }
    }

    fn check_async(&mut self, source: &Source) {
        let decides = |(start, part): &(&str, &str)| self.path.starts_with(start) && self.path.contains(part);
        let synchronous =
            SYNCHRONOUS.iter().any(|folder| self.path.starts_with(folder)) || DECIDING.iter().any(decides);
        if !synchronous {
            return;
        }
        for (number, line) in source.production() {
            if has_word(&line.code, "async") || has_word(&line.code, "await") {
                self.add(number, "this code computes; whoever calls it waits for the outside world");
            }
        }
    }

    /// Enums that derive `Error`: no conversion without context, no variant of mere text, no catch-all.
    fn check_errors(&mut self, source: &Source) {
        let mut derives_error = false;
        let mut depth = 0;
        for (number, line) in source.production() {
            let code = line.code.trim();
            if code.starts_with("#[derive(") {
                derives_error = has_word(code, "Error");
            }
            let inside = depth > 0;
            if inside || (derives_error && has_word(code, "enum")) {
                depth += code.matches('{').count();
                depth -= code.matches('}').count().min(depth);
                derives_error = derives_error && depth > 0;
            }
            if code.contains("#[from]") {
                self.add(number, "`#[from]` forgets what was being done: name it in a variant of its own");
            }
            if inside && (code.starts_with("Other(") || code.starts_with("Other {") || code == "Other,") {
                self.add(number, "a catch-all variant: nobody can react to it");
            }
            if inside && code.contains("(String)") {
                self.add(
                    number,
                    "a variant of mere text: give it the values, and say the words in `#[error]`",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
