//! The token by which a client continues a list: the version of the first page and where the last one ended.
//!
//! Pages after the first read current rows under the first page's version. That is sound because a client that goes
//! on to watch does so from that version, and the watch replays everything since. Whoever asked for the state of
//! exactly that version gets each page of it, or none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keelson_catalog::PageKey;
use keelson_model::Revision;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub(crate) revision: Revision,
    pub(crate) after: PageKey,
    pub(crate) promise: Promise,
}

/// What the first page was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// A version from which a watch goes on.
    Watchable,
    /// The state of exactly that version.
    Exact,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    v: u8,
    rv: Revision,
    ns: String,
    name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exact: bool,
}

const TOKEN_VERSION: u8 = 1;

impl Continuation {
    /// Reads what a client sends back. The token is no secret and no proof: all it can do is start elsewhere.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if token.v != TOKEN_VERSION || token.rv.as_u64() >> 63 != 0 {
            return Err(wrong());
        }
        let promise = if token.exact { Promise::Exact } else { Promise::Watchable };
        Ok(Self { revision: token.rv, after: PageKey { namespace: token.ns, name: token.name }, promise })
    }

    pub(crate) fn to_token(&self) -> String {
        let token = Token {
            v: TOKEN_VERSION,
            rv: self.revision,
            ns: self.after.namespace.clone(),
            name: self.after.name.clone(),
            exact: self.promise == Promise::Exact,
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token of strings and numbers is JSON"))
    }
}

#[cfg(test)]
mod tests {
    use keelson_model::{Generation, Sequence};

    use super::*;

    #[test]
    fn a_token_reads_back_what_it_says() {
        for promise in [Promise::Watchable, Promise::Exact] {
            let continuation = Continuation {
                revision: Revision::new(Generation(2), Sequence(9)),
                after: PageKey { namespace: "shop".to_owned(), name: "a".to_owned() },
                promise,
            };
            assert_eq!(Continuation::parse(&continuation.to_token()).ok(), Some(continuation));
        }
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        for text in ["x", "", "e30", "eyJ2Ijo5fQ"] {
            assert!(Continuation::parse(text).is_err(), "{text}");
        }
    }
}
