//! Which texts Kubernetes takes as object names, namespaces, label keys and label values.

/// Why a text is no name. The words follow Kubernetes' own, so that people find them.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum NameFault {
    #[error("must not be empty")]
    Empty,
    #[error("must be no more than {max} characters")]
    TooLong { max: usize },
    #[error(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
         and must start and end with an alphanumeric character"
    )]
    NotSubdomain,
    #[error(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
         and must start and end with an alphanumeric character"
    )]
    NotDnsLabel,
    #[error(
        "name part must consist of alphanumeric characters, '-', '_' or '.', \
         and must start and end with an alphanumeric character"
    )]
    NotQualifiedName,
    #[error("prefix part must be a lowercase RFC 1123 subdomain")]
    NotPrefix,
    #[error(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
         and must start and end with an alphanumeric character"
    )]
    NotLabelValue,
}

const SUBDOMAIN_LENGTH_MAX: usize = 253;
const LABEL_LENGTH_MAX: usize = 63;

/// Checks the name of an object.
pub fn check_object_name(text: &str) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > SUBDOMAIN_LENGTH_MAX {
        return Err(NameFault::TooLong { max: SUBDOMAIN_LENGTH_MAX });
    }
    let legal = text.split('.').all(is_dns_label);
    if legal { Ok(()) } else { Err(NameFault::NotSubdomain) }
}

/// Checks the name of a namespace.
pub fn check_namespace(text: &str) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > LABEL_LENGTH_MAX {
        return Err(NameFault::TooLong { max: LABEL_LENGTH_MAX });
    }
    if is_dns_label(text) { Ok(()) } else { Err(NameFault::NotDnsLabel) }
}

/// Checks the key of a label: `[prefix/]name`.
pub fn check_label_key(text: &str) -> Result<(), NameFault> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            check_object_name(prefix).map_err(|_| NameFault::NotPrefix)?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.len() > LABEL_LENGTH_MAX {
        return Err(NameFault::TooLong { max: LABEL_LENGTH_MAX });
    }
    if is_qualified(name) { Ok(()) } else { Err(NameFault::NotQualifiedName) }
}

/// Checks the value of a label, which may be empty.
pub fn check_label_value(text: &str) -> Result<(), NameFault> {
    if text.len() > LABEL_LENGTH_MAX {
        return Err(NameFault::TooLong { max: LABEL_LENGTH_MAX });
    }
    if text.is_empty() || is_qualified(text) { Ok(()) } else { Err(NameFault::NotLabelValue) }
}

fn is_dns_label(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    plain && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let plain = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    plain && edge(bytes.first()) && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kubernetes_judges_them() {
        let long = "a".repeat(64);
        for (text, name, namespace, key, value) in [
            ("shop", true, true, true, true),
            ("shop.v1", true, false, true, true),
            ("Shop_1", false, false, true, true),
            ("", false, false, false, true),
            ("-a", false, false, false, false),
            ("a-", false, false, false, false),
            ("a..b", false, false, true, true),
            ("k10.kasten.io/appName", false, false, true, false),
            ("UPPER.io/appName", false, false, false, false),
            ("a/b/c", false, false, false, false),
            ("/b", false, false, false, false),
            (&long, true, false, false, false),
        ] {
            assert_eq!(check_object_name(text).is_ok(), name, "name {text}");
            assert_eq!(check_namespace(text).is_ok(), namespace, "namespace {text}");
            assert_eq!(check_label_key(text).is_ok(), key, "key {text}");
            assert_eq!(check_label_value(text).is_ok(), value, "value {text}");
        }
    }
}
