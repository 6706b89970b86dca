//! Who has a permit and who is next: the arithmetic behind [`InFlight`](super::InFlight), without time and
//! without locks.

use std::{collections::BTreeMap, num::NonZeroU32};

use tokio::sync::oneshot;

/// Wakes one who waits. It carries nothing: who has a permit is decided in the [`Queue`] alone, so that a
/// wake-up that nobody hears loses nothing.
pub(super) type Wake = oneshot::Sender<()>;

/// A place in the queue. Smaller came first; none is used twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ticket(u64);

/// The permits that are out, and those who wait for one in the order they came.
///
/// Between any two calls nobody waits while fewer than `max` are out.
#[derive(Debug)]
pub(super) struct Queue {
    max: NonZeroU32,
    max_waiting: u32,
    in_use: u32,
    peak: u32,
    next: u64,
    waiting: BTreeMap<Ticket, Wake>,
}

impl Queue {
    pub(super) fn new(max: NonZeroU32, max_waiting: u32) -> Self {
        Self { max, max_waiting, in_use: 0, peak: 0, next: 0, waiting: BTreeMap::new() }
    }

    pub(super) fn max(&self) -> u32 {
        self.max.get()
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) fn peak(&self) -> u32 {
        self.peak
    }

    pub(super) fn waiting(&self) -> u32 {
        // Never more than `max_waiting` ever was, which is of this type.
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// The most that were out at once since the last call; counts from now on.
    pub(super) fn take_peak(&mut self) -> u32 {
        std::mem::replace(&mut self.peak, self.in_use)
    }

    /// Takes a permit if one is free. Nobody is overtaken: where somebody waits, none is free.
    pub(super) fn try_take(&mut self) -> bool {
        let free = self.in_use < self.max();
        if free {
            self.in_use += 1;
            self.peak = self.peak.max(self.in_use);
        }
        free
    }

    /// Waits at the end. `None`: as many wait as may.
    pub(super) fn join(&mut self) -> Option<(Ticket, oneshot::Receiver<()>)> {
        if self.waiting() >= self.max_waiting {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let (wake, woken) = oneshot::channel();
        self.waiting.insert(ticket, wake);
        Some((ticket, woken))
    }

    /// Waits no longer. False: it waits no more because a permit was given to it, which is now its own.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// A permit is back. Who is woken has one.
    pub(super) fn give_back(&mut self) -> Option<Wake> {
        self.in_use = self.in_use.saturating_sub(1);
        self.serve_next()
    }

    /// Lends at most `max` from now on; those that are out beyond it stay out until they come back. Who is
    /// woken has a permit.
    pub(super) fn resize(&mut self, max: NonZeroU32) -> Vec<Wake> {
        self.max = max;
        std::iter::from_fn(|| self.serve_next()).collect()
    }

    /// Lets at most so many wait from now on. Those that wait already stay.
    pub(super) fn set_max_waiting(&mut self, max_waiting: u32) {
        self.max_waiting = max_waiting;
    }

    fn serve_next(&mut self) -> Option<Wake> {
        if self.waiting.is_empty() || !self.try_take() {
            return None;
        }
        self.waiting.pop_first().map(|(_, wake)| wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max: u32, max_waiting: u32) -> Queue {
        Queue::new(NonZeroU32::new(max).expect("more than zero"), max_waiting)
    }

    #[test]
    fn at_most_max_are_out_and_max_waiting_wait() {
        let mut queue = queue(2, 1);
        assert!(queue.try_take() && queue.try_take() && !queue.try_take());
        let (ticket, _) = queue.join().expect("one may wait");
        assert!(queue.join().is_none());
        assert!(queue.leave(ticket) && !queue.leave(ticket));
        assert_eq!((queue.in_use(), queue.waiting()), (2, 0));
    }

    #[test]
    fn a_permit_that_comes_back_goes_to_the_first() {
        let mut queue = queue(1, 3);
        assert!(queue.try_take());
        let places: Vec<_> = (0..3).map(|_| queue.join().expect("a place").0).collect();
        assert!(queue.give_back().is_some());
        let still_waits: Vec<_> = places.iter().map(|place| queue.leave(*place)).collect();
        assert_eq!(still_waits, [false, true, true]);
        assert_eq!(queue.in_use(), 1, "the first has it");
        assert!(queue.give_back().is_none(), "nobody is left");
        assert_eq!(queue.in_use(), 0);
    }

    #[test]
    fn the_peak_starts_again_from_what_is_out() {
        let mut queue = queue(3, 0);
        assert!(queue.try_take() && queue.try_take());
        queue.give_back();
        assert_eq!((queue.peak(), queue.take_peak(), queue.peak()), (2, 2, 1));
    }
}
