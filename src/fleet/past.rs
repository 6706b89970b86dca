//! Reading past changes of health, newest first: what was before this night.
//!
//! A bounded piece is looked at under each hold of the fleet's lock, and a bounded number for each page:
//! who asks for what is rare gets pages with little in them, and goes on.

use std::{sync::Arc, time::SystemTime};

use tokio::task::yield_now;

use super::{
    Handle,
    names::{ComponentName, InstanceId, ServiceName},
    scan::HOLD,
    snapshot::{Subject, Transition},
};

/// Most changes that are looked at for one page.
const LOOKED_AT: usize = 64 * HOLD;

/// Which changes to list.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Only of this service, its instances and components.
    pub service: Option<ServiceName>,
    /// Only of instances of this id and their components.
    pub instance: Option<InstanceId>,
    /// Only of components of this name.
    pub component: Option<ComponentName>,
    /// Only from then on.
    pub start: Option<SystemTime>,
    /// Only before then.
    pub end: Option<SystemTime>,
}

impl Past {
    fn takes(&self, change: &Transition) -> bool {
        let component = match &change.subject {
            Subject::Service(_) | Subject::Instance(..) => None,
            Subject::Component(_, _, name) => Some(name),
        };
        self.instance.as_ref().is_none_or(|id| change.subject.instance().is_some_and(|key| key.id == *id))
            && self.component.as_ref().is_none_or(|wanted| component == Some(wanted))
            && self.start.is_none_or(|start| change.time >= start)
            && self.end.is_none_or(|end| change.time < end)
    }
}

impl Handle {
    /// Up to `limit` changes of health before a sequence, newest first, and before which sequence to go
    /// on; None: there are no older ones. Lets others run in between; cancel safe.
    pub async fn transitions(
        &self,
        wanted: &Past,
        before: Option<u64>,
        limit: usize,
    ) -> (Vec<Arc<Transition>>, Option<u64>) {
        let mut found = Vec::new();
        let mut place = before.unwrap_or(u64::MAX);
        for _ in 0..LOOKED_AT / HOLD {
            let looked = self.older(wanted, place, |change| {
                if wanted.takes(change) {
                    found.push(Arc::clone(change));
                }
                // One more than is wanted tells whether there is more.
                found.len() <= limit
            });
            if found.len() > limit {
                found.truncate(limit);
                let next = found.last().map(|last| last.sequence);
                return (found, next);
            }
            match looked {
                Some(looked) => place = looked,
                None => return (found, None),
            }
            yield_now().await;
        }
        (found, Some(place))
    }

    /// Hands the changes before a sequence to `take`, at most [`HOLD`], until it answers false. Answers the
    /// last that was handed over; None: there are no older ones that can be wanted.
    fn older(
        &self,
        wanted: &Past,
        before: u64,
        mut take: impl FnMut(&Arc<Transition>) -> bool,
    ) -> Option<u64> {
        let state = self.shared.state.read();
        let mut last = None;
        let mut each = |change: &Arc<Transition>| {
            last = Some(change.sequence);
            take(change)
        };
        match &wanted.service {
            Some(service) => {
                // So few are kept of one service that all of them are one piece.
                let kept = state.groups().get(service).map(|group| group.transitions.iter().rev());
                let mut older = kept.into_iter().flatten().filter(|change| change.sequence < before);
                if older.all(&mut each) { None } else { last }
            }
            None => {
                // Where none before it can be wanted any more, that is the end.
                let wanted = |change: &&Arc<Transition>| {
                    wanted.start.is_none_or(|start| state.latest_until(change) >= start)
                };
                let older = state.history().range(..before).rev().map(|(_, change)| change);
                let mut older = older.take_while(wanted);
                let whole = older.by_ref().take(HOLD).all(&mut each);
                if whole && older.next().is_none() { None } else { last }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        fleet::testing::{Fleet, handle, key, start},
        health::{State as Health, Verdict},
        time::Now,
    };

    #[tokio::test]
    async fn what_is_older_than_asked_for_is_not_looked_at_whatever_the_clock_did() {
        let mut fleet = Fleet::default();
        let key = key("orders", "i-1");
        fleet.register(&key);
        let at = |second| start().wall + Duration::from_secs(second);
        // The clock was set back by a day in between.
        for (second, count) in [(100_000, 5), (200_000, 3), (113_600, 4), (200_100, 2)] {
            let now = Now { wall: at(second), ..start() };
            for _ in 0..count {
                let subject = Subject::Instance(key.clone(), 1);
                fleet.state.remember(now, subject, Health::Healthy, Verdict::new(Health::Unhealthy, "gone"));
            }
        }
        let handle = handle(fleet.state);
        let wanted = Past { start: Some(at(200_000)), ..Past::default() };
        let mut looked = 0;
        let older = handle.older(&wanted, u64::MAX, |_| {
            looked += 1;
            true
        });
        assert_eq!((looked, older), (2 + 4 + 3, None));
        for (start, count) in [(100_000, 14), (100_001, 9), (200_000, 5), (200_001, 2), (200_101, 0)] {
            let wanted = Past { start: Some(at(start)), ..Past::default() };
            let (found, next) = handle.transitions(&wanted, None, 100).await;
            assert_eq!((found.len(), next), (count, None), "from second {start}");
        }
        // A page ends before the last that is wanted, and the next one goes on there.
        let (found, next) = handle.transitions(&wanted, None, 3).await;
        assert_eq!((found.len(), next), (3, Some(found[2].sequence)));
        let (found, next) = handle.transitions(&wanted, next, 3).await;
        assert_eq!((found.len(), next), (2, None));
    }
}
