//! Signed reports of drills, as an auditor meets them: out of the cluster, and checked far from it.

use std::fs;

use anyhow::Result;
use keelson_e2e::answer;
use keelson_testkit::FormatReader;
use serde_json::json;

use crate::stage::{NAMESPACE, assert_said};
use crate::world::enter;

/// A report that was kept, and the key that goes with it.
const KEPT: &str = include_str!("../../../crates/protection/src/recovery/golden_report.jsonl");
const KEY: &str = "b817a63ac2fa2ae3e107aff084f6d205375a8e0d9999bf7b18c7771d8bc670d7";

#[test]
fn a_drill_report_is_printed_as_it_is_and_checked_without_a_platform() -> Result<()> {
    let world = enter()?;
    assert_said(&world.stage.keelson(&["dr", "drill-report"])?, 4, &["no report of a drill yet", "hint:"]);
    world.stage.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "keelson-drills", "namespace": NAMESPACE },
        "data": { "2026-02-01T02-40-00Z.jsonl": "an older one\n", "2026-02-02T02-40-00Z.jsonl": KEPT },
    }))?;
    let said = world.stage.keelson(&["dr", "drill-report"])?;
    world.stage.delete(&["configmap", "keelson-drills", "-n", NAMESPACE])?;
    assert_eq!((said.code, said.stdout.as_str()), (0, KEPT));

    let file = world.share.directory().join("report.jsonl");
    fs::write(&file, &said.stdout)?;
    let path = file.display().to_string();
    let check = |key: &str| answer(["tools", "check-report", &path, "--key", key]);
    let said = check(KEY)?;
    assert_said(&said, 0, &[]);
    assert!(said.stdout.contains("unchanged") && said.stdout.contains("the drill went well"), "{said:?}");
    assert_said(
        &check(&KEY.replace("b817", "b818"))?,
        8,
        &["changed, or another platform signed it", "hint:"],
    );
    assert_said(&check("b817")?, 3, &["hexadecimal digits"]);
    // Nor with our own program: the reader of the formats finds the same.
    let reader = FormatReader::prepare()?;
    let told = reader.run("", ["check-report", &path, "--key", KEY])?;
    assert_eq!((told.code, &told.lines()?[0]["drill"]["findingsTotal"]), (0, &json!(0)), "{told:?}");
    fs::write(&file, KEPT.replace("\"findingsTotal\":0", "\"findingsTotal\":1"))?;
    assert_said(&check(KEY)?, 8, &["changed, or another platform signed it"]);
    let told = reader.run("", ["check-report", &path, "--key", KEY])?;
    assert_eq!(told.code, 1, "{told:?}");
    // The kit knows its own platform's key, and this is another's.
    let (kit, secret) = (world.kit.kit.display().to_string(), world.kit.passphrase.display().to_string());
    fs::write(&file, KEPT)?;
    let said = answer(["tools", "check-report", &path, "--kit", &kit, "--kit-passphrase-file", &secret])?;
    assert_said(&said, 8, &["another platform signed it"]);
    Ok(())
}
