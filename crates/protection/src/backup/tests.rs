//! What comes of a capture that is not whole.

use keelson_workload::{KindFailure, OmissionReason};
use serde_json::json;

use super::*;

fn report() -> CaptureReport {
    let failed = |resource: &str| KindFailure { resource: resource.to_owned(), why: "away".to_owned() };
    let omitted = |resource: &str, reason, count| Omission {
        resource: resource.to_owned(),
        reason,
        count,
        names: Vec::new(),
    };
    CaptureReport {
        failed: vec![failed("example.com/v1"), failed("other.example.com/v1")],
        omitted: vec![
            omitted("persistentvolumeclaims", OmissionReason::ClaimNotProtected, 2),
            omitted("pods", OmissionReason::RemadeByCluster, 5),
            omitted("namespaces", OmissionReason::TooLarge { bytes_max: 9 }, 1),
        ],
        ..CaptureReport::default()
    }
}

#[test]
fn what_cannot_be_read_fails_a_backup_by_its_name() {
    let scope = CaptureScope::Application("shop".parse().unwrap());
    for spec in [json!({}), json!({ "ignoreExceptions": false })] {
        let error = check_failures(&mut report(), &scope, Exceptions::of(&spec)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "example.com/v1 of namespace 'shop' could not be read (nor 1 more): away"
        );
        assert!(error.hint().unwrap().contains("ignoreExceptions"));
    }
}

#[test]
fn what_cannot_be_read_is_an_exception_where_exceptions_are_ignored() {
    let scope = CaptureScope::Application("shop".parse().unwrap());
    let mut report = report();
    let ignore = Exceptions::of(&json!({ "ignoreExceptions": true }));
    check_failures(&mut report, &scope, ignore).unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(
        exceptions(&report),
        [
            "2 persistentvolumeclaims: claim not protected: volumes are not part of this release",
            "1 namespaces: larger than 9 bytes",
            "example.com/v1: could not be read: away",
            "other.example.com/v1: could not be read: away",
        ]
    );
}
