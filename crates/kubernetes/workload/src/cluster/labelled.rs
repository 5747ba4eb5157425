//! Which namespaces hold something with certain labels: the server selects, we get names only.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Cluster, PAGE_OBJECTS, ServedKind, named};
use crate::kinds::{Kind, Scope};
use crate::names::push_query;
use crate::request::{Call, RequestError, Verb};

/// As `kubectl get --chunk-size` asks; a token that expires in between starts the kind anew.
const EXPIRIES_MAX: u32 = 3;
/// Accepts the whole object where a server cannot leave the contents out.
const ACCEPT: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.5";
/// Our own history bears the labels of what it is about, and events those of nothing.
const PASSED_OVER: [&str; 2] = ["events", "events.events.k8s.io"];
const OUR_GROUPS: &str = ".kio.kasten.io";

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
}

#[derive(Deserialize)]
struct ItemMetadata {
    #[serde(default)]
    namespace: String,
}

impl Cluster {
    /// The namespaces in which any resource has these labels. `selector` is in the syntax of `kubectl -l`.
    ///
    /// Every namespaced kind is listed once; a kind that cannot be is an error, since what it holds would be missed.
    pub async fn namespaces_with_labels(&self, selector: &str) -> Result<BTreeSet<String>, RequestError> {
        let served = self.discover().await?;
        let mut found = BTreeSet::new();
        for kind in served.iter().filter(|kind| is_looked_at(kind)) {
            self.add_namespaces(&kind.kind, selector, &mut found).await?;
        }
        Ok(found)
    }

    async fn add_namespaces(
        &self,
        kind: &Kind,
        selector: &str,
        found: &mut BTreeSet<String>,
    ) -> Result<(), RequestError> {
        let mut token = String::new();
        let mut expiries = 0;
        loop {
            let mut url = named(Verb::List, kind, kind.collection_url(None))?;
            push_query(&mut url, "labelSelector", selector);
            push_query(&mut url, "limit", &PAGE_OBJECTS.to_string());
            if !token.is_empty() {
                push_query(&mut url, "continue", &token);
            }
            let mut call = Call::new(Verb::List, kind, url);
            call.accept = ACCEPT;
            let page: Page = match self.wire().send_json(&call).await {
                Ok(page) => page,
                // The kind went away, or has no list after all.
                Err(error) if error.is_status(404) || error.is_status(405) => return Ok(()),
                Err(error) if error.is_status(410) && expiries < EXPIRIES_MAX => {
                    expiries += 1;
                    token.clear();
                    continue;
                }
                Err(error) => return Err(error),
            };
            found.extend(page.items.into_iter().map(|item| item.metadata.namespace));
            token = page.metadata.r#continue;
            if token.is_empty() {
                return Ok(());
            }
        }
    }
}

fn is_looked_at(served: &ServedKind) -> bool {
    let kind = &served.kind;
    kind.scope == Scope::Namespaced
        && served.can("list")
        && !kind.group.ends_with(OUR_GROUPS)
        && !PASSED_OVER.contains(&kind.resource_name().as_str())
}
