//! On whose behalf a request is made. The API server then judges it by that person's rights, not by ours.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// Who asked, as the API server told us when they did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    pub user: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The API server adds this group to every authenticated user, so that leaving it out takes nothing away.
const IMPLIED_GROUP: &str = "system:authenticated";

/// A requester whose name may be borrowed. Names under `system:` never are: they belong to the cluster itself,
/// and some of them pass every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonation {
    headers: HeaderMap,
    user: String,
}

/// Why a name is not borrowed. Access reviews serve such a requester instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationRefused {
    #[error("the requester has no user name")]
    NameMissing,
    #[error("'{name}' is a name of the cluster itself")]
    SystemName { name: String },
    #[error("'{name}' cannot be sent in a header")]
    EncodeHeader { name: String },
}

impl TryFrom<&Requester> for Impersonation {
    type Error = ImpersonationRefused;

    fn try_from(requester: &Requester) -> Result<Self, ImpersonationRefused> {
        let Requester { user, uid, groups, extra } = requester;
        if user.is_empty() {
            return Err(ImpersonationRefused::NameMissing);
        }
        let groups = groups.iter().filter(|group| *group != IMPLIED_GROUP);
        if let Some(name) =
            std::iter::once(user).chain(groups.clone()).find(|name| name.starts_with("system:"))
        {
            return Err(ImpersonationRefused::SystemName { name: name.clone() });
        }
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", header_value(user)?);
        if !uid.is_empty() {
            headers.insert("impersonate-uid", header_value(uid)?);
        }
        for group in groups {
            headers.append("impersonate-group", header_value(group)?);
        }
        for (key, values) in extra {
            let name = HeaderName::try_from(format!("impersonate-extra-{}", encode_extra_key(key)))
                .map_err(|_| ImpersonationRefused::EncodeHeader { name: key.clone() })?;
            for value in values {
                headers.append(name.clone(), header_value(value)?);
            }
        }
        Ok(Self { headers, user: user.clone() })
    }
}

impl Impersonation {
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

fn header_value(text: &str) -> Result<HeaderValue, ImpersonationRefused> {
    HeaderValue::from_str(text).map_err(|_| ImpersonationRefused::EncodeHeader { name: text.to_owned() })
}

/// Header names are case-insensitive and narrow; the API server undoes percent-encoding in them.
fn encode_extra_key(key: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(byte);
    key.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester(user: &str, groups: &[&str]) -> Requester {
        Requester {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Requester::default()
        }
    }

    #[test]
    fn a_name_of_the_cluster_is_never_borrowed() {
        for (user, groups) in [
            ("system:admin", vec![]),
            ("system:serviceaccount:kube-system:job-controller", vec!["system:serviceaccounts"]),
            ("alice", vec!["dev", "system:masters"]),
        ] {
            let refused = Impersonation::try_from(&requester(user, &groups));
            assert!(matches!(refused, Err(ImpersonationRefused::SystemName { .. })), "{user} {groups:?}");
        }
        assert_eq!(Impersonation::try_from(&requester("", &[])), Err(ImpersonationRefused::NameMissing));
    }

    #[test]
    fn a_person_is_sent_with_groups_and_extra_keys() {
        let mut alice = requester("alice", &["dev", "ops", "system:authenticated"]);
        alice.extra.insert("example.com/Team".to_owned(), vec!["shop".to_owned()]);
        let impersonation = Impersonation::try_from(&alice).expect("a plain person");
        let groups: Vec<_> = impersonation.headers().get_all("impersonate-group").iter().collect();
        assert_eq!(groups, ["dev", "ops"]);
        assert_eq!(impersonation.headers()["impersonate-extra-example.com%2f%54eam"], "shop");
    }
}
