//! Room for connections that anybody may open. Whoever comes is let in; where all places are taken, the oldest
//! connection of the address that holds most of them goes. So nobody shuts others out: from one address not at all, from
//! many only with more new connections than there are places in the moment that an honest one needs.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

pub(crate) struct Room {
    places: usize,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    entered: u64,
    /// In the order in which they came.
    present: BTreeMap<u64, Guest>,
}

struct Guest {
    address: IpAddr,
    shown_out: CancellationToken,
}

/// One connection's place, free again when this is dropped.
pub(crate) struct Place {
    room: Arc<Room>,
    number: u64,
    shown_out: CancellationToken,
}

impl Room {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), guests: Mutex::default() })
    }

    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut guests = self.lock();
        if guests.present.len() >= self.places {
            guests.show_one_out();
        }
        let (number, shown_out) = (guests.entered, CancellationToken::new());
        guests.entered += 1;
        guests.present.insert(number, Guest { address, shown_out: shown_out.clone() });
        Place { room: Arc::clone(self), number, shown_out }
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    fn show_one_out(&mut self) {
        let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
        for guest in self.present.values() {
            *of_address.entry(guest.address).or_default() += 1;
        }
        let most = of_address.values().copied().max();
        let oldest = self.present.iter().find(|(_, guest)| of_address.get(&guest.address).copied() == most);
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(guest) = self.present.remove(&number)
        {
            guest.shown_out.cancel();
        }
    }
}

impl Place {
    /// Ends when somebody else needs the place.
    pub(crate) async fn is_needed(&self) {
        self.shown_out.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.lock().present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn was_shown_out(place: &Place) -> bool {
        place.shown_out.is_cancelled()
    }

    #[test]
    fn the_oldest_of_the_address_that_holds_most_places_goes() {
        let room = Room::new(4);
        let honest = room.enter(address(1));
        let many: Vec<_> = (0..100).map(|_| room.enter(address(2))).collect();
        assert!(!was_shown_out(&honest), "the oldest of all, and of an address with one place");
        assert_eq!(many.iter().filter(|place| !was_shown_out(place)).count(), 3);
        assert!(many[97..].iter().all(|place| !was_shown_out(place)), "the newest stay");
        let other = room.enter(address(3));
        assert!(was_shown_out(&many[97]) && !was_shown_out(&honest) && !was_shown_out(&other));
    }

    #[test]
    fn a_place_is_free_when_its_connection_ends_and_only_once() {
        let room = Room::new(2);
        let first = room.enter(address(1));
        drop(room.enter(address(2)));
        let second = room.enter(address(3));
        assert!(!was_shown_out(&first) && !was_shown_out(&second));
        let third = room.enter(address(4));
        assert!(was_shown_out(&first), "where all hold one place the oldest goes");
        drop(first);
        let fourth = room.enter(address(5));
        assert!(was_shown_out(&second) && !was_shown_out(&third) && !was_shown_out(&fourth));
        drop((second, third, fourth));
        assert!(room.lock().present.is_empty());
    }
}
