//! A cell for each key: a caller, an operation, both.

use std::{
    fmt,
    hash::Hash,
    num::{NonZeroU32, NonZeroUsize},
};

use super::{
    super::clock::Clock,
    decision::{Decision, Usage},
    fixed_window::FixedWindow,
    leaky_bucket::LeakyBucket,
    meter::Meter,
    settings::{Algorithm, Settings},
    sliding_window::SlidingWindow,
    store::Store,
    token_bucket::TokenBucket,
};

/// A limit for each key by itself, in bounded memory.
///
/// A key costs its own size and that of a state (8 bytes for both buckets, 16 for a fixed window, 144 for a sliding
/// one), up to four times, since tables have spare places. It is remembered until it is idle, which is when a decision
/// on it could not differ from that on a key never seen, and then until its place is wanted, or [`evict_idle`] is called.
///
/// Where all places are in use, new keys share cells, each of which is held to the limit of a single key. So a flood of
/// keys neither makes the limit forget what is used up, nor gets more than one limit for each of `max_keys`, and one
/// for every 256 of them, through. [`overflows`] tells that it happens.
///
/// [`evict_idle`]: Self::evict_idle
/// [`overflows`]: Self::overflows
#[derive(Debug)]
pub struct KeyedLimiter<K, C> {
    cells: Box<dyn Decide<K>>,
    clock: C,
}

impl<K, C> KeyedLimiter<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: Clock,
{
    /// A limit of which no key has used anything, by this clock, that remembers at most so many keys at a time.
    pub fn new(settings: &Settings, max_keys: NonZeroUsize, clock: C) -> Self {
        let rate = settings.rate();
        let cells: Box<dyn Decide<K>> = match settings.algorithm() {
            Algorithm::TokenBucket { burst } => Box::new(Store::new(TokenBucket::new(rate, burst), max_keys)),
            Algorithm::LeakyBucket { queue } => Box::new(Store::new(LeakyBucket::new(rate, queue), max_keys)),
            Algorithm::SlidingWindow => Box::new(Store::new(SlidingWindow::new(rate), max_keys)),
            Algorithm::FixedWindow => Box::new(Store::new(FixedWindow::new(rate), max_keys)),
        };
        Self { cells, clock }
    }

    /// Decides on a call of this key that takes one permit, and uses it up if the call is admitted.
    pub fn decide(&self, key: &K) -> Decision {
        self.decide_many(key, NonZeroU32::MIN)
    }

    /// The same at a reading of the clock that was taken for several decisions.
    pub(crate) fn decide_at(&self, key: &K, nanos: u64) -> Decision {
        self.cells.decide(key, nanos, NonZeroU32::MIN)
    }

    /// Takes back what a call of this key used up that was admitted at this reading. What was taken of a cell that keys
    /// share stays used up.
    pub(crate) fn give_back_at(&self, key: &K, nanos: u64) {
        self.cells.give_back(key, nanos);
    }

    /// Decides on a call of this key that takes so many permits: all of them or none.
    pub fn decide_many(&self, key: &K, permits: NonZeroU32) -> Decision {
        self.cells.decide(key, self.clock.nanos(), permits)
    }

    /// How much is used by this key, with nothing used up by asking.
    pub fn usage(&self, key: &K) -> Usage {
        self.cells.usage(key, self.clock.nanos())
    }

    /// Forgets all idle keys and gives their memory back.
    ///
    /// To be called on a timer, every few seconds: it goes through all keys, but holds no lock for longer than some
    /// hundred of them take. Without it keys are still bounded, and idle ones make way for new ones.
    pub fn evict_idle(&self) {
        self.cells.evict_idle(self.clock.nanos());
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many decisions were made by cells that keys share, because `max_keys` were in use. Only grows; while it
    /// does, new keys may be refused for what others use.
    pub fn overflows(&self) -> u64 {
        self.cells.overflows()
    }

    /// Bytes of memory held for keys that are remembered or may be without asking for more. The text of a key, or what
    /// else it owns elsewhere, is not in it.
    pub fn capacity_bytes(&self) -> usize {
        self.cells.capacity_bytes()
    }
}

/// Cells by key, whatever their algorithm.
trait Decide<K>: fmt::Debug + Send + Sync {
    fn decide(&self, key: &K, now: u64, permits: NonZeroU32) -> Decision;
    fn give_back(&self, key: &K, now: u64);
    fn usage(&self, key: &K, now: u64) -> Usage;
    fn evict_idle(&self, now: u64);
    fn len(&self) -> usize;
    fn overflows(&self) -> u64;
    fn capacity_bytes(&self) -> usize;
}

impl<K, M> Decide<K> for Store<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: Meter,
{
    fn decide(&self, key: &K, now: u64, permits: NonZeroU32) -> Decision {
        self.decide(key, now, permits)
    }

    fn give_back(&self, key: &K, now: u64) {
        self.give_back(key, now);
    }

    fn usage(&self, key: &K, now: u64) -> Usage {
        self.usage(key, now)
    }

    fn evict_idle(&self, now: u64) {
        self.evict_idle(now);
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows()
    }

    fn capacity_bytes(&self) -> usize {
        self.capacity_bytes()
    }
}
