//! Tables over the faults of a command.

use serde_json::json;

use super::*;

fn check(command: Value, expected: &[&str]) {
    let read: Command = serde_json::from_value(command.clone()).unwrap();
    assert_eq!(faults_of(&read), expected, "{command}");
}

#[test]
fn each_command_takes_what_is_documented_for_it() {
    check(json!({ "op": "test", "path": "/metadata/labels/release" }), &[]);
    check(json!({ "op": "test", "path": "/a", "value": "x" }), &[]);
    check(json!({ "op": "test", "path": "/a", "regex": "^x" }), &[]);
    check(
        json!({ "op": "test", "path": "/a", "regex": "^x", "value": 1 }),
        &["test takes value or regex, not both"],
    );
    check(json!({ "op": "add", "path": "/a/-", "value": { "b": 1 } }), &[]);
    check(json!({ "op": "add", "path": "/a" }), &["value is required for add and replace"]);
    check(json!({ "op": "add", "path": "/a", "value": null }), &["value is required for add and replace"]);
    check(json!({ "op": "replace", "path": "/a", "value": 0 }), &[]);
    check(json!({ "op": "replace", "path": "/a" }), &["value is required for add and replace"]);
    check(json!({ "op": "remove", "path": "/a/**/b" }), &[]);
    check(json!({ "op": "remove", "path": "/a", "from": "/b" }), &["from is for copy and move only"]);
    check(json!({ "op": "copy", "path": "/a" }), &["from is required for copy and move"]);
    check(json!({ "op": "copy", "path": "/a", "from": "/b" }), &[]);
    check(
        json!({ "op": "move", "path": "/a", "from": "/b", "regex": "(.)" }),
        &["value is required for copy and move with regex"],
    );
    check(json!({ "op": "move", "path": "/a", "from": "/b", "regex": "(.)", "value": "$1" }), &[]);
    check(
        json!({ "op": "move", "path": "/a/b/c", "from": "/a/b" }),
        &["path lies below from: nothing can be moved into itself"],
    );
    check(json!({ "op": "copy", "path": "/a/b/c", "from": "/a/b" }), &[]);
    check(json!({ "op": "move", "path": "/a/bc", "from": "/a/b" }), &[]);
}

#[test]
fn paths_are_absolute_and_escaped() {
    check(json!({ "op": "remove", "path": "a" }), &["path 'a' does not begin with '/'"]);
    check(json!({ "op": "copy", "path": "/a", "from": "b" }), &["from 'b' does not begin with '/'"]);
    check(json!({ "op": "remove", "path": "/a~1b/c~0d/~01" }), &[]);
    for path in ["/a~", "/a~2", "/~/b"] {
        let fault = format!("path '{path}': '~' must be '~0', and '/' in a name '~1'");
        check(json!({ "op": "remove", "path": path }), &[&fault]);
    }
}

#[test]
fn a_number_leads_to_a_wildcard_or_a_group_that_is_there() {
    let copy = |path: &str, from: &str| json!({ "op": "copy", "path": path, "from": from });
    check(copy("/x/$1/y/$2", "/a/*/b/**"), &[]);
    check(copy("/x/$2", "/a/*"), &["path names $2, and from has 1 wildcards"]);
    check(copy("/x/$1", "/a"), &["path names $1, and from has 0 wildcards"]);
    check(json!({ "op": "add", "path": "/data/$1", "value": "$1" }), &[]);
    let replace =
        |regex: &str, value: &str| json!({ "op": "replace", "path": "/a", "regex": regex, "value": value });
    check(replace("^(.*)-(?:x)-(?P<end>.*)$", "$2.${1}"), &[]);
    check(replace("^(.*)$", "a$$9"), &[]);
    check(replace("^(.*)$", "${2}"), &["value names $2, and regex has 1 groups"]);
    check(replace("^.*$", "$1"), &["value names $1, and regex has 0 groups"]);
}

#[test]
fn an_expression_that_is_none_is_refused() {
    let test = |regex: &str| json!({ "op": "test", "path": "/a", "regex": regex });
    let fault = |regex: &str| {
        let read: Command = serde_json::from_value(test(regex)).unwrap();
        faults_of(&read).concat()
    };
    for (regex, expected) in [
        ("(", "regex '(' cannot be read: unclosed group"),
        ("a{2,1}", "regex 'a{2,1}' cannot be read: invalid repetition count range"),
        ("(?=a)", "look-around"),
        (r"(a)\1", "backreferences"),
        ("[a&&b]", "is not in the syntax of RE2"),
        ("(?x)a", "is not in the syntax of RE2"),
        (r"\b{start}a", "is not in the syntax of RE2"),
        ("a{1001}", "is not in the syntax of RE2"),
    ] {
        let said = fault(regex);
        assert!(said.contains(expected), "{regex}: {said}");
    }
    for regex in ["^a+$", r"\pL{1,1000}", "(?i)a|b", "[[:alpha:]]", r"\bx\b", "(?U)a*"] {
        check(test(regex), &[]);
    }
}
