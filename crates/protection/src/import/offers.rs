//! Which of the imported contents an import names to be restored: the newest of each application, once, and nothing after
//! something newer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;
use keelson_catalog::Change;

use crate::records::Record;

/// When what a content holds was captured, and its name, which tells apart what is of one moment.
pub(super) type Moment = (Timestamp, String);

pub(super) fn moment(content: &Record) -> Moment {
    let at = content.body.status["actionTime"].as_str().and_then(|text| text.parse().ok());
    (at.unwrap_or(content.created), content.name.clone())
}

/// A content that no import has named yet, and the change by which it is noted that it was named.
pub(super) type Offer = (Moment, Change);

/// What no import has named yet.
#[derive(Default)]
pub(super) struct Offers {
    /// By application.
    newest: BTreeMap<String, Offer>,
    /// There is something newer, and that is restored or was.
    older: Vec<Change>,
    /// The newest that was named, by application, of what is still there.
    named: BTreeMap<String, Moment>,
}

impl Offers {
    pub(super) fn note_named(&mut self, application: String, moment: Moment) {
        match self.named.entry(application) {
            Entry::Vacant(entry) => {
                entry.insert(moment);
            }
            Entry::Occupied(mut entry) if *entry.get() < moment => drop(entry.insert(moment)),
            Entry::Occupied(_) => {}
        }
    }

    pub(super) fn add(&mut self, application: String, offer: Offer) {
        match self.newest.entry(application) {
            Entry::Vacant(entry) => {
                entry.insert(offer);
            }
            Entry::Occupied(mut entry) if entry.get().0 < offer.0 => self.older.push(entry.insert(offer).1),
            Entry::Occupied(_) => self.older.push(offer.1),
        }
    }

    /// What is to be named, and what only to be noted. An export may be seen after a newer one: it was finished late, was
    /// damaged for a while, or its retirement was withdrawn.
    pub(super) fn part(self) -> (BTreeMap<String, Offer>, Vec<Change>) {
        let Self { newest, mut older, named } = self;
        let is_news = |application: &String, (moment, _): &Offer| {
            named.get(application).is_none_or(|named| named < moment)
        };
        let (newest, passed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            newest.into_iter().partition(|(application, offer)| is_news(application, offer));
        older.extend(passed.into_values().map(|(_, noted)| noted));
        (newest, older)
    }
}
