//! Informers of client-go beside a story of the whole platform: in the end they hold what it serves.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use keelson_testkit::Stranger;
use serde_json::Value;

use crate::stage::Stage;

/// Client-go streams what there is instead of listing it, or lists.
const WATCH_LIST: &str = "KUBE_FEATURE_WatchListClient";

/// Uid and version by namespace and name.
type Held = BTreeMap<String, (String, String)>;

/// One informer of a kind over all namespaces.
pub(crate) struct Informer {
    stranger: Stranger,
    /// `GROUP/VERSION` and the plural.
    resource: [&'static str; 2],
}

impl Informer {
    /// Both ways of beginning, of one kind.
    pub(crate) fn start_both(stage: &Stage, group: &'static str, plural: &'static str) -> Result<[Self; 2]> {
        let start = |watch_list: &str| {
            let complaints = format!("informer-{plural}-{watch_list}.complaints");
            let complaints = stage.plane().directory().join(complaints);
            let kubeconfig = stage.plane().kubeconfig().display().to_string();
            let resource = format!("{group}/{plural}");
            let words = ["informer", "--kubeconfig", &kubeconfig, "--resource", &resource];
            let stranger = Stranger::start(complaints, &words, &[(WATCH_LIST, watch_list)])?;
            anyhow::Ok(Self { stranger, resource: [group, plural] })
        };
        Ok([start("true")?, start("false")?])
    }

    fn holds(&mut self, stage: &Stage) -> Result<Held> {
        let answers = self.stranger.told("store").len();
        self.stranger.ask()?;
        let store = stage.until("the informer tells what it holds", || {
            let ended = self.stranger.ended()?;
            anyhow::ensure!(ended.is_none(), "it ended: {}", self.stranger.complaints()?);
            Ok(self.stranger.told("store").into_iter().nth(answers))
        })?;
        let entries = store.as_array().context("no entries")?.iter();
        entries.map(|entry| held(&entry["object"], &entry["uid"], &entry["version"])).collect()
    }

    /// Waits until it holds what is served, and says what that is.
    pub(crate) fn await_holding_what_is_served(&mut self, stage: &Stage) -> Result<Vec<String>> {
        let [group, plural] = self.resource;
        stage.until(&format!("an informer holds the {plural} that are served"), || {
            let said = stage.try_kubectl(&["get", "--raw", &format!("/apis/{group}/{plural}")], "")?;
            // Killed just now, and not yet back.
            let Ok(list) = serde_json::from_str::<Value>(&said.stdout) else { return Ok(None) };
            let items = list["items"].as_array().context("no items")?.iter();
            let served = items.map(|item| {
                let metadata = &item["metadata"];
                let namespace = metadata["namespace"].as_str().unwrap_or_default();
                let name = metadata["name"].as_str().context("no name")?;
                held(&format!("{namespace}/{name}").into(), &metadata["uid"], &metadata["resourceVersion"])
            });
            let served: Held = served.collect::<Result<_>>()?;
            Ok((self.holds(stage)? == served).then(|| served.into_keys().collect()))
        })
    }

    /// Whether it learned from a list, and from no event, that an object was gone.
    pub(crate) fn missed(&self, object: &str) -> bool {
        self.stranger.told("event").iter().any(|event| event["type"] == "MISSED" && event["object"] == object)
    }
}

fn held(object: &Value, uid: &Value, version: &Value) -> Result<(String, (String, String))> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("{value} is no text"));
    Ok((text(object)?, (text(uid)?, text(version)?)))
}
