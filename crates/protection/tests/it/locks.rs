//! A bucket with locks: what is kept longer than a lock lasts is locked anew by maintenance, and what the bucket does not
//! lock any more is not written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use keelson_model::{Classified, ErrorClass};
use keelson_protection::LocationError;
use keelson_protection::maintenance::{self, PassReport};
use keelson_protection::validation::{Dialect, LockMode, ProfileVerdict, validate_profile};
use keelson_store::{Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{GateHabit, Minio, PROTECTION_RIGHTS, S3Gate, eventually};
use serde_json::json;

use crate::bucket::{BUCKET, Locks, keys, serve_to, start_bucket, store_of, use_bucket};
use crate::fixture::World;
use crate::stage::{NAMESPACE, config};

const APPLICATION: &str = "shop";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Whoever uses the bucket has all that is asked for, and no more.
const RIGHTFUL: GateHabit = GateHabit::Lacks("s3:BypassGovernanceRetention");

/// Until when each object is locked that an export needs.
async fn ends(store: &dyn Store, cluster: &str) -> Result<BTreeMap<String, Timestamp>> {
    let mut ends = BTreeMap::new();
    for object in store.list_all(&format!("k10/{cluster}/exports").parse()?).await? {
        let end = store.head(&object.path, None).await?.retain_until.context("a lock")?;
        ends.insert(object.path.as_str().to_owned(), end);
    }
    ends.retain(|path, _| !path.contains("/sessions/"));
    Ok(ends)
}

async fn maintain(world: &World, count: u64) -> Result<PassReport> {
    eventually("a pass is due", async || Ok(maintenance::passes(&world.platform))).await?;
    world.clock.advance(DAY + DAY / 24);
    world.maintained(count).await
}

/// The bucket's time cannot be moved, so the period is: to the pass it is the same whether a lock ends early because time
/// has passed or because more is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_lock_ends_too_early_is_locked_anew_with_all_that_it_needs() -> Result<()> {
    let minio = start_bucket(Locks::Asked).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    world.namespace(APPLICATION).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::Asked).await?;
    world.export(APPLICATION, "kept", json!({})).await?;
    let (store, cluster) = (store_of(&minio).await?, world.platform.cluster_id().to_string());
    let first = ends(&*store, &cluster).await?;
    for folder in ["packs", "index", "outcomes", "keys"] {
        ensure!(first.keys().any(|path| path.contains(&format!("/{folder}/"))), "{folder}: {first:?}");
    }
    let report = maintain(&world, 1).await?;
    ensure!((report.locks_lengthened, report.failures_total) == (0, 0), "{report:?}");
    ensure!(ends(&*store, &cluster).await? == first, "what is locked long enough is left alone");

    use_bucket(&world, &minio, &minio.endpoint(), Some("720h0m0s")).await?;
    let report = maintain(&world, 2).await?;
    ensure!((report.locks_lengthened, report.failures_total) == (1, 0), "{report:?}");
    let lengthened = ends(&*store, &cluster).await?;
    ensure!(lengthened.len() == first.len(), "{lengthened:?}");
    for (path, end) in &lengthened {
        ensure!(*end >= first[path] + 22 * DAY, "{path} is locked until {end}, before until {}", first[path]);
    }
    world.end().await?;
    minio.stop().await
}

/// A platform whose bucket with locks is reached through a gate.
async fn behind_gate() -> Result<(Minio, S3Gate, World)> {
    let minio = start_bucket(Locks::Asked).await?;
    let gate = S3Gate::open(&minio.endpoint(), RIGHTFUL).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    serve_to(&mut world, &minio, &gate.endpoint(), Locks::Asked).await?;
    Ok((minio, gate, world))
}

/// What a validation finds of the profile `vault`, which it takes for fit.
async fn validate(world: &World) -> Result<Dialect> {
    match judge(world).await? {
        ProfileVerdict::Writable(Some(dialect)) => Ok(dialect),
        verdict => bail!("{verdict:?}"),
    }
}

async fn judge(world: &World) -> Result<ProfileVerdict> {
    let kind = config("Profile", "profiles");
    let object = world.platform.cluster().read_object(&kind, Some(NAMESPACE), "vault").await?;
    Ok(validate_profile(&world.platform, &object.context("the profile")?).await)
}

/// Also one without which the location cannot be tried at all.
#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_a_profile_lacks_is_told_by_its_name() -> Result<()> {
    let (minio, gate, world) = behind_gate().await?;
    for right in PROTECTION_RIGHTS {
        gate.change(GateHabit::Lacks(right));
        let ProfileVerdict::Failed { errors, .. } = judge(&world).await? else { bail!("without {right}") };
        ensure!(errors.iter().any(|error| error.contains(right)), "without {right}: {errors:?}");
    }
    gate.change(RIGHTFUL);
    validate(&world).await?;
    world.end().await?;
    minio.stop().await
}

/// A right is taken away from credentials that were sound when the profile was validated.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_bucket_tells_of_no_locks_any_more_is_not_opened_and_told_why() -> Result<()> {
    let (minio, gate, world) = behind_gate().await?;
    let dialect = validate(&world).await?;
    ensure!(dialect.object_lock && dialect.warnings.is_empty(), "{dialect:?}");
    let platform = world.platform.clone();
    platform.open_writable("vault").await?;

    let message = format!(
        "profile 'vault' asks for protection for 168h0m0s, and s3://{BUCKET} at {} does not give it",
        gate.endpoint()
    );
    for right in ["s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning"] {
        gate.change(GateHabit::Lacks(right));
        for opened in [platform.open_writable("vault").await, platform.open_location("vault").await] {
            let refused = opened.err().with_context(|| format!("opened without {right}"))?;
            ensure!(matches!(refused, LocationError::Unprotected { .. }), "{right}: {refused:?}");
            assert_eq!(refused.to_string(), message, "{right}");
            assert_eq!((refused.code(), refused.class()), ("location.unprotected", ErrorClass::Invalid));
            let hint = refused.hint().context("a hint")?;
            ensure!(hint.contains("make a profile without protectionPeriod"), "{hint}");
        }
    }
    // To read only.
    use_bucket(&world, &minio, &gate.endpoint(), None).await?;
    platform.open_location("vault").await?;
    world.end().await?;
    minio.stop().await
}

/// The owner of the server may bypass; the gate takes that right away, and the warning with it.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_bypass_locks_are_warned_of_until_they_may_not() -> Result<()> {
    let minio = start_bucket(Locks::Asked).await?;
    let mut world = World::start_today(SignedDuration::MAX).await?;
    serve_to(&mut world, &minio, &minio.endpoint(), Locks::Asked).await?;
    let warnings = validate(&world).await?.warnings;
    let [warning] = warnings.as_slice() else { bail!("one warning: {warnings:?}") };
    ensure!(warning.contains("take the right s3:BypassGovernanceRetention from them"), "{warning}");

    let gate = S3Gate::open(&minio.endpoint(), RIGHTFUL).await?;
    use_bucket(&world, &minio, &gate.endpoint(), Some("168h0m0s")).await?;
    let warnings = validate(&world).await?.warnings;
    ensure!(warnings.is_empty(), "{warnings:?}");
    world.end().await?;
    minio.stop().await
}

/// Whoever remembers what it was before can tell that the bucket's default was taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_validation_tells_in_which_mode_the_bucket_has_its_objects_locked_now() -> Result<()> {
    let (minio, _gate, world) = behind_gate().await?;
    for default in [Some(LockMode::Compliance), None, Some(LockMode::Governance)] {
        minio.set_default_lock(BUCKET, default).await?;
        let dialect = validate(&world).await?;
        assert_eq!(dialect.lock_mode, default.or(Some(LockMode::Governance)), "{dialect:?}");
        ensure!(dialect.object_lock && dialect.warnings.is_empty(), "{dialect:?}");
    }
    world.end().await?;
    minio.stop().await
}

/// Opening does not ask for this right; no object comes to be without it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_locked_any_more_is_not_written() -> Result<()> {
    let (minio, gate, world) = behind_gate().await?;
    let path: StorePath = "object".parse()?;
    gate.change(GateHabit::Lacks("s3:PutObjectRetention"));
    let location = world.platform.open_writable("vault").await?;
    let refused = location.store.create(&path, "x".into()).await;
    ensure!(matches!(refused, Err(StoreError::Forbidden { .. })), "{refused:?}");
    ensure!(!keys(&minio).await?.contains("object"), "it was written without a lock");

    gate.change(RIGHTFUL);
    location.store.create(&path, "x".into()).await?;
    let until = store_of(&minio).await?.head(&path, None).await?.retain_until;
    ensure!(until.is_some(), "it is not locked");
    world.end().await?;
    minio.stop().await
}
