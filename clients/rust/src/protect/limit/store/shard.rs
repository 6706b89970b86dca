//! A part of the store: what lies behind one lock.

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

/// A key and what is remembered of it.
#[derive(Debug)]
pub(super) struct Entry<K, S> {
    pub(super) key: K,
    pub(super) state: S,
}

/// Some of the keys.
#[derive(Debug)]
pub(super) struct Shard<K, S> {
    pub(super) entries: HashTable<Entry<K, S>>,
    /// What the keys without a place share.
    pub(super) shared: S,
    /// The latest time at which idle keys were forgotten. A newcomer may be one of them, and its clock may have been
    /// read before; so it is decided on at this time at the earliest, or it would be given again what it had.
    pub(super) forgotten_at: u64,
    /// The place that was looked at last for an idle key.
    hand: usize,
}

/// A shard behind its lock, with lines of the processor's cache to itself: others are written to by other threads.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Locked<K, S>(Mutex<Shard<K, S>>);

impl<K, S> Locked<K, S> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Shard<K, S>> {
        self.0.lock()
    }
}

impl<K, S: Default> Default for Locked<K, S> {
    fn default() -> Self {
        Self(Mutex::new(Shard::default()))
    }
}

impl<K, S: Default> Default for Shard<K, S> {
    fn default() -> Self {
        Self { entries: HashTable::new(), shared: S::default(), forgotten_at: 0, hand: 0 }
    }
}

impl<K, S> Shard<K, S> {
    /// Looks at the next few places, going round, and forgets what is idle there. Answers how many that were.
    pub(super) fn forget_some(&mut self, places: usize, now: u64, is_idle: impl Fn(&S) -> bool) -> usize {
        let all = self.entries.num_buckets();
        let before = self.entries.len();
        for _ in 0..places.min(all) {
            self.hand = if self.hand + 1 < all { self.hand + 1 } else { 0 };
            if let Ok(entry) = self.entries.get_bucket_entry(self.hand)
                && is_idle(&entry.get().state)
            {
                entry.remove();
            }
        }
        self.forgotten_at = self.forgotten_at.max(now);
        before - self.entries.len()
    }

    /// Forgets whatever is idle. Answers how many that were.
    pub(super) fn forget_all(&mut self, now: u64, is_idle: impl Fn(&S) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !is_idle(&entry.state));
        self.forgotten_at = self.forgotten_at.max(now);
        before - self.entries.len()
    }
}
