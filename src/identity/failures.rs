//! Proofs that failed, counted by peer: whoever fails again and again is told to come back later.
//!
//! It bounds what failing costs (the log, the metrics, the answers), not what guessing finds: nobody guesses 256 bits.
//! Whoever brings what counts is never held up, so that one broken instance behind a shared address cannot lock out
//! the others there.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use crate::{peer::Peer, time::Mono};

/// Failures of a peer in a window before it is told to come back later.
const ALLOWED: u32 = 20;
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Peers that are told apart; beyond it those whose window has passed are forgotten, then all.
const PEERS: usize = 8192;

/// Counts failures.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<Peer, Counted>>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    since: Mono,
    failures: u32,
}

/// What is to be told to somebody who failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// That it failed.
    Failed,
    /// To come back after so long.
    ComeBack(Duration),
}

impl Failures {
    /// Counts a failure of a peer.
    pub fn count(&self, peer: Peer, now: Mono) -> Told {
        let mut peers = self.0.lock();
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            peers.retain(|_, counted| now.since(counted.since) < WINDOW);
            if peers.len() >= PEERS {
                // An attack from as many places as that is bounded by the caps on connections.
                peers.clear();
            }
        }
        let counted = peers.entry(peer).or_insert(Counted { since: now, failures: 0 });
        if now.since(counted.since) >= WINDOW {
            *counted = Counted { since: now, failures: 0 };
        }
        counted.failures = counted.failures.saturating_add(1);
        if counted.failures <= ALLOWED {
            return Told::Failed;
        }
        Told::ComeBack(WINDOW.saturating_sub(now.since(counted.since)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u32) -> Peer {
        Peer::of(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn a_peer_fails_so_often_and_comes_back_after_the_window() {
        let failures = Failures::default();
        let at = Mono::from_millis;
        for n in 0..ALLOWED {
            assert_eq!(failures.count(peer(1), at(u64::from(n))), Told::Failed);
        }
        assert_eq!(failures.count(peer(1), at(4000)), Told::ComeBack(Duration::from_secs(6)));
        assert_eq!(failures.count(peer(2), at(4000)), Told::Failed, "another one");
        assert_eq!(failures.count(peer(1), at(10_000)), Told::Failed, "another window");
    }

    #[test]
    fn however_many_fail_little_is_remembered() {
        let failures = Failures::default();
        for n in 0..3 * u32::try_from(PEERS).unwrap() {
            failures.count(peer(n), Mono::from_millis(0));
        }
        assert!(failures.0.lock().len() <= PEERS);
    }
}
