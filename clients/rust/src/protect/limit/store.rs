//! Where the states of keys live: bounded, whatever keys come.
//!
//! A map in shards, each behind its own lock, with at most `max_keys` keys in all. A key is idle when its state is as
//! that of a key never seen; only idle keys are ever forgotten, so that no flood of keys makes a limit forget what is
//! used up. When there is no place, a new key's shard looks at a few keys, going round with each new one, and forgets
//! the idle ones of them. If none was, the call is decided by a cell that all such newcomers to the shard share.
//!
//! What that means for who sends many keys on purpose: each place, as each shared cell, admits no more in any time
//! than one key may, however often its key changes, so that all keys together are admitted at most
//! (`max_keys` + shards) × the limit. A single key has at most its own cell and the shared one, twice its limit. The
//! price is that honest newcomers share with the flood until places become idle; [`Store::overflows`] counts that.
//!
//! Hashes are keyed at random, so that nobody can choose keys that fall into one shard or one chain.

mod shard;

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::{NonZeroU32, NonZeroUsize},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use self::shard::{Entry, Locked, Shard};
use super::{
    decision::{Decision, Usage},
    meter::Meter,
};

/// About how many keys a full shard has: few enough that going through all of them holds its lock for microseconds,
/// many enough that some of them are idle when the store is full and not all of it is in use.
const KEYS_PER_SHARD: usize = 256;

/// At how many places a newcomer to a full store looks for idle keys.
const PLACES_PER_NEWCOMER: usize = 32;

/// The states of many keys, and what they are decided by.
pub(super) struct Store<K, M: Meter> {
    meter: M,
    max_keys: usize,
    /// Keys that have a place, and places just promised to newcomers.
    keys: AtomicUsize,
    overflows: AtomicU64,
    hasher: RandomState,
    /// As many as a power of two.
    shards: Box<[Locked<K, M::State>]>,
}

impl<K: Clone + Eq + Hash, M: Meter> Store<K, M> {
    /// Room for so many keys. Memory is taken as they come.
    pub(super) fn new(meter: M, max_keys: NonZeroUsize) -> Self {
        let full_shards = NonZeroUsize::new(max_keys.get() / KEYS_PER_SHARD).unwrap_or(NonZeroUsize::MIN);
        let shards = 1 << full_shards.ilog2();
        Self {
            meter,
            max_keys: max_keys.get(),
            keys: AtomicUsize::new(0),
            overflows: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Locked::default()).collect(),
        }
    }

    /// Decides on a call of this key.
    pub(super) fn decide(&self, key: &K, now: u64, permits: NonZeroU32) -> Decision {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        match shard.entries.find_mut(hash, |entry| entry.key == *key) {
            Some(entry) => self.meter.decide(&mut entry.state, now, permits),
            None => self.decide_newcomer(&mut shard, hash, key, now, permits),
        }
    }

    /// Takes back what one permit used up, where the key has a place.
    pub(super) fn give_back(&self, key: &K, now: u64) {
        let hash = self.hasher.hash_one(key);
        if let Some(entry) = self.shard(hash).lock().entries.find_mut(hash, |entry| entry.key == *key) {
            self.meter.give_back(&mut entry.state, now);
        }
    }

    #[cold]
    fn decide_newcomer(
        &self,
        shard: &mut Shard<K, M::State>,
        hash: u64,
        key: &K,
        now: u64,
        permits: NonZeroU32,
    ) -> Decision {
        let now = now.max(shard.forgotten_at);
        let mut state = M::State::default();
        let decision = self.meter.decide(&mut state, now, permits);
        if self.meter.is_idle(&state, now) {
            return decision; // Nothing to remember: it asked for too many.
        }
        if !self.find_place(shard, now) {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return self.meter.decide(&mut shard.shared, now, permits);
        }
        let entry = Entry { key: key.clone(), state };
        shard.entries.insert_unique(hash, entry, |entry| self.hasher.hash_one(&entry.key));
        decision
    }

    /// Whether there is a place for one more key, which then is promised to the caller.
    fn find_place(&self, shard: &mut Shard<K, M::State>, now: u64) -> bool {
        let one_more = |keys| (keys < self.max_keys).then_some(keys + 1);
        if self.keys.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
            return true;
        }
        let forgotten = shard.forget_some(PLACES_PER_NEWCOMER, now, |state| self.meter.is_idle(state, now));
        // One of the places found goes to the caller, the others to whoever comes next.
        self.keys.fetch_sub(forgotten.saturating_sub(1), Ordering::Relaxed);
        forgotten > 0
    }

    /// How much is used by this key, or, where it has no place and would get none, by those that share.
    pub(super) fn usage(&self, key: &K, now: u64) -> Usage {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).lock();
        match shard.entries.find(hash, |entry| entry.key == *key) {
            Some(entry) => self.meter.usage(&entry.state, now),
            None if self.len() < self.max_keys => self.meter.usage(&M::State::default(), now),
            None => self.meter.usage(&shard.shared, now),
        }
    }

    /// Forgets all idle keys and gives their memory back, one shard after the other.
    pub(super) fn evict_idle(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let forgotten = shard.forget_all(now, |state| self.meter.is_idle(state, now));
            shard.entries.shrink_to_fit(|entry| self.hasher.hash_one(&entry.key));
            self.keys.fetch_sub(forgotten, Ordering::Relaxed);
        }
    }

    /// How many keys have a place.
    pub(super) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many decisions were made by a shared cell.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// The memory of all places, used or not, in bytes. What keys own beside themselves (the text of a `String`) is
    /// not in it.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.allocation_size()).sum()
    }

    fn shard(&self, hash: u64) -> &Locked<K, M::State> {
        // The table within a shard goes by the lowest and the highest bits. The mask takes fewer than may be cut off.
        #[allow(clippy::cast_possible_truncation)]
        let index = (hash >> 24) as usize & (self.shards.len() - 1);
        &self.shards[index] // Below the number of shards, which is a power of two.
    }
}

impl<K, M: Meter> fmt::Debug for Store<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("meter", &self.meter)
            .field("max_keys", &self.max_keys)
            .field("keys", &self.keys)
            .field("overflows", &self.overflows)
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
