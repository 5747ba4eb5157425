//! What accounts of the cluster asked the API server for, as it noted it itself: a program may swallow a refusal.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const POLICY: &str = "audit-policy.json";
const LOG: &str = "audit.log";

/// Whose requests are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audit {
    Off,
    /// Those of ServiceAccounts, but of the cluster's own controllers.
    OfAccounts,
}

impl Audit {
    /// Writes what the API server reads at its start.
    pub(super) fn prepare(self, directory: &Path) -> Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::OfAccounts => {
                let policy = format!("{:#}\n", policy());
                fs::write(directory.join(POLICY), policy).context("write the audit policy")
            }
        }
    }

    pub(super) fn flags(self, directory: &Path) -> Vec<OsString> {
        let flag = |name: &str, file: &str| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(directory.join(file));
            word
        };
        match self {
            Self::Off => Vec::new(),
            Self::OfAccounts => vec![flag("audit-policy-file", POLICY), flag("audit-log-path", LOG)],
        }
    }

    pub(super) fn refused(self, directory: &Path) -> Result<Vec<String>> {
        ensure!(self == Self::OfAccounts, "this control plane notes no requests");
        let log = fs::read_to_string(directory.join(LOG)).context("read the audit log")?;
        // The last line may still be written.
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut refused = BTreeSet::new();
        for line in lines {
            let event: Value = serde_json::from_str(line).context("read a line of the audit log")?;
            refused.extend(describe_refusal(&event));
        }
        Ok(refused.into_iter().collect())
    }
}

/// The first rule that fits counts.
fn policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
            { "level": "None" },
        ],
    })
}

fn describe_refusal(event: &Value) -> Option<String> {
    let status = &event["responseStatus"];
    if status["code"] != 403 || !event["impersonatedUser"].is_null() {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(format!(
        "{}: {} {}: {}",
        text(&event["user"]["username"]),
        text(&event["verb"]),
        text(&event["requestURI"]),
        text(&status["message"]),
    ))
}
