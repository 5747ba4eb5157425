//! Reads a regular expression as RE2 would: what our syntax has beyond that is refused.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassSetBinaryOp, Flag, Flags, FlagsItemKind, RepetitionKind, RepetitionRange,
    Visitor, visit,
};

/// RE2 counts no further.
const REPETITIONS_MAX: u32 = 1000;

/// How many groups it has that capture, or why it is no expression.
pub(super) fn groups_of(regex: &str) -> Result<usize, String> {
    let parsed =
        Parser::new().parse(regex).map_err(|error| format!("'{regex}' cannot be read: {}", error.kind()))?;
    let foreign = |part: &str| format!("'{regex}': {part} is not in the syntax of RE2");
    visit(&parsed, Reader { groups: 0 }).map_err(foreign)
}

struct Reader {
    groups: usize,
}

impl Visitor for Reader {
    type Output = usize;
    type Err = &'static str;

    fn finish(self) -> Result<usize, &'static str> {
        Ok(self.groups)
    }

    fn visit_pre(&mut self, part: &Ast) -> Result<(), &'static str> {
        match part {
            Ast::Group(group) => {
                self.groups += usize::from(group.is_capturing());
                group.flags().map_or(Ok(()), check_flags)
            }
            Ast::Flags(set) => check_flags(&set.flags),
            Ast::Repetition(repetition) => check_repetition(&repetition.op.kind),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(()),
                AssertionKind::WordBoundaryStart
                | AssertionKind::WordBoundaryEnd
                | AssertionKind::WordBoundaryStartAngle
                | AssertionKind::WordBoundaryEndAngle
                | AssertionKind::WordBoundaryStartHalf
                | AssertionKind::WordBoundaryEndHalf => Err("a word boundary with a side"),
            },
            Ast::Empty(_)
            | Ast::Literal(_)
            | Ast::Dot(_)
            | Ast::ClassUnicode(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), &'static str> {
        Err("an operation on classes")
    }
}

fn check_flags(flags: &Flags) -> Result<(), &'static str> {
    let is_foreign = |kind: &FlagsItemKind| match kind {
        FlagsItemKind::Negation => false,
        FlagsItemKind::Flag(flag) => match flag {
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed => false,
            Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace => true,
        },
    };
    let foreign = flags.items.iter().any(|item| is_foreign(&item.kind));
    if foreign { Err("a flag other than i, m, s and U") } else { Ok(()) }
}

fn check_repetition(kind: &RepetitionKind) -> Result<(), &'static str> {
    let most = match kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 0,
        RepetitionKind::Range(
            RepetitionRange::Exactly(most)
            | RepetitionRange::AtLeast(most)
            | RepetitionRange::Bounded(_, most),
        ) => *most,
    };
    if most > REPETITIONS_MAX { Err("a repetition of more than 1000") } else { Ok(()) }
}
