//! What is wrong with one command of a transform.

mod expression;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::{Command, Op};

/// Every fault, as a sentence that begins with the field.
pub(super) fn faults_of(command: &Command) -> Vec<String> {
    let mut faults = Vec::new();
    let Command { op, path, from, regex, value } = command;
    let path = pointer("path", path, &mut faults);
    let has_source = matches!(op, Op::Copy | Op::Move);
    let from = match (from, has_source) {
        (Some(from), true) => pointer("from", from, &mut faults),
        (None, true) => {
            faults.push("from is required for copy and move".to_owned());
            None
        }
        (Some(_), false) => {
            faults.push("from is for copy and move only".to_owned());
            None
        }
        (None, false) => None,
    };
    let needs_value = match op {
        Op::Add | Op::Replace => true,
        Op::Copy | Op::Move => regex.is_some(),
        Op::Test | Op::Remove => false,
    };
    if needs_value && value.is_none() {
        let when = if has_source { "copy and move with regex" } else { "add and replace" };
        faults.push(format!("value is required for {when}"));
    }
    if *op == Op::Test && value.is_some() && regex.is_some() {
        faults.push("test takes value or regex, not both".to_owned());
    }
    if let (Some(path), Some(from)) = (&path, &from) {
        faults.extend(fault_of_source(*op, path, from));
    }
    if let Some(regex) = regex {
        match expression::groups_of(regex) {
            Ok(groups) => faults.extend(value.as_ref().and_then(|value| unknown_group(value, groups))),
            Err(fault) => faults.push(format!("regex {fault}")),
        }
    }
    faults
}

/// The levels of a path.
fn pointer<'a>(field: &str, text: &'a str, faults: &mut Vec<String>) -> Option<Vec<&'a str>> {
    let Some(levels) = text.strip_prefix('/') else {
        faults.push(format!("{field} '{text}' does not begin with '/'"));
        return None;
    };
    let is_escaped = |level: &str| level.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !levels.split('/').all(is_escaped) {
        faults.push(format!("{field} '{text}': '~' must be '~0', and '/' in a name '~1'"));
        return None;
    }
    Some(levels.split('/').collect())
}

/// What is wrong between a path and where it is copied or moved from.
fn fault_of_source(op: Op, path: &[&str], from: &[&str]) -> Option<String> {
    let wildcards = from.iter().filter(|level| level.contains('*')).count();
    let unknown = path.iter().flat_map(|level| references(level)).find(|number| *number > wildcards);
    if let Some(number) = unknown {
        return Some(format!("path names ${number}, and from has {wildcards} wildcards"));
    }
    // RFC 6902: an object cannot be moved into itself.
    let is_into_itself =
        op == Op::Move && wildcards == 0 && path.len() > from.len() && path.starts_with(from);
    is_into_itself.then(|| "path lies below from: nothing can be moved into itself".to_owned())
}

fn unknown_group(value: &Value, groups: usize) -> Option<String> {
    let number = references(value.as_str()?).into_iter().find(|number| *number > groups)?;
    Some(format!("value names ${number}, and regex has {groups} groups"))
}

/// The numbers in `$1` and `${1}`.
fn references(text: &str) -> Vec<usize> {
    let number = |rest: &str| -> Option<usize> {
        let (digits, must_close) = match rest.strip_prefix('{') {
            Some(inner) => (inner, true),
            None => (rest, false),
        };
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if must_close && !digits[end..].starts_with('}') {
            return None;
        }
        digits[..end].parse().ok()
    };
    // `$$` is a dollar.
    let plain = text.replace("$$", "\0");
    plain.split('$').skip(1).filter_map(number).collect()
}
