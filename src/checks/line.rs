//! Who waits for a place, and who gets the next one.
//!
//! There are three lanes: what somebody wanted now, who answered the last time, and who did not or was never
//! asked. The first and the last have a part of all places, so that those who answer are never held up for
//! long by those who do not. In each lane the peers that registered take turns, and the instances of one
//! peer; a peer may have as many at once as it leaves free for others. At one address few run at once.
//!
//! A plain value; it knows neither time nor what is asked.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use super::schedule::JobId;
use crate::peer::Peer;

/// Checks that run at one address at once.
pub(super) const PER_PLACE: usize = 2;
/// Of these, checks that were not answered the last time: one place is left to the neighbours who answer.
const SLOW_PER_PLACE: usize = 1;
/// Turns of instances that are gone, before they are tidied up.
const SPARE: usize = 64;

/// Where a run goes, as far as that is known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Place {
    Address(IpAddr),
    /// Its addresses have to be looked up first.
    Name(Arc<str>),
    /// The peer is not known: nothing will be asked.
    Nowhere,
}

/// Among whom a run waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    /// Somebody waits for it.
    Wanted,
    /// It was answered the last time.
    Quick,
    /// It was not answered the last time, or never asked.
    Slow,
}

impl Lane {
    const ALL: [Lane; 3] = [Lane::Wanted, Lane::Quick, Lane::Slow];

    /// How many of so many places it may have: of three or more at least a quarter is left to who answers, of one or
    /// two none.
    fn share(self, places: usize) -> usize {
        match self {
            Lane::Wanted => (places / 4).max(1),
            Lane::Quick => places,
            Lane::Slow => (places / 2).max(1),
        }
    }
}

/// A run, as it waits and while it has a place.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: JobId,
    /// The instance, by a number that is never used again.
    pub(super) instance: u64,
    pub(super) peer: Option<Peer>,
    pub(super) place: Place,
    pub(super) lane: Lane,
    /// It was not answered the last time, or never asked, in whichever lane it waits.
    pub(super) slow: bool,
}

/// Runs of instances that take turns.
#[derive(Debug, Default)]
struct Turns {
    /// Those who have waited for their address already.
    first: VecDeque<Ticket>,
    order: VecDeque<u64>,
    /// Of each instance that has a turn; empty where all of it was taken out.
    waiting: HashMap<u64, VecDeque<Ticket>>,
}

impl Turns {
    fn push(&mut self, ticket: Ticket) {
        let waiting = self.waiting.entry(ticket.instance).or_insert_with(|| {
            self.order.push_back(ticket.instance);
            VecDeque::new()
        });
        waiting.push_back(ticket);
    }

    /// Takes a run out, wherever it waits here; its instance keeps its turn.
    fn take_out(&mut self, ticket: &Ticket) {
        self.first.retain(|first| first.id != ticket.id);
        if let Some(waiting) = self.waiting.get_mut(&ticket.instance) {
            waiting.retain(|waiting| waiting.id != ticket.id);
        }
    }

    fn pop(&mut self) -> Option<Ticket> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        while let Some(instance) = self.order.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&instance) else { continue };
            let next = waiting.pop_front();
            if waiting.is_empty() {
                self.waiting.remove(&instance);
            } else {
                self.order.push_back(instance);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }

    fn forget(&mut self, instance: u64) {
        self.first.retain(|ticket| ticket.instance != instance);
        self.waiting.remove(&instance);
        if self.order.len() > 2 * self.waiting.len() + SPARE {
            let waiting = &self.waiting;
            self.order.retain(|instance| waiting.contains_key(instance));
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty()
    }
}

/// One lane.
#[derive(Debug, Default)]
struct Waiting {
    /// Each peer that is in `peers`, once.
    order: VecDeque<Option<Peer>>,
    peers: HashMap<Option<Peer>, Turns>,
    /// How many run, in all and for each peer.
    running: usize,
    of_peer: HashMap<Option<Peer>, usize>,
}

impl Waiting {
    fn turns(&mut self, peer: Option<Peer>) -> &mut Turns {
        self.peers.entry(peer).or_insert_with(|| {
            self.order.push_back(peer);
            Turns::default()
        })
    }

    /// The next one, while `free` places are left to this lane.
    fn pop(&mut self, free: usize, places: &mut Places) -> Option<Ticket> {
        for _ in 0..self.order.len() {
            let peer = self.order.pop_front()?;
            if self.of_peer.get(&peer).copied().unwrap_or(0) >= free {
                self.order.push_back(peer);
                continue;
            }
            while let Some(ticket) = self.peers.get_mut(&peer).and_then(Turns::pop) {
                let Some(ticket) = places.enter(ticket) else { continue };
                self.order.push_back(peer);
                self.running += 1;
                *self.of_peer.entry(peer).or_default() += 1;
                return Some(ticket);
            }
            self.peers.remove(&peer);
        }
        None
    }

    fn ended(&mut self, peer: Option<Peer>) {
        self.running = self.running.saturating_sub(1);
        match self.of_peer.get_mut(&peer) {
            Some(running) if *running > 1 => *running -= 1,
            _ => drop(self.of_peer.remove(&peer)),
        }
    }
}

/// What runs at the addresses, and who waits for one of them alone.
#[derive(Debug, Default)]
struct Places {
    /// How many run there, and how many of them are slow.
    running: HashMap<Place, (usize, usize)>,
    parked: HashMap<Place, [Turns; Lane::ALL.len()]>,
}

impl Places {
    /// Gives it back where it may run; where it may not, it waits for the address.
    fn enter(&mut self, ticket: Ticket) -> Option<Ticket> {
        let (all, slow) = self.running.get(&ticket.place).copied().unwrap_or_default();
        if all >= PER_PLACE || (ticket.slow && slow >= SLOW_PER_PLACE) {
            self.parked.entry(ticket.place.clone()).or_default()[ticket.lane as usize].push(ticket);
            return None;
        }
        self.running.insert(ticket.place.clone(), (all + 1, slow + usize::from(ticket.slow)));
        Some(ticket)
    }

    fn leave(&mut self, ticket: &Ticket) {
        if let Some((all, slow)) = self.running.get_mut(&ticket.place) {
            *all -= 1;
            *slow -= usize::from(ticket.slow);
            if *all == 0 {
                self.running.remove(&ticket.place);
            }
        }
    }

    /// One of each lane, for whichever has a place first: who comes too late waits here again.
    fn call_up(&mut self, place: &Place) -> Vec<Ticket> {
        let Some(parked) = self.parked.get_mut(place) else { return Vec::new() };
        let called = parked.iter_mut().filter_map(Turns::pop).collect();
        if parked.iter().all(Turns::is_empty) {
            self.parked.remove(place);
        }
        called
    }
}

/// All who wait, and who has which place.
#[derive(Debug, Default)]
pub(super) struct Line {
    lanes: [Waiting; Lane::ALL.len()],
    /// The lane whose turn it is.
    turn: usize,
    places: Places,
    running: usize,
}

impl Line {
    /// Puts a run at the end of its lane.
    pub(super) fn push(&mut self, ticket: Ticket) {
        self.lanes[ticket.lane as usize].turns(ticket.peer).push(ticket);
    }

    /// Puts a run that has waited already before the others of its peer.
    pub(super) fn push_first(&mut self, ticket: Ticket) {
        self.lanes[ticket.lane as usize].turns(ticket.peer).first.push_back(ticket);
    }

    /// Takes a run out of its lane, to be put into another one before anybody starts: whoever is called up
    /// for a place takes that along.
    pub(super) fn take_out(&mut self, ticket: &Ticket) {
        if let Some(turns) = self.lanes[ticket.lane as usize].peers.get_mut(&ticket.peer) {
            turns.take_out(ticket);
        }
        if let Some(parked) = self.places.parked.get_mut(&ticket.place) {
            parked[ticket.lane as usize].take_out(ticket);
        }
    }

    /// The next one that may run, while fewer than `most` do. Whoever takes it says when it [`Line::ended`].
    pub(super) fn start(&mut self, most: usize) -> Option<Ticket> {
        for _ in Lane::ALL {
            let lane = Lane::ALL[self.turn];
            self.turn = (self.turn + 1) % Lane::ALL.len();
            let waiting = &mut self.lanes[lane as usize];
            let free = most.saturating_sub(self.running);
            let free = free.min(lane.share(most).saturating_sub(waiting.running));
            if free > 0
                && let Some(ticket) = waiting.pop(free, &mut self.places)
            {
                self.running += 1;
                return Some(ticket);
            }
        }
        None
    }

    /// A run has given its place back.
    pub(super) fn ended(&mut self, ticket: &Ticket) {
        self.running = self.running.saturating_sub(1);
        self.lanes[ticket.lane as usize].ended(ticket.peer);
        self.places.leave(ticket);
        self.call_up(&ticket.place);
    }

    /// Forgets what waits of the instance that this ticket is of.
    pub(super) fn forget(&mut self, ticket: &Ticket) {
        for waiting in &mut self.lanes {
            if let Some(turns) = waiting.peers.get_mut(&ticket.peer) {
                turns.forget(ticket.instance);
            }
        }
        if let Some(parked) = self.places.parked.get_mut(&ticket.place) {
            parked.iter_mut().for_each(|turns| turns.forget(ticket.instance));
        }
        // It may have been called up for a place that nobody would take now.
        self.call_up(&ticket.place);
    }

    fn call_up(&mut self, place: &Place) {
        for called in self.places.call_up(place) {
            self.push_first(called);
        }
    }
}
