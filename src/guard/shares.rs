//! Bytes that the server holds for others, bounded three times: for each connection, for each peer, and in all.
//!
//! Without the bound in the middle, one peer with enough connections would take the room of all the others. What is
//! held, and what is said where nothing more fits, is for whoever counts here: `answers`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use super::caller;

/// How many bytes may be held. What is held alone may always be, whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For one connection.
    pub connection: usize,
    /// For all connections of one peer.
    pub peer: usize,
    /// In all.
    pub all: usize,
}

/// What becomes of bytes that are beyond a bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beyond {
    /// They are not taken.
    Refused,
    /// They are counted all the same.
    Taken,
}

/// What is held for everybody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Everybody>);

#[derive(Debug)]
struct Everybody {
    bounds: Bounds,
    held: AtomicUsize,
    // Those that have a connection, or something that is held still.
    peers: Mutex<HashMap<IpAddr, Weak<Peer>>>,
}

#[derive(Debug)]
struct Peer {
    address: IpAddr,
    held: AtomicUsize,
    everybody: Arc<Everybody>,
}

/// What is held for one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Share(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    held: AtomicUsize,
    peer: Arc<Peer>,
}

/// Room for some bytes, until it is dropped.
#[derive(Debug)]
pub struct Room {
    share: Share,
    bytes: usize,
    // How many of the bounds count it.
    counted: usize,
}

impl Shares {
    /// Nothing is held yet.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Everybody { bounds, held: AtomicUsize::new(0), peers: Mutex::default() }))
    }

    /// The share of one more connection, from this address.
    pub fn connection(&self, from: IpAddr) -> Share {
        let address = caller::network(from);
        let mut peers = self.0.peers.lock();
        let peer = peers.get(&address).and_then(Weak::upgrade).unwrap_or_else(|| {
            let peer = Arc::new(Peer { address, held: AtomicUsize::new(0), everybody: Arc::clone(&self.0) });
            peers.insert(address, Arc::downgrade(&peer));
            peer
        });
        drop(peers);
        Share(Arc::new(Connection { held: AtomicUsize::new(0), peer }))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut peers = self.everybody.peers.lock();
        // It may have come back meanwhile, as another.
        if peers.get(&self.address).is_some_and(|peer| peer.strong_count() == 0) {
            peers.remove(&self.address);
        }
    }
}

impl Share {
    /// Room for so many bytes; None if there is none.
    pub fn take(&self, bytes: usize, beyond: Beyond) -> Option<Room> {
        // From here on it is given back, whatever comes.
        let mut room = Room { share: self.clone(), bytes, counted: 0 };
        for (held, most) in self.counts() {
            let fits = |held: usize| beyond == Beyond::Taken || held == 0 || held + bytes <= most;
            let more = |held: usize| fits(held).then_some(held + bytes);
            held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
            room.counted += 1;
        }
        Some(room)
    }

    /// What is counted, and how much it may be: the narrowest first.
    fn counts(&self) -> [(&AtomicUsize, usize); 3] {
        let Connection { held, peer } = self.0.as_ref();
        let Everybody { bounds, held: in_all, peers: _ } = peer.everybody.as_ref();
        [(held, bounds.connection), (&peer.held, bounds.peer), (in_all, bounds.all)]
    }
}

impl Room {
    /// How many bytes it is for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for (held, _) in self.share.counts().into_iter().take(self.counted) {
            held.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connection: 10, peer: 20, all: 30 };

    fn from(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn held(share: &Share) -> [usize; 3] {
        share.counts().map(|(held, _)| held.load(Ordering::Acquire))
    }

    #[test]
    fn each_bound_holds_and_what_was_refused_is_not_counted() {
        let shares = Shares::new(BOUNDS);
        let take = |share: &Share, bytes| share.take(bytes, Beyond::Refused);
        let [one, two, three] = [(); 3].map(|()| shares.connection(from(1)));
        let first = take(&one, 10).unwrap();
        assert!(take(&one, 1).is_none(), "its own");
        let _second = take(&two, 10).unwrap();
        assert!(take(&three, 1).is_none(), "that of its peer");
        assert_eq!(held(&three), [0, 20, 20]);
        let other = shares.connection(from(2));
        let _third = take(&other, 10).unwrap();
        let late = shares.connection(from(3));
        assert!(take(&late, 1).is_none(), "that of all");
        assert_eq!(held(&late), [0, 0, 30]);
        drop(first);
        assert!(take(&late, 1).is_some());
        assert_eq!(held(&late), [0, 0, 20]);
    }

    #[test]
    fn what_may_not_be_refused_is_counted_beyond_every_bound() {
        let share = Shares::new(BOUNDS).connection(from(1));
        let alone = share.take(100, Beyond::Refused).expect("one may always come");
        let more = share.take(5, Beyond::Taken).unwrap();
        assert_eq!(held(&share), [105; 3]);
        drop((alone, more));
        assert_eq!(held(&share), [0; 3]);
    }

    #[test]
    fn a_peer_is_forgotten_with_the_last_that_is_held_for_it() {
        let shares = Shares::new(BOUNDS);
        let peers = || shares.0.peers.lock().len();
        let room = shares.connection(from(1)).take(5, Beyond::Refused).unwrap();
        let again = shares.connection(from(1));
        assert_eq!(
            (held(&again), peers()),
            ([0, 5, 5], 1),
            "its connection is gone, and what it left is not"
        );
        drop((room, again));
        assert_eq!(peers(), 0);
    }
}
