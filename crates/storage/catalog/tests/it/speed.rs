//! Prints how fast a catalog fills, ships and comes back. A figure to look at, not a gate.

use std::time::Instant;

use keelson_catalog::{Change, Class, Database, Query, RebuildError, Scope};
use keelson_model::Generation;
use keelson_model::selector::LabelSelector;

use crate::fixture::{ACTIONS, Fixture, POINTS, actor, kind, labelled, row_in, with_body};

/// Multiplies the rows; 50 makes the size that the platform is measured with.
const FACTOR: &str = "KEELSON_CATALOG_SPEED_FACTOR";
const POINT_COUNT: usize = 2_000;
const ACTION_COUNT: usize = 6_000;

fn fill(database: &Database, of: &str, count: usize) {
    let numbers: Vec<_> = (0..count).collect();
    for batch in numbers.chunks(2_000) {
        let changes = batch.iter().map(|&number| {
            let namespace = format!("app-{}", number % 500);
            let policy = format!("policy-{}", number % 200);
            let run = format!("run-{number}");
            let labels = [
                ("k10.kasten.io/appName", namespace.as_str()),
                ("k10.kasten.io/appNamespace", namespace.as_str()),
                ("k10.kasten.io/policyName", policy.as_str()),
                ("k10.kasten.io/runActionName", run.as_str()),
            ];
            let body = format!(
                r#"{{"annotations":{{}},"internal":{{"artifacts":[{{"outcome":"{number:032x}","repository":"{:032x}","streams":["objects"]}}]}},"spec":{{"restorePointContentRef":{{"name":"{namespace}-scheduled-{number:06}"}}}},"status":{{"actionTime":"2026-01-01T00:{:02}:{:02}Z","logicalSizeBytes":{},"physicalSizeBytes":{},"scheduledTime":"2026-01-01T00:00:00Z","state":"Bound"}}}}"#,
                number % 500,
                number / 60 % 60,
                number % 60,
                number * 7919,
                number * 104_729,
            );
            let row = row_in(of, &namespace, &format!("{namespace}-scheduled-{number:06}"), Class::Local);
            Change::put(with_body(labelled(row, &labels), &body))
        });
        database.commit(&actor(), changes.collect()).unwrap();
    }
}

#[test]
fn print_the_figures() {
    let factor = std::env::var_os(FACTOR).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(1_usize);
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    let measure = |what: &str, start: Instant| println!("{what}: {:.2} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    fill(&database, POINTS, POINT_COUNT * factor);
    fill(&database, ACTIONS, ACTION_COUNT * factor);
    measure("fill", start);

    let start = Instant::now();
    let base_file = target.directory.path().join("base");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&base_file).unwrap());
    let summary = database
        .base(Scope::ConfigurationAndLocal, b"", &mut |frame| {
            Ok(std::io::Write::write_all(&mut file, frame)?)
        })
        .unwrap();
    std::io::Write::flush(&mut file).unwrap();
    measure("base", start);
    println!("base: {} rows, {} bytes", summary.counts.total(), summary.bytes);

    let start = Instant::now();
    let data_dir = target.data_dir();
    let mut rebuild = data_dir.begin_recovery(Generation(2), &source.key, b"").unwrap();
    rebuild.put_base(&mut std::io::BufReader::new(std::fs::File::open(&base_file).unwrap())).unwrap();
    measure("load", start);
    let restored = data_dir.switch(rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap()).unwrap();
    measure("load and switch", start);

    let start = Instant::now();
    restored.verify_digests().unwrap();
    measure("verify digests", start);

    let start = Instant::now();
    let query = Query {
        labels: LabelSelector::equal("k10.kasten.io/policyName", "policy-7"),
        ..Query::all(kind(POINTS), 500)
    };
    let page = restored.list(&query).unwrap();
    println!("select {} by label: {:.2} ms", page.rows.len(), start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let page = restored.list(&Query::all(kind(POINTS), 500)).unwrap();
    println!(
        "page of {} of {:?}: {:.2} ms",
        page.rows.len(),
        page.remaining,
        start.elapsed().as_secs_f64() * 1e3
    );

    let start = Instant::now();
    let commits = 2_000;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let restored = &restored;
            scope.spawn(move || {
                for number in 0..commits / 8 {
                    let row = row_in(POINTS, "speed", &format!("{thread}-{number}"), Class::Local);
                    restored.commit(&actor(), vec![Change::put(row)]).unwrap();
                }
            });
        }
    });
    println!("commits from 8 threads: {:.0}/s", f64::from(commits) / start.elapsed().as_secs_f64());
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    }
}
