//! What this instance says of itself in numbers: the text that Prometheus reads. Drawn from the same status as
//! everything else that people see; no label grows with the data.

use std::fmt::Write;

use jiff::Timestamp;

use crate::status::{DisasterRecoveryStatus, InstanceStatus};

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const UP: Metric = Metric { name: "keelson_catalog_up", help: "Whether the catalog is open." };
const ENABLED: Metric = Metric { name: "keelson_dr_enabled", help: "Whether disaster recovery is enabled." };
const BEHIND: Metric = Metric {
    name: "keelson_dr_unshipped_entries",
    help: "Entries of the journal that are not in the location.",
};
const LAG: Metric = Metric {
    name: "keelson_dr_catalog_lag_seconds",
    help: "Age of the oldest commit that is not in the location; 0 if all are.",
};
const RUN_AGE: Metric =
    Metric { name: "keelson_dr_last_run_age_seconds", help: "Age of the last good run of the DR policy." };
const ALARMS: Metric = Metric { name: "keelson_dr_alarms", help: "Alarms that stand." };
const DRILL_SUCCESS: Metric =
    Metric { name: "keelson_drill_last_success", help: "Whether the last drill went well." };
const DRILL_TIME: Metric =
    Metric { name: "keelson_drill_last_timestamp_seconds", help: "When the last drill began." };
const DRILL_SECONDS: Metric =
    Metric { name: "keelson_drill_last_duration_seconds", help: "How long the last drill took." };
const AT_RISK: Metric = Metric {
    name: "keelson_exports_at_risk",
    help: "Exported applications that no passphrase opens without this cluster.",
};
const OWNERSHIP: Metric =
    Metric { name: "keelson_ownership", help: "Who owns the backups: 1 at the state that holds." };

const TAKEN: Metric = Metric {
    name: "keelson_api_groups_taken",
    help: "Our API groups whose APIServices are somebody else's.",
};

const PASSKEYS_VALID: Metric =
    Metric { name: "keelson_passkeys_valid", help: "Passkeys that open the volume." };
const PASSKEYS_INVALID: Metric = Metric {
    name: "keelson_passkeys_invalid",
    help: "Passkeys that do not open the volume: their Secrets are gone or changed.",
};

/// The states of ownership, as the status names them.
const OWNERSHIP_STATES: [&str; 4] = ["Owned", "Pending", "Partial", "Fenced"];

struct Metric {
    name: &'static str,
    help: &'static str,
}

/// Pure: the text for a status.
pub fn render(status: &InstanceStatus, now: Timestamp) -> String {
    let mut text = String::new();
    let age = |since: Timestamp| now.duration_since(since).as_secs_f64().max(0.0);
    put(&mut text, &UP, flag(status.catalog.is_some()));
    put(&mut text, &ENABLED, flag(status.disaster_recovery.is_some()));
    if let Some(dr) = &status.disaster_recovery {
        let DisasterRecoveryStatus { shipped, drill, last_run, alarms, .. } = dr;
        if let Some(shipped) = shipped {
            put(&mut text, &BEHIND, shipped.behind as f64);
            put(&mut text, &LAG, shipped.behind_since.map_or(0.0, age));
        }
        if let Some(run) = last_run {
            put(&mut text, &RUN_AGE, age(*run));
        }
        put(&mut text, &ALARMS, alarms.len() as f64);
        if let Some(drill) = drill {
            put(&mut text, &DRILL_SUCCESS, flag(drill.is_green()));
            put(&mut text, &DRILL_TIME, drill.at.as_second() as f64);
            put(&mut text, &DRILL_SECONDS, drill.seconds as f64);
        }
    }
    put(&mut text, &AT_RISK, status.exports_at_risk.len() as f64);
    put(&mut text, &TAKEN, status.taken_apis.len() as f64);
    put(&mut text, &PASSKEYS_VALID, status.passkeys.valid as f64);
    put(&mut text, &PASSKEYS_INVALID, status.passkeys.invalid.len() as f64);
    head(&mut text, &OWNERSHIP);
    for state in OWNERSHIP_STATES {
        let holds = flag(status.ownership.state == state);
        line(&mut text, &format!("{}{{state=\"{state}\"}} {holds}", OWNERSHIP.name));
    }
    text
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn put(text: &mut String, metric: &Metric, value: f64) {
    head(text, metric);
    line(text, &format!("{} {value}", metric.name));
}

/// All of them are measured anew each time.
fn head(text: &mut String, Metric { name, help }: &Metric) {
    line(text, &format!("# HELP {name} {help}"));
    line(text, &format!("# TYPE {name} gauge"));
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(extra: serde_json::Value) -> InstanceStatus {
        let mut status = json!({
            "clusterID": "0c3e8c52-6a0b", "instance": "i", "lineage": "l", "version": "0",
            "ownership": { "state": "Pending", "claims": [] },
        });
        status.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(status).unwrap()
    }

    #[track_caller]
    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "'{line}' is not in\n{text}");
        }
    }

    #[test]
    fn a_platform_that_protects_nothing_says_so() {
        let text = render(&status(json!({})), Timestamp::UNIX_EPOCH);
        let expected =
            ["keelson_catalog_up 0", "keelson_dr_enabled 0", "keelson_ownership{state=\"Pending\"} 1"];
        assert_lines(&text, &expected);
        assert_lines(&text, &["keelson_ownership{state=\"Owned\"} 0"]);
        assert!(!text.contains("keelson_drill"), "{text}");
    }

    #[test]
    fn passkeys_are_counted_by_whether_they_open_the_volume() {
        let passkeys = json!({ "valid": 2, "invalid": [{ "name": "office", "why": "its Secret is gone" }] });
        let text = render(&status(json!({ "passkeys": passkeys })), Timestamp::UNIX_EPOCH);
        assert_lines(&text, &["keelson_passkeys_valid 2", "keelson_passkeys_invalid 1"]);
    }

    #[test]
    fn ages_are_counted_from_what_the_status_says() {
        let dr = json!({
            "profile": "vault", "mode": "v2", "repository": "r", "lastRun": "2026-01-01T00:00:00Z",
            "shipped": { "epoch": 1, "generation": 1, "through": 7, "behind": 2,
                "behindSince": "2026-01-01T00:59:57Z" },
            "drill": { "at": "2026-01-01T00:30:00Z", "seconds": 4, "restorePoints": 1, "repositories": 1,
                "bytesRead": 1, "findings": ["lost"], "findingsTotal": 1 },
            "alarms": ["the drill failed"],
        });
        let text =
            render(&status(json!({ "disasterRecovery": dr })), "2026-01-01T01:00:00Z".parse().unwrap());
        assert_lines(
            &text,
            &[
                "keelson_dr_enabled 1",
                "keelson_dr_unshipped_entries 2",
                "keelson_dr_catalog_lag_seconds 3",
                "keelson_dr_last_run_age_seconds 3600",
                "keelson_dr_alarms 1",
                "keelson_drill_last_success 0",
                "keelson_drill_last_timestamp_seconds 1767227400",
                "keelson_drill_last_duration_seconds 4",
            ],
        );
    }

    /// What Prometheus asks of a text: a type before each name, and every value a number.
    #[test]
    fn every_line_is_a_comment_or_a_name_with_a_number() {
        let text = render(&status(json!({})), Timestamp::UNIX_EPOCH);
        let mut typed = "";
        for line in text.lines() {
            if let Some(words) = line.strip_prefix("# TYPE ") {
                typed = words.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(typed) && value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
