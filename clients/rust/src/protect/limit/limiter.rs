//! One cell: everything that passes is counted together.

use std::{fmt, num::NonZeroU32};

use parking_lot::Mutex;

use super::{
    super::clock::Clock,
    decision::{Decision, Usage},
    fixed_window::FixedWindow,
    leaky_bucket::LeakyBucket,
    meter::Meter,
    settings::{Algorithm, Settings},
    sliding_window::SlidingWindow,
    token_bucket::TokenBucket,
};

/// A limit without keys, such as that of a whole process.
///
/// Share it by reference; decisions of several threads are made one after the other.
#[derive(Debug)]
pub struct Limiter<C> {
    cell: Box<dyn Decide>,
    clock: C,
}

impl<C: Clock> Limiter<C> {
    /// A limit of which nothing is used, by this clock.
    pub fn new(settings: &Settings, clock: C) -> Self {
        let rate = settings.rate();
        let cell: Box<dyn Decide> = match settings.algorithm() {
            Algorithm::TokenBucket { burst } => Box::new(Cell::new(TokenBucket::new(rate, burst))),
            Algorithm::LeakyBucket { queue } => Box::new(Cell::new(LeakyBucket::new(rate, queue))),
            Algorithm::SlidingWindow => Box::new(Cell::new(SlidingWindow::new(rate))),
            Algorithm::FixedWindow => Box::new(Cell::new(FixedWindow::new(rate))),
        };
        Self { cell, clock }
    }

    /// Decides on a call that takes one permit, and uses it up if the call is admitted.
    pub fn decide(&self) -> Decision {
        self.decide_many(NonZeroU32::MIN)
    }

    /// The same at a reading of the clock that was taken for several decisions.
    pub(crate) fn decide_at(&self, nanos: u64) -> Decision {
        self.cell.decide(nanos, NonZeroU32::MIN)
    }

    /// Takes back what a call used up that was admitted at this reading.
    pub(crate) fn give_back_at(&self, nanos: u64) {
        self.cell.give_back(nanos);
    }

    /// Decides on a call that takes so many permits: all of them or none.
    pub fn decide_many(&self, permits: NonZeroU32) -> Decision {
        self.cell.decide(self.clock.nanos(), permits)
    }

    /// How much is used, with nothing used up by asking.
    pub fn usage(&self) -> Usage {
        self.cell.usage(self.clock.nanos())
    }
}

/// A cell, whatever its algorithm.
trait Decide: fmt::Debug + Send + Sync {
    fn decide(&self, now: u64, permits: NonZeroU32) -> Decision;
    fn give_back(&self, now: u64);
    fn usage(&self, now: u64) -> Usage;
}

/// One state, and what it is decided by.
#[derive(Debug)]
struct Cell<M: Meter> {
    meter: M,
    state: Mutex<M::State>,
}

impl<M: Meter> Cell<M> {
    fn new(meter: M) -> Self {
        Self { meter, state: Mutex::default() }
    }
}

impl<M: Meter> Decide for Cell<M> {
    fn decide(&self, now: u64, permits: NonZeroU32) -> Decision {
        self.meter.decide(&mut self.state.lock(), now, permits)
    }

    fn give_back(&self, now: u64) {
        self.meter.give_back(&mut self.state.lock(), now);
    }

    fn usage(&self, now: u64) -> Usage {
        self.meter.usage(&self.state.lock(), now)
    }
}
