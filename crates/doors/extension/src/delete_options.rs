//! The options of a deletion, which come in the query or in a body. The two are never mixed: a body decides alone.

use http::Uri;
use keelson_model::Revision;
use keelson_protection::requests::Preconditions;
use serde::Deserialize;

use crate::body::Decoded;
use crate::options::{check_dry_run, take_dry_run};
use crate::parameters::Parameters;
use crate::refusal::{FieldError, Refusal};

const OPTIONS: &str = "DeleteOptions";

#[derive(Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) preconditions: Preconditions,
}

/// `metav1.DeleteOptions`. Objects here have no dependents of their own, so every policy comes to the same.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    kind: Option<String>,
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    grace_period_seconds: Option<i64>,
    preconditions: Option<BodyPreconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    #[serde(default)]
    dry_run: Vec<String>,
    ignore_store_read_error_with_cluster_breaking_potential: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BodyPreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// Takes the options of one deletion.
pub(crate) fn parse_delete(uri: &Uri, body: Option<Decoded>) -> Result<DeleteOptions, Refusal> {
    let mut parameters = Parameters::parse(OPTIONS, uri)?;
    let options = take_delete(&mut parameters, body)?;
    parameters.finish()?;
    Ok(options)
}

/// Takes the options of a deletion from what is left of a query.
pub(crate) fn take_delete(
    parameters: &mut Parameters,
    body: Option<Decoded>,
) -> Result<DeleteOptions, Refusal> {
    let query = take_query(parameters);
    let body = body.map_or(Ok(query), parse_body)?;
    let mut preconditions = Preconditions::default();
    if let Some(asked) = &body.preconditions {
        preconditions.uid.clone_from(&asked.uid);
        preconditions.revision = asked.resource_version.as_deref().map(parse_revision).transpose()?;
    }
    for error in check(&body) {
        parameters.refuse(error);
    }
    Ok(DeleteOptions { dry_run: !body.dry_run.is_empty(), preconditions })
}

fn take_query(parameters: &mut Parameters) -> Body {
    let dry_run = if take_dry_run(parameters) { vec!["All".to_owned()] } else { Vec::new() };
    Body {
        dry_run,
        grace_period_seconds: parameters
            .take_number("gracePeriodSeconds")
            .and_then(|n| i64::try_from(n).ok()),
        orphan_dependents: parameters.take_switch("orphanDependents"),
        propagation_policy: parameters.take_text("propagationPolicy"),
        ignore_store_read_error_with_cluster_breaking_potential: parameters
            .take_switch("ignoreStoreReadErrorWithClusterBreakingPotential"),
        ..Body::default()
    }
}

fn parse_body(decoded: Decoded) -> Result<Body, Refusal> {
    let body = Body::deserialize(decoded.value)
        .map_err(|error| Refusal::bad_request(format!("the body is no DeleteOptions: {error}")))?;
    if body.kind.as_deref().is_some_and(|kind| kind != OPTIONS) {
        return Err(Refusal::bad_request("the body of a deletion must be DeleteOptions"));
    }
    Ok(body)
}

/// A version that is not ours fits no object, which is a conflict and no mistake.
fn parse_revision(text: &str) -> Result<Revision, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request(format!("'{text}' is not a resource version")))
}

fn check(body: &Body) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = check_dry_run(&body.dry_run).into_iter().collect();
    if body.grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        errors.push(FieldError::invalid("gracePeriodSeconds", "must be greater than or equal to 0"));
    }
    match body.propagation_policy.as_deref() {
        None | Some("Background" | "Foreground" | "Orphan") => {}
        Some(_) => {
            let message = "supported values: \"Background\", \"Foreground\", \"Orphan\"";
            errors.push(FieldError::unsupported("propagationPolicy", message));
        }
    }
    if body.propagation_policy.is_some() && body.orphan_dependents.is_some() {
        let message = "orphanDependents and propagationPolicy cannot be both set";
        errors.push(FieldError::forbidden("propagationPolicy", message));
    }
    if body.ignore_store_read_error_with_cluster_breaking_potential == Some(true) {
        let field = "ignoreStoreReadErrorWithClusterBreakingPotential";
        errors.push(FieldError::unsupported(field, "this server reads what it deletes"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Format, decode_alone};

    fn parse(query: &str, body: &str) -> Result<DeleteOptions, Refusal> {
        let uri = format!("/apis?{query}").parse().expect("a test's own query");
        let body = (!body.is_empty()).then(|| decode_alone(Format::Json, body.as_bytes())).transpose()?;
        parse_delete(&uri, body)
    }

    #[test]
    fn every_propagation_policy_is_taken() {
        for policy in ["Background", "Foreground", "Orphan"] {
            assert!(parse(&format!("propagationPolicy={policy}"), "").is_ok(), "{policy}");
            let body =
                format!(r#"{{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"{policy}"}}"#);
            assert!(parse("", &body).is_ok(), "{policy}");
        }
    }

    #[test]
    fn preconditions_are_read_from_the_body() {
        let options =
            parse("", r#"{"preconditions":{"uid":"u","resourceVersion":"7"},"dryRun":["All"]}"#).unwrap();
        assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
        assert_eq!(options.preconditions.revision.map(Revision::as_u64), Some(7));
        assert!(options.dry_run);
    }

    #[test]
    fn what_we_cannot_do_is_refused() {
        for (query, body) in [
            ("propagationPolicy=Soon", ""),
            ("gracePeriodSeconds=-1", ""),
            ("dryRun=Half", ""),
            ("", r#"{"kind":"Pod"}"#),
            ("", r#"{"unknown":1}"#),
            ("", r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#),
            ("", r#"{"ignoreStoreReadErrorWithClusterBreakingPotential":true}"#),
            ("", "{"),
        ] {
            assert!(parse(query, body).is_err(), "{query} {body}");
        }
    }
}
