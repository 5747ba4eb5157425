//! `dr restore`: makes a KastenDRRestore, or finds the one that the same request has made, and follows it to its end. It is
//! what the Job of the restore chart runs.
//!
//! The restore goes on by itself: whoever follows it may be ended, evicted or lose the API server, and comes back by the id
//! of the request.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use keelson_model::names::{OWNERSHIP_CONFIG_MAP, annotation};
use keelson_model::skip::SkipResources;
use keelson_model::{Clock, ErrorClass};
use keelson_protection::random_suffix;
use keelson_resources::k10restore::{self, ASKED_ANNOTATION};
use keelson_resources::recovery::{LEFT_AFTER_END, is_left};
use keelson_workload::{Cluster, Creation};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::recover::{REVIEW_WITHIN, create_review, remove_review, tell_warnings};
use super::{GRACE, RestoreArguments, kind, restore_kind, review_kind};
use crate::arguments::Common;
use crate::clock::SystemClock;
use crate::failure::{failed, may_go_on, refuse_with, told};
use crate::follow::{self, Patience};
use crate::output::{data, say};
use crate::signals::Ending;
use crate::termination;

const RECOVERED: &str = "the platform is recovered";
/// An operator that runs tells of an end within seconds.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(5);

/// Who asks, and for which name.
pub(super) struct Asking {
    name: Option<String>,
    /// Told from every other.
    request: String,
}

impl Asking {
    /// Somebody who has not asked before.
    pub(super) fn anew() -> Self {
        Self { name: None, request: format!("command-{}", random_suffix()) }
    }

    fn of(name: Option<String>, request: Option<String>) -> Self {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let Self { request: own, .. } = Self::anew();
        Self { name: given(name), request: given(request).unwrap_or(own) }
    }
}

/// What a KastenDRRestore that is there already means to who asks.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// The same request has made it.
    Ours,
    /// It makes room.
    Ended,
    Runs,
}

/// Its last word goes to the termination message, too.
pub(super) async fn restore(arguments: RestoreArguments) -> Result<()> {
    let log = arguments.termination_log.clone();
    let ended = run(arguments).await;
    if let Some(file) = log {
        let message = ended.as_ref().map_or_else(told, String::clone);
        termination::write(&file, &message);
    }
    ended.map(drop)
}

/// Returns what is to be said of a restore that has gone well.
async fn run(arguments: RestoreArguments) -> Result<String> {
    let ending = &mut Ending::listen();
    let wish = wish(&arguments)?;
    let RestoreArguments { moment, point, timeout, name, request, .. } = arguments;
    let common = &moment.source.common;
    let preparing = async { anyhow::Ok((common.cluster().await?, moment.spec().await?)) };
    let (cluster, mut spec) = follow::unless_asked(ending, preparing).await?;
    let asking = Asking::of(name, request);
    let is_begun = follow::unless_asked(ending, is_begun(&cluster, &common.namespace, &asking)).await?;
    let mut review = None;
    // One that is there has its review.
    if let Some(point) = point.filter(|_| !is_begun) {
        let name = find_point(ending, &cluster, &common.namespace, spec.clone()).await?;
        let reference = json!({ "name": name, "namespace": common.namespace });
        spec["kastenDRReviewDetails"] = json!({ "kastenDRReviewRef": reference, "id": point });
        spec.as_object_mut().and_then(|spec| spec.remove("sourceClusterInfo"));
        review = Some(name);
    }
    for (field, value) in wish.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let restored = follow_restore(ending, &cluster, common, &asking, (spec, timeout)).await;
    // A restore that goes on without us may ask for its review again.
    let goes_on = restored.as_ref().is_err_and(may_go_on);
    if let Some(review) = review.filter(|_| !goes_on) {
        remove_review(&cluster, &common.namespace, &review).await;
    }
    let restored = restored?;
    print(common, &restored, RECOVERED);
    Ok(last_word(&common.namespace, &restored["status"], RECOVERED))
}

/// All that is asked for besides the place and the moment.
fn wish(arguments: &RestoreArguments) -> Result<Value> {
    let RestoreArguments { replace_catalog, accept_rollback, timeout, .. } = arguments;
    let mut wish = json!({
        "timeoutMinutes": timeout, "replaceCatalog": replace_catalog, "acceptRollback": accept_rollback,
    });
    if let Some(skip) = arguments.skip_resource.as_deref() {
        // Before anything is looked for.
        let skip = skip.parse::<SkipResources>().map_err(failed)?;
        wish["skipResources"] = json!(skip.to_string());
    }
    for (flag, field) in
        [(arguments.quick_mode, "enabled"), (arguments.override_resources, "overrideResources")]
    {
        if flag {
            wish["quickMode"][field] = json!(true);
        }
    }
    Ok(wish)
}

/// A review that has found the restore points of the source.
async fn find_point(ending: &mut Ending, cluster: &Cluster, namespace: &str, spec: Value) -> Result<String> {
    let kind = review_kind();
    let name = follow::unless_asked(ending, create_review(cluster, namespace, spec)).await?;
    let ended = follow::until_asked(ending, cluster, &kind, (namespace, &name), REVIEW_WITHIN.into()).await;
    if let Err(error) = ended.and_then(|ended| follow::check(&ended)) {
        remove_review(cluster, namespace, &name).await;
        return Err(error);
    }
    Ok(name)
}

/// Makes a KastenDRRestore, or finds that of the same request, and follows it to its end.
pub(super) async fn follow_restore(
    ending: &mut Ending,
    cluster: &Cluster,
    common: &Common,
    asking: &Asking,
    (spec, minutes): (Value, u64),
) -> Result<Value> {
    let namespace = common.namespace.as_str();
    let within = Duration::from_secs(minutes.saturating_mul(60));
    let name = follow::unless_asked(ending, begin(cluster, namespace, asking, (spec, within))).await?;
    let patience = Patience::throughout(within.saturating_add(GRACE));
    let ended = follow::until_asked(ending, cluster, &restore_kind(), (namespace, &name), patience).await?;
    follow::check(&ended)?;
    Ok(ended)
}

/// All that are there. A platform that was installed a moment ago is not served yet: a Job asks again.
async fn list(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>> {
    let listed = cluster.list_objects(&restore_kind(), Some(namespace), None).await;
    listed.map_err(|error| {
        if error.refusal().is_none_or(|refusal| refusal.status != 404) {
            return failed(error);
        }
        refuse_with(
            ErrorClass::Unavailable { retry_after: None },
            format!(
                "the platform is not installed here: nobody serves KastenDRRestores; namespace '{namespace}'"
            ),
            format!(
                "kubectl get pods --namespace {namespace} --selector component=crypto shows whether it runs"
            ),
        )
    })
}

async fn is_begun(cluster: &Cluster, namespace: &str, asking: &Asking) -> Result<bool> {
    let found = list(cluster, namespace).await?;
    Ok(found.iter().any(|object| standing(object, asking) == Standing::Ours))
}

/// The name of the one to follow.
async fn begin(
    cluster: &Cluster,
    namespace: &str,
    asking: &Asking,
    (spec, within): (Value, Duration),
) -> Result<String> {
    let kind = restore_kind();
    if let Some(name) = make_room(cluster, namespace, asking, within).await? {
        say(&format!("going on with {} '{name}', which was asked for before", kind.kind));
        return Ok(name);
    }
    let name = asking.name.clone().unwrap_or_else(|| format!("restore-{}", random_suffix()));
    let mut object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "spec": spec,
        "metadata": { "name": name, "namespace": namespace, "annotations": {} },
    });
    object["metadata"]["annotations"][annotation::REQUEST] = json!(asking.request);
    if let Creation::Created(_) = cluster.create_object(&kind, &object).await.map_err(failed)? {
        return Ok(name);
    }
    // What was sent again may have arrived the first time.
    let found = cluster.read_object(&kind, Some(namespace), &name).await.map_err(failed)?;
    match found.unwrap_or_default() {
        found if standing(&found, asking) == Standing::Ours => Ok(name),
        found => Err(started_twice(namespace, &found)),
    }
}

/// Removes what has ended, unless somebody else has still to see how. The name of the one that the same request has made.
async fn make_room(
    cluster: &Cluster,
    namespace: &str,
    asking: &Asking,
    within: Duration,
) -> Result<Option<String>> {
    let (kind, began, mut waited_for) = (restore_kind(), Instant::now(), None);
    loop {
        let mut left = None;
        for object in list(cluster, namespace).await? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            match standing(&object, asking) {
                Standing::Ours => return Ok(Some(name)),
                Standing::Runs => return Err(started_twice(namespace, &object)),
                Standing::Ended if is_to_be_told(cluster, namespace, &object).await => left = Some(name),
                Standing::Ended => {
                    cluster.delete_object(&kind, Some(namespace), &name).await.map_err(failed)?;
                }
            }
        }
        let Some(name) = left else { return Ok(None) };
        let waits = format!("{} '{name}' is left until its K10restore has told how it ended", kind.kind);
        if began.elapsed() >= within {
            let hint = format!("the same again, {} s after that has ended", LEFT_AFTER_END.as_secs());
            return Err(refuse_with(ErrorClass::Cancelled, waits, hint));
        }
        if waited_for.as_ref() != Some(&name) {
            say(&waits);
            waited_for = Some(name);
        }
        tokio::time::sleep(LOOK_FOR_ROOM).await;
    }
}

/// Whether the operator has still to tell in a K10restore how its restore ended.
async fn is_to_be_told(cluster: &Cluster, namespace: &str, ended: &Value) -> bool {
    let Some(asked) = asked_by(ended, SystemClock.now()) else { return false };
    let kind = kind(k10restore::GROUP, k10restore::KIND, k10restore::PLURAL);
    match cluster.read_object(&kind, Some(namespace), asked).await {
        Ok(found) => found.is_some_and(|found| !has_told(&found, ended)),
        // A Job has no right to look: it waits as long as the operator has time.
        Err(_) => true,
    }
}

/// The K10restore that it was made for, for as long as it is left to that. Pure.
fn asked_by(ended: &Value, now: Timestamp) -> Option<&str> {
    let end = ended["status"]["endTime"].as_str()?.parse::<Timestamp>().ok()?;
    ended["metadata"]["annotations"][ASKED_ANNOTATION].as_str().filter(|_| is_left(end, now))
}

/// Whether a K10restore tells of this end, or is another one of that name. Pure.
fn has_told(asked: &Value, ended: &Value) -> bool {
    let (told, metadata) = (&asked["status"]["restore"], &ended["metadata"]);
    let is_another = asked["metadata"]["uid"] != metadata["annotations"][annotation::REQUEST];
    is_another || (&told["uid"], &told["state"]) == (&metadata["uid"], &ended["status"]["state"])
}

/// Pure.
fn standing(object: &Value, asking: &Asking) -> Standing {
    let metadata = &object["metadata"];
    let is_named = asking.name.as_deref().is_none_or(|name| metadata["name"] == name);
    let is_same = is_named && metadata["annotations"][annotation::REQUEST] == asking.request.as_str();
    // A Job that tries once more means it.
    let status = &object["status"];
    let may_go_well = status["errorClass"] == "Unavailable" || status["partlyDone"] == true;
    if is_same && !(status["state"] == "failed" && may_go_well) {
        return Standing::Ours;
    }
    if follow::is_ended(object) { Standing::Ended } else { Standing::Runs }
}

fn started_twice(namespace: &str, object: &Value) -> anyhow::Error {
    let kind = restore_kind().kind;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let asked = object["metadata"]["annotations"][annotation::REQUEST].as_str();
    let asked = asked.map(|by| format!(" (asked for by '{by}')")).unwrap_or_default();
    refuse_with(
        ErrorClass::Conflict,
        format!("{kind} '{name}' exists already{asked} and has not ended: the restore was started twice"),
        format!(
            "kubectl get kastendrrestore {name} --namespace {namespace} --watch shows how it goes; it ends by itself"
        ),
    )
}

/// The result, for people or programs.
pub(super) fn print(common: &Common, restored: &Value, outcome: &str) {
    tell_warnings(restored);
    for step in restored["status"]["steps"].as_array().into_iter().flatten() {
        let (name, seconds) = (step["name"].as_str().unwrap_or_default(), step["seconds"].as_f64());
        say(&format!("step {name}: {:.1} s", seconds.unwrap_or_default()));
    }
    data(common.output, &restored["status"], |status| {
        let mut lines = what_came_back(status);
        lines.extend(notes(status));
        lines.push(outcome.to_owned());
        lines.push(to_own(&common.namespace));
        lines.join("\n")
    });
}

/// What matters most comes first: it may be cut.
fn last_word(namespace: &str, status: &Value, outcome: &str) -> String {
    let mut lines = vec![outcome.to_owned(), to_own(namespace)];
    lines.extend(what_came_back(status));
    lines.extend(notes(status));
    lines.join("\n")
}

fn to_own(namespace: &str) -> String {
    format!(
        "when no other instance uses the same backups: kubectl delete configmap --namespace={namespace} \
         {OWNERSHIP_CONFIG_MAP}"
    )
}

fn notes(status: &Value) -> impl Iterator<Item = String> + '_ {
    let notes = status["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    notes.map(|note| format!("note: {note}"))
}

/// The restore point, and by the count of its newest base what it holds.
fn what_came_back(status: &Value) -> Vec<String> {
    let text = |field: &str| status[field].as_str().unwrap_or("?");
    let mut lines = vec![format!(
        "restore point {} of cluster {}, in generation {}",
        text("restorePoint"),
        text("sourceClusterID"),
        status["generation"]
    )];
    let counts = status["recovered"]["counts"].as_object().into_iter().flatten();
    let counts = counts.map(|(kind, count)| format!("{count} {}", kind.split('.').next().unwrap_or(kind)));
    let counts: Vec<_> = counts.collect();
    if !counts.is_empty() {
        lines.push(format!("it holds, by its last count, {}", counts.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, request: &str, state: &str) -> Value {
        let mut object =
            json!({ "metadata": { "name": name, "annotations": {} }, "status": { "state": state } });
        object["metadata"]["annotations"][annotation::REQUEST] = json!(request);
        object
    }

    #[test]
    fn a_restore_of_the_same_request_is_followed_an_ended_one_makes_room_and_a_running_one_refuses() {
        let job = |name: Option<&str>| Asking::of(name.map(str::to_owned), Some("uid-1".to_owned()));
        for (name, request, state, expected) in [
            ("k10-restore", "uid-1", "running", Standing::Ours),
            ("k10-restore", "uid-1", "failed", Standing::Ours),
            ("k10-restore", "uid-1", "success", Standing::Ours),
            ("k10-restore", "uid-2", "success", Standing::Ended),
            ("k10-restore", "uid-2", "failed", Standing::Ended),
            ("k10-restore", "uid-2", "running", Standing::Runs),
            ("another", "uid-1", "none", Standing::Runs),
        ] {
            let found = object(name, request, state);
            assert_eq!(standing(&found, &job(Some("k10-restore"))), expected, "{name} {request} {state}");
        }
        assert_eq!(standing(&object("another", "uid-1", "running"), &job(None)), Standing::Ours);
        let mut away = object("another", "uid-1", "failed");
        away["status"]["errorClass"] = json!("Unavailable");
        assert_eq!(standing(&away, &job(None)), Standing::Ended, "it is tried once more");
        away["status"]["errorClass"] = json!("Cancelled");
        assert_eq!(standing(&away, &job(None)), Standing::Ours);
        away["status"]["partlyDone"] = json!(true);
        assert_eq!(standing(&away, &job(None)), Standing::Ended, "it goes on after the switch");
        let other = Asking::of(None, Some(String::new()));
        assert_eq!(standing(&object("another", "", "running"), &other), Standing::Runs);
        assert_eq!(standing(&json!({ "status": {} }), &other), Standing::Runs);
    }

    /// It was removed before its operator came back, and the K10restore failed although its restore had gone well.
    #[test]
    fn what_a_k10restore_asked_for_is_left_until_that_has_told_how_it_ended() {
        let now = Timestamp::constant(1_000_000, 0);
        let mut ended = object("k10restore-a", "uid-of-a", "success");
        ended["metadata"]["uid"] = json!("its-uid");
        ended["status"]["endTime"] = json!("1970-01-12T13:45:50Z");
        assert_eq!(asked_by(&ended, now), None, "another Job's makes room at once");
        ended["metadata"]["annotations"][ASKED_ANNOTATION] = json!("a");
        assert_eq!(asked_by(&ended, now), Some("a"));
        assert_eq!(asked_by(&ended, now + Duration::from_secs(20)), None, "nobody waits for ever");

        let mut asked = json!({ "metadata": { "name": "a" }, "status": {} });
        for (uid, restore, expected) in [
            ("uid-of-a", Value::Null, false),
            ("uid-of-a", json!({ "uid": "its-uid", "state": "running" }), false),
            ("uid-of-a", json!({ "uid": "its-uid", "state": "failed" }), false),
            ("uid-of-a", json!({ "uid": "its-uid", "state": "success" }), true),
            ("uid-of-another", Value::Null, true),
        ] {
            (asked["metadata"]["uid"], asked["status"]["restore"]) = (json!(uid), restore);
            assert_eq!(has_told(&asked, &ended), expected, "{asked}");
        }
    }

    #[test]
    fn the_last_word_says_first_what_is_to_be_done() {
        let status = json!({
            "restorePoint": "ab.1.7", "sourceClusterID": "0c3e8c52", "generation": 2,
            "recovered": { "counts": { "restorepointcontents.apps.kio.kasten.io": 4, "secrets": 1 } },
            "notes": ["Secret 's' was kept"],
        });
        assert_eq!(
            last_word("kasten-io", &status, RECOVERED),
            "the platform is recovered\n\
             when no other instance uses the same backups: kubectl delete configmap --namespace=kasten-io \
             k10-dr-remove-to-get-ownership\n\
             restore point ab.1.7 of cluster 0c3e8c52, in generation 2\n\
             it holds, by its last count, 4 restorepointcontents, 1 secrets\n\
             note: Secret 's' was kept"
        );
    }
}
