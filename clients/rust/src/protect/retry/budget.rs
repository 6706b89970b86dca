//! How many retries all calls together may make: a share of the calls, and a few in every second.
//!
//! Attempts alone multiply the load in an outage, when it is least wanted; a budget adds to it a share that is known
//! beforehand. The idea and the numbers are those of Finagle's `RetryBudget`.

mod window;

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

use self::window::{Allowance, Window};
use super::settings::Settings;
use crate::protect::clock::Clock;

/// The retries that all its calls may make. Cheap to clone; clones are the same budget.
///
/// With `ttl` as set, rounded down to 20 ns, and `step = ttl / 20`:
///
/// - Never more: whenever a retry is allowed, it and those of the `ttl` before it are at most
///   `per_second × ttl + share × calls of that ttl`. So all retries of any time `t` are at most
///   `per_second × ttl × (⌊t / ttl⌋ + 1) + share × calls`, of that time and the `ttl` before it.
/// - Never less: a retry is refused only where it and those of the last `ttl + step` would be more than
///   `per_second × ttl + share × calls of the last ttl - step`.
///
/// It takes some 400 bytes, whatever the load, and each use some 20 additions under a lock.
#[derive(Clone)]
pub struct Budget<C> {
    clock: C,
    shared: Arc<Shared>,
}

struct Shared {
    allowance: Allowance,
    window: Mutex<Window>,
}

impl<C: Clock> Budget<C> {
    /// A budget of its own, in which nothing has happened yet, by the `budget_…` values of the settings.
    pub fn new(settings: &Settings, clock: C) -> Self {
        let shared = Shared { allowance: Allowance::new(settings), window: Mutex::default() };
        Self { clock, shared: Arc::new(shared) }
    }

    /// A call begins: its first attempt.
    pub fn deposit(&self) {
        self.now_in_window(|_, window| window.deposit());
    }

    /// Whether one more attempt may be made. If so it is spent, made or not.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.now_in_window(|allowance, window| {
            let allowed = window.balance(allowance) > 0;
            if allowed {
                window.withdraw();
            }
            allowed
        })
    }

    /// How many retries could be made now.
    pub fn balance(&self) -> u64 {
        self.now_in_window(|allowance, window| window.balance(allowance))
    }

    /// What time it is.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn now_in_window<T>(&self, act: impl FnOnce(&Allowance, &mut Window) -> T) -> T {
        let Shared { allowance, window } = &*self.shared;
        let mut window = window.lock();
        // Under the lock, so that nothing is entered for a moment that is over.
        window.advance(allowance.step_of(self.clock.nanos()));
        act(allowance, &mut window)
    }
}

impl<C> fmt::Debug for Budget<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("allowance", &self.shared.allowance).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
