//! Bytes that the server holds for others, bounded for each connection, for each peer, and in all.
//!
//! How many are in `bounds`. What is held, and what is said where nothing more fits, is for whoever counts here:
//! `answers` and `questions`.

use std::{
    collections::HashMap,
    net::IpAddr,
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::bounds::Bounds;
use crate::peer::Peer;

/// Where room is taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// What all share.
    Shared,
    /// The reserve of the connection; what all share, once that is full.
    Reserve,
}

/// What is held for everybody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Everybody>);

#[derive(Debug)]
struct Everybody {
    bounds: Bounds,
    held: AtomicUsize,
    // Those that have a connection, or something that is held still.
    peers: Mutex<HashMap<Peer, Weak<OfPeer>>>,
}

#[derive(Debug)]
struct OfPeer {
    peer: Peer,
    held: AtomicUsize,
    everybody: Arc<Everybody>,
}

/// What is held for one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Share(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    reserved: AtomicUsize,
    held: AtomicUsize,
    peer: Arc<OfPeer>,
}

/// Room for some bytes, until it is dropped.
#[derive(Debug)]
pub struct Room {
    share: Share,
    bytes: usize,
    // Which of the counts have it.
    counted: Range<usize>,
}

/// The reserve among the counts of a share.
const RESERVE: usize = 0;
/// The first of those that are shared with others: the narrowest.
const SHARED: usize = 1;

impl Shares {
    /// Nothing is held yet.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Everybody { bounds, held: AtomicUsize::new(0), peers: Mutex::default() }))
    }

    /// The share of one more connection, from this address.
    pub fn connection(&self, from: IpAddr) -> Share {
        let peer = Peer::of(from);
        let mut peers = self.0.peers.lock();
        let peer = peers.get(&peer).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::new(OfPeer { peer, held: AtomicUsize::new(0), everybody: Arc::clone(&self.0) });
            peers.insert(peer, Arc::downgrade(&new));
            new
        });
        drop(peers);
        Share(Arc::new(Connection { reserved: AtomicUsize::new(0), held: AtomicUsize::new(0), peer }))
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        let mut peers = self.everybody.peers.lock();
        // It may have come back meanwhile, as another.
        if peers.get(&self.peer).is_some_and(|peer| peer.strong_count() == 0) {
            peers.remove(&self.peer);
        }
    }
}

impl Share {
    /// Room for so many bytes; None if there is none. Takes no lock.
    pub fn take(&self, bytes: usize, from: Source) -> Option<Room> {
        let [(reserved, most), shared @ ..] = self.counts();
        let within = |most: usize| move |held: usize| Some(held + bytes).filter(|sum| *sum <= most);
        if from == Source::Reserve && update(reserved, within(most)) {
            return Some(Room { share: self.clone(), bytes, counted: RESERVE..SHARED });
        }
        // From here on it is given back, whatever comes.
        let mut room = Room { share: self.clone(), bytes, counted: SHARED..SHARED };
        for (held, most) in shared {
            let alone_or_within = |held: usize| if held == 0 { Some(bytes) } else { within(most)(held) };
            if !update(held, alone_or_within) {
                return None;
            }
            room.counted.end += 1;
        }
        Some(room)
    }

    /// What is counted, and how much it may be.
    fn counts(&self) -> [(&AtomicUsize, usize); 4] {
        let Connection { reserved, held, peer } = self.0.as_ref();
        let Everybody { bounds, held: in_all, peers: _ } = peer.everybody.as_ref();
        [
            (reserved, bounds.reserve),
            (held, bounds.connection),
            (&peer.held, bounds.peer),
            (in_all, bounds.all),
        ]
    }
}

fn update(held: &AtomicUsize, more: impl FnMut(usize) -> Option<usize>) -> bool {
    held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

impl Drop for Room {
    fn drop(&mut self) {
        let counts = self.share.counts();
        for (held, _) in counts.iter().take(self.counted.end).skip(self.counted.start) {
            held.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connection: 10, peer: 20, all: 30, reserve: 5 };

    fn from(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn held(share: &Share) -> [usize; 4] {
        share.counts().map(|(held, _)| held.load(Ordering::Acquire))
    }

    fn take(share: &Share, bytes: usize) -> Option<Room> {
        share.take(bytes, Source::Shared)
    }

    #[test]
    fn each_bound_holds_and_what_was_refused_is_not_counted() {
        let shares = Shares::new(BOUNDS);
        let [one, two, three] = [(); 3].map(|()| shares.connection(from(1)));
        let first = take(&one, 10).unwrap();
        assert!(take(&one, 1).is_none(), "its own");
        let _second = take(&two, 10).unwrap();
        assert!(take(&three, 1).is_none(), "that of its peer");
        assert_eq!(held(&three), [0, 0, 20, 20]);
        let other = shares.connection(from(2));
        let _third = take(&other, 10).unwrap();
        let late = shares.connection(from(3));
        assert!(take(&late, 1).is_none(), "that of all");
        assert_eq!(held(&late), [0, 0, 0, 30]);
        drop(first);
        assert!(take(&late, 1).is_some());
        assert_eq!(held(&late), [0, 0, 0, 20]);
    }

    #[test]
    fn what_is_alone_may_be_of_any_size() {
        let share = Shares::new(BOUNDS).connection(from(1));
        let alone = take(&share, 100).expect("alone");
        assert!(take(&share, 1).is_none());
        drop(alone);
        assert_eq!(held(&share), [0; 4]);
    }

    #[test]
    fn the_reserve_of_a_connection_is_its_own_whatever_the_others_hold() {
        let shares = Shares::new(BOUNDS);
        let one = shares.connection(from(1));
        let full: Vec<_> = (1..4).map(|n| take(&shares.connection(from(n)), 10).unwrap()).collect();
        let reserved = one.take(5, Source::Reserve).expect("in reserve");
        assert_eq!(held(&one), [5, 0, 10, 30], "it is not charged to anybody else");
        assert!(one.take(1, Source::Reserve).is_none(), "the reserve is bounded too");
        drop(full);
        let more = one.take(1, Source::Reserve).expect("of what is shared");
        assert_eq!(held(&one), [5, 1, 1, 1]);
        drop(reserved);
        assert!(
            one.take(6, Source::Reserve).is_some(),
            "what is longer than the reserve is of what is shared"
        );
        drop(more);
        assert_eq!(held(&one), [0; 4]);
    }

    #[test]
    fn a_peer_is_forgotten_with_the_last_that_is_held_for_it() {
        let shares = Shares::new(BOUNDS);
        let peers = || shares.0.peers.lock().len();
        let room = take(&shares.connection(from(1)), 5).unwrap();
        let again = shares.connection(from(1));
        assert_eq!(
            (held(&again), peers()),
            ([0, 0, 5, 5], 1),
            "its connection is gone, and what it left is not"
        );
        drop((room, again));
        assert_eq!(peers(), 0);
    }
}
