//! Follows an object of ours until it has ended: a progress bar on a terminal, a line a change elsewhere, and one from time
//! to time where nothing changes.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_workload::{Cluster, Kind, RequestError};
use serde_json::Value;
use tokio::time::Instant;

use crate::failure::{failed, gave_up, interrupted, partly_done, refuse};
use crate::output::say;
use crate::signals::Ending;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Of a server that does not answer more is not asked. Each look waits for some seconds by itself.
const LOOK_AWAY_MAX: Duration = Duration::from_secs(10);
/// The API may be away for a moment, at the switch of a recovery for instance.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Whoever reads a log wants to know that it goes on.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How long somebody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the end.
    within: Duration,
    /// For a server that cannot be reached meanwhile.
    away_max: Duration,
}

impl Patience {
    /// Whatever becomes of the server within that time.
    pub(crate) fn throughout(within: Duration) -> Self {
        Self { within, away_max: within }
    }
}

impl From<Duration> for Patience {
    fn from(within: Duration) -> Self {
        Self { within, away_max: AWAY_MAX }
    }
}

/// Waits until the object's `status.state` is one of the ends, and returns the object. Whoever asks the program to
/// end gets an error, so that whoever called removes what it made for itself alone.
pub(crate) async fn to_the_end(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    patience: impl Into<Patience>,
) -> Result<Value> {
    until_asked(&mut Ending::listen(), cluster, kind, (namespace, name), patience.into()).await
}

/// The same for who listens already.
pub(crate) async fn until_asked(
    ending: &mut Ending,
    cluster: &Cluster,
    kind: &Kind,
    (namespace, name): (&str, &str),
    patience: Patience,
) -> Result<Value> {
    let mut shown = Shown::new(name);
    tokio::select! {
        ended = follow(cluster, kind, (namespace, name), patience, &mut shown) => ended,
        () = ending.asked() => Err(interrupted(
            format!("no longer waiting for {} '{name}': interrupted", kind.kind),
            Some("a run goes on without this command: kubectl shows how it ends"),
        )),
    }
}

/// Does what comes before there is anything to follow, unless somebody asks the program to end.
pub(crate) async fn unless_asked<T>(ending: &mut Ending, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = ending.asked() => Err(interrupted(
            "interrupted",
            Some("what was asked for by then goes on without this command: kubectl shows how it ends"),
        )),
    }
}

async fn follow(
    cluster: &Cluster,
    kind: &Kind,
    (namespace, name): (&str, &str),
    patience: Patience,
    shown: &mut Shown,
) -> Result<Value> {
    let namespace = Some(namespace).filter(|name| !name.is_empty());
    let (began, mut away_since, mut pause) = (Instant::now(), None, LOOK_EVERY);
    loop {
        match look(cluster, kind, namespace, name).await {
            Ok(Some(object)) => {
                (away_since, pause) = (None, LOOK_EVERY);
                shown.show(&object);
                if is_ended(&object) {
                    return Ok(object);
                }
            }
            Ok(None) => {
                let message = format!("{} '{name}' was deleted meanwhile", kind.kind);
                return Err(refuse(ErrorClass::NotFound, message));
            }
            Err(error) => {
                if away_since.is_none() {
                    shown.tell(&format!("the API does not answer, it is asked again: {}", Chain(&error)));
                }
                let since = *away_since.get_or_insert_with(Instant::now);
                // What nobody serves now somebody has served: the object was made there.
                let is_away = matches!(error.class(), ErrorClass::Unavailable { .. } | ErrorClass::NotFound);
                let away_max = if is_away { patience.away_max } else { AWAY_MAX };
                if since.elapsed() > away_max {
                    return Err(failed(error));
                }
                pause = (pause * 2).min(LOOK_AWAY_MAX);
            }
        }
        if began.elapsed() > patience.within {
            let message =
                format!("{} '{name}' has not ended within {} s", kind.kind, patience.within.as_secs());
            return Err(gave_up(message));
        }
        tokio::time::sleep(pause).await;
    }
}

/// The object; none where it was deleted. Where nobody serves its kind, as when the guard has taken the registration of a
/// platform away that does not come back for minutes, a read answers as if it were. A list tells the two apart.
async fn look(
    cluster: &Cluster,
    kind: &Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, RequestError> {
    if let Some(object) = cluster.read_object(kind, namespace, name).await? {
        return Ok(Some(object));
    }
    match cluster.list_objects(kind, namespace, None).await {
        Ok(objects) => Ok(objects.into_iter().find(|object| object["metadata"]["name"] == name)),
        // Whoever may not list has to believe it.
        Err(error) if error.class() == ErrorClass::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a person sees of it. The bar goes with it.
struct Shown {
    bar: ProgressBar,
    phase: String,
    since: Instant,
    told: Instant,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Shown {
    fn new(name: &str) -> Self {
        let now = Instant::now();
        Self { bar: progress_bar(name), phase: String::new(), since: now, told: now }
    }

    fn show(&mut self, object: &Value) {
        let status = &object["status"];
        let phase = status["phase"].as_str().or(status["state"].as_str()).unwrap_or("Pending");
        self.bar.set_position(status["progress"].as_u64().unwrap_or(0));
        if phase != self.phase {
            phase.clone_into(&mut self.phase);
            self.since = Instant::now();
            self.tell(phase);
        } else if self.told.elapsed() >= TELL_EVERY && !is_ended(object) {
            self.tell(&format!("{phase}: for {} s by now", self.since.elapsed().as_secs()));
        }
    }

    fn tell(&mut self, text: &str) {
        self.told = Instant::now();
        self.bar.set_message(text.to_owned());
        if self.bar.is_hidden() {
            say(text);
        }
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

/// Whether the object has come to an end, whichever.
pub(crate) fn is_ended(object: &Value) -> bool {
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
        _ if status["partlyDone"] == true => Err(partly_done(class_of(status), message())),
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
