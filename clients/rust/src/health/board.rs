//! Where everybody writes and reads the health of this process: checks and pushes write, the session
//! and the local health endpoints read. It holds the newest report of each component and nothing
//! older, so its size does not depend on how long the control plane is away.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{ComponentHealth, Health, Identity, Presence};
use crate::{Lifecycle, LifecycleOrder, Report, component::Component, rt, rules::Streaks};

/// The one writable copy of the health. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Board(watch::Sender<Health>);

impl Board {
    /// Components of which nothing is known yet. `depends_on` names only components that are there:
    /// the builder has checked it.
    pub(crate) fn new(identity: Arc<Identity>, lifecycle: Lifecycle, components: &[Component]) -> Self {
        let position = |name: &String| components.iter().position(|one| one.name == *name);
        let components = components
            .iter()
            .map(|declared| ComponentHealth {
                name: declared.name.clone(),
                kind: declared.kind.clone(),
                essential: declared.essential,
                depends_on: declared.depends_on.iter().filter_map(position).collect(),
                streaks: Streaks::new(declared.thresholds()),
                bad_message: String::new(),
                cause: String::new(),
                report: None,
                pushed_at: None,
                revision: 0,
            })
            .collect();
        let health = Health { identity, lifecycle, presence: Presence::Here, components };
        Self(watch::Sender::new(health))
    }

    /// Takes what a check of the component at this position answered.
    pub(crate) fn report(&self, position: usize, report: Report) {
        self.change(position, |component| component.take(report));
    }

    /// Takes what the service said of the component at this position.
    pub(crate) fn push(&self, position: usize, report: Report) {
        self.change(position, |component| {
            component.pushed_at = Some(rt::now());
            component.take(report);
        });
    }

    /// Takes the last pushed report again, or says that it is too old. Nothing where none was pushed.
    pub(crate) fn repeat(&self, position: usize, expires_after: Option<Duration>) {
        self.change(position, |component| {
            let Some(pushed_at) = component.pushed_at else { return };
            let expired = expires_after.filter(|limit| pushed_at.elapsed() > *limit);
            let again = match expired {
                Some(limit) => Some(Report::unhealthy(format!("nothing was pushed for more than {limit:?}"))),
                None => component.report.clone(),
            };
            if let Some(again) = again {
                component.take(again);
            }
        });
    }

    /// Takes a change of the lifecycle.
    ///
    /// # Errors
    /// It cannot follow what it is; that stays.
    pub(crate) fn set_lifecycle(&self, wanted: Lifecycle) -> Result<(), LifecycleOrder> {
        let mut set = Ok(());
        self.0.send_if_modified(|health| {
            let now = health.lifecycle;
            if !now.in_fleet().allows(wanted.in_fleet()) {
                set = Err(LifecycleOrder { now, wanted });
                return false;
            }
            health.lifecycle = wanted;
            now != wanted
        });
        set
    }

    /// Notes that the agent leaves, or has left.
    pub(crate) fn set_presence(&self, presence: Presence) {
        self.0.send_modify(|health| health.presence = presence);
    }

    /// The health now.
    pub(crate) fn now(&self) -> Health {
        self.0.borrow().clone()
    }

    /// Position of a component.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.0.borrow().components.iter().position(|component| component.name == name)
    }

    fn change(&self, position: usize, change: impl FnOnce(&mut ComponentHealth)) {
        self.0.send_if_modified(|health| {
            let Some(component) = health.components.get_mut(position) else { return false };
            let before = component.revision;
            change(component);
            component.revision != before
        });
    }

    /// The health now and at every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}
