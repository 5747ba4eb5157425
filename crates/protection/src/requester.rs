//! Who asked. Established by a door, kept with what was asked, never taken from a client's body.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The platform among those whom people read of. Somebody may bear the same name: he is a `User` all the same.
const PLATFORM: &str = "keelson";

/// Rows hold the platform as a word and a user as an object: no name makes a user the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Requester {
    /// The platform itself: schedules, retention, children of a policy run. No door makes it of a request.
    Platform,
    #[serde(untagged)]
    User(User),
}

/// A person or an account as the API server authenticated it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    /// As messages and trails name it. Nothing is decided by it.
    pub fn name(&self) -> &str {
        match self {
            Self::Platform => PLATFORM,
            Self::User(user) => &user.name,
        }
    }

    /// As a status or a trail shows it, the platform too.
    pub fn to_user(&self) -> User {
        match self {
            Self::Platform => User {
                name: PLATFORM.to_owned(),
                uid: String::new(),
                groups: Vec::new(),
                extra: BTreeMap::new(),
            },
            Self::User(user) => user.clone(),
        }
    }
}

impl From<User> for keelson_workload::Requester {
    fn from(User { name, uid, groups, extra }: User) -> Self {
        Self { user: name, uid, groups, extra }
    }
}

/// As a status shows it.
impl From<&Requester> for keelson_resources::Requester {
    fn from(requester: &Requester) -> Self {
        let User { name, uid, groups, extra } = requester.to_user();
        Self { name, uid, groups, extra }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(requester: &Requester) -> Requester {
        serde_json::from_str(&serde_json::to_string(requester).expect("plain data")).expect("what was stored")
    }

    /// It was told from others by its name, which anybody may bear.
    #[test]
    fn whoever_bears_the_platforms_name_is_a_user() {
        let impostor = Requester::User(Requester::Platform.to_user());
        assert_eq!(impostor.name(), Requester::Platform.name());
        assert_ne!(impostor, Requester::Platform);
        assert_eq!(stored(&impostor), impostor);
        assert_eq!(stored(&Requester::Platform), Requester::Platform);
        let groups = vec!["system:masters".to_owned()];
        let known = Requester::User(User { groups, ..impostor.to_user() });
        assert_eq!(stored(&known), known);
    }
}
