//! What a policy grants of its exports: to whom a receive string belongs, and what is granted when keys change or cannot
//! be granted.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use keelson_catalog::{RowKey, RowKind};
use keelson_model::names::label;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::{Record, maintenance};
use keelson_testkit::eventually;
use serde_json::json;

use super::{
    BANK, EXPORTING, IMPORTING, SHOP, applications, exporting, furnish, grants_of, imported, importing,
    raise_source, raise_target, receive_string, retire_export, run,
};
use crate::fixture::{World, files};
use crate::stage::{NAMESPACE, config, make_valid, policy, profile, set_passphrase};

/// The string of a deleted policy had leaked, and opened what another policy of its name selected later.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_made_anew_grants_anew_and_one_that_was_recovered_goes_on() -> Result<()> {
    let source = furnish(World::start().await?).await?;
    make_valid(&source.platform, &config("Policy", "policies"), &policy()).await?;
    source.apply_policy(&exporting(EXPORTING, &[SHOP])).await?;
    run(&source, "first", EXPORTING).await?;
    let leaked = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    run(&source, "second", EXPORTING).await?;
    assert_eq!(receive_string(&source, "RunAction", (NAMESPACE, "second")).await?, leaked);

    let kind = config("Policy", "policies");
    source.platform.cluster().delete_object(&kind, Some(NAMESPACE), EXPORTING).await?;
    let row = RowKey::new(RowKind::new("policies.config.kio.kasten.io"), NAMESPACE, EXPORTING);
    eventually("the mirror has seen that", async || {
        Ok(source.platform.catalog()?.read(&row)?.is_none().then_some(()))
    })
    .await?;
    source.apply_policy(&exporting(EXPORTING, &[BANK])).await?;
    run(&source, "third", EXPORTING).await?;
    let anew = receive_string(&source, "RunAction", (NAMESPACE, "third")).await?;
    assert_ne!(anew, leaked);
    let granted = files(&grants_of(&source, &source))?;
    let of = |application: &str| {
        let parts = granted.iter().map(|path| path.split('/').collect::<Vec<_>>());
        let of_it = parts.filter(|parts| parts[1] == application).map(|parts| parts[0].to_owned());
        of_it.collect::<BTreeSet<_>>()
    };
    assert!(of(SHOP).len() == 1 && of(BANK).len() == 1 && of(SHOP) != of(BANK), "{granted:?}");

    source.wait_until_shipped().await?;
    let lost = source.platform.cluster_id().clone();
    let mut source = source.lose_cluster().await?;
    source.serve();
    source.namespace(BANK).await?;
    make_valid(&source.platform, &config("Profile", "profiles"), &profile()).await?;
    source.recover(&lost).await?;
    source.apply_policy(&exporting(EXPORTING, &[BANK])).await?;
    run(&source, "fourth", EXPORTING).await?;
    assert_eq!(receive_string(&source, "RunAction", (NAMESPACE, "fourth")).await?, anew);
    source.end().await
}

/// What others cannot import is a backup all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_cannot_be_granted_is_made_and_says_that_others_cannot_import_it() -> Result<()> {
    let source = furnish(World::start().await?).await?;
    run(&source, "first", EXPORTING).await?;
    let grants = grants_of(&source, &source);
    let of_shop = files(&grants)?.into_iter().find(|path| path.contains(SHOP)).context("a granted key")?;
    fs::write(grants.join(&of_shop), "of a stranger")?;
    let status = run(&source, "second", EXPORTING).await?;
    let told = status["exceptions"].to_string();
    assert!(told.contains("other installations cannot import it") && told.contains(&of_shop), "{told}");
    assert_eq!(told.matches("cannot import it").count(), 1, "the bank's is granted: {told}");
    let contents = source.list("RestorePointContent")?;
    let is_export = |content: &&Record| content.labels.contains_key(label::EXPORT_PROFILE);
    assert_eq!(contents.iter().filter(is_export).count(), 4, "both applications, twice");
    source.end().await
}

/// What an owner retires and rewrites after that is sealed under a new key, whether anything is exported or not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_is_read_on_after_the_passphrase_of_its_source_has_changed() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    enable(&source.platform, "vault", DrMode::Legacy).await?;
    run(&source, "first", EXPORTING).await?;
    run(&source, "second", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    set_passphrase(source.platform.cluster(), "another one that is long enough").await?;
    enable(&source.platform, "vault", DrMode::Legacy).await?;
    let granted = files(&grants_of(&source, &target))?;
    assert_eq!(granted.iter().filter(|path| path.ends_with("/2")).count(), 2, "{granted:?}");

    retire_export(&source, SHOP, EXPORTING).await?;
    eventually("a pass is due", async || Ok(maintenance::passes(&source.platform))).await?;
    for (count, hours) in [(1, 3), (2, 25)] {
        source.clock.advance(Duration::from_secs(hours * 3600));
        eventually("maintenance has passed", async || {
            let passes = maintenance::passes(&source.platform);
            Ok(passes.filter(|passes| passes.count >= count).map(drop))
        })
        .await?;
    }
    let status = run(&target, "two", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP]);
    let told = status["exceptions"].to_string();
    assert!(told.contains("its source has retired") && !told.contains("passed over"), "{told}");
    for (index, (_, content)) in imported(&target)?.into_iter().enumerate() {
        let (name, kind) = (format!("look-{index}"), "RestorePointContent");
        let subject = json!({ "subject": { "kind": kind, "name": content.name } });
        target.create("ValidateAction", (NAMESPACE, &name), subject).await?;
        target.completed("ValidateAction", (NAMESPACE, &name)).await?;
    }
    source.end().await?;
    target.end().await
}
