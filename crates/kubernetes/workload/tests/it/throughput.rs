//! How fast two thousand objects are read and written back. The figures are printed; the bench judges them.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::application::{Scene, config_maps};

const OBJECTS: usize = 2000;

#[tokio::test]
async fn two_thousand_objects_go_out_and_come_back() -> Result<()> {
    let scene = Scene::set("many").await?;
    let started = Instant::now();
    stream::iter(0..OBJECTS)
        .map(|number| {
            let data = "x".repeat(512 + number % 512);
            let map = json!({"metadata": {"name": format!("map-{number}"), "namespace": scene.name(),
                "labels": {"number": number.to_string()}}, "data": {"k": data}});
            let cluster = &scene.cluster;
            async move { cluster.create_object(&config_maps(), &map).await }
        })
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let created = started.elapsed();
    let started = Instant::now();
    let (before, report) = scene.capture().await?;
    let captured = started.elapsed();
    assert!(report.objects as usize > OBJECTS && report.failed.is_empty());
    let request = scene.request_into(&scene.beside()?.namespace);
    let started = Instant::now();
    let report = scene.restore(&request, &before).await?;
    let restored = started.elapsed();
    // The default account may be there before us.
    assert_eq!(
        ((report.created + report.unchanged) as usize, report.failures.len()),
        (before.len(), 0),
        "{report:?}"
    );
    let rate = |elapsed: std::time::Duration| before.len() as f64 / elapsed.as_secs_f64();
    println!(
        "objects/s: plain creation {:.0}, capture {:.0}, restore {:.0}",
        rate(created),
        rate(captured),
        rate(restored)
    );
    Ok(())
}
