//! The page that explains messages quotes them as the program says them: what stands in its tables' column `message` is said
//! by the sources, by the charts' templates or by the list of error codes. A value is written as `…`.

use crate::evidence;
use crate::finding::Finding;
use crate::source::Source;
use crate::tree::Tree;

const PAGE: &str = "docs/operations/failures.md";
const CODES: &str = "docs/errors.md";
const TEMPLATES: &str = "deploy/charts/";
/// The first cell of a table that quotes us. Tables of what others say begin otherwise.
const COLUMN: &str = "message";
const VALUE: char = '…';
/// Fewer letters would be found somewhere by chance.
const LETTERS_MIN: usize = 10;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    match tree.file(PAGE) {
        Some(page) => check_page(page, &said(tree)),
        None => vec![Finding::of_file(PAGE, "the page that explains messages is missing")],
    }
}

/// `said` is a line for each text.
fn check_page(page: &str, said: &str) -> Vec<Finding> {
    let quoted = messages(page);
    if quoted.is_empty() {
        return vec![Finding::of_file(PAGE, format!("no table has a first column '{COLUMN}'"))];
    }
    let faults = quoted.into_iter().filter_map(|(line, message)| {
        let fault = fault(message, said)?;
        Some(Finding::at(PAGE, line, format!("'{message}' {fault}")))
    });
    faults.collect()
}

fn fault(message: &str, said: &str) -> Option<&'static str> {
    if message.chars().filter(|character| character.is_alphabetic()).count() < LETTERS_MIN {
        return Some("is too short to be looked for: quote more of it");
    }
    (!said.contains(message.trim_matches(VALUE))).then_some("is said by nobody")
}

/// What stands in backquotes in the first column of each table that quotes us, with its line.
fn messages(page: &str) -> Vec<(usize, &str)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for (index, line) in page.lines().enumerate() {
        let Some(first) = line.strip_prefix('|').and_then(|row| row.split('|').next()) else {
            inside = false;
            continue;
        };
        if inside {
            found.extend(evidence::quoted(first).map(|message| (index + 1, message)));
        }
        inside = inside || first.trim() == COLUMN;
    }
    found
}

/// All that is said, in the spelling of the page.
fn said(tree: &Tree) -> String {
    let mut said = String::new();
    let mut take = |text: &str| {
        said.push_str(&spelled(text));
        said.push('\n');
    };
    for (path, text) in tree.files() {
        if path.ends_with(".rs") && path.starts_with("crates/") && !is_test(path) {
            let source = Source::parse(text);
            source.production().flat_map(|(_, line)| &line.strings).for_each(|text| take(text));
        } else if path.starts_with(TEMPLATES) && path.contains("/templates/") {
            text.lines().for_each(&mut take);
            text.lines().flat_map(quoted_in_a_template).for_each(&mut take);
        } else if path == CODES {
            text.lines().for_each(&mut take);
        }
    }
    said
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The texts in double quotes on a line of a template, as they are between the quotes.
fn quoted_in_a_template(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begun, mut escaped) = (None, false);
    for (at, character) in line.char_indices() {
        match (begun, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(begin), '"') => {
                found.push(&line[begin..at]);
                begun = None;
            }
            (None, '"') => begun = Some(at + 1),
            _ => {}
        }
    }
    found
}

/// As the page writes it: each value as `…`, what is escaped as it is meant, one line.
fn spelled(text: &str) -> String {
    let mut spelled = String::new();
    let mut depth = 0;
    let mut characters = text.chars().peekable();
    while let Some(next) = characters.next() {
        match next {
            '{' => {
                if depth == 0 {
                    spelled.push(VALUE);
                }
                depth += 1;
            }
            '}' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            // A string that goes on in the next line of the source begins there with its first word.
            '\\' if characters.next_if_eq(&'\n').is_some() => {
                while characters.next_if(|character| character.is_whitespace()).is_some() {}
            }
            '\\' => spelled.extend(characters.next()),
            '%' if characters.next_if_eq(&'q').is_some() => spelled.push_str("\"…\""),
            '%' if characters.next_if(|kind| "svd".contains(*kind)).is_some() => spelled.push(VALUE),
            other => spelled.push(other),
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_what_is_escaped_are_spelled_as_on_the_page() {
        let check = |text: &str, expected: &str| assert_eq!(spelled(text), expected, "{text}");
        check("Secret '{secret}' of '{}' has {FURTHER_MAX:?}", "Secret '…' of '…' has …");
        check("one line \\\n         and the next", "one line and the next");
        check("is \\\"%v\\\", which %s", "is \"…\", which …");
        check("names %q, 5 % of all", "names \"…\", 5 % of all");
        check("warning: {{ $path }} is unknown{{ with $near }}?{{ end }}", "warning: … is unknown…?…");
    }

    #[test]
    fn a_template_says_what_its_lines_quote() {
        let line = r#"{{- fail (printf "a is \"%v\", no b" (include "k10.c" .)) -}}"#;
        assert_eq!(quoted_in_a_template(line), [r#"a is \"%v\", no b"#, "k10.c"]);
        assert_eq!(quoted_in_a_template("none"), [""; 0]);
    }

    #[test]
    fn only_the_first_column_of_a_table_of_ours_is_compared() {
        let page = "| message | cause |\n| --- | --- |\n| `one is …`, `two` | `three` |\n\n| said by others | cause |\n\
                    | --- | --- |\n| `four` | |\n";
        assert_eq!(messages(page), [(3, "one is …"), (3, "two")]);
    }

    #[test]
    fn a_message_that_nobody_says_or_that_is_too_short_is_told() {
        let said = "Secret '…' does not exist\nVault is sealed\n";
        let told = |message: &str| {
            let page = format!("| message | cause |\n| --- | --- |\n| `{message}` | |\n");
            check_page(&page, said).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("Secret '…' does not exist"), [""; 0]);
        assert_eq!(told("… is sealed, or not").len(), 1);
        assert_eq!(
            told("Vault is unsealed"),
            ["docs/operations/failures.md:3: 'Vault is unsealed' is said by nobody"]
        );
        assert!(told("… is …")[0].ends_with("is too short to be looked for: quote more of it"));
        assert_eq!(check_page("no table", said).len(), 1);
    }
}
