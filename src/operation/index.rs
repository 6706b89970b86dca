//! What is known of all operations in memory: those under way, and of those that ended what lists show.
//!
//! Bounded: an ended one keeps neither steps nor events nor its report, which are read from the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Kind, Operation, Wanted, slot::Slot};
use crate::id::Ordered;

/// Who asked by which request id.
type Request = (String, String);

/// What was asked by a request, and what does it.
#[derive(Debug)]
struct Asked {
    id: Ordered,
    kind: Kind,
    service: String,
    /// Empty: written down by a build that did not keep it.
    digest: String,
}

/// All operations.
#[derive(Debug, Default)]
pub(super) struct Index {
    under_way: BTreeMap<Ordered, Arc<Slot>>,
    ended: BTreeMap<Ordered, Arc<Operation>>,
    by_end: BTreeSet<(SystemTime, Ordered)>,
    scopes: HashMap<String, Ordered>,
    requests: HashMap<Request, Asked>,
}

impl Index {
    /// One that is under way.
    pub(super) fn begin(&mut self, slot: &Arc<Slot>) {
        self.under_way.insert(slot.id(), Arc::clone(slot));
        self.scopes.insert(slot.scope().to_owned(), slot.id());
        self.request(&slot.told());
    }

    /// One that has ended.
    pub(super) fn end(&mut self, operation: &Operation) {
        self.leave(operation.id);
        self.request(operation);
        self.by_end.insert((end(operation), operation.id));
        self.ended.insert(operation.id, Arc::new(operation.lean()));
    }

    /// One that is not under way here any more.
    pub(super) fn leave(&mut self, id: Ordered) {
        if let Some(slot) = self.under_way.remove(&id)
            && self.scopes.get(slot.scope()) == Some(&id)
        {
            self.scopes.remove(slot.scope());
        }
    }

    fn request(&mut self, operation: &Operation) {
        let Some(request) = request(operation) else { return };
        self.requests.entry(request).or_insert_with(|| Asked {
            id: operation.id,
            kind: operation.kind,
            service: operation.service.clone(),
            digest: operation.asked.clone(),
        });
    }

    /// Forgets one that ended.
    pub(super) fn forget(&mut self, id: Ordered) {
        let Some(gone) = self.ended.remove(&id) else { return };
        self.by_end.remove(&(end(&gone), id));
        if let Some(request) = request(&gone)
            && self.requests.get(&request).is_some_and(|asked| asked.id == id)
        {
            self.requests.remove(&request);
        }
    }

    pub(super) fn slot(&self, id: Ordered) -> Option<&Arc<Slot>> {
        self.under_way.get(&id)
    }

    /// The one of a scope that is under way.
    pub(super) fn holder(&self, scope: &str) -> Option<&Arc<Slot>> {
        self.slot(*self.scopes.get(scope)?)
    }

    /// The one that the same caller asked for by the same request.
    ///
    /// # Errors
    /// The request asked for something else: the one that it began.
    pub(super) fn repeated(&self, wanted: &Wanted) -> Result<Option<Ordered>, Ordered> {
        let Wanted { kind, service, created_by, request_id, asked, .. } = wanted;
        if request_id.is_empty() {
            return Ok(None);
        }
        let Some(before) = self.requests.get(&(created_by.clone(), request_id.clone())) else {
            return Ok(None);
        };
        let is_same = before.kind == *kind
            && before.service == *service
            && (before.digest.is_empty() || before.digest == *asked);
        if is_same { Ok(Some(before.id)) } else { Err(before.id) }
    }

    pub(super) fn under_way(&self) -> Vec<Arc<Slot>> {
        self.under_way.values().cloned().collect()
    }

    pub(super) fn under_way_count(&self) -> usize {
        self.under_way.len()
    }

    /// Those that are to be forgotten, the oldest end first: too old, or more than are kept.
    pub(super) fn old(&self, now: SystemTime, kept_for: Duration, most: usize, limit: usize) -> Vec<Ordered> {
        let surplus = (self.ended.len() + self.under_way.len()).saturating_sub(most);
        let is_old = |ended: &SystemTime| now.duration_since(*ended).is_ok_and(|age| age > kept_for);
        let old =
            self.by_end.iter().enumerate().take_while(|(at, (ended, _))| *at < surplus || is_old(ended));
        old.take(limit).map(|(_, (_, id))| *id).collect()
    }

    /// Up to `limit` before an id, newest first, as they are told.
    pub(super) fn before(&self, before: Option<Ordered>, limit: usize) -> Vec<Arc<Operation>> {
        let range = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        let mut running = self.under_way.range(range).rev().map(|(_, slot)| slot.told()).peekable();
        let mut ended = self.ended.range(range).rev().map(|(_, it)| Arc::clone(it)).peekable();
        let next = || match (running.peek(), ended.peek()) {
            (Some(a), Some(b)) if a.id > b.id => running.next(),
            (Some(_), None) => running.next(),
            _ => ended.next(),
        };
        std::iter::from_fn(next).take(limit).collect()
    }
}

fn end(operation: &Operation) -> SystemTime {
    operation.ended.unwrap_or(operation.created)
}

fn request(operation: &Operation) -> Option<Request> {
    let Operation { created_by, request_id, .. } = operation;
    (!request_id.is_empty()).then(|| (created_by.clone(), request_id.clone()))
}
