//! What has switched catalogs goes on to its end, with whoever asks for it and without anybody.

use super::*;

/// The timeout took back what the switch, which only waited for a base to be uploaded, relied on.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_time_is_up_while_it_switches_goes_on_with_the_next() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let generation = site.generation()?;
    let status = site.end_after_the_switch("late").await?.body.status;
    ensure!(status["state"] == "failed" && status["errorClass"] == "Cancelled", "{status}");
    ensure!(status["partlyDone"] == true, "{status}");
    let told = status["error"].as_str().unwrap_or_default();
    ensure!(told.contains("not everything was put back within 1 minutes"), "{told}");
    ensure!(told.contains("a restore of the same point goes on"), "{told}");
    ensure!(site.generation()? > generation && state::is_unfinished(&site.platform), "it has switched");
    ensure!(site.has_config_map().await? && site.is_pending()?, "the recovered catalog owns nothing");

    let again = site.ask_restore("again").await?;
    let switched = site.generation()?;
    site.succeed(kinds::dr_restore(), again).await?;
    ensure!(site.generation()? == switched && !state::is_unfinished(&site.platform), "it has gone on");
    ensure!(site.has_config_map().await? && site.is_pending()?, "the recovered catalog owns nothing");
    site.end().await
}

/// It was told that everything was as it was, when all was put back and only the platform's own protection had yet to begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_time_is_up_when_all_is_put_back_has_succeeded() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let request = site.ask_restore("late").await?;
    let request = site.succeed(kinds::dr_restore(), request).await?;
    let switched = site.generation()?;
    let up = std::future::ready(RecoveryError::TimedOut { minutes: 1 });
    carry_out_within(&site.platform, kinds::dr_restore(), request.clone(), up).await;
    let status = site.read(&request)?.body.status;
    ensure!(status["state"] == "success" && status["error"] == "", "{status}");
    ensure!(site.generation()? == switched && site.has_config_map().await?, "it stays as it is");
    site.end().await
}

/// A file CURRENT that could not be read was taken for one before the switch: configuration was mirrored into the recovered
/// catalog, and ownership taken, as if nothing were left to do.
fn stays_unfinished_where_nothing_tells(site: &Site) -> Result<()> {
    let current = site.platform.data.path().join("CURRENT");
    let text = std::fs::read(&current)?;
    std::fs::write(&current, "no number")?;
    ensure!(state::is_unfinished(&site.platform), "it is damaged");
    ensure!(state::recovered(&site.platform)?.is_none(), "another recovery is what helps");
    std::fs::remove_file(&current)?;
    std::fs::create_dir(&current)?;
    ensure!(state::is_unfinished(&site.platform), "it cannot be read");
    let told = state::recovered(&site.platform);
    ensure!(matches!(told, Err(RecoveryError::Current { .. })), "{told:?}");
    std::fs::remove_dir(&current)?;
    std::fs::write(&current, text)?;
    Ok(())
}

/// Whoever had asked was told to ask again, and nobody might have: the catalog was in use without its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ended_after_its_switch_is_completed_by_the_next_process() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let request = site.end_after_the_switch("late").await?;
    let switched = site.generation()?;
    ensure!(state::is_unfinished(&site.platform), "{}", request.body.status);
    stays_unfinished_where_nothing_tells(&site)?;
    let stop = CancellationToken::new();
    let mut running = pin!(run_recovery(site.platform.clone(), stop.clone()));
    let told = eventually("it is completed", async || {
        let status = site.read(&request)?.body.status;
        Ok((status["state"] == "success").then_some(status))
    });
    let status = meanwhile(running.as_mut(), told).await?;
    for gone in ["partlyDone", "errorClass"] {
        ensure!(status[gone].is_null(), "{status}");
    }
    ensure!(status["error"] == "" && status["restorePoint"].is_string(), "{status}");
    ensure!(site.generation()? == switched && !state::is_unfinished(&site.platform), "it has gone on");
    stop.cancel();
    running.await;
    site.end().await
}

/// The next pod of a Job asked again while the platform that had begun anew was at it, and was told that the catalog is in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_asked_for_again_before_it_was_completed_has_what_it_asked_for() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let late = site.end_after_the_switch("late").await?;
    let (platform, switched) = (site.platform.clone(), site.generation()?);
    let going_on = |request: &Record| {
        let wanted = wanted(&platform, request)?;
        others_switched(&platform, request, &wanted)
    };
    let past = site.ask(kinds::dr_restore(), "past", site.as_of("2026-03-04T09:29:00Z")).await?;
    assert!(matches!(going_on(&past), Err(RecoveryError::Unfinished { .. })), "it is of another moment");
    let again = site.ask_restore("again").await?;
    site.clock.advance(Duration::from_secs(1));
    complete_left_over(&platform).await?;
    ensure!(site.read(&late)?.body.status["state"] == "success", "it has gone on");

    site.succeed(kinds::dr_restore(), again).await?;
    ensure!(site.generation()? == switched && !state::is_unfinished(&platform), "nothing is recovered twice");
    let later = site.ask_restore("later").await?;
    for request in [&later, &past] {
        ensure!(going_on(request)?.is_none(), "another one begins anew: {}", request.name);
    }
    site.end().await
}

/// Until there was another process nobody went on, and what anybody changed meanwhile was kept nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ended_after_its_switch_is_completed_although_another_one_was_refused() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let late = site.end_after_the_switch("late").await?;
    let refused = site.ask(kinds::dr_restore(), "past", site.as_of("2026-03-04T09:29:00Z")).await?;
    let stop = CancellationToken::new();
    let mut running = pin!(run_recovery(site.platform.clone(), stop.clone()));
    for (request, state) in [(refused, "failed"), (late, "success")] {
        let told = eventually("it has ended", async || {
            Ok((site.read(&request)?.body.status["state"] == state).then_some(()))
        });
        meanwhile(running.as_mut(), told).await?;
    }
    ensure!(!state::is_unfinished(&site.platform), "it has gone on");
    stop.cancel();
    running.await;
    site.end().await
}

/// The source was looked up in the review anew, although the plan was stored long since.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_has_switched_does_not_need_its_review_any_more() -> Result<()> {
    let site = Site::start(Vec::new()).await?;
    let review = site.ask(kinds::dr_review(), "seen", json!({ "sourceClusterInfo": site.source() })).await?;
    let review = site.succeed(kinds::dr_review(), review).await?;
    let point = &review.body.status["restorePoints"]["restorePointList"][0]["id"];
    let details = json!({ "kastenDRReviewRef": { "name": "seen", "namespace": NAMESPACE }, "id": point });
    let request =
        site.ask(kinds::dr_restore(), "killed", json!({ "kastenDRReviewDetails": details })).await?;
    let turn = {
        let uploading = site.platform.shipper.lock().await;
        let restore = carry_out_within(
            &site.platform,
            kinds::dr_restore(),
            request.clone(),
            std::future::pending::<RecoveryError>(),
        );
        let mut carrying = pin!(restore);
        meanwhile(carrying.as_mut(), site.about_to_switch()).await?;
        let mut turn = pin!(site.platform.enabling.lock());
        assert!(poll!(turn.as_mut()).is_pending());
        drop(uploading);
        meanwhile(carrying.as_mut(), async { Ok(turn.await) }).await?
    };
    ensure!(state::is_unfinished(&site.platform), "it has switched and not put back anything");
    commit(&site.platform.instance, "test", vec![Change::delete(review.key())]).await?;
    drop(turn);
    let request = site.read(&request)?;
    let ended = site.succeed(kinds::dr_restore(), request).await?;
    assert_eq!(&ended.body.status["restorePoint"], point);
    ensure!(!state::is_unfinished(&site.platform), "configuration is put back");
    site.end().await
}
