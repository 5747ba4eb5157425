//! Passkeys: what opens the volume, what a deletion takes away, and what comes back after a loss.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{Actor, Change, Query, RowKind};
use keelson_model::recovery::DrMode;
use keelson_model::{Classified, ErrorClass};
use keelson_protection::recovery::enable::enable;
use keelson_protection::requests::{self, Effect, NewObject, Preconditions, RequestError};
use keelson_protection::{INSTANCE_SECRET, Platform, Record, Settings, metrics, status};
use keelson_resources::find_kind;
use keelson_testkit::eventually;
use keelson_workload::{Cluster, Kind, NamespacedName, Secret};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::fixture::{World, copy, person};
use crate::passphrase::{POLLS_CUT, copy_of, poll_times, replace};
use crate::platform::Site;
use crate::stage::{NAMESPACE, config, make_valid, open_platform, policy, profile};

const KIND: &str = "Passkey";
const OFFICE: (&str, &str) = ("", "office");
const DEFAULT: (&str, &str) = ("", INSTANCE_SECRET);
const VOLUME: &str = "volume";
const PHRASE: &str = "of the office alone";

type Data = BTreeMap<String, Zeroizing<Vec<u8>>>;

fn spec() -> Value {
    json!({ "secret": { "name": "office-passkey", "namespace": NAMESPACE } })
}

async fn set_phrase(cluster: &Cluster, phrase: &str) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, "office-passkey");
    Ok(cluster.apply_secret(&Secret::opaque(at, [("passphrase".to_owned(), phrase.into())])).await?)
}

async fn instance_secret(cluster: &Cluster) -> Result<Data> {
    let secret = cluster.read_secret(&NamespacedName::new(NAMESPACE, INSTANCE_SECRET)).await?;
    Ok(secret.context("the instance Secret")?.data)
}

/// Puts back all that it held.
async fn put_instance_secret(cluster: &Cluster, data: &Data) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, INSTANCE_SECRET);
    Ok(cluster.edit_secret(&at, |found| *found = data.clone()).await?)
}

/// What opens something, of all that it holds.
fn keys(data: &Data) -> Vec<&str> {
    data.keys().map(String::as_str).filter(|key| *key != VOLUME).collect()
}

async fn wait_status(world: &World, at: (&str, &str), holds: impl Fn(&Value) -> bool) -> Result<Record> {
    eventually(&format!("Passkey '{}' is as expected", at.1), async || {
        Ok(world.read(KIND, at)?.filter(|passkey| holds(&passkey.body.status)))
    })
    .await
}

fn is_valid(status: &Value) -> bool {
    status["valid"] == true
}

fn names(world: &World) -> Result<Vec<String>> {
    Ok(world.list(KIND)?.into_iter().map(|passkey| passkey.name).collect())
}

#[track_caller]
fn assert_refused(refused: Result<(), RequestError>, class: &ErrorClass, words: &str) {
    let error = refused.expect_err("it was not refused");
    assert_eq!(error.class(), *class, "{error}");
    assert!(error.to_string().contains(words), "'{words}' is not in: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_passkey_opens_the_volume_alone_and_the_last_valid_one_stays() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    let cluster = world.platform.cluster().clone();
    let shown = wait_status(&world, DEFAULT, is_valid).await?;
    assert_eq!(shown.body.status, json!({ "valid": true, "state": "Added to Catalog" }));
    assert_refused(world.delete(KIND, DEFAULT).await, &ErrorClass::Conflict, "no other Passkey is valid");
    assert_eq!(keys(&instance_secret(&cluster).await?), ["instance-key"], "as ever where nobody made one");

    set_phrase(&cluster, PHRASE).await?;
    let made = world.create(KIND, OFFICE, spec()).await?;
    assert!(is_valid(&made.body.status));
    let form = format!("passkey-{}", made.uid);
    let before = instance_secret(&cluster).await?;
    assert_eq!(keys(&before), ["instance-key", &form]);

    world.delete(KIND, DEFAULT).await?;
    assert_eq!(keys(&instance_secret(&cluster).await?), [&form]);
    assert_eq!(names(&world)?, ["office"]);
    assert_refused(world.delete(KIND, OFFICE).await, &ErrorClass::Conflict, "no other Passkey is valid");

    // Started anew, by the one that is left.
    let at = tempfile::tempdir()?;
    let mut world = world.restart(|data| copy(data, at.path())).await?;
    world.serve();
    wait_status(&world, OFFICE, is_valid).await?;
    assert_eq!(names(&world)?, ["office"], "what was deleted does not come back");

    // Whoever kept all that the Secret held opens nothing that the volume has held since.
    let now = instance_secret(&cluster).await?;
    world.rest().await;
    put_instance_secret(&cluster, &before).await?;
    let refused = open_copy(&world.platform, at.path()).await.err().context("it was opened")?;
    let refused = format!("{refused:#}");
    ensure!(refused.contains("nor a Passkey opens the volume"), "{refused}");
    put_instance_secret(&cluster, &now).await?;
    drop(open_copy(&world.platform, at.path()).await?);
    world.end().await
}

/// Another process of the platform, on a copy of its volume.
async fn open_copy(platform: &Platform, data: &Path) -> Result<Arc<Platform>> {
    let settings = Settings { data: data.to_owned(), ..platform.settings().clone() };
    open_platform(settings, platform.cluster().clone(), platform.clock().clone()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_whose_secret_is_gone_or_changed_is_not_valid_and_everybody_is_told() -> Result<()> {
    let mut world = World::start().await?;
    world.serve();
    let cluster = world.platform.cluster().clone();
    wait_status(&world, DEFAULT, is_valid).await?;
    set_phrase(&cluster, PHRASE).await?;
    let made = world.create(KIND, OFFICE, spec()).await?;

    cluster.delete_secret(&NamespacedName::new(NAMESPACE, "office-passkey")).await?;
    let gone = wait_status(&world, OFFICE, |status| status["valid"] == false).await?;
    assert_eq!(gone.body.status["error"], "Secret 'kasten-io/office-passkey' does not exist");
    let told = status::observe(&world.platform);
    assert_eq!((told.passkeys.valid, told.passkeys.invalid[0].name.as_str()), (1, "office"));
    let text = metrics::render(&told, world.platform.clock().now());
    ensure!(text.contains("\nkeelson_passkeys_invalid 1\n"), "{text}");
    wait_event(&cluster, &made.uid, "PasskeyInvalid").await?;
    assert_refused(world.delete(KIND, DEFAULT).await, &ErrorClass::Conflict, "no other Passkey is valid");

    set_phrase(&cluster, "of somebody who may write it").await?;
    let is_wrong = |status: &Value| {
        status["error"].as_str().is_some_and(|error| error.ends_with("that the Passkey was added with"))
    };
    wait_status(&world, OFFICE, is_wrong).await?;
    assert_refused(world.delete(KIND, DEFAULT).await, &ErrorClass::Conflict, "no other Passkey is valid");

    // Events of one moment have one name.
    world.clock.advance(Duration::from_secs(1));
    set_phrase(&cluster, PHRASE).await?;
    wait_status(&world, OFFICE, is_valid).await?;
    wait_event(&cluster, &made.uid, "PasskeyValid").await?;

    // The key as it is, replaced by somebody: what is left of it is the form.
    let mut broken = instance_secret(&cluster).await?;
    broken.insert("instance-key".to_owned(), Zeroizing::new(vec![7; 32]));
    put_instance_secret(&cluster, &broken).await?;
    let lost = wait_status(&world, DEFAULT, |status| status["valid"] == false).await?;
    assert!(lost.body.status["error"].as_str().is_some_and(|error| error.contains("another 'instance-key'")));
    assert_refused(world.delete(KIND, OFFICE).await, &ErrorClass::Conflict, "no other Passkey is valid");
    let mut world = world.restart(|_| Ok(())).await?;
    world.serve();
    wait_status(&world, OFFICE, is_valid).await?;
    world.delete(KIND, DEFAULT).await?;
    assert_eq!(names(&world)?, ["office"]);
    world.end().await
}

async fn wait_event(cluster: &Cluster, uid: &str, reason: &str) -> Result<()> {
    let kind = Kind::namespaced("events.k8s.io/v1", "Event", "events");
    eventually(&format!("event {reason}"), async || {
        let events = cluster.list_objects(&kind, Some("default"), None).await?;
        let found = events.iter().any(|event| event["regarding"]["uid"] == uid && event["reason"] == reason);
        Ok(found.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_passkey_is_refused_and_nothing_of_a_passphrase_is_said() -> Result<()> {
    let world = World::start().await?;
    let cluster = world.platform.cluster();
    let refuse = async |name: &str, secret: &str, words: &str| {
        let spec = json!({ "secret": { "name": secret, "namespace": NAMESPACE } });
        let refused = world.create(KIND, ("", name), spec).await.map(drop);
        assert_refused(refused, &ErrorClass::Invalid, words);
    };
    refuse("office", "office-passkey", "Secret 'kasten-io/office-passkey' does not exist").await;
    let at = NamespacedName::new(NAMESPACE, "odd");
    cluster.apply_secret(&Secret::opaque(at, [("password".to_owned(), PHRASE.into())])).await?;
    refuse("office", "odd", "does not contain key 'passphrase'; it contains 'password'").await;
    for (phrase, words) in [
        ("", "key 'passphrase' of Secret 'kasten-io/office-passkey' is empty"),
        ("sH0rt!Q", "Secret 'kasten-io/office-passkey': the passphrase is shorter than 8 bytes"),
        ("Password123!", "the passphrase is one of the most common passwords"),
    ] {
        set_phrase(cluster, phrase).await?;
        refuse("office", "office-passkey", words).await;
    }
    set_phrase(cluster, PHRASE).await?;
    refuse(INSTANCE_SECRET, "office-passkey", "is the Passkey of the instance Secret itself").await;
    refuse("office", INSTANCE_SECRET, "would lie beside what it seals").await;
    assert_eq!(keys(&instance_secret(cluster).await?), ["instance-key"], "nothing was sealed");

    for number in 0..8 {
        world.create(KIND, ("", &format!("passkey-{number}")), spec()).await?;
    }
    let ninth = world.create(KIND, OFFICE, spec()).await.map(drop);
    assert_refused(ninth, &ErrorClass::Conflict, "there are 8 Passkeys already");
    let again = world.create(KIND, ("", "passkey-1"), spec()).await.map(drop);
    assert_refused(again, &ErrorClass::Conflict, "already exists");
    world.end().await
}

/// What protects itself, and has a Passkey of a person's alone.
async fn raise_protected() -> Result<World> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    set_phrase(world.platform.cluster(), PHRASE).await?;
    wait_status(&world, DEFAULT, is_valid).await?;
    world.create(KIND, OFFICE, spec()).await?;
    world.delete(KIND, DEFAULT).await?;
    eventually("its Secret is mirrored", async || {
        let query = Query::all(RowKind::new("secrets"), 10);
        let rows = world.platform.catalog()?.list(&query)?.rows;
        Ok(rows.iter().any(|stored| stored.row.name == "office-passkey").then_some(()))
    })
    .await?;
    world.wait_until_shipped().await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn passkeys_come_back_with_the_platform_and_open_the_new_volume() -> Result<()> {
    let world = raise_protected().await?;
    let source = world.platform.cluster_id().clone();
    let before = world.read(KIND, OFFICE)?.context("the Passkey")?;

    let mut world = world.lose_cluster().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    wait_status(&world, DEFAULT, is_valid).await?;
    world.recover(&source).await?;
    let back = wait_status(&world, OFFICE, is_valid).await?;
    assert_eq!((back.uid, back.body.spec), (before.uid, before.body.spec));
    // The new volume was opened before anything was known of the one that was lost.
    wait_status(&world, DEFAULT, is_valid).await?;
    world.delete(KIND, DEFAULT).await?;
    let secret = instance_secret(world.platform.cluster()).await?;
    assert_eq!(keys(&secret).len(), 1, "{:?}", keys(&secret));
    let mut world = world.restart(|_| Ok(())).await?;
    world.serve();
    wait_status(&world, OFFICE, is_valid).await?;
    world.end().await
}

/// The row is what comes back: whoever is first to put a Secret of its name into the new cluster gets nothing by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_passkey_does_not_take_another_passphrase_for_its_own() -> Result<()> {
    let world = raise_protected().await?;
    let source = world.platform.cluster_id().clone();
    let mut world = world.lose_cluster().await?;
    let cluster = world.platform.cluster().clone();
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    set_phrase(&cluster, "of whoever came first").await?;
    world.serve();
    wait_status(&world, DEFAULT, is_valid).await?;
    world.recover(&source).await?;
    let is_wrong = |status: &Value| {
        status["error"].as_str().is_some_and(|error| error.ends_with("that the Passkey was added with"))
    };
    wait_status(&world, OFFICE, is_wrong).await?;
    assert_eq!(keys(&instance_secret(&cluster).await?), ["instance-key"], "nothing was sealed under it");
    set_phrase(&cluster, PHRASE).await?;
    wait_status(&world, OFFICE, is_valid).await?;
    world.end().await
}

/// A wrong path, a volume that was not mounted, a copy from before: none of them may take from the volume what opens it.
#[tokio::test(flavor = "multi_thread")]
async fn another_volume_beside_the_same_secret_takes_nothing_away() -> Result<()> {
    let site = Site::start().await?;
    let cluster = site.cluster().await?;
    set_phrase(&cluster, PHRASE).await?;
    let platform = site.open().await?;
    let (old, empty) = (tempfile::tempdir()?, tempfile::tempdir()?);
    copy(site.data.path(), old.path())?;
    make(&platform).await?;
    let secret = instance_secret(&cluster).await?;

    let refused = open_copy(&platform, empty.path()).await.err().context("it was opened")?;
    ensure!(
        format!("{refused:#}").contains("open another volume with, and this one is empty"),
        "{refused:#}"
    );
    let before = open_copy(&platform, old.path()).await?;
    let refused = delete_default(&before).await;
    assert_refused(refused, &ErrorClass::Conflict, "no other Passkey is valid");
    drop(before);
    ensure!(instance_secret(&cluster).await? == secret, "what opens the volume was changed by another");

    drop(platform);
    let mut by_form = secret;
    by_form.remove("instance-key");
    put_instance_secret(&cluster, &by_form).await?;
    drop(site.open().await.context("by the form alone")?);
    site.plane.give_back().await
}

/// Where no person has made a Passkey an empty volume starts beside the Secret, and opens with it as the first one does.
#[tokio::test(flavor = "multi_thread")]
async fn another_volume_beside_a_secret_without_passkeys_takes_nothing_away() -> Result<()> {
    let site = Site::start().await?;
    let cluster = site.cluster().await?;
    set_phrase(&cluster, PHRASE).await?;
    let platform = site.open().await?;
    delete_default(&platform).await.expect_err("there is no other Passkey");
    let secret = instance_secret(&cluster).await?;
    let volume = secret.get(VOLUME).context("a look says which volume the Secret belongs to")?.clone();

    let empty = tempfile::tempdir()?;
    let other = open_copy(&platform, empty.path()).await?;
    let words = "Secret 'kasten-io/keelson-instance' belongs to another volume";
    let refused = make(&other).await.map(drop);
    assert_refused(refused, &ErrorClass::Conflict, "remove 'volume' from the Secret");
    assert_refused(make(&other).await.map(drop), &ErrorClass::Conflict, words);
    assert_refused(delete_default(&other).await, &ErrorClass::Conflict, words);
    ensure!(instance_secret(&cluster).await? == secret, "what opens the volume was changed by another");

    // A person says that the first one is lost.
    let mut unmarked = secret;
    unmarked.remove(VOLUME);
    put_instance_secret(&cluster, &unmarked).await?;
    make(&other).await?;
    assert_refused(make(&platform).await.map(drop), &ErrorClass::Conflict, words);
    delete_default(&other).await?;
    let now = instance_secret(&cluster).await?;
    ensure!(now.contains_key(VOLUME) && now[VOLUME] != volume, "a new key keeps whose it is");
    drop((platform, other));
    drop(site.open().await.err().context("it opens with the key of the other volume")?);
    site.plane.give_back().await
}

/// A Passkey of which the row was never written opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_stops_anywhere_leaves_a_passkey_or_nothing() -> Result<()> {
    let site = Site::start().await?;
    let cluster = site.cluster().await?;
    set_phrase(&cluster, PHRASE).await?;
    drop(site.open().await?);
    let (data, secret) = (copy_of(site.data.path())?, instance_secret(&cluster).await?);
    for times in 1.. {
        replace(site.data.path(), data.path())?;
        put_instance_secret(&cluster, &secret).await?;
        let stopped = site.open().await?;
        let ended = poll_times(make(&stopped), times).await;
        drop(stopped);
        let platform = site.open().await?;
        // A look, and no more: there is no other one, or the one that was made.
        let is_made = delete_default(&platform).await.is_ok();
        drop(platform);
        let now = instance_secret(&cluster).await?;
        ensure!(keys(&now).len() == 1, "after {times} steps: {:?}", keys(&now));
        ensure!(is_made || now.contains_key("instance-key"), "after {times} steps: {:?}", keys(&now));
        drop(site.open().await.with_context(|| format!("after {times} steps"))?);
        if ended.is_some() {
            ensure!(times > POLLS_CUT, "the creation was not cut short twice: it ended after {times} polls");
            return site.plane.give_back().await;
        }
    }
    unreachable!("the creation ends")
}

/// As a kill between the form and the row leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_a_row_goes_and_opens_nothing_afterwards() -> Result<()> {
    let site = Site::start().await?;
    let cluster = site.cluster().await?;
    set_phrase(&cluster, PHRASE).await?;
    let platform = site.open().await?;
    let key = make(&platform).await?.key();
    let mut by_form = instance_secret(&cluster).await?;
    by_form.remove("instance-key");
    platform.catalog()?.commit(&Actor::new("nobody"), vec![Change::delete(key)])?;
    assert_refused(delete_default(&platform).await, &ErrorClass::Conflict, "no other Passkey is valid");
    drop(platform);
    let now = instance_secret(&cluster).await?;
    assert_eq!(keys(&now), ["instance-key"]);
    put_instance_secret(&cluster, &by_form).await?;
    ensure!(site.open().await.is_err(), "it opens the volume");
    put_instance_secret(&cluster, &now).await?;
    drop(site.open().await?);
    site.plane.give_back().await
}

async fn make(platform: &Platform) -> Result<Record, RequestError> {
    let kind = find_kind("vault.kio.kasten.io", "passkeys").expect("a kind of ours");
    let object = NewObject {
        namespace: String::new(),
        name: OFFICE.1.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: spec(),
    };
    let stored = requests::create(platform, &person(), kind, object, Effect::Apply).await?;
    Record::parse(&stored).map_err(|source| RequestError::Decode { source })
}

/// The default one, until it is gone.
async fn delete_default(platform: &Platform) -> Result<(), RequestError> {
    let kind = find_kind("vault.kio.kasten.io", "passkeys").expect("a kind of ours");
    let any = Preconditions::default();
    match requests::delete(platform, &person(), kind, DEFAULT, &any, Effect::Apply).await {
        Ok(_) | Err(RequestError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Any await may be the last one: each is tried, in a process of its own, and the next opens the volume and completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_stops_anywhere_leaves_the_volume_open_and_is_completed_by_the_next_try() -> Result<()>
{
    let site = Site::start().await?;
    let cluster = site.cluster().await?;
    set_phrase(&cluster, PHRASE).await?;
    let platform = site.open().await?;
    let form = format!("passkey-{}", make(&platform).await?.uid);
    drop(platform);
    let (data, secret) = (copy_of(site.data.path())?, instance_secret(&cluster).await?);
    for times in (1..).step_by(2) {
        replace(site.data.path(), data.path())?;
        put_instance_secret(&cluster, &secret).await?;
        let stopped = site.open().await?;
        let ended = poll_times(delete_default(&stopped), times).await;
        drop(stopped);
        let platform = site.open().await.with_context(|| format!("after {times} steps"))?;
        delete_default(&platform).await.with_context(|| format!("after {times} steps"))?;
        drop(platform);
        let left = instance_secret(&cluster).await?;
        ensure!(keys(&left) == [form.as_str()], "after {times} steps: {:?}", keys(&left));
        drop(site.open().await.with_context(|| format!("by the form, after {times} steps"))?);
        // Whoever kept all that the Secret held opens nothing, wherever it was interrupted.
        put_instance_secret(&cluster, &secret).await?;
        ensure!(site.open().await.is_err(), "the Secret of before opens it, after {times} steps");
        if ended.is_some() {
            ensure!(times > POLLS_CUT, "the deletion was not cut short twice: it ended after {times} polls");
            return site.plane.give_back().await;
        }
    }
    unreachable!("the deletion ends")
}
