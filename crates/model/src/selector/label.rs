//! Label selectors in the syntax of `kubectl -l`: `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::{ParseSelectorError, check_length, excerpt};
use crate::naming::{check_label_key, check_label_value};

/// Requirements on labels, all of which must hold. Without any it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<LabelRequirement>);

/// What one label must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    pub key: String,
    pub operator: LabelOperator,
}

/// How a label is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelOperator {
    /// Present with one of these values.
    In(BTreeSet<String>),
    /// Absent, or present with none of these values.
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// The selector that matches everything.
    pub const fn everything() -> Self {
        Self(Vec::new())
    }

    /// The selector for one label with one value.
    pub fn equal(key: impl Into<String>, value: impl Into<String>) -> Self {
        let operator = LabelOperator::In(BTreeSet::from([value.into()]));
        Self(vec![LabelRequirement { key: key.into(), operator }])
    }

    /// The same selector that also asks for one value of one more label. A value that is no label matches nothing.
    #[must_use]
    pub fn and_equal(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.extend(Self::equal(key, value).0);
        self
    }

    /// Parses the syntax of `kubectl -l`.
    pub fn parse(text: &str) -> Result<Self, ParseSelectorError> {
        check_length(text)?;
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(tokens.requirement()?);
            match tokens.next() {
                Token::End => return Ok(Self(requirements)),
                Token::Symbol(",") => {}
                other => return Err(other.unexpected("',' or the end")),
            }
        }
    }

    /// The requirements, for use with an index.
    pub fn requirements(&self) -> &[LabelRequirement] {
        &self.0
    }

    /// Whether it has no requirement.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all requirements hold.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl FromIterator<LabelRequirement> for LabelSelector {
    fn from_iter<I: IntoIterator<Item = LabelRequirement>>(requirements: I) -> Self {
        Self(requirements.into_iter().collect())
    }
}

impl LabelRequirement {
    /// Whether the requirement holds.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let compare = |holds: fn(i64, i64) -> bool, bound: i64| {
            value.and_then(|value| value.parse().ok()).is_some_and(|value| holds(value, bound))
        };
        match &self.operator {
            LabelOperator::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelOperator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::Absent => value.is_none(),
            LabelOperator::GreaterThan(bound) => compare(|value, bound| value > bound, *bound),
            LabelOperator::LessThan(bound) => compare(|value, bound| value < bound, *bound),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, ParseSelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LabelRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator } = self;
        match operator {
            LabelOperator::In(values) => write_set(f, key, ["=", "in"], values),
            LabelOperator::NotIn(values) => write_set(f, key, ["!=", "notin"], values),
            LabelOperator::Exists => f.write_str(key),
            LabelOperator::Absent => write!(f, "!{key}"),
            LabelOperator::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            LabelOperator::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

fn write_set(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    [one, many]: [&str; 2],
    values: &BTreeSet<String>,
) -> fmt::Result {
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    match values.as_slice() {
        [value] => write!(f, "{key}{one}{value}"),
        values => write!(f, "{key} {many} ({})", values.join(",")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl Token<'_> {
    fn unexpected(self, expected: &'static str) -> ParseSelectorError {
        let found = match self {
            Self::Word(word) => excerpt(word),
            Self::Symbol(symbol) => symbol.to_owned(),
            Self::End => "the end".to_owned(),
        };
        ParseSelectorError::Unexpected { found, expected }
    }
}

/// Longer symbols stand before their prefixes.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        let rest = self.rest.trim_start();
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            self.rest = &rest[symbol.len()..];
            return Token::Symbol(symbol);
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        self.rest = tail;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }

    fn requirement(&mut self) -> Result<LabelRequirement, ParseSelectorError> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(other.unexpected("a label key")),
        };
        check_label_key(key).map_err(|fault| ParseSelectorError::Key { key: excerpt(key), fault })?;
        let operator = if negated { LabelOperator::Absent } else { self.operator(key)? };
        Ok(LabelRequirement { key: key.to_owned(), operator })
    }

    fn operator(&mut self, key: &str) -> Result<LabelOperator, ParseSelectorError> {
        match self.peek() {
            Token::End | Token::Symbol(",") => return Ok(LabelOperator::Exists),
            _ => {}
        }
        match self.next() {
            Token::Symbol("=" | "==") => Ok(LabelOperator::In(BTreeSet::from([self.value(key)?]))),
            Token::Symbol("!=") => Ok(LabelOperator::NotIn(BTreeSet::from([self.value(key)?]))),
            Token::Symbol(">") => Ok(LabelOperator::GreaterThan(self.integer(key)?)),
            Token::Symbol("<") => Ok(LabelOperator::LessThan(self.integer(key)?)),
            Token::Word("in") => Ok(LabelOperator::In(self.values(key)?)),
            Token::Word("notin") => Ok(LabelOperator::NotIn(self.values(key)?)),
            other => Err(other.unexpected("one of '=', '==', '!=', 'in', 'notin', '>', '<'")),
        }
    }

    /// Reads one value. `a=` compares with the empty text.
    fn value(&mut self, key: &str) -> Result<String, ParseSelectorError> {
        let value = match self.peek() {
            Token::Word(word) => {
                self.next();
                word
            }
            Token::End | Token::Symbol("," | ")") => "",
            other => return Err(other.unexpected("a label value")),
        };
        check_label_value(value).map_err(|fault| ParseSelectorError::Value {
            key: excerpt(key),
            value: excerpt(value),
            fault,
        })?;
        Ok(value.to_owned())
    }

    fn integer(&mut self, key: &str) -> Result<i64, ParseSelectorError> {
        let value = self.value(key)?;
        let not_integer = || ParseSelectorError::NotInteger { key: excerpt(key), value: excerpt(&value) };
        value.parse().map_err(|_| not_integer())
    }

    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, ParseSelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(other.unexpected("'('")),
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value(key)?);
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(other.unexpected("',' or ')'")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_selector_matches_as_kubectl_means_it() {
        for (selector, given, expected) in [
            ("", "a=b", true),
            ("a=b", "a=b", true),
            ("a==b", "a=b", true),
            ("a=b", "a=c", false),
            ("a!=b", "a=c", true),
            ("a!=b", "", true),
            ("a", "a=", true),
            ("a", "b=", false),
            ("!a", "b=", true),
            ("! a", "a=x", false),
            ("a=", "a=", true),
            ("a in (x,y)", "a=y", true),
            ("a in (x, y)", "a=z", false),
            ("a in (x,y)", "", false),
            ("a notin (x,y)", "a=z", true),
            ("a notin (x,y)", "", true),
            ("a in (,x)", "a=", true),
            ("a>1", "a=2", true),
            ("a<1", "a=2", false),
            ("a>1", "a=two", false),
            ("a=b,c!=d, e in (f) ,!g", "a=b c=x e=f", true),
            ("a=b,c!=d, e in (f) ,!g", "a=b c=x e=f g=", false),
            ("in=notin", "in=notin", true),
            ("k10.kasten.io/policyName=nightly", "k10.kasten.io/policyName=nightly", true),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(given)), expected, "{selector} on {given}");
            assert_eq!(LabelSelector::parse(&parsed.to_string()), Ok(parsed), "{selector}");
        }
    }

    #[test]
    fn a_wrong_selector_is_told_where_it_is_wrong() {
        for (selector, message) in [
            (",", "unable to parse selector: found ',', expected a label key"),
            ("a,", "unable to parse selector: found 'the end', expected a label key"),
            (
                "a b",
                "unable to parse selector: found 'b', expected one of '=', '==', '!=', 'in', 'notin', '>', '<'",
            ),
            ("a in x", "unable to parse selector: found 'x', expected '('"),
            ("a in (x", "unable to parse selector: found 'the end', expected ',' or ')'"),
            ("a=b=c", "unable to parse selector: found '=', expected ',' or the end"),
            ("a>x", "unable to parse selector: value 'x' of label 'a' is not an integer"),
            (
                "-a=b",
                "unable to parse selector: label key '-a': name part must consist of alphanumeric \
                 characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            ),
            (
                "a=b/c",
                "unable to parse selector: value 'b/c' of label 'a': a valid label must be an empty string \
                 or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character",
            ),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap_err().to_string(), message, "{selector}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser_and_what_parses_prints_back(text in "[ab!=,()<> 1in]{0,24}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
