//! What a client asks for beside the object: the options of get, list, watch and create, parsed and checked.
//!
//! The rules are those of `k8s.io/apimachinery`; clients of Kubernetes rely on each of them.

use std::time::Duration;

use http::Uri;
use keelson_model::Revision;
use keelson_model::selector::{FieldSelector, LabelSelector, ParseSelectorError};
use keelson_resources::KindInfo;

use crate::continuation::Continuation;
use crate::limits::SELECTOR_BYTES_MAX;
use crate::parameters::Parameters;
use crate::refusal::{FieldError, Refusal};

/// Which objects of a kind are meant.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

/// How much of an object comes with each row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

/// How old a list or an object may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Nothing older than now. We never serve anything older, so `resourceVersion=0` means it too.
    Latest,
    NotOlderThan(Revision),
    Exactly(Revision),
}

#[derive(Debug)]
pub(crate) struct GetOptions {
    pub(crate) freshness: Freshness,
    pub(crate) include: IncludeObject,
}

#[derive(Debug)]
pub(crate) struct ListOptions {
    pub(crate) selection: Selection,
    pub(crate) freshness: Freshness,
    /// None is everything.
    pub(crate) limit: Option<usize>,
    pub(crate) resume: Option<Continuation>,
    pub(crate) include: IncludeObject,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchStart {
    /// All objects first, as additions; then what follows.
    Initial { not_older_than: Option<Revision>, end: InitialEnd },
    /// What happens from now on.
    Now,
    /// What happened after a version.
    After(Revision),
}

/// Whether a bookmark tells where the initial objects end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitialEnd {
    Marked,
    Unmarked,
}

#[derive(Debug)]
pub(crate) struct WatchOptions {
    pub(crate) selection: Selection,
    pub(crate) start: WatchStart,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) include: IncludeObject,
}

/// A GET without a name is one of two things.
#[derive(Debug)]
pub(crate) enum ReadOptions {
    List(ListOptions),
    Watch(WatchOptions),
}

/// What to do about fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// What goes with a create or a patch.
#[derive(Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

const LIST: &str = "ListOptions";

impl GetOptions {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let mut parameters = Parameters::parse("GetOptions", uri)?;
        let freshness = freshness(parameters.take_revision("resourceVersion"));
        let include = take_include(&mut parameters);
        parameters.finish()?;
        Ok(Self { freshness, include })
    }
}

impl ReadOptions {
    pub(crate) fn parse(kind: &KindInfo, uri: &Uri) -> Result<Self, Refusal> {
        let mut parameters = Parameters::parse(LIST, uri)?;
        let watch = parameters.take_switch("watch") == Some(true);
        let selection = take_selection(kind, &mut parameters)?;
        let include = take_include(&mut parameters);
        if watch {
            let (start, bookmarks) = take_watch_start(&mut parameters);
            let timeout = parameters.take_number("timeoutSeconds").filter(|seconds| *seconds > 0);
            parameters.finish()?;
            let timeout = timeout.map(Duration::from_secs);
            return Ok(Self::Watch(WatchOptions { selection, start, bookmarks, timeout, include }));
        }
        let (limit, resume) = take_page(&mut parameters)?;
        let freshness = take_list_freshness(&mut parameters, limit.is_some(), resume.is_some());
        // The time a list may take is bounded anyway, and bookmarks are a word to watches only.
        parameters.take_number("timeoutSeconds");
        parameters.take_switch("allowWatchBookmarks");
        parameters.finish()?;
        Ok(Self::List(ListOptions { selection, freshness, limit, resume, include }))
    }
}

impl WriteOptions {
    /// `options` is their type in Kubernetes' words: `CreateOptions`.
    pub(crate) fn parse(options: &'static str, uri: &Uri) -> Result<Self, Refusal> {
        let mut parameters = Parameters::parse(options, uri)?;
        let dry_run = take_dry_run(&mut parameters);
        let validation = match parameters.take_text("fieldValidation").as_deref() {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(_) => {
                let message = "supported values: \"Ignore\", \"Strict\", \"Warn\"";
                parameters.refuse(FieldError::unsupported("fieldValidation", message));
                FieldValidation::Strict
            }
        };
        // Nothing is ever applied to an object here, so nobody keeps field managers.
        parameters.take("fieldManager");
        parameters.finish()?;
        Ok(Self { dry_run, validation })
    }
}

/// Takes `dryRun`, of which Kubernetes knows one value.
pub(crate) fn take_dry_run(parameters: &mut Parameters) -> bool {
    let stages = parameters.take_all("dryRun");
    if let Some(error) = check_dry_run(&stages) {
        parameters.refuse(error);
    }
    !stages.is_empty()
}

pub(crate) fn check_dry_run(stages: &[String]) -> Option<FieldError> {
    let known = stages.iter().all(|stage| stage == "All");
    (!known).then(|| FieldError::unsupported("dryRun", "supported values: \"All\""))
}

pub(crate) fn take_selection(kind: &KindInfo, parameters: &mut Parameters) -> Result<Selection, Refusal> {
    let label_text = take_selector(parameters, "labelSelector")?;
    let field_text = take_selector(parameters, "fieldSelector")?;
    let wrong = |error: ParseSelectorError| Refusal::bad_request(error.to_string());
    let labels = LabelSelector::parse(&label_text).map_err(wrong)?;
    let fields = FieldSelector::parse(&field_text).map_err(wrong)?;
    if let Some(path) = fields.unsupported_path(kind.field_selectors) {
        return Err(Refusal::bad_request(format!("field label not supported: {path}")));
    }
    Ok(Selection { labels, fields })
}

/// What a deletecollection means, and how many of it at most.
pub(crate) fn take_collection(
    kind: &KindInfo,
    parameters: &mut Parameters,
) -> Result<(Selection, Option<usize>), Refusal> {
    let selection = take_selection(kind, parameters)?;
    // Clients send them as they do with a list; neither means anything here. A request ends when its caller gives up.
    for name in ["timeoutSeconds", "resourceVersion", "resourceVersionMatch"] {
        parameters.take(name);
    }
    let limit = parameters.take_number("limit").filter(|limit| *limit > 0);
    Ok((selection, limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))))
}

fn take_selector(parameters: &mut Parameters, name: &str) -> Result<String, Refusal> {
    let text = parameters.take(name).unwrap_or_default();
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(Refusal::bad_request(format!("{name} is longer than {SELECTOR_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn take_include(parameters: &mut Parameters) -> IncludeObject {
    match parameters.take_text("includeObject").as_deref() {
        None | Some("Metadata") => IncludeObject::Metadata,
        Some("None") => IncludeObject::None,
        Some("Object") => IncludeObject::Object,
        Some(_) => {
            let message = "supported values: \"None\", \"Metadata\", \"Object\"";
            parameters.refuse(FieldError::unsupported("includeObject", message));
            IncludeObject::Metadata
        }
    }
}

/// `0` asks for any version, and every version that we serve is the latest.
fn freshness(revision: Option<Revision>) -> Freshness {
    match revision {
        Some(revision) if revision.as_u64() > 0 => Freshness::NotOlderThan(revision),
        _ => Freshness::Latest,
    }
}

/// `is_limited` and `is_continued` say whether the list is one page of several.
fn take_list_freshness(parameters: &mut Parameters, is_limited: bool, is_continued: bool) -> Freshness {
    let given = parameters.has("resourceVersion");
    let revision = parameters.take_revision("resourceVersion");
    if parameters.take("sendInitialEvents").is_some() {
        let message = "sendInitialEvents is forbidden for list";
        parameters.refuse(FieldError::forbidden("sendInitialEvents", message));
    }
    let Some(rule) = parameters.take_text("resourceVersionMatch") else {
        // A page of a version is of that version and no later one.
        return match revision {
            Some(revision) if revision.as_u64() > 0 && is_limited => Freshness::Exactly(revision),
            _ => freshness(revision),
        };
    };
    let forbid = |message: &str| FieldError::forbidden("resourceVersionMatch", message);
    if !given {
        parameters.refuse(forbid("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if is_continued {
        parameters.refuse(forbid("resourceVersionMatch is forbidden when continue is provided"));
    }
    match (rule.as_str(), revision) {
        ("NotOlderThan", _) => freshness(revision),
        ("Exact", Some(revision)) if revision.as_u64() > 0 => Freshness::Exactly(revision),
        ("Exact", _) => {
            parameters
                .refuse(forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            Freshness::Latest
        }
        _ => {
            let message = "supported values: \"Exact\", \"NotOlderThan\"";
            parameters.refuse(FieldError::unsupported("resourceVersionMatch", message));
            Freshness::Latest
        }
    }
}

fn take_page(parameters: &mut Parameters) -> Result<(Option<usize>, Option<Continuation>), Refusal> {
    let limit = parameters.take_number("limit").filter(|limit| *limit > 0);
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let resume = match parameters.take_text("continue") {
        None => None,
        Some(token) => Some(Continuation::parse(&token)?),
    };
    Ok((limit, resume))
}

/// Where a watch begins, and whether it wants bookmarks.
fn take_watch_start(parameters: &mut Parameters) -> (WatchStart, bool) {
    let bookmarks = parameters.take_switch("allowWatchBookmarks") == Some(true);
    let revision = parameters.take_revision("resourceVersion").filter(|revision| revision.as_u64() > 0);
    let initial = parameters.take_switch("sendInitialEvents");
    let rule = parameters.take_text("resourceVersionMatch");
    check_watch_rule(parameters, initial, rule.as_deref());
    let end = if bookmarks { InitialEnd::Marked } else { InitialEnd::Unmarked };
    let start = match (initial, revision) {
        (Some(true), not_older_than) => WatchStart::Initial { not_older_than, end },
        (None, None) => WatchStart::Initial { not_older_than: None, end: InitialEnd::Unmarked },
        (Some(false), None) => WatchStart::Now,
        (_, Some(revision)) => WatchStart::After(revision),
    };
    (start, bookmarks)
}

fn check_watch_rule(parameters: &mut Parameters, initial: Option<bool>, rule: Option<&str>) {
    let forbid = |message: &str| FieldError::forbidden("resourceVersionMatch", message);
    match (initial, rule) {
        (None, None) | (Some(_), Some("NotOlderThan")) => {}
        (Some(_), None) => {
            parameters
                .refuse(forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        (None, Some(_)) => {
            parameters.refuse(forbid(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        (Some(_), Some(_)) => {
            let message = "supported values: \"NotOlderThan\"";
            parameters.refuse(FieldError::unsupported("resourceVersionMatch", message));
        }
    }
}

#[cfg(test)]
mod tests;
