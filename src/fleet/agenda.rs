//! What has to be looked at again, in the order of time: one thing for each instance, and one for each
//! component that has to report again. Never more: each has one place, which its member remembers, and
//! what is put again is moved.

use std::collections::BTreeSet;

use crate::{fleet::names::InstanceKey, time::Mono};

/// What has to be looked at again.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Due {
    /// An instance: its lease while it lives, and what becomes of it while it is lost.
    Instance(InstanceKey),
    /// How long a component has been silent.
    Silence(InstanceKey, usize),
}

impl Due {
    pub(super) fn key(&self) -> &InstanceKey {
        match self {
            Due::Instance(key) | Due::Silence(key, _) => key,
        }
    }
}

/// Where something is in the agenda. None: nothing is due of it.
pub(super) type Place = Option<Mono>;

/// Everything that is due, by time.
#[derive(Debug, Default)]
pub(super) struct Agenda(BTreeSet<(Mono, Due)>);

impl Agenda {
    /// Puts it at a time, away from where it was.
    pub(super) fn put(&mut self, place: &mut Place, at: Mono, due: Due) {
        if let Some(before) = place.replace(at).filter(|before| *before != at) {
            self.0.remove(&(before, due.clone()));
        }
        self.0.insert((at, due));
    }

    /// Takes it away.
    pub(super) fn take_away(&mut self, place: &mut Place, due: Due) {
        if let Some(before) = place.take() {
            self.0.remove(&(before, due));
        }
    }

    /// Takes what is due first, if it is due by now. Its place is the caller's to clear.
    pub(super) fn next(&mut self, now: Mono) -> Option<Due> {
        self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first().map(|(_, due)| due)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
