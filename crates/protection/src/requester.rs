//! Who asked. Established by a door, kept with what was asked, never taken from a client's body.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A person or an account as the API server authenticated it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// The platform itself: schedules, retention, children of a policy run.
    pub fn platform() -> Self {
        Self { name: "keelson".to_owned(), uid: String::new(), groups: Vec::new(), extra: BTreeMap::new() }
    }

    pub fn is_platform(&self) -> bool {
        self == &Self::platform()
    }
}

impl From<Requester> for keelson_workload::Requester {
    fn from(Requester { name, uid, groups, extra }: Requester) -> Self {
        Self { user: name, uid, groups, extra }
    }
}

/// As a status shows it.
impl From<&Requester> for keelson_resources::Requester {
    fn from(requester: &Requester) -> Self {
        let Requester { name, uid, groups, extra } = requester.clone();
        Self { name, uid, groups, extra }
    }
}
