//! A circuit breaker: stops calling what is broken, tries it out from time to time, and calls again once it works.
//!
//! One breaker stands before one thing that can break: a store, a bucket, an instance. It opens by consecutive
//! failures, by the failure rate and by the slow-call rate; stays open for a time that doubles; lets a few probes
//! through; and closes when all of them succeed.
//!
//! ```
//! use std::time::Duration;
//! use seaworthy_client::protect::{breaker::{Breaker, Settings}, clock::Monotonic};
//!
//! # fn call() -> Result<(), std::io::Error> { Ok(()) }
//! let breaker = Breaker::new(Settings::default(), Monotonic::start());
//! match breaker.admit() {
//!     Ok(ticket) => match call() {
//!         Ok(_) => ticket.success(Duration::from_millis(3)),
//!         Err(_) => ticket.failure(Duration::from_millis(3)),
//!     },
//!     Err(refused) => println!("{refused}"), // circuit breaker is open: try again in 9.4s
//! }
//! ```
//!
//! | from | to | when |
//! |---|---|---|
//! | closed | open | a rule says so: consecutive failures, failure rate, slow-call rate |
//! | open | half-open | the open time is over |
//! | half-open | closed | all probes succeeded, and not too many of them slowly |
//! | half-open | open | one probe failed, or too many were slow |
//!
//! What it does not do: it runs no call and measures no latency, has no task and no timer, and does not decide what
//! a failure is. The caller does, and must tell only failures that are the protected thing's own: a refused or
//! invalid request never is, or one caller's bad requests would shut out all the others.
//!
//! # Choices
//!
//! - Calls are judged in the order in which they end, each time one ends. A call that began before the breaker
//!   opened, closed or was forced is a straggler: what it says is ignored.
//! - A call is slow if it took longer than its limit, whether it failed or not; a slow failure counts in both rates.
//! - Half-open lets exactly the configured number of probes through. One that was dropped without a word, or said
//!   nothing for [`probe_timeout`](Options::probe_timeout), gives its place to another call, so that lost probes
//!   never keep a breaker half-open.
//! - In half-open the slow-call rule holds for the probes as it does for a window: a slow success is a success, until
//!   the slow share of all probes reaches the rate. By default that takes all of them.
//! - Times are exact: a breaker is half-open, and an override over, from the very nanosecond. Whoever looks finds it
//!   so, without any call in between.
//! - After an override, or a mode that forced it, the breaker begins closed, with an empty window and the first open
//!   time.
//! - [`MetricsOnly`](Mode::MetricsOnly) goes through all the same states without refusing anything. Only the calls
//!   that it would have let through are judged. Going from there to [`Normal`](Mode::Normal) makes law of what it
//!   judged, in the state in which it is.
//!
//! The model is Michael Nygard's (Release It!), with the window, slow-call and metrics-only terms of resilience4j and
//! the consecutive failures and jittered, doubling open time of Linkerd.

mod evidence;
mod forced;
mod history;
mod machine;
mod open_time;
mod pass;
mod probes;
#[cfg(test)]
mod races;
mod refused;
mod settings;
mod shared;
mod snapshot;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod ticket;
mod window;

use std::sync::Arc;

pub use self::{
    forced::{Force, Override},
    history::{KEPT_TRANSITIONS, Totals},
    refused::Refused,
    settings::{
        InvalidSettings, MAX_PROBES, MAX_WINDOW_CALLS, Mode, Options, Settings, SlidingWindow, SlowCalls,
    },
    snapshot::Snapshot,
    state::{Cause, Effect, State, Transition},
    ticket::Ticket,
};
use self::{machine::Machine, shared::Shared};
use super::clock::{Clock, Monotonic};
use crate::rt;

/// A circuit breaker. Cheap to clone; clones are the same breaker.
#[derive(Clone, Debug)]
pub struct Breaker<C: Clock = Monotonic> {
    shared: Arc<Shared<C>>,
}

impl<C: Clock> Breaker<C> {
    /// A breaker that is closed, or as its mode says.
    pub fn new(settings: Settings, clock: C) -> Self {
        Self::with_random(settings, clock, rt::random)
    }

    /// The same, with the jitter drawn from `random`: numbers from 0 up to 1, one for each opening. It is called
    /// under the breaker's lock: it must be short and must not use the breaker.
    pub fn with_random(
        settings: Settings,
        clock: C,
        random: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(settings, clock, random)) }
    }

    /// Lets a call through. Never waits; closed, it needs neither lock nor clock.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the call must not be made: the breaker is open, half-open with all probes out, or forced open.
    pub fn admit(&self) -> Result<Ticket<C>, Refused> {
        let pass = self.shared.admit()?;
        Ok(Ticket::new(Arc::clone(&self.shared), pass))
    }

    /// Forces the breaker until a moment on its clock, at which that ends by itself; `None` ends it now. An override
    /// that is over already is as good as `None`; a further one takes the place of the one before.
    ///
    /// Comes before the mode in the settings. After it the breaker begins closed, with an empty window.
    pub fn override_with(&self, over: Option<Override>) {
        self.shared.with(|machine, now| machine.override_with(over, now));
    }

    /// Goes by other settings from now on.
    ///
    /// State, window and counts stay: other limits hold from the next call that ends, another open time or number of
    /// probes from the next time it opens or becomes half-open. Another [`window`](Options::window), in kind or size,
    /// begins empty. A mode that forces, or no longer does, begins anew as after an override.
    pub fn reconfigure(&self, settings: Settings) {
        self.shared.with(|machine, now| machine.reconfigure(settings, now));
    }

    /// The state that a call would meet now.
    pub fn state(&self) -> State {
        self.shared.with(Machine::state)
    }

    /// Everything there is to see. Copies the last transitions: for views and metrics, not for every call.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.with(Machine::snapshot)
    }
}
