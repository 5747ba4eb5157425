//! Where in an object a field is: written out only where somebody is told of it, and no longer than anybody reads.

use std::fmt;
use std::fmt::Write as _;

/// The names on the way to a field. It costs its place on the stack, however long they are and however many fields are
/// looked at.
#[derive(Debug, Clone, Copy)]
pub enum FieldPath<'a> {
    /// The object itself.
    Object,
    Field(&'a FieldPath<'a>, &'a str),
    Item(&'a FieldPath<'a>, usize),
}

impl FieldPath<'_> {
    /// Some times the longest path of a field of ours, or two keys of a label.
    pub const BYTES_MAX: usize = 512;

    /// As people are told it, `spec.transforms[2].name`. One that is too long is cut, and shows it.
    pub fn text(&self) -> String {
        let mut bounded = Bounded(String::new());
        let is_whole = write!(bounded, "{self}").is_ok();
        let Bounded(text) = bounded;
        if is_whole { text } else { text + CUT }
    }
}

const CUT: &str = "...";

/// The same of a path that is written out already.
pub(super) fn cut(path: &str) -> String {
    let kept = path.floor_char_boundary(FieldPath::BYTES_MAX);
    if kept == path.len() { path.to_owned() } else { path[..kept].to_owned() + CUT }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => Ok(()),
            Self::Field(Self::Object, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Takes no more than there is room for.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = FieldPath::BYTES_MAX - self.0.len();
        self.0.push_str(&piece[..piece.floor_char_boundary(room)]);
        if piece.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_as_people_write_it() {
        let spec = FieldPath::Field(&FieldPath::Object, "spec");
        let list = FieldPath::Field(&spec, "list");
        let item = FieldPath::Item(&list, 7);
        assert_eq!(FieldPath::Field(&item, "x").text(), "spec.list[7].x");
        assert_eq!(FieldPath::Item(&FieldPath::Object, 0).text(), "[0]");
        assert_eq!(FieldPath::Object.text(), "");
    }

    #[test]
    fn a_path_that_is_too_long_is_cut_between_two_characters() {
        for (name, kept) in
            [("x".repeat(513), 512), ("é".repeat(257), 512), (format!("x{}", "é".repeat(300)), 511)]
        {
            let text = FieldPath::Field(&FieldPath::Object, &name).text();
            assert_eq!(text, format!("{}...", &name[..kept]));
            assert_eq!(cut(&name), text);
        }
        let fits = "x".repeat(FieldPath::BYTES_MAX);
        assert_eq!(FieldPath::Field(&FieldPath::Object, &fits).text(), fits);
        assert_eq!(cut(&fits), fits);
    }
}
