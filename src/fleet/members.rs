//! The instances of one service: found by id at the price of one look, however many there are, and walked
//! in the order of their ids.
//!
//! Every heartbeat and every report looks its instance up. A tree of names alone would read a dozen names
//! on the way down, each from another place in memory: in a fleet of 100,000 that was a large part of what
//! a report cost. It decides nothing about what it holds.

use std::{
    borrow::Borrow,
    collections::{BTreeSet, HashMap},
    hash::Hash,
    ops::{Bound, Index},
};

use super::{member::Member, names::InstanceId};

/// The instances of a service.
#[derive(Debug, Default)]
pub(super) struct Members {
    // Boxed, so that making room for more moves places and not what is known of each.
    by_id: HashMap<InstanceId, Box<Member>>,
    // The same ids.
    order: BTreeSet<InstanceId>,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn get<Q>(&self, id: &Q) -> Option<&Member>
    where
        InstanceId: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_id.get(id).map(Box::as_ref)
    }

    pub(super) fn get_mut<Q>(&mut self, id: &Q) -> Option<&mut Member>
    where
        InstanceId: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_id.get_mut(id).map(Box::as_mut)
    }

    /// Those after an id, or all of them, by id.
    pub(super) fn after(&self, id: Option<&str>) -> impl Iterator<Item = &Member> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range::<str, _>((from, Bound::Unbounded)).filter_map(|id| self.get(id))
    }

    /// All, in no order.
    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values().map(Box::as_ref)
    }

    /// All, in no order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_id.values_mut().map(Box::as_mut)
    }

    /// Puts an instance in its place. Whoever had its id is taken out first: [`Members::remove`].
    pub(super) fn insert(&mut self, member: Member) {
        let id = member.registration.key.id.clone();
        self.order.insert(id.clone());
        self.by_id.insert(id, Box::new(member));
    }

    pub(super) fn remove(&mut self, id: &InstanceId) -> Option<Member> {
        let member = self.by_id.remove(id)?;
        self.order.remove(id);
        Some(*member)
    }
}

impl Index<&InstanceId> for Members {
    type Output = Member;

    fn index(&self, id: &InstanceId) -> &Member {
        &self.by_id[id]
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::testing::{Fleet, key, remove};

    #[test]
    fn they_are_walked_by_id_and_found_by_it_whoever_comes_and_goes() {
        let mut fleet = Fleet::default();
        for id in ["d", "b", "e", "a", "c"] {
            fleet.register(&key("s", id));
        }
        let gone = key("s", "c");
        let incarnation = fleet.state.groups()[&gone.service].members[&gone.id].incarnation;
        remove(&mut fleet.state, fleet.now, &gone, incarnation);
        let group = &fleet.state.groups()[&gone.service];
        let ids = |after| -> Vec<_> {
            let after = group.members.after(after);
            after.map(|member| member.registration.key.id.as_str().to_owned()).collect()
        };
        assert_eq!(ids(None), ["a", "b", "d", "e"]);
        assert_eq!(ids(Some("b")), ["d", "e"], "after it");
        assert_eq!(ids(Some("c")), ["d", "e"], "whether it is there or not");
        assert!(ids(Some("e")).is_empty());
        assert!(group.members.get("b").is_some() && group.members.get("c").is_none());
    }
}
