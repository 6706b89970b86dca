//! What a part of a policy has decided, in sums since it came to be.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// Names that are remembered of who was refused.
const REMEMBERED: usize = 8;

/// What was decided.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    allowed: AtomicU64,
    near: AtomicU64,
    refused: AtomicU64,
    last_refused: Mutex<VecDeque<Arc<str>>>,
}

impl Counted {
    /// One was let through, with the limit nearly used up or not.
    pub(crate) fn passed(&self, near: bool) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
        if near {
            self.near.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One was refused, or would have been.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers who was refused. In a flood it is left out where somebody else is writing: it is a view, not a count.
    pub(crate) fn remember(&self, name: impl FnOnce() -> Arc<str>) {
        let Some(mut last) = self.last_refused.try_lock() else { return };
        let name = name();
        if last.front() == Some(&name) {
            return;
        }
        last.retain(|other| *other != name);
        last.push_front(name);
        last.truncate(REMEMBERED);
    }

    /// How many were let through, of them with the limit nearly used up, and refused.
    pub(crate) fn sums(&self) -> (u64, u64, u64) {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        (read(&self.allowed), read(&self.near), read(&self.refused))
    }

    /// Who was refused last, the last one first.
    pub(crate) fn last_refused(&self) -> Vec<Arc<str>> {
        self.last_refused.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_last_is_remembered_once_and_first() {
        let counted = Counted::default();
        for name in ["a", "b", "a", "a", "c"] {
            counted.remember(|| name.into());
        }
        assert_eq!(counted.last_refused(), ["c".into(), "a".into(), "b".into()]);
        for n in 0..20 {
            counted.remember(|| n.to_string().into());
        }
        assert_eq!(counted.last_refused().len(), REMEMBERED);
        assert_eq!(*counted.last_refused()[0], *"19");
    }
}
