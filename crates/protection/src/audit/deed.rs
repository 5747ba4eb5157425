//! What a client asked for, as the journal keeps it beside what became of it: in place of the actor's name.

use std::collections::BTreeMap;

use keelson_catalog::{Actor, RowKey};
use serde::{Deserialize, Serialize};

use crate::requester::{Requester, User};

/// A journal's actor is short: of whoever bears more than fits, the last groups are left out, and counted.
const NAME_BYTES_MAX: usize = 768;
const UID_BYTES_MAX: usize = 128;
const ID_BYTES_MAX: usize = 64;
const GROUPS_BYTES_MAX: usize = 1_536;
const EXTRA_BYTES_MAX: usize = 512;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub requester: Requester,
    pub verb: String,
    /// The object that was named, whatever else changed with it.
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    /// As the API server counts the request in its own trail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Groups that did not fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Deed {
    pub(crate) fn new(requester: &Requester, verb: &str, object: RowKey, id: &str) -> Self {
        let (requester, omitted) = match requester {
            Requester::Platform => (Requester::Platform, 0),
            Requester::User(user) => fit(user),
        };
        Self {
            requester,
            verb: verb.to_owned(),
            kind: object.kind.to_string(),
            namespace: object.namespace,
            name: object.name,
            id: cut(id, ID_BYTES_MAX),
            omitted,
        }
    }

    /// Nothing where the platform did something by itself: its parts have plain names.
    pub(crate) fn parse(actor: &Actor) -> Option<Self> {
        serde_json::from_str(actor.as_str()).ok()
    }
}

impl From<&Deed> for Actor {
    fn from(deed: &Deed) -> Self {
        Self::new(serde_json::to_string(deed).expect("strings are JSON"))
    }
}

/// The beginning of a text that takes so many bytes as JSON.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut left = bytes_max;
    let fits = |letter: &char| {
        // Without the quotes around it.
        left = left.saturating_sub(json_bytes(letter.encode_utf8(&mut [0; 4])) - 2);
        left > 0
    };
    text.chars().take_while(fits).collect()
}

/// As much of somebody as there is room for, and how many groups there is none for.
fn fit(User { name, uid, groups, extra }: &User) -> (Requester, usize) {
    let mut left = GROUPS_BYTES_MAX;
    let fits = |group: &&String| {
        left = left.saturating_sub(json_bytes(group) + 1);
        left > 0
    };
    let kept: Vec<String> = groups.iter().take_while(fits).cloned().collect();
    let omitted = groups.len() - kept.len();
    let fits = |extra: &BTreeMap<String, Vec<String>>| {
        serde_json::to_vec(extra).is_ok_and(|text| text.len() <= EXTRA_BYTES_MAX)
    };
    let user = User {
        name: cut(name, NAME_BYTES_MAX),
        uid: cut(uid, UID_BYTES_MAX),
        groups: kept,
        extra: if fits(extra) { extra.clone() } else { BTreeMap::new() },
    };
    (Requester::User(user), omitted)
}

fn json_bytes(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |text| text.len())
}

#[cfg(test)]
mod tests {
    use keelson_catalog::RowKind;

    use super::*;

    #[test]
    fn whoever_bears_much_is_still_told_from_others() {
        let check = |user: &User, kept: usize| {
            let key = RowKey::new(RowKind::new("r".repeat(60)), "n".repeat(63), "o".repeat(253));
            let requester = Requester::User(user.clone());
            let deed = Deed::new(&requester, "deletecollection", key, &"i".repeat(500));
            let parsed = Deed::parse(&Actor::from(&deed)).expect("it fits");
            assert_eq!(parsed, deed);
            let told = deed.requester.to_user();
            assert_eq!((told.groups.len(), deed.omitted), (kept, user.groups.len() - kept));
            assert!(user.name.starts_with(&told.name) && !told.name.is_empty());
        };
        let groups = |count: usize| (0..count).map(|number| format!("group-{number:04}")).collect();
        let extra = |bytes: usize| BTreeMap::from([("scopes".to_owned(), vec!["x".repeat(bytes)])]);
        let of = |name: String, groups, extra| User { name, uid: "u".repeat(1_000), groups, extra };
        check(&of("alice".to_owned(), groups(3), extra(10)), 3);
        check(&of("\u{1}\"".repeat(60_000), groups(5_000), extra(60_000)), 118);
        check(&of("älice".repeat(10_000), vec!["g".repeat(60_000)], extra(500)), 0);
    }

    #[test]
    fn a_part_of_the_platform_did_what_nobody_asked_for() {
        for part in ["retention", "", "policy run"] {
            assert_eq!(Deed::parse(&Actor::new(part)), None);
        }
    }
}
