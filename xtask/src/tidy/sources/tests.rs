//! Each rule with a file that keeps it and one that does not.

use super::*;

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    let found: Vec<String> = check_file(path, text).iter().map(ToString::to_string).collect();
    let begins_as_expected = found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(found.len() == expected.len() && begins_as_expected, "{found:#?}\nexpected {expected:#?}");
}

#[test]
fn a_header_says_what_the_file_is_for() {
    check("a.rs", "//! Purpose.\nfn a() {}\n", &[]);
    check("a.rs", "fn a() {}\n", &["a.rs:1: begin with"]);
    check("a.rs", &"//! More.\n".repeat(11), &["a.rs:1: the header has 11 lines"]);
}

#[test]
fn length_is_counted_without_tests() {
    let code = |lines: usize| format!("//! Purpose.\n{}", "fn a() {}\n".repeat(lines));
    check("a.rs", &code(599), &[]);
    check("a.rs", &code(600), &["a.rs:1: 601 lines"]);
    check("a/tests.rs", &code(600), &[]);
    let with_tests =
        |lines: usize| format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", code(590), "x();\n".repeat(lines));
    check("a.rs", &with_tests(97), &[]);
    check("a.rs", &with_tests(98), &["a.rs:592: 101 lines of tests"]);
}

#[test]
fn nothing_is_postponed() {
    check("a.rs", "//! Purpose.\nlet a = \"TODO\"; // TODOS are words\n", &[]);
    check("a.rs", "//! Purpose.\nlet a = 1; // TODO: later\n", &["a.rs:2: TODO"]);
}

#[test]
fn tests_run_assert_and_do_not_sleep() {
    check("a.rs", "//! Purpose.\nlet a = \"#[ignore]\";\nthread::sleep(pause);\n", &[]);
    check(
        "a/tests/it/b.rs",
        "//! P.\n#[ignore]\nthread::sleep(pause);\n",
        &["a/tests/it/b.rs:2", "a/tests/it/b.rs:3"],
    );
    check("a.rs", "//! P.\n#[cfg(test)]\nmod tests {\n#[should_panic]\n}\n", &["a.rs:4: assert the error"]);
    check("a/tests.rs", "//! P.\n#[tokio::test(start_paused = true)]\ntime::sleep(hour).await;\n", &[]);
}

#[test]
fn deciders_formats_and_the_core_do_not_wait() {
    let code = "//! Purpose.\nasync fn a() {}\n";
    check("crates/storage/store/src/a.rs", code, &[]);
    for path in [
        "crates/model/src/a.rs",
        "crates/x/src/format/a.rs",
        "crates/protection/src/restore/plan.rs",
        "crates/doors/controllers/src/policy/decide.rs",
    ] {
        check(path, code, &[path]);
    }
}

#[test]
fn an_error_names_what_was_done_and_keeps_its_values() {
    check(
        "a.rs",
        "//! P.\n#[derive(Debug, Error)]\nenum E {\n    ReadPack { source: Io },\n}\nstruct S(String);\n",
        &[],
    );
    check("a.rs", "//! P.\n#[derive(Clone)]\nenum Word {\n    Other,\n    Text(String),\n}\n", &[]);
    check(
        "a.rs",
        "//! P.\n#[derive(Debug, thiserror::Error)]\nenum E {\n    Read(#[from] Io),\n    Text(String),\n    Other,\n}\n",
        &["a.rs:4: `#[from]`", "a.rs:5: a variant of mere text", "a.rs:6: a catch-all"],
    );
}
