//! Room for the bytes of messages that have come in part: of each connection, of each peer, and of all.
//!
//! Nobody who fills what is shared takes it all: a peer has a quarter of it, and each connection keeps a reserve of
//! its own for messages of a modest length, so that a batch of heartbeats always has room.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{config::LARGEST_MESSAGE, guard::caller};

/// Bytes of messages that may have come in part on one connection: four of the largest, at the default. One message
/// may always come, whatever its size.
const PER_CONNECTION: usize = 16 * 1024 * 1024;
/// Those of all connections of a peer: an IPv4 address, or a /64 of IPv6.
const PER_PEER: usize = 64 * 1024 * 1024;
/// Those of all connections.
const IN_ALL: usize = 256 * 1024 * 1024;
/// Bytes that each connection has beside these, for messages of a modest length.
const RESERVE: usize = 1024 * 1024;
/// Longest message that the reserve is for: twice what 1,000 heartbeats take.
const MODEST: usize = 256 * 1024;

// What is allowed can come.
const _: () = assert!(LARGEST_MESSAGE <= PER_PEER && PER_PEER <= IN_ALL);

/// What has come in part on all connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AllQuestions(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    in_all: usize,
    // Only those that hold something.
    peers: HashMap<IpAddr, usize>,
}

impl AllQuestions {
    /// What comes on one more connection, of the peer with this address.
    pub fn connection(&self, peer: IpAddr) -> Questions {
        let (reserve, shared) = Default::default();
        Questions(Arc::new(Connection { all: self.clone(), peer: caller::network(peer), reserve, shared }))
    }

    /// Takes room of what is shared; false if there is none.
    fn take(&self, peer: IpAddr, bytes: usize) -> bool {
        let mut shared = self.0.lock();
        let of_peer = shared.peers.get(&peer).map_or(0, |held| *held) + bytes;
        let in_all = shared.in_all + bytes;
        let fits = of_peer <= PER_PEER && in_all <= IN_ALL;
        if fits {
            shared.in_all = in_all;
            shared.peers.insert(peer, of_peer);
        }
        fits
    }

    fn give_back(&self, peer: IpAddr, bytes: usize) {
        let mut shared = self.0.lock();
        shared.in_all -= bytes;
        let left = shared.peers.get(&peer).map_or(0, |held| held.saturating_sub(bytes));
        if left == 0 {
            shared.peers.remove(&peer);
        } else {
            shared.peers.insert(peer, left);
        }
    }
}

/// What has come in part on one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Questions(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    all: AllQuestions,
    peer: IpAddr,
    reserve: AtomicUsize,
    shared: AtomicUsize,
}

/// The room of one message, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    questions: Questions,
    reserved: usize,
    shared: usize,
}

impl Questions {
    /// For a message of which nothing has come.
    pub(super) fn room(&self) -> Room {
        Room { questions: self.clone(), reserved: 0, shared: 0 }
    }
}

impl Room {
    /// Makes room for what has come of a message of this length; false if there is none.
    pub(super) fn hold(&mut self, come: usize, length: usize) -> bool {
        let more = come.saturating_sub(self.reserved + self.shared);
        let here = &self.questions.0;
        let in_reserve = |held: usize| Some(held + more).filter(|sum| *sum <= RESERVE);
        if length <= MODEST && update(&here.reserve, in_reserve) {
            self.reserved += more;
            return true;
        }
        let alone = self.shared;
        let fits = |held: usize| Some(held + more).filter(|sum| held == alone || *sum <= PER_CONNECTION);
        if !update(&here.shared, fits) {
            return false;
        }
        // From here on it is given back with the rest, unless it is here.
        if !here.all.take(here.peer, more) {
            here.shared.fetch_sub(more, Ordering::AcqRel);
            return false;
        }
        self.shared += more;
        true
    }
}

fn update(held: &AtomicUsize, more: impl FnMut(usize) -> Option<usize>) -> bool {
    held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

impl Drop for Room {
    fn drop(&mut self) {
        let here = &self.questions.0;
        here.reserve.fetch_sub(self.reserved, Ordering::AcqRel);
        if self.shared > 0 {
            here.shared.fetch_sub(self.shared, Ordering::AcqRel);
            here.all.give_back(here.peer, self.shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = MODEST + 1;

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn hold(questions: &Questions, come: usize, length: usize) -> Option<Room> {
        let mut room = questions.room();
        room.hold(come, length).then_some(room)
    }

    #[test]
    fn what_has_come_is_bounded_for_a_connection_and_given_back() {
        let all = AllQuestions::default();
        let one = all.connection(peer(1));
        let mut held = hold(&one, PER_CONNECTION - 1, LARGE).unwrap();
        assert!(hold(&one, 2, LARGE).is_none());
        assert!(held.hold(PER_CONNECTION, LARGE), "it may grow");
        assert!(hold(&one, 1, LARGE).is_none());
        assert!(hold(&all.connection(peer(1)), 1, LARGE).is_some(), "another has its own");
        assert!(held.hold(LARGEST_MESSAGE, LARGE), "one may always come");
        drop(held);
        assert!(hold(&one, PER_CONNECTION, LARGE).is_some());
        assert_eq!(one.0.shared.load(Ordering::Acquire), 0);
        assert!(all.0.lock().peers.is_empty() && all.0.lock().in_all == 0);
    }

    #[test]
    fn what_has_come_is_bounded_for_a_peer_and_in_all() {
        let all = AllQuestions::default();
        let of = |n| hold(&all.connection(peer(n)), PER_CONNECTION, LARGE);
        let mut full: Vec<_> = (0..PER_PEER / PER_CONNECTION).map(|_| of(1).expect("room")).collect();
        assert!(of(1).is_none());
        for n in 2..6 {
            full.extend((0..PER_PEER / PER_CONNECTION).map_while(|_| of(n)));
        }
        assert_eq!(full.len(), IN_ALL / PER_CONNECTION, "other peers have the rest");
        let late = all.connection(peer(9));
        assert!(hold(&late, 1, LARGE).is_none());
        assert_eq!(late.0.shared.load(Ordering::Acquire), 0, "what was refused is not counted");
        // Whatever the others do.
        let beats: Vec<_> = (0..4).map(|_| hold(&late, MODEST, MODEST).expect("in reserve")).collect();
        assert!(hold(&late, 1, MODEST).is_none(), "the reserve is bounded too");
        drop(beats);
        assert!(hold(&late, 1, MODEST).is_some());
        drop(full);
        assert!(hold(&late, 1, LARGE).is_some());
    }
}
