//! Watches: the changes under a prefix, in order, without gaps.
//!
//! An engine writes its changes into a ring of bounded size; each [`Watch`] reads from there at its
//! own pace. One that falls behind the ring is told [`Event::Reset`] and must list again: it never
//! misses a change silently, and it never holds up the writer.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Entry, Revision};

/// Most changes kept for watches: a burst of this size is survived by a watch that stands still.
const RING_CHANGES: usize = 4096;
/// Most bytes of keys and values kept for watches.
const RING_BYTES: usize = 4 << 20;
/// How many events a watch takes from the ring at once, rounded up to whole revisions.
const TAKE: usize = 64;

/// A change, as a watch tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A key was made or changed.
    Put(Entry),
    /// A key was deleted.
    Delete {
        /// The key.
        key: String,
        /// The revision of the deletion.
        revision: Revision,
    },
    /// Changes were missed: list again. What follows are the changes after `revision`.
    Reset {
        /// The store's revision now.
        revision: Revision,
    },
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Put(entry) => entry.revision,
            Event::Delete { revision, .. } | Event::Reset { revision } => *revision,
        }
    }

    fn key(&self) -> &str {
        match self {
            Event::Put(entry) => &entry.key,
            Event::Delete { key, .. } => key,
            Event::Reset { .. } => "",
        }
    }

    fn size(&self) -> usize {
        match self {
            Event::Put(entry) => entry.key.len() + entry.value.len(),
            Event::Delete { key, .. } => key.len(),
            Event::Reset { .. } => 0,
        }
    }
}

/// The changes under a prefix, one after the other. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    ring: Weak<Ring>,
    moved: watch::Receiver<Revision>,
    prefix: String,
    /// Up to here it has seen everything.
    seen: Revision,
    pending: VecDeque<Event>,
}

impl Watch {
    /// Waits for the next change. Cancel safe. After the store was closed it waits for ever.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            // Marked as seen before the ring is read: what comes meanwhile wakes us again.
            self.moved.mark_unchanged();
            if let Some(ring) = self.ring.upgrade() {
                self.seen = ring.take(&self.prefix, self.seen, &mut self.pending);
            }
            if self.pending.is_empty() && self.moved.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// The newest changes of a store.
#[derive(Debug)]
pub(super) struct Ring {
    recent: Mutex<Recent>,
    moved: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Recent {
    changes: VecDeque<Event>,
    bytes: usize,
    /// Changes up to here are no longer, or were never, in the ring.
    floor: Revision,
    head: Revision,
}

impl Ring {
    pub(super) fn new(revision: Revision) -> Self {
        let recent = Recent { changes: VecDeque::new(), bytes: 0, floor: revision, head: revision };
        Self { recent: Mutex::new(recent), moved: watch::Sender::new(revision) }
    }

    /// The newest revision.
    pub(super) fn head(&self) -> Revision {
        self.recent.lock().head
    }

    /// Adds durable changes, in the order of their revisions.
    pub(super) fn publish(&self, changes: Vec<Event>, head: Revision) {
        {
            let mut recent = self.recent.lock();
            recent.head = head;
            for change in changes {
                recent.bytes += change.size();
                recent.changes.push_back(change);
            }
            while recent.changes.len() > RING_CHANGES || recent.bytes > RING_BYTES {
                let Some(oldest) = recent.changes.pop_front() else { break };
                recent.bytes -= oldest.size();
                recent.floor = oldest.revision();
            }
        }
        self.moved.send_replace(head);
    }

    pub(super) fn watch(self: &Arc<Self>, prefix: &str, from: Option<Revision>) -> Watch {
        let moved = self.moved.subscribe();
        let recent = self.recent.lock();
        let seen = from.unwrap_or(recent.head);
        Watch { ring: Arc::downgrade(self), moved, prefix: prefix.to_owned(), seen, pending: VecDeque::new() }
    }

    /// Hands a watch what comes after `seen`, and answers up to where it has then seen everything.
    fn take(&self, prefix: &str, seen: Revision, into: &mut VecDeque<Event>) -> Revision {
        let recent = self.recent.lock();
        if !(recent.floor..=recent.head).contains(&seen) {
            into.push_back(Event::Reset { revision: recent.head });
            return recent.head;
        }
        let start = recent.changes.partition_point(|change| change.revision() <= seen);
        let mut reached = seen;
        for change in recent.changes.range(start..) {
            if into.len() >= TAKE && change.revision() > reached {
                return reached;
            }
            reached = change.revision();
            if change.key().starts_with(prefix) {
                into.push_back(change.clone());
            }
        }
        recent.head
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn put(key: &str, revision: Revision) -> Event {
        Event::Put(Entry { key: key.into(), value: "v".into(), revision })
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_sees_its_prefix_in_order_and_whole_revisions() {
        let ring = Arc::new(Ring::new(7));
        let mut watch = ring.watch("a/", None);
        let many: Vec<_> = (0..200).map(|n| put(&format!("a/{n}"), 8)).collect();
        ring.publish([many.clone(), vec![put("b/1", 8)]].concat(), 8);
        ring.publish(vec![Event::Delete { key: "a/0".into(), revision: 9 }], 9);
        for expected in many {
            assert_eq!(watch.next().await, expected);
        }
        assert_eq!(watch.next().await, Event::Delete { key: "a/0".into(), revision: 9 });
        assert!(timeout(Duration::from_secs(1), watch.next()).await.is_err(), "there is nothing more");
    }

    #[tokio::test(start_paused = true)]
    async fn falling_behind_is_told_once_and_what_follows_is_whole() {
        let ring = Arc::new(Ring::new(0));
        let mut slow = ring.watch("", None);
        let last = 2 * RING_CHANGES as u64;
        for revision in 1..=last {
            ring.publish(vec![put("k", revision)], revision);
        }
        assert_eq!(slow.next().await, Event::Reset { revision: last });
        ring.publish(vec![put("k", last + 1)], last + 1);
        assert_eq!(slow.next().await, put("k", last + 1));
        let oldest = last + 2 - RING_CHANGES as u64;
        assert_eq!(ring.watch("", Some(oldest - 1)).next().await, put("k", oldest), "the oldest kept");
        assert!(matches!(ring.watch("", Some(oldest - 2)).next().await, Event::Reset { .. }));
        assert!(matches!(ring.watch("", Some(last + 9)).next().await, Event::Reset { .. }), "the future");
    }

    #[test]
    fn the_ring_is_bounded_in_bytes() {
        let ring = Ring::new(0);
        for revision in 1..=9 {
            let entry = Entry { key: "k".into(), value: vec![0; 1 << 20].into(), revision };
            ring.publish(vec![Event::Put(entry)], revision);
        }
        assert!(ring.recent.lock().bytes <= RING_BYTES);
        assert_eq!(ring.head(), 9);
    }
}
