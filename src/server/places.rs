//! How many connections each peer holds. A place is given back when it is dropped, however the connection ended.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

use crate::peer::Peer;

/// The places of all peers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Peer, usize>>>);

/// One place, held until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    of: Peer,
}

impl Places {
    /// One more place for the peer of this address, unless it holds `most` already.
    pub(super) fn take(&self, address: IpAddr, most: usize) -> Option<Place> {
        let of = Peer::of(address);
        let mut held = self.0.lock();
        match held.entry(of) {
            Entry::Occupied(held) if *held.get() >= most => return None,
            Entry::Occupied(mut held) => *held.get_mut() += 1,
            Entry::Vacant(none) => {
                none.insert(1);
            }
        }
        drop(held);
        Some(Place { places: self.clone(), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) = self.places.0.lock().entry(self.of) {
            *held.get_mut() -= 1;
            // A peer that holds nothing takes no room.
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back_even_from_a_panic() {
        let (places, one, other) =
            (Places::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = places.take(one, 2).unwrap();
        let second = places.take(one, 2).unwrap();
        assert!(places.take(one, 2).is_none());
        assert!(places.take(other, 2).is_some(), "each address has its own");
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = second;
            panic!("on purpose");
        }));
        assert!(broken.is_err() && places.take(one, 2).is_some());
        drop(first);
        assert!(places.0.lock().is_empty());
    }
}
