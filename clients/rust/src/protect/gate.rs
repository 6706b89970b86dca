//! What protects one call, for whoever makes it without tries of its own: the guard of the control plane.
//!
//! Made for a call and asked each time; it stays as it is when policies change, and whoever holds it makes another one then.

use std::{fmt::Display, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    Time,
    breaker::Ticket,
    clock::Clock,
    entry::{Caller, Entered, Entering},
    permit::Outcome,
    plan::Plan,
    policy::choose::Call,
    refusal::Refusal,
    rules::Rules,
};

/// Lets calls of one kind in.
#[derive(Clone, Debug)]
pub struct Gate {
    rules: Rules,
    plan: Arc<Plan>,
    protects: Option<Arc<str>>,
}

/// What becomes of a call that wants in.
pub enum Entrance {
    /// It is in.
    In(Entry),
    /// It has to wait: for its turn, or for a place. The waits are bounded by what the policies say; dropped, it gives up.
    Wait(Pin<Box<dyn Future<Output = Result<Entry, Refusal>> + Send>>),
    /// It is refused.
    Out(Refusal),
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Entrance::In(_) => "In",
            Entrance::Wait(_) => "Wait",
            Entrance::Out(_) => "Out",
        })
    }
}

/// A call that is in. Dropped, all that it holds comes back, and nothing is learnt from it.
#[derive(Debug)]
#[must_use = "what a call holds comes back when this is dropped: hold it for as long as the call runs"]
pub struct Entry {
    time: Time,
    entered: Entered,
    ticket: Option<Ticket>,
    began: Option<Duration>,
}

impl Gate {
    /// What protects this call by the rules as they are now; None: nothing does. `protects`: what its breaker is of, where it
    /// has one.
    pub fn new(rules: &Rules, call: Call<'_>, protects: Option<&str>) -> Option<Self> {
        let plan = rules.plan(call, protects);
        let gate = Self { rules: rules.clone(), plan, protects: protects.map(Arc::from) };
        gate.plan.protects().then_some(gate)
    }

    /// Lets a call in. `caller`: the number by which who makes it is told apart, of
    /// [`caller_key`](super::caller_key); `name`: its name, made only where it is shown.
    pub fn enter(&self, caller: u64, name: &(dyn Display + Sync)) -> Entrance {
        let now = self.rules.time().now();
        match self.plan.try_enter(Caller { key: caller, name }, self.rules.meter(), now) {
            Entering::In(entered) => match self.admit(entered) {
                Ok(entry) => Entrance::In(entry),
                Err(refusal) => Entrance::Out(refusal),
            },
            Entering::Wait(waiting) => {
                let gate = self.clone();
                Entrance::Wait(Box::pin(async move { gate.admit(waiting.enter().await?) }))
            }
            Entering::Out(refusal) => Entrance::Out(refusal),
        }
    }

    /// Asks the breaker.
    fn admit(&self, entered: Entered) -> Result<Entry, Refusal> {
        let ticket = self.plan.breaker.as_ref().map(|breaker| breaker.admit()).transpose();
        let protects = || self.protects.clone().unwrap_or_default();
        let ticket = ticket.map_err(|refused| Refusal::Broken { protects: protects(), refused })?;
        // What nobody learns from needs no clock.
        let began = ticket.is_some().then(|| self.rules.time().now());
        Ok(Entry { time: self.rules.time(), entered, ticket, began })
    }
}

impl Entry {
    /// What the call depends on did its part.
    pub fn succeeded(mut self) {
        let ticket = self.ticket.take();
        self.settle(|latency| ticket.into_iter().for_each(|ticket| ticket.success(latency)), Outcome::Done);
    }

    /// What the call depends on did not do its part.
    pub fn failed(mut self) {
        let ticket = self.ticket.take();
        self.settle(|latency| ticket.into_iter().for_each(|ticket| ticket.failure(latency)), Outcome::Failed);
    }

    /// Nobody waited any longer. If it was slow by then, what the call depends on was.
    pub fn given_up(mut self) {
        let ticket = self.ticket.take();
        self.settle(
            |latency| ticket.into_iter().for_each(|ticket| ticket.given_up(latency)),
            Outcome::Dropped,
        );
    }

    fn settle(self, tell: impl FnOnce(Duration), outcome: Outcome) {
        let Some(began) = self.began else { return };
        let now = self.time.now();
        let latency = now.saturating_sub(began);
        tell(latency);
        self.entered.done(now, latency, outcome);
    }
}
