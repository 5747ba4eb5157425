//! Follows an object of ours until it has ended: a progress bar on a terminal, a line a change elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use keelson_model::ErrorClass;
use keelson_workload::{Cluster, Kind};
use serde_json::Value;

use crate::failure::{failed, refuse, refuse_with};
use crate::output::say;
use crate::signals::Ending;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The API may be away for a moment, at the switch of a recovery for instance.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// Waits until the object's `status.state` is one of the ends, and returns the object. Whoever asks the program to
/// end gets an error, so that whoever called removes what it made for itself alone.
pub(crate) async fn to_the_end(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    timeout: Duration,
) -> Result<Value> {
    let bar = progress_bar(name);
    let mut ending = Ending::listen();
    tokio::select! {
        ended = follow(cluster, kind, namespace, name, timeout, &bar) => ended,
        () = ending.asked() => {
            bar.finish_and_clear();
            Err(refuse_with(
                ErrorClass::Cancelled,
                format!("no longer waiting for {} '{name}': interrupted", kind.kind),
                "a run goes on without this command: kubectl shows how it ends",
            ))
        }
    }
}

async fn follow(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    timeout: Duration,
    bar: &ProgressBar,
) -> Result<Value> {
    let mut shown = String::new();
    let began = tokio::time::Instant::now();
    let mut away_since = None;
    loop {
        match cluster.read_object(kind, Some(namespace).filter(|name| !name.is_empty()), name).await {
            Ok(Some(object)) => {
                away_since = None;
                show(bar, &object, &mut shown);
                if is_ended(&object) {
                    bar.finish_and_clear();
                    return Ok(object);
                }
            }
            Ok(None) => {
                return Err(refuse(
                    ErrorClass::NotFound,
                    format!("{} '{name}' was deleted meanwhile", kind.kind),
                ));
            }
            Err(error) => {
                let since = *away_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > AWAY_MAX {
                    return Err(failed(error));
                }
            }
        }
        if began.elapsed() > timeout {
            let message = format!("{} '{name}' has not ended within {} s", kind.kind, timeout.as_secs());
            return Err(refuse(ErrorClass::Cancelled, message));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn progress_bar(name: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(100);
    let style =
        ProgressStyle::with_template("{prefix} [{bar:30}] {pos:>3}% {msg}").expect("a fixed template");
    bar.set_style(style);
    bar.set_prefix(name.to_owned());
    bar
}

fn show(bar: &ProgressBar, object: &Value, shown: &mut String) {
    let status = &object["status"];
    let phase = status["phase"].as_str().or(status["state"].as_str()).unwrap_or("Pending");
    bar.set_position(status["progress"].as_u64().unwrap_or(0));
    if phase != shown {
        phase.clone_into(shown);
        bar.set_message(phase.to_owned());
        if bar.is_hidden() {
            say(phase);
        }
    }
}

fn is_ended(object: &Value) -> bool {
    matches!(
        object["status"]["state"].as_str(),
        Some("Complete" | "Failed" | "Skipped" | "Cancelled" | "success" | "failed")
    )
}

/// The object's end as the command's: its message and a class.
pub(crate) fn check(object: &Value) -> Result<()> {
    let status = &object["status"];
    let message = || {
        let text = status["error"]["message"].as_str().or(status["error"].as_str());
        text.unwrap_or("no reason was recorded").to_owned()
    };
    match status["state"].as_str() {
        Some("Complete" | "success") => Ok(()),
        Some("Skipped") => Err(refuse(ErrorClass::Denied, message())),
        Some("Cancelled") => Err(refuse(ErrorClass::Cancelled, "it was cancelled")),
        _ => Err(refuse(class_of(status), message())),
    }
}

/// The server tells the class of a failure beside its message.
fn class_of(status: &Value) -> ErrorClass {
    match status["errorClass"].as_str().or(status["error"]["class"].as_str()) {
        Some("NotFound") => ErrorClass::NotFound,
        Some("Conflict") => ErrorClass::Conflict,
        Some("Denied") => ErrorClass::Denied,
        Some("Unavailable") => ErrorClass::Unavailable { retry_after: None },
        Some("Corrupt") => ErrorClass::Corrupt,
        Some("Cancelled") => ErrorClass::Cancelled,
        Some("Invalid") => ErrorClass::Invalid,
        _ => ErrorClass::Bug,
    }
}
