//! Names to addresses, by the operating system's resolver. It blocks a thread for as long as it likes, so
//! few may run at a time, and one that nobody waits for any more still counts until it is back. Whoever
//! registers names that take long may have as many at once as that leaves free for others.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::peer::Peer;
use crate::task;

/// Names that are looked up at once.
const AT_ONCE: usize = 32;
/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 64;

/// Looks names up. Cheap to clone; clones share the bound.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Arc<Mutex<Busy>>);

/// How many names are being looked up, in all and for each peer.
#[derive(Debug, Default)]
struct Busy {
    all: usize,
    of_peer: HashMap<Option<Peer>, usize>,
}

/// One of the few.
#[derive(Debug)]
struct Permit(Resolver, Option<Peer>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut busy = self.0.0.lock();
        busy.all -= 1;
        match busy.of_peer.get_mut(&self.1) {
            Some(running) if *running > 1 => *running -= 1,
            _ => drop(busy.of_peer.remove(&self.1)),
        }
    }
}

impl Resolver {
    /// Every address of a name, in the resolver's order; never none. Cancel safe. `peer`: who wants to know.
    ///
    /// # Errors
    /// The name has no address, too many, or cannot be looked up, or too many are being looked up.
    pub async fn addresses(&self, name: &str, peer: Option<Peer>) -> io::Result<Vec<IpAddr>> {
        let busy = || io::Error::other("too many names are being looked up, and none of them is done");
        let permit = self.permit(peer).ok_or_else(busy)?;
        let name = name.to_owned();
        let found = task::blocking("resolve", move || {
            // Given back when the resolver is, not when the caller goes.
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            let addresses = found.map(|address| address.ip().to_canonical()).take(MAX_ADDRESSES + 1);
            Ok::<_, io::Error>(addresses.collect())
        });
        let found: Vec<IpAddr> = found.await.map_err(io::Error::other)??;
        match found.len() {
            0 => Err(io::Error::other("it has no address")),
            // All of them have to be permitted, so all of them have to be seen.
            count if count > MAX_ADDRESSES => Err(io::Error::other("it has too many addresses")),
            _ => Ok(found),
        }
    }

    fn permit(&self, peer: Option<Peer>) -> Option<Permit> {
        let mut busy = self.0.lock();
        let free = AT_ONCE - busy.all;
        let running = busy.of_peer.entry(peer).or_default();
        if *running >= free {
            if *running == 0 {
                busy.of_peer.remove(&peer);
            }
            return None;
        }
        *running += 1;
        busy.all += 1;
        Some(Permit(self.clone(), peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_has_its_addresses_and_nonsense_has_none() {
        let resolver = Resolver::default();
        let found = resolver.addresses("localhost", None).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(resolver.addresses("nobody.invalid", None).await.is_err());
        assert!(resolver.0.lock().all == 0 && resolver.0.lock().of_peer.is_empty());
    }

    #[test]
    fn names_that_hang_leave_lookups_to_others() {
        let resolver = Resolver::default();
        let peer = |last| Some(Peer::of([10, 0, 0, last].into()));
        let take = |peer| -> Vec<Permit> { std::iter::from_fn(|| resolver.permit(peer)).collect() };
        let hanging: Vec<Vec<Permit>> = (0..4).map(|last| take(peer(last))).collect();
        assert!(hanging.iter().all(|permits| !permits.is_empty()), "each had some");
        assert_eq!(hanging[0].len(), AT_ONCE / 2);
        assert!(resolver.permit(peer(9)).is_some(), "and there is one left");
        drop(hanging);
        assert!(resolver.0.lock().all == 0 && resolver.0.lock().of_peer.is_empty());
    }
}
