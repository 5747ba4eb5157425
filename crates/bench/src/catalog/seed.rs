//! Rows like those of restore points, in the order in which schedules of many applications write them.

use anyhow::{Context, Result};
use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, Database, Labels, PageKey, Row, RowKind};

pub(super) const NAMESPACES: u64 = 1_000;
/// Enough that each page and each selector has its rows.
pub(super) const ROWS_MIN: u64 = 10 * NAMESPACES;
const BATCH: u64 = 2_000;

pub(super) const APPLICATION: &str = "k10.kasten.io/appName";
pub(super) const RUN: &str = "k10.kasten.io/runActionName";
pub(super) const POLICY: &str = "k10.kasten.io/policyName";
pub(super) const EXPORTED: &str = "k10.kasten.io/exportProfile";
/// Each serves so many namespaces.
const NAMESPACES_OF_POLICY: u64 = 5;
pub(super) const POLICIES: u64 = NAMESPACES / NAMESPACES_OF_POLICY;

pub(super) fn kind() -> RowKind {
    RowKind::new("restorepoints.apps.kio.kasten.io")
}

pub(super) fn actor() -> Actor {
    Actor::new("bench")
}

pub(super) fn fill(database: &Database, rows: u64) -> Result<()> {
    for first in (0..rows).step_by(BATCH as usize) {
        let changes = (first..rows.min(first + BATCH)).map(|number| Change::create(row(number)));
        database.commit(&actor(), changes.collect()).context("commit rows")?;
    }
    Ok(())
}

pub(super) fn namespace(number: u64) -> String {
    format!("team-{number:03}-shop")
}

/// All applications are backed up one after the other, again and again. So rows that a page shows side by side were
/// written far apart.
pub(super) fn row(number: u64) -> Row {
    let (application, round) = (number % NAMESPACES, number / NAMESPACES);
    let namespace = namespace(application);
    let mut labels: Labels = [
        (APPLICATION, namespace.clone()),
        ("k10.kasten.io/appNamespace", namespace.clone()),
        (POLICY, policy(application % POLICIES)),
        (RUN, run(round)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if round % 2 == 1 {
        labels.insert(EXPORTED.to_owned(), "vault".to_owned());
    }
    let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1_790_000_000 + number as i64);
    let body = format!(
        r#"{{"annotations":{{}},"internal":{{"artifact":{{"outcome":"{:032x}","repository":"{application:032x}","objects":{},"storedBytes":{}}}}},"spec":{{"restorePointContentRef":{{"name":"{namespace}-{}"}}}},"status":{{"actionTime":"{at}","logicalSizeBytes":{},"physicalSizeBytes":{},"scheduledTime":"{at}","state":"Bound"}}}}"#,
        crate::index::spread(number),
        120 + number % 900,
        number * 7_919 % 1_000_000,
        name(round),
        400_000 + number % 90_000,
        number * 104_729 % 1_000_000,
    );
    Row {
        kind: kind(),
        name: name(round),
        uid: format!("{:032x}", crate::index::spread(!number)),
        namespace,
        labels,
        created: at,
        class: Class::Local,
        body: body.into_bytes(),
    }
}

fn name(round: u64) -> String {
    format!("scheduled-{round:06}")
}

pub(super) fn run(round: u64) -> String {
    format!("policy-run-{round:06}")
}

pub(super) fn policy(number: u64) -> String {
    format!("policy-{number:03}")
}

/// The row that so many come before, in the order of a list.
pub(super) fn place(position: u64, rows: u64) -> PageKey {
    let rounds = rows / NAMESPACES;
    PageKey { namespace: namespace(position / rounds), name: name(position % rounds) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_place_in_the_list_is_the_row_that_so_many_come_before() {
        let rows = 3 * NAMESPACES;
        let keys: BTreeSet<_> =
            (0..rows).map(row).map(|row| PageKey { namespace: row.namespace, name: row.name }).collect();
        assert_eq!(keys.len() as u64, rows, "each row has a key of its own");
        for (position, key) in keys.into_iter().enumerate().step_by(37) {
            assert_eq!(place(position as u64, rows), key);
        }
    }

    #[test]
    fn a_policy_serves_a_few_namespaces_and_a_run_all() {
        let rows: Vec<_> = (0..2 * NAMESPACES).map(row).collect();
        let bear = |key: &str, value: &str| {
            let bearing = rows.iter().filter(|row| row.labels.get(key).is_some_and(|found| found == value));
            bearing.map(|row| &row.namespace).collect::<BTreeSet<_>>().len() as u64
        };
        assert_eq!(bear(POLICY, &policy(7)), NAMESPACES_OF_POLICY);
        assert_eq!(bear(RUN, &run(1)), NAMESPACES);
        assert_eq!(bear(APPLICATION, &namespace(3)), 1);
    }
}
