//! Field selectors in the syntax of `kubectl --field-selector`: `metadata.name=a,status.state!=Deleted`.

use super::{ParseSelectorError, check_length, excerpt};

/// Conditions on fields, all of which must hold. Without any it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<FieldTerm>);

/// One comparison of a field with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// As the client wrote it: `metadata.name`.
    pub path: String,
    pub operator: FieldOperator,
    pub value: String,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldOperator {
    Equals,
    NotEquals,
}

impl FieldSelector {
    /// Parses terms joined by commas. A value may escape `,`, `=` and `\` with a backslash.
    pub fn parse(text: &str) -> Result<Self, ParseSelectorError> {
        check_length(text)?;
        let mut terms = Vec::new();
        for term in split_unescaped(text).filter(|term| !term.is_empty()) {
            terms.push(parse_term(term)?);
        }
        Ok(Self(terms))
    }

    /// The conditions, in the order given.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.0
    }

    /// Whether it has no condition.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The first path that is not among those a kind supports.
    pub fn unsupported_path(&self, supported: &[&str]) -> Option<&str> {
        self.0.iter().map(|term| term.path.as_str()).find(|path| !supported.contains(path))
    }

    /// The value a path must equal, if the selector says so: the short way to a single object.
    pub fn required_value(&self, path: &str) -> Option<&str> {
        let mut terms = self.0.iter();
        let term = terms.find(|term| term.path == path && term.operator == FieldOperator::Equals)?;
        Some(&term.value)
    }

    /// Compares with the fields that `field` looks up; an absent field counts as empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|term| {
            let equal = field(&term.path).unwrap_or_default() == term.value;
            match term.operator {
                FieldOperator::Equals => equal,
                FieldOperator::NotEquals => !equal,
            }
        })
    }
}

fn split_unescaped(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
}

fn parse_term(term: &str) -> Result<FieldTerm, ParseSelectorError> {
    let wrong = || ParseSelectorError::FieldTerm { term: excerpt(term) };
    let at = term.find(['=', '!']).ok_or_else(wrong)?;
    let (path, tail) = term.split_at(at);
    let (operator, value) = if let Some(value) = tail.strip_prefix("!=") {
        (FieldOperator::NotEquals, value)
    } else if let Some(value) = tail.strip_prefix("==") {
        (FieldOperator::Equals, value)
    } else if let Some(value) = tail.strip_prefix('=') {
        (FieldOperator::Equals, value)
    } else {
        return Err(wrong());
    };
    if path.is_empty() {
        return Err(wrong());
    }
    Ok(FieldTerm { path: path.to_owned(), operator, value: unescape(value, term)? })
}

fn unescape(value: &str, term: &str) -> Result<String, ParseSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                _ => return Err(ParseSelectorError::FieldEscape { term: excerpt(term) }),
            },
            '=' => return Err(ParseSelectorError::FieldTerm { term: excerpt(term) }),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted_shop(path: &str) -> Option<&'static str> {
        match path {
            "metadata.name" => Some("shop"),
            "status.state" => Some("Deleted"),
            _ => None,
        }
    }

    #[test]
    fn a_field_selector_compares_every_term() {
        for (selector, expected) in [
            ("", true),
            ("metadata.name=shop", true),
            ("metadata.name==shop,status.state=Deleted", true),
            ("metadata.name=shop,status.state!=Deleted", false),
            ("metadata.namespace=", true),
            ("metadata.namespace!=", false),
            (",metadata.name=shop,", true),
        ] {
            assert_eq!(FieldSelector::parse(selector).unwrap().matches(deleted_shop), expected, "{selector}");
        }
    }

    #[test]
    fn a_value_may_escape_what_separates() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b\=c\\").unwrap();
        assert_eq!(selector.required_value("metadata.name"), Some(r"a,b=c\"));
        assert_eq!(selector.terms().len(), 1);
    }

    #[test]
    fn a_wrong_field_selector_is_refused() {
        for selector in ["metadata.name", "=a", "a!b", "a=b=c", r"a=\n", r"a=\"] {
            assert!(FieldSelector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn an_unsupported_path_is_named() {
        let selector = FieldSelector::parse("metadata.name=a,spec.foo=b").unwrap();
        assert_eq!(selector.unsupported_path(&["metadata.name"]), Some("spec.foo"));
    }
}
