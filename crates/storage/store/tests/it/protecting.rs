//! What a bucket and its credentials must be to keep objects from being removed, on real servers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration,
};
use keelson_model::Chain;
use keelson_store::decorators::Retained;
use keelson_store::probe::{Unfit, probe};
use keelson_store::providers::s3::{LockMode, ProtectionFault, S3Settings, S3Store};
use keelson_store::{PutOptions, RETENTION_MARGIN, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{BucketProtection, GateHabit, Minio, PROTECTION_RIGHTS, S3Gate, Versitygw};
use serde_json::json;

use crate::servers::{second_settings, settings};

const DAY: Duration = Duration::from_secs(86_400);
const BUCKET: &str = "vault";

/// Everybody may do everything that the documents ask for.
async fn allow(minio: &Minio) -> Result<()> {
    let resources = [format!("arn:aws:s3:::{BUCKET}"), format!("arn:aws:s3:::{BUCKET}/*")];
    let (objects, bucket): (Vec<_>, Vec<_>) = PROTECTION_RIGHTS
        .into_iter()
        .partition(|right| right.contains("Object") && !right.contains("Bucket"));
    let statement = |rights: &[&str], resource: &str| json!({ "Effect": "Allow", "Principal": "*", "Action": rights, "Resource": [resource] });
    let statements = [statement(&bucket, &resources[0]), statement(&objects, &resources[1])];
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let put = minio.client().put_bucket_policy().bucket(BUCKET).policy(policy.to_string());
    put.send().await.context("set the policy")?;
    Ok(())
}

async fn faults(settings: S3Settings) -> Result<Vec<ProtectionFault>> {
    let store = S3Store::connect(settings).await?;
    Ok(store.check_protection("nonce").await?.faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_is_missing_is_named_and_with_all_of_them_a_bucket_protects() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    // The owner of the server may bypass; whoever lacks that right has all that is asked for.
    let lacking = async |right| S3Gate::open(&minio.endpoint(), GateHabit::Lacks(right)).await;
    let through = |gate: &S3Gate| S3Settings { endpoint: Some(gate.endpoint()), ..settings(&minio, BUCKET) };
    let gate = lacking("s3:BypassGovernanceRetention").await?;
    let store = S3Store::connect(through(&gate)).await?;
    let check = store.check_protection("nonce").await?;
    assert_eq!((check.faults, check.mode, check.bypassed), (vec![], LockMode::Governance, false));
    assert!(!check.times_move);
    let left = minio.client().list_object_versions().bucket(BUCKET).send().await?;
    assert!(left.versions().is_empty() && left.delete_markers().is_empty(), "{left:?}");

    // What cannot be listed is not opened at all, and opening says it.
    let listing = "s3:ListBucket";
    let refused = S3Store::connect(through(&lacking(listing).await?)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Forbidden { .. }), "{refused:?}");
    assert!(Chain(&refused).to_string().contains("needs the right s3:ListBucket"), "{}", Chain(&refused));
    for right in PROTECTION_RIGHTS.into_iter().filter(|right| *right != listing) {
        let gate = lacking(right).await?;
        let found = faults(through(&gate)).await?;
        assert_eq!(found, [ProtectionFault::MissingRight { right }]);
    }
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_a_buckets_location_is_not_needed() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    let gate = S3Gate::open(&minio.endpoint(), GateHabit::Lacks("s3:GetBucketLocation")).await?;
    let through = S3Settings { endpoint: Some(gate.endpoint()), ..settings(&minio, BUCKET) };
    assert_eq!(faults(through).await?, []);
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_protects_and_is_found_to_move_the_times_of_objects() -> Result<()> {
    let server = Versitygw::start().await?;
    server.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    let store = S3Store::connect(second_settings(&server, BUCKET)).await?;
    let dialect = probe(&store, "nonce", store.time().await?).await?;
    assert_eq!(dialect.unfit(), []);
    let check = store.check_protection("nonce").await?;
    assert_eq!((check.faults, check.times_move), (vec![], true));
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_or_locks_cannot_protect() -> Result<()> {
    let minio = Minio::start().await?;
    for (bucket, protection, expected) in [
        (
            "plain",
            BucketProtection::None,
            vec![ProtectionFault::VersioningOff, ProtectionFault::ObjectLockOff],
        ),
        ("versioned", BucketProtection::Versioning, vec![ProtectionFault::ObjectLockOff]),
        ("locked", BucketProtection::ObjectLock, vec![]),
    ] {
        minio.create_bucket(bucket, protection).await?;
        assert_eq!(faults(settings(&minio, bucket)).await?, expected, "{bucket}");
    }
    minio.stop().await
}

async fn set_rule(minio: &Minio, bucket: &str, prefix: &str) -> Result<()> {
    let noncurrent = NoncurrentVersionExpiration::builder().noncurrent_days(1).build();
    let rule = LifecycleRule::builder()
        .id("tidy")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
        .expiration(LifecycleExpiration::builder().days(1).build())
        .noncurrent_version_expiration(noncurrent)
        .build()?;
    let rules = BucketLifecycleConfiguration::builder().rules(rule).build()?;
    let put = minio.client().put_bucket_lifecycle_configuration().bucket(bucket);
    put.lifecycle_configuration(rules).send().await.context("set a lifecycle rule")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_removes_what_must_stay_is_named_and_one_for_another_folder_is_not() -> Result<()> {
    let minio = Minio::start().await?;
    for (bucket, protection) in [("plain", BucketProtection::None), ("locked", BucketProtection::ObjectLock)]
    {
        minio.create_bucket(bucket, protection).await?;
        for (prefix, path, touches) in [
            ("", "", true),
            ("backups/", "backups/east", true),
            ("backups/east/k10/", "backups/east", true),
            ("logs/", "backups/east", false),
            ("backups/eastern/", "backups/east", false),
        ] {
            set_rule(&minio, bucket, prefix).await?;
            let settings = S3Settings { path: path.parse()?, ..settings(&minio, bucket) };
            let store = S3Store::connect(settings).await?;
            let dialect = probe(&store, "nonce", store.time().await?).await?;
            let unfit = match protection {
                BucketProtection::None => Unfit::ExpiresObjects,
                BucketProtection::Versioning | BucketProtection::ObjectLock => Unfit::ExpiresVersions,
            };
            let expected = if touches { vec![unfit] } else { vec![] };
            assert_eq!(dialect.unfit(), expected, "{bucket}: a rule for '{prefix}', used at '{path}'");
            if protection == BucketProtection::ObjectLock && path.is_empty() {
                let rule = ProtectionFault::RuleRemovesVersions { rule: "tidy".to_owned() };
                assert_eq!(store.check_protection("nonce").await?.faults, [rule]);
            }
        }
    }
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn compliance_is_chosen_where_the_bucket_asks_for_it_and_nowhere_else() -> Result<()> {
    let minio = Minio::start().await?;
    for (bucket, mode, expected) in [
        ("silent", None, LockMode::Governance),
        ("lenient", Some(LockMode::Governance), LockMode::Governance),
        ("strict", Some(LockMode::Compliance), LockMode::Compliance),
    ] {
        minio.create_bucket(bucket, BucketProtection::ObjectLock).await?;
        if mode.is_some() {
            minio.set_default_lock(bucket, mode).await?;
        }
        let store = S3Store::connect(settings(&minio, bucket)).await?;
        let check = store.check_protection("nonce").await?;
        assert_eq!((check.faults, check.mode), (vec![], expected), "{bucket}");
        // The server's owner may bypass; nobody may where the bucket is strict.
        assert_eq!(check.bypassed, expected == LockMode::Governance, "{bucket}");
        let path: StorePath = "kept".parse()?;
        Retained::new(Arc::new(store), DAY).create(&path, "x".into()).await?;
        let head = minio.client().head_object().bucket(bucket).key("kept").send().await?;
        let kept = head.object_lock_mode().map(|mode| mode.as_str().to_owned());
        let named = if expected == LockMode::Compliance { "COMPLIANCE" } else { "GOVERNANCE" };
        assert_eq!(kept.as_deref(), Some(named));
    }
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_no_version_no_retention_or_no_lock_is_refused_and_told_why() -> Result<()> {
    let minio = Minio::start().await?;
    let (unkept, unlocked) = (
        "the store does not keep the retention that it was given",
        "the store deletes objects in spite of their retention",
    );
    for (bucket, habit, fault, message) in [
        (
            "unnamed",
            GateHabit::TellsNoVersion,
            ProtectionFault::NoVersionId,
            "the store does not say which version it has written",
        ),
        ("untold", GateHabit::TellsNoRetention, ProtectionFault::RetentionNotKept, unkept),
        ("forgotten", GateHabit::ForgetsExtensions, ProtectionFault::RetentionNotKept, unkept),
        ("deleted", GateHabit::DeletesLocked, ProtectionFault::LockNotEnforced, unlocked),
    ] {
        minio.create_bucket(bucket, BucketProtection::ObjectLock).await?;
        assert_eq!(faults(settings(&minio, bucket)).await?, [], "{bucket} without the gate");
        let gate = S3Gate::open(&minio.endpoint(), habit).await?;
        let through = S3Settings { endpoint: Some(gate.endpoint()), ..settings(&minio, bucket) };
        assert_eq!(faults(through).await?, std::slice::from_ref(&fault), "{habit:?}");
        assert_eq!(fault.to_string(), message);
    }
    minio.stop().await
}

/// To bypass a lock is a right in GOVERNANCE mode, of which only a warning comes, and no lock at all in the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_compliance_can_be_bypassed_is_refused() -> Result<()> {
    let minio = Minio::start().await?;
    let gate = S3Gate::open(&minio.endpoint(), GateHabit::BypassesAnyLock).await?;
    for (bucket, mode, expected) in [
        ("lenient", LockMode::Governance, (vec![], true)),
        ("strict", LockMode::Compliance, (vec![ProtectionFault::LockNotEnforced], false)),
    ] {
        minio.create_bucket(bucket, BucketProtection::ObjectLock).await?;
        minio.set_default_lock(bucket, Some(mode)).await?;
        let through = S3Settings { endpoint: Some(gate.endpoint()), ..settings(&minio, bucket) };
        let check = S3Store::connect(through).await?.check_protection("nonce").await?;
        assert_eq!((check.faults, check.bypassed), expected, "{bucket}");
    }
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_created_in_a_protected_bucket_is_retained_by_the_stores_time() -> Result<()> {
    let minio = Minio::start().await?;
    for (bucket, protection) in [("locked", BucketProtection::ObjectLock), ("plain", BucketProtection::None)]
    {
        minio.create_bucket(bucket, protection).await?;
        let bare: Arc<dyn Store> = Arc::new(S3Store::connect(settings(&minio, bucket)).await?);
        // The longest period there is, so that nothing asks for more than the cap.
        let store = Retained::new(bare.clone(), 90 * DAY);
        let path: StorePath = "object".parse()?;
        let before = bare.time().await?;
        let created = store.put(&path, "x".into(), PutOptions::create_unique()).await;
        if protection == BucketProtection::None {
            assert!(matches!(created, Err(StoreError::Unsupported { .. })), "{created:?}");
            continue;
        }
        let until = store.head(&path, None).await?.retain_until.context("not retained")?;
        let expected = before + 90 * DAY + RETENTION_MARGIN;
        assert!(until >= expected && until <= expected + Duration::from_secs(60), "{until}");
        // Servers tell whole seconds.
        assert!(store.retention_end().await? >= Some(expected - Duration::from_secs(1)));
        let gone = bare.delete(&path, None).await;
        assert!(matches!(gone, Err(StoreError::Locked { .. })), "{gone:?}");
    }
    minio.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_overwrites_on_create_in_versioned_buckets_is_refused() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET, BucketProtection::ObjectLock).await?;
    allow(&minio).await?;
    for (habit, expected) in
        [(GateHabit::Anonymous, vec![]), (GateHabit::OverwritesOnCreate, vec![Unfit::NoConditionalCreate])]
    {
        let gate = S3Gate::open(&minio.endpoint(), habit).await?;
        let through = S3Settings { endpoint: Some(gate.endpoint()), ..settings(&minio, BUCKET) };
        let store = S3Store::connect(through).await?;
        let dialect = probe(&store, &format!("{habit:?}"), store.time().await?).await?;
        assert_eq!(dialect.unfit(), expected, "{habit:?}");
    }
    minio.stop().await
}
