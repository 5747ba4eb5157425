//! What a request is aimed at: its path and method, read exactly as the API server reads them.
//!
//! The API server authorizes by its own reading of the path before it hands a request on. Wherever the two readings
//! could differ, the request is refused.

use http::{Method, Uri};
use keelson_model::naming::{check_namespace, check_object_name};
use keelson_resources::{KINDS, KindInfo, Verb};

use crate::refusal::Refusal;

/// What a path means.
#[derive(Debug, Clone)]
pub(crate) enum Target<'a> {
    Published(Published<'a>),
    Objects(ObjectPath<'a>),
}

/// What everybody may read: health, discovery, schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published<'a> {
    Alive,
    Ready,
    Version,
    Groups,
    Group(&'a str),
    Resources { group: &'a str, version: &'a str },
    OpenApiV2,
    OpenApiIndex,
    OpenApi { group: &'a str, version: &'a str },
}

/// A path that names a kind, and perhaps one object of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectPath<'a> {
    pub(crate) kind: &'static KindInfo,
    /// None for cluster-scoped kinds, and for a list over all namespaces.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) details: bool,
}

/// What is to be done to the objects of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Details,
    /// A list or a watch; the query decides.
    Read,
    Create,
    Patch,
    Delete,
    DeleteCollection,
}

impl Operation {
    pub(crate) fn is_write(self) -> bool {
        match self {
            Self::Create | Self::Patch | Self::Delete | Self::DeleteCollection => true,
            Self::Get | Self::Details | Self::Read => false,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get | Self::Details => "get",
            Self::Read => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl<'a> Target<'a> {
    pub(crate) fn parse(uri: &'a Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        // No legal segment of ours needs escaping, so an escaped path is somebody's second reading.
        if path.contains('%') || !path.starts_with('/') {
            return Err(Refusal::no_such_path());
        }
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = trimmed.split('/').collect();
        let published = match segments.as_slice() {
            ["healthz" | "livez"] => Published::Alive,
            ["readyz"] => Published::Ready,
            ["version"] => Published::Version,
            ["apis"] => Published::Groups,
            ["openapi", "v2"] => Published::OpenApiV2,
            ["openapi", "v3"] => Published::OpenApiIndex,
            ["openapi", "v3", "apis", group, version] => Published::OpenApi { group, version },
            ["apis", group] => Published::Group(group),
            ["apis", group, version] => Published::Resources { group, version },
            ["apis", group, version, rest @ ..] => {
                return parse_objects(group, version, rest).map(Self::Objects);
            }
            _ => return Err(Refusal::no_such_path()),
        };
        Ok(Self::Published(published))
    }
}

fn parse_objects<'a>(group: &str, version: &str, rest: &[&'a str]) -> Result<ObjectPath<'a>, Refusal> {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (plural, name, details) = match rest {
        [plural] => (*plural, None, false),
        [plural, name] => (*plural, Some(*name), false),
        [plural, name, "details"] => (*plural, Some(*name), true),
        _ => return Err(Refusal::no_such_path()),
    };
    let kind = KINDS
        .iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
        .ok_or_else(Refusal::no_such_path)?;
    let legal_names = namespace.is_none_or(|namespace| check_namespace(namespace).is_ok())
        && name.is_none_or(|name| check_object_name(name).is_ok());
    let in_scope =
        if kind.is_namespaced() { namespace.is_some() || name.is_none() } else { namespace.is_none() };
    if !legal_names || !in_scope || (details && !kind.details) {
        return Err(Refusal::no_such_path());
    }
    Ok(ObjectPath { kind, namespace, name, details })
}

impl ObjectPath<'_> {
    /// The operation that a method stands for, if the kind has it.
    pub(crate) fn operation(&self, method: &Method) -> Result<Operation, Refusal> {
        let operation = match (method, self.name.is_some(), self.details) {
            (&Method::GET, true, true) => Operation::Details,
            (&Method::GET, true, false) => Operation::Get,
            (&Method::GET, false, _) => Operation::Read,
            (&Method::POST, false, _) => Operation::Create,
            (&Method::PATCH, true, false) => Operation::Patch,
            (&Method::DELETE, true, false) => Operation::Delete,
            (&Method::DELETE, false, _) => Operation::DeleteCollection,
            _ => return Err(self.refuse_method(method)),
        };
        let everywhere = self.namespace.is_none() && self.kind.is_namespaced();
        if !self.allows(operation) || (operation.is_write() && everywhere) {
            return Err(self.refuse_method(method));
        }
        Ok(operation)
    }

    fn allows(&self, operation: Operation) -> bool {
        let verb = match operation {
            Operation::Get | Operation::Details => Verb::Get,
            Operation::Read => Verb::List,
            Operation::Create => Verb::Create,
            Operation::Patch => Verb::Patch,
            Operation::Delete => Verb::Delete,
            Operation::DeleteCollection => Verb::DeleteCollection,
        };
        self.kind.allows(verb)
    }

    fn refuse_method(&self, method: &Method) -> Refusal {
        let what = format!("{}.{}", self.kind.plural, self.kind.group);
        let is_change = matches!(*method, Method::PUT | Method::PATCH) && !self.details;
        let why = if is_change && self.kind.allows(Verb::Patch) {
            format!("{what} cannot be replaced: change spec by a merge patch of one object")
        } else if is_change {
            format!("{what} cannot be changed once created: delete the object and create another")
        } else {
            format!("the server does not allow {method} on {what} here")
        };
        Refusal::method_not_allowed(why)
    }
}
