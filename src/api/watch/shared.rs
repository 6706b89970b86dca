//! What many watchers are told alike, worked out and encoded once.
//!
//! A change of one thing wakes all who watch it. Looking at the fleet and encoding the answer is most of the
//! price of telling one of them, so the first who comes does it for all. Who watches the same waits meanwhile,
//! for one look and its encoding: less than doing it once more. Nobody waits for one who is slow to read: that
//! one finds what is newest by then, and who was away for too long starts over as ever.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::super::{
    codec::Encoded,
    proto::v1 as pb,
    target::{self, Target},
};
use crate::fleet::{Handle, snapshot::Revision};

/// Changes whose messages are kept: more than any watcher reads at once.
const CHANGES_KEPT: usize = 512;
/// Bytes of the messages that are kept, roughly.
const BYTES_KEPT: usize = 4 * 1024 * 1024;

/// The watches that are open, and what they are told alike. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    views: Mutex<HashMap<Target, Weak<View>>>,
    changes: Mutex<Messages>,
}

impl Watchers {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Counts one until it is dropped.
    pub fn enter(&self) -> Watching {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }
}

/// One open watch.
#[derive(Debug)]
pub struct Watching(Watchers);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watching {
    /// The message of the change at a revision, made by `make` for whoever needs it first.
    pub(super) fn change(&self, at: Revision, make: impl FnOnce() -> Encoded) -> Encoded {
        let inner = &self.0.0;
        if let Some(made) = inner.changes.lock().by_revision.get(&at) {
            return made.clone();
        }
        // Without the lock. Two may make the same message at once: it is the same.
        let made = make();
        inner.changes.lock().keep(at, made.clone());
        made
    }

    /// The health of a target, shared with all who watch it.
    pub(super) fn view(&self, target: Target) -> Arc<View> {
        let mut views = self.0.0.views.lock();
        if let Some(view) = views.get(&target).and_then(Weak::upgrade) {
            return view;
        }
        let view = Arc::new(View { watchers: self.0.clone(), target, latest: Mutex::default() });
        views.insert(view.target.clone(), Arc::downgrade(&view));
        view
    }
}

/// Messages by the revision of their change, the newest ones.
#[derive(Debug, Default)]
struct Messages {
    by_revision: BTreeMap<Revision, Encoded>,
    bytes: usize,
}

impl Messages {
    fn keep(&mut self, at: Revision, message: Encoded) {
        self.bytes += message.len();
        if let Some(same) = self.by_revision.insert(at, message) {
            self.bytes -= same.len();
        }
        while self.by_revision.len() > CHANGES_KEPT || self.bytes > BYTES_KEPT {
            let Some((_, oldest)) = self.by_revision.pop_first() else { break };
            self.bytes -= oldest.len();
        }
    }
}

/// The health of one target as its watchers are told it.
#[derive(Debug)]
pub(super) struct View {
    watchers: Watchers,
    target: Target,
    // Held while somebody looks and encodes, never over an await.
    latest: Mutex<Option<Latest>>,
}

#[derive(Debug)]
struct Latest {
    /// It was looked at no earlier than at this revision.
    at: Revision,
    /// Rises whenever there is something to tell.
    news: u64,
    said: Said,
    message: Encoded,
}

impl Drop for View {
    fn drop(&mut self) {
        let mut views = self.watchers.0.views.lock();
        // Another one may have come for the same target meanwhile.
        if views.get(&self.target).is_some_and(|view| view.strong_count() == 0) {
            views.remove(&self.target);
        }
    }
}

impl View {
    /// The number of the newest news, and its message, looked at no earlier than at revision `at`.
    pub(super) fn since(&self, fleet: &Handle, at: Revision) -> (u64, Encoded) {
        let mut latest = self.latest.lock();
        match &*latest {
            Some(known) if known.at >= at => (known.news, known.message.clone()),
            _ => self.look(fleet, at, &mut latest),
        }
    }

    /// The same, with figures that every report and every sign of life moves as they are now: they are no
    /// news, but part of what a watch begins with.
    pub(super) fn now(&self, fleet: &Handle, at: Revision) -> (u64, Encoded) {
        self.look(fleet, at, &mut self.latest.lock())
    }

    fn look(&self, fleet: &Handle, at: Revision, latest: &mut Option<Latest>) -> (u64, Encoded) {
        let health = target::of(fleet, &self.target).ok();
        let said = Said::of(health.as_ref());
        let (before, news) = match latest.take() {
            Some(Latest { at, news, said: before, .. }) => (at, news + u64::from(before != said)),
            None => (0, 0),
        };
        let at = at.max(before);
        let message = pb::WatchHealthResponse { known: health.is_some(), health, revision: at };
        let message = Encoded::of(&message);
        *latest = Some(Latest { at, news, said, message: message.clone() });
        (news, message)
    }
}

/// What was said last, as far as it tells whether there is news: figures that every report and every sign
/// of life moves are none.
#[derive(Debug, PartialEq)]
enum Said {
    Unknown,
    Service(Box<pb::Service>),
    /// Its revision, which rises with every change of it.
    Instance(u64),
    /// Its health, since when, whether it is flapping, and what was declared.
    Component(i32, String, Option<prost_types::Timestamp>, bool, Option<Box<pb::Component>>),
}

impl Said {
    fn of(now: Option<&pb::Health>) -> Self {
        match now {
            Some(pb::Health { component: Some(part), .. }) => {
                let declared = part.component.clone().map(Box::new);
                Self::Component(part.state, part.cause.clone(), part.change_time, part.flapping, declared)
            }
            Some(pb::Health { instance: Some(instance), .. }) => Self::Instance(instance.revision),
            Some(pb::Health { service: Some(service), .. }) => Self::Service(Box::new(service.clone())),
            Some(_) | None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::names::ServiceName;

    fn message(bytes: usize) -> Encoded {
        Encoded::of(&"x".repeat(bytes))
    }

    #[test]
    fn a_change_is_encoded_once_and_what_is_kept_is_bounded() {
        let watchers = Watchers::default();
        let (one, other) = (watchers.enter(), watchers.enter());
        one.change(7, || message(3));
        other.change(7, || panic!("encoded twice"));
        for at in 0..10_000 {
            one.change(at, || message(100));
        }
        assert_eq!(watchers.0.changes.lock().by_revision.len(), CHANGES_KEPT);
        for at in 10_000..10_100 {
            one.change(at, || message(BYTES_KEPT / 4));
        }
        let kept = watchers.0.changes.lock();
        assert!(kept.bytes <= BYTES_KEPT && kept.by_revision.len() < 5, "{} bytes", kept.bytes);
        assert_eq!(kept.bytes, kept.by_revision.values().map(Encoded::len).sum::<usize>());
    }

    #[test]
    fn views_are_shared_and_go_with_their_last_watcher() {
        let watchers = Watchers::default();
        let watching = watchers.enter();
        let target = Target::Service(ServiceName::parse("orders").unwrap());
        let (one, other) = (watching.view(target.clone()), watching.view(target));
        assert!(Arc::ptr_eq(&one, &other));
        drop(one);
        assert_eq!(watchers.0.views.lock().len(), 1);
        drop(other);
        assert!(watchers.0.views.lock().is_empty());
        assert_eq!(watchers.count(), 1);
        drop(watching);
        assert_eq!(watchers.count(), 0);
    }
}
