//! A Rust file cut into code, comments and strings, so that a rule about one does not trip over the others.
//!
//! Not a parser: enough of the lexical grammar to know what is what, line by line.

/// A file's lines in order.
pub(crate) struct Source {
    pub(crate) lines: Vec<Line>,
    /// Index of the first line of the inline test module, or the number of lines.
    tests_begin: usize,
}

/// One line, taken apart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What the compiler reads; a string or character is left as its empty quotes.
    pub(crate) code: String,
    pub(crate) comment: String,
    /// Contents of the string literals that begin here, in order.
    pub(crate) strings: Vec<String>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = Lexer::new(text).run();
        let tests_begin = lines
            .windows(2)
            .position(|pair| pair[0].code.trim() == "#[cfg(test)]" && opens_a_module(&pair[1].code))
            .unwrap_or(lines.len());
        Self { lines, tests_begin }
    }

    /// The lines outside the inline test module, numbered from 1.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().take(self.tests_begin)
    }

    /// The lines of the inline test module.
    pub(crate) fn tests(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().skip(self.tests_begin)
    }

    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn opens_a_module(code: &str) -> bool {
    code.trim().starts_with("mod ") && code.contains('{')
}

/// Whether `code` holds `word` and not merely as a part of a longer name.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

struct Lexer<'a> {
    rest: &'a str,
    lines: Vec<Line>,
    line: Line,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, lines: Vec::new(), line: Line::default() }
    }

    fn run(mut self) -> Vec<Line> {
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.line.comment.push_str(&self.rest[..end]);
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with("/*") {
                self.block_comment();
            } else if let Some(hashes) = self.raw_string() {
                self.rest = &self.rest[hashes + 2..];
                self.string(&format!("\"{}", "#".repeat(hashes)), false);
            } else if next == '"' {
                self.rest = &self.rest[1..];
                self.string("\"", true);
            } else if next == '\'' {
                self.quote();
            } else {
                self.take_code(next);
            }
        }
        if self.line != Line::default() {
            self.end_line();
        }
        self.lines
    }

    fn take_code(&mut self, next: char) {
        if next == '\n' {
            self.end_line();
        } else {
            self.line.code.push(next);
        }
        self.rest = &self.rest[next.len_utf8()..];
    }

    fn end_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(next) = self.rest.chars().next() {
            let length = if self.rest.starts_with("/*") {
                depth += 1;
                2
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                2
            } else {
                next.len_utf8()
            };
            if next == '\n' {
                self.end_line();
            } else {
                self.line.comment.push_str(&self.rest[..length]);
            }
            self.rest = &self.rest[length..];
            if depth == 0 {
                return;
            }
        }
    }

    /// The number of hashes, if a raw string begins here. The `b` or `c` before an `r` has gone to the code.
    fn raw_string(&self) -> Option<usize> {
        let after = self.rest.strip_prefix('r')?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        let in_a_name = self.line.code.ends_with(|last: char| last.is_alphanumeric() && !"bc".contains(last));
        (after[hashes..].starts_with('"') && !in_a_name).then_some(hashes)
    }

    /// Reads on until `end`; the string belongs to the line on which it begins.
    fn string(&mut self, end: &str, escapes: bool) {
        self.line.code.push_str("\"\"");
        let mut content = String::new();
        let mut lines_inside = 0;
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with(end) {
                self.rest = &self.rest[end.len()..];
                break;
            }
            let escaped = if escapes && next == '\\' { self.rest.chars().nth(1) } else { None };
            lines_inside += usize::from(next == '\n' || escaped == Some('\n'));
            let length = next.len_utf8() + escaped.map_or(0, char::len_utf8);
            content.push_str(&self.rest[..length]);
            self.rest = &self.rest[length..];
        }
        self.line.strings.push(content);
        for _ in 0..lines_inside {
            self.end_line();
        }
    }

    /// A character literal, or a lifetime, which is code.
    fn quote(&mut self) {
        let mut characters = self.rest.chars().skip(1);
        let (first, second) = (characters.next(), characters.next());
        if first == Some('\\') {
            let end = self.rest[3..].find('\'').map_or(self.rest.len(), |end| end + 4);
            self.rest = &self.rest[end..];
            self.line.code.push_str("''");
        } else if let (Some(first), Some('\'')) = (first, second) {
            self.rest = &self.rest[2 + first.len_utf8()..];
            self.line.code.push_str("''");
        } else {
            self.take_code('\'');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str, comment: &str, strings: &[&str]) {
        let source = Source::parse(text);
        let line = &source.lines[0];
        assert_eq!((line.code.as_str(), line.comment.as_str()), (code, comment), "{text}");
        assert_eq!(line.strings, strings, "{text}");
    }

    #[test]
    fn code_comments_and_strings_are_told_apart() {
        check("let a = 1; // why", "let a = 1; ", "// why", &[]);
        check("f(\"a // b\", 'x', '\\'')", "f(\"\", '', '')", "", &["a // b"]);
        check("f(r#\"a \"quoted\" b\"#)", "f(\"\")", "", &["a \"quoted\" b"]);
        check("f(br\"\\\", '\\\\')", "f(b\"\", '')", "", &["\\"]);
        check("x /* a /* b */ c */ y", "x  y", "/* a /* b */ c */", &[]);
        check("fn f<'a>(s: &'a str) {}", "fn f<'a>(s: &'a str) {}", "", &[]);
        check("let var\"\"", "let var\"\"", "", &[""]);
    }

    #[test]
    fn a_string_over_several_lines_keeps_the_numbering() {
        let source = Source::parse("let a = \"one\\\n two\n three\";\nlast");
        let numbered: Vec<_> = source.numbered().map(|(number, line)| (number, line.code.trim())).collect();
        assert_eq!(numbered, [(1, "let a = \"\""), (2, ""), (3, ";"), (4, "last")]);
    }

    #[test]
    fn the_inline_test_module_is_apart() {
        let source = Source::parse("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(source.production().count(), 2);
        assert_eq!(source.tests().count(), 3);
        assert_eq!(Source::parse("#[cfg(test)]\nmod tests;\nfn a() {}\n").production().count(), 3);
    }

    #[test]
    fn a_word_is_not_found_inside_a_longer_one() {
        assert!(has_word("x.await", "await"));
        assert!(!has_word("awaiting + never_await", "await"));
    }
}
