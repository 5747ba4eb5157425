//! Retires what was made with an `expiresAt`, once that has passed. Waits while this instance owns nothing.
//!
//! Which contents expire is known from the journal: they are all read once, then only what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keelson_catalog::{Database, Event, EventKind, ReadError, Stored};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::contents::{Followed, View};
use crate::ownership;
use crate::platform::Platform;
use crate::records::Record;
use crate::restore_points::ContentInternal;
use crate::retention;

const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(crate) async fn run_expiry(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut expiries = Followed::<Expiries>::default();
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let Ok(catalog) = platform.catalog() else { continue };
        if let Err(error) = expiries.follow(&catalog) {
            warn!(error = &error as &dyn std::error::Error, "what expires could not be read");
            continue;
        }
        let due = expiries.view.due(platform.clock.now());
        if due.is_empty() || ownership::forbids_maintenance(&platform).is_some() {
            continue;
        }
        for content in due {
            if let Err(error) = retention::retire(&platform, &catalog, &content).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    content, "an expired content is not retired yet"
                );
            }
        }
    }
}

/// Contents that expire, and when.
#[derive(Debug, Default)]
struct Expiries(BTreeMap<String, Timestamp>);

impl Expiries {
    fn due(&self, now: Timestamp) -> Vec<String> {
        self.0.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect()
    }
}

impl View for Expiries {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn note(&mut self, stored: &Stored) {
        let internal =
            Record::parse(stored).ok().and_then(|content| content.internal::<ContentInternal>().ok());
        match internal.and_then(|internal| internal.expires_at) {
            Some(at) => drop(self.0.insert(stored.row.name.clone(), at)),
            None => drop(self.0.remove(&stored.row.name)),
        }
    }

    fn apply(&mut self, _catalog: &Database, event: &Event) -> Result<(), ReadError> {
        match event.kind {
            EventKind::Added | EventKind::Modified => self.note(&event.stored),
            EventKind::Deleted => drop(self.0.remove(&event.stored.row.name)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keelson_catalog::{Actor, Change, Class, DataDir};
    use keelson_crypto::CatalogKey;
    use keelson_model::ManualClock;
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn content(name: &str, expires_at: Option<Timestamp>) -> Change {
        let kind = kinds::restore_point_content();
        let mut content = Record::new(kind, "", name, at(0), Class::Local);
        let id = "0123456789abcdef0123456789abcdef";
        content.body.internal = json!({
            "artifact": { "repository": id, "outcome": id, "objects": 1, "bytes": 1, "storedBytes": 1 },
            "expiresAt": expires_at,
        });
        assert!(content.internal::<ContentInternal>().is_ok());
        content.put(keelson_catalog::Expect::Any)
    }

    #[test]
    fn what_has_expired_is_known_from_the_first_look_and_from_what_changed() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let data = DataDir::open(directory.path(), clock).unwrap();
        let database = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let commit = |changes| database.commit(&Actor::new("test"), changes).unwrap();
        commit(vec![content("early", Some(at(10))), content("late", Some(at(20)))]);
        commit(vec![content("never", None)]);
        let mut expiries = Followed::<Expiries>::default();
        let mut due = |now: i64| {
            expiries.follow(&database).unwrap();
            expiries.view.due(at(now))
        };
        assert_eq!(due(9), Vec::<String>::new());
        assert_eq!(due(10), ["early"]);
        commit(vec![content("new", Some(at(5))), content("early", None)]);
        assert_eq!(due(20), ["late", "new"]);
        let key = keelson_catalog::RowKey::new(kinds::restore_point_contents(), "", "late");
        commit(vec![Change::delete(key)]);
        assert_eq!(due(20), ["new"]);
    }
}
