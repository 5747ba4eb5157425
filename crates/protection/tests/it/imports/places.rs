//! Imports where the location is there twice, or has moved: what each place says of what was imported before.

use std::fs;

use anyhow::Result;
use keelson_protection::Record;
use keelson_testkit::eventually;
use serde_json::json;

use super::{
    BANK, EXPORTING, IMPORTING, SHOP, applications, details_of, imported, importing, importing_from,
    raise_source, raise_target, receive_string, retire_export, run,
};
use crate::fixture::{copy, files};
use crate::stage::{NAMESPACE, config, make_valid, profile};

/// A copy of the location that lags behind said of what was newer that it was gone, also of what somebody had deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_from_a_copy_that_lags_behind_removes_nothing_and_brings_nothing_back() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    copy(&target.share.path().join("k10"), &target.share.path().join("lagging/k10"))?;
    run(&source, "second", EXPORTING).await?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP, SHOP]);
    for (_, content) in imported(&target)?.into_iter().filter(|(application, _)| application == BANK) {
        target.delete("RestorePointContent", ("", &content.name)).await?;
    }
    eventually("they are gone", async || Ok((applications(&target)? == [SHOP, SHOP]).then_some(()))).await?;
    let policy = importing_from(&target, "copied", "lagging", &whole).await?;
    target.apply_policy(&policy).await?;
    for (name, policy) in [("two", "copied"), ("three", IMPORTING)] {
        run(&target, name, policy).await?;
        assert_eq!(applications(&target)?, [SHOP, SHOP], "{policy}");
    }
    source.end().await?;
    target.end().await
}

/// What was retired while the profile led to a copy was absent there and nothing else: its content stayed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_goes_with_an_import_from_a_copy_that_states_it() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    let share = target.share.path();
    copy(&share.join("k10"), &share.join("before/k10"))?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, SHOP]);

    retire_export(&source, SHOP, EXPORTING).await?;
    copy(&share.join("k10"), &share.join("after/k10"))?;
    target.apply_policy(&importing_from(&target, "copied", "after", &whole).await?).await?;
    let status = run(&target, "two", "copied").await?;
    assert_eq!(applications(&target)?, [BANK]);
    assert!(status["exceptions"].to_string().contains("its source has retired"), "{status}");
    assert_eq!(details_of(&target, "two").await?["removedCount"], 1);
    // It is live there, and was taken in once.
    target.apply_policy(&importing_from(&target, "lagging", "before", &whole).await?).await?;
    for (name, policy) in [("three", "lagging"), ("four", "copied")] {
        run(&target, name, policy).await?;
        assert_eq!(applications(&target)?, [BANK], "{policy}");
    }
    source.end().await?;
    target.end().await
}

/// The owner of today withdraws what a former one has retired: what an import had removed for it in a copy never came back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_no_longer_states_to_be_retired_comes_back_from_it() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    let share = target.share.path();
    copy(&share.join("k10"), &share.join("before/k10"))?;
    retire_export(&source, SHOP, EXPORTING).await?;
    copy(&share.join("k10"), &share.join("after/k10"))?;
    target.apply_policy(&importing_from(&target, "copied", "after", &whole).await?).await?;
    run(&target, "two", "copied").await?;
    assert_eq!(applications(&target)?, [BANK]);

    let exports = share.join(format!("after/k10/{}/exports", source.platform.cluster_id()));
    let stated: Vec<_> = files(&exports)?.into_iter().filter(|path| path.contains("/retired/")).collect();
    assert_eq!(stated.len(), 1, "{stated:?}");
    fs::remove_file(exports.join(&stated[0]))?;
    // It says nothing of what another place has stated.
    target.apply_policy(&importing_from(&target, "lagging", "before", &whole).await?).await?;
    run(&target, "three", "lagging").await?;
    assert_eq!(applications(&target)?, [BANK]);
    for (name, count) in [("four", 1), ("five", 0)] {
        run(&target, name, "copied").await?;
        assert_eq!(applications(&target)?, [BANK, SHOP], "{name}");
        assert_eq!(details_of(&target, name).await?["importedCount"], count, "{name}");
    }
    source.end().await?;
    target.end().await
}

/// The location was moved, as a whole, and the profile with it: the contents led nowhere, and were not taken in anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_is_read_where_its_location_was_moved_to() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    source.end().await?;
    target.apply_policy(&importing(IMPORTING, &whole, None)).await?;
    run(&target, "one", IMPORTING).await?;
    let before = imported(&target)?;
    assert_eq!(before.len(), 2);

    let share = target.share.path();
    fs::create_dir(share.join("moved"))?;
    fs::rename(share.join("k10"), share.join("moved/k10"))?;
    let mut moved = profile();
    moved["spec"]["locationSpec"]["fileStore"]["path"] = json!("moved");
    make_valid(&target.platform, &config("Profile", "profiles"), &moved).await?;
    run(&target, "two", IMPORTING).await?;
    let after = imported(&target)?;
    let names =
        |contents: &[(String, Record)]| contents.iter().map(|it| it.1.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "nothing was taken in twice, and nothing is gone");
    for (index, (_, content)) in after.into_iter().enumerate() {
        let name = format!("look-{index}");
        let subject = json!({ "subject": { "kind": "RestorePointContent", "name": content.name } });
        target.create("ValidateAction", (NAMESPACE, &name), subject).await?;
        target.completed("ValidateAction", (NAMESPACE, &name)).await?;
    }
    target.end().await
}
