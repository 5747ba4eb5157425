//! Selectors: over labels and fields as clients of the API write them, and over applications as policies do.

mod application;
mod field;
mod label;

pub use application::{
    Application, ApplicationSelector, MatchExpression, MatchOperator, SelectorFault, SelectorSpec,
};
pub use field::{FieldOperator, FieldSelector, FieldTerm};
pub use label::{LabelOperator, LabelRequirement, LabelSelector};

use crate::naming::NameFault;
use crate::{Classified, ErrorClass};

/// A selector that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseSelectorError {
    #[error("selector is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("unable to parse selector: found '{found}', expected {expected}")]
    Unexpected { found: String, expected: &'static str },
    #[error("unable to parse selector: label key '{key}': {fault}")]
    Key { key: String, fault: NameFault },
    #[error("unable to parse selector: value '{value}' of label '{key}': {fault}")]
    Value { key: String, value: String, fault: NameFault },
    #[error("unable to parse selector: value '{value}' of label '{key}' is not an integer")]
    NotInteger { key: String, value: String },
    #[error("invalid field selector: '{term}' is not 'path=value', 'path==value' or 'path!=value'")]
    FieldTerm { term: String },
    #[error("invalid field selector: '{term}' escapes a character other than ',', '=' and '\\'")]
    FieldEscape { term: String },
}

impl Classified for ParseSelectorError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "selector.parse"
    }
}

/// More than a URL carries; bounds the work that a hostile selector can cause.
const SELECTOR_BYTES_MAX: usize = 64 << 10;

fn check_length(text: &str) -> Result<(), ParseSelectorError> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(ParseSelectorError::TooLong { max: SELECTOR_BYTES_MAX });
    }
    Ok(())
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
