//! What was said already: what stands in the way for hours is said once.

use std::collections::BTreeMap;

use keelson_model::{Chain, Classified};
use tracing::info;

#[derive(Default)]
pub(super) struct Told {
    chains: BTreeMap<String, String>,
}

impl Told {
    /// The failure, if it is not the one that was told last about this.
    pub(super) fn news<'a, E: Classified>(
        &mut self,
        about: &str,
        result: &'a Result<(), E>,
    ) -> Option<&'a E> {
        match result {
            Ok(()) => {
                if self.chains.remove(about).is_some() {
                    info!(about, "what stood in the way is gone");
                }
                None
            }
            Err(failed) => {
                let chain = Chain(failed).to_string();
                let is_news = self.chains.get(about) != Some(&chain);
                self.chains.insert(about.to_owned(), chain);
                is_news.then_some(failed)
            }
        }
    }
}
