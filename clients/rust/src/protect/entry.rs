//! How a call gets in: limits, then what the process must have left, then permits, in the order of the guard.
//!
//! Most calls get in or are refused at once ([`Plan::try_enter`]); one that has to wait for its turn or for a place goes on
//! in [`Waiting::enter`], whose waits are bounded by what the policies say. The breaker is asked by whoever makes the
//! call, for each attempt.

use std::{fmt::Display, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    limits::{Limits, Passed},
    permit::Outcome,
    places::Place,
    plan::{Pick, Plan},
    refusal::Refusal,
    resources::{Meter, Reservation},
};

/// Who makes a call, as limits tell callers apart.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// By which it is told apart.
    pub(crate) key: u64,
    /// Its name, for people: made only where it is shown.
    pub(crate) name: &'a (dyn Display + Sync),
}

/// What was noticed of a call on its way in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noticed {
    /// A limit is nearly used up.
    pub(crate) near: bool,
    /// A policy in shadow would have refused it.
    pub(crate) shadow_refused: bool,
}

/// What a call holds that got in. Dropped, all of it comes back.
#[derive(Debug, Default)]
#[must_use = "what a call holds comes back when this is dropped: hold it for as long as the call runs"]
pub(crate) struct Entered {
    pub(crate) noticed: Noticed,
    places: [Option<Place>; 2],
    /// Seldom any, and then apart: calls are many, and policies in shadow few.
    shadow_places: Vec<Place>,
    _reservation: Option<Reservation>,
}

/// What becomes of a call that wants in.
pub(crate) enum Entering {
    /// It got in.
    In(Entered),
    /// It has to wait.
    Wait(Waiting),
    /// It is refused.
    Out(Refusal),
}

/// A call that has to wait.
pub(crate) struct Waiting {
    plan: Arc<Plan>,
    caller: u64,
    pause: Duration,
    entered: Entered,
}

impl Plan {
    /// Lets a call in, or says why not; or that it has to wait. `now`: a reading of the clock of the rules.
    pub(crate) fn try_enter(self: &Arc<Self>, caller: Caller<'_>, meter: &Meter, now: Duration) -> Entering {
        let mut noticed = Noticed::default();
        self.ask_shadow(caller, now, &mut noticed);
        let Passed { near, pause } = match ask_limits(&self.limits, caller, now) {
            Ok(passed) => passed,
            Err(refusal) => return Entering::Out(refusal),
        };
        noticed.near = near;
        let reservation = match self.reserve(meter, &mut noticed) {
            Ok(reservation) => reservation,
            Err(refusal) => return Entering::Out(refusal),
        };
        let mut entered = Entered { noticed, _reservation: reservation, ..Entered::default() };
        if pause.is_zero() {
            match self.take_free(caller.key, &mut entered.places) {
                Ok(true) => {
                    entered.shadow_places = self.shadow_taken(caller.key, &mut entered.noticed);
                    return Entering::In(entered);
                }
                Ok(false) => {}
                Err(refusal) => return Entering::Out(refusal),
            }
        }
        Entering::Wait(Waiting { plan: Arc::clone(self), caller: caller.key, pause, entered })
    }

    /// What policies in shadow would have refused.
    fn ask_shadow(&self, caller: Caller<'_>, now: Duration, noticed: &mut Noticed) {
        noticed.shadow_refused |= ask_limits(&self.shadow_limits, caller, now).is_err();
    }

    fn reserve(&self, meter: &Meter, noticed: &mut Noticed) -> Result<Option<Reservation>, Refusal> {
        if let Some(ceiling) = &self.shadow_resources {
            noticed.shadow_refused |= meter.admit(ceiling).is_err();
        }
        let Some((policy, ceiling)) = &self.resources else { return Ok(None) };
        let policy = || Arc::clone(policy);
        meter.admit(ceiling).map(Some).map_err(|exhausted| Refusal::Exhausted { policy: policy(), exhausted })
    }

    /// Takes places that are free. False: at least one is not, and it may be waited for.
    fn take_free(&self, caller: u64, held: &mut [Option<Place>; 2]) -> Result<bool, Refusal> {
        for (pick, held) in self.places.iter().zip(held) {
            let Some(places) = pick.of(caller) else { continue };
            match places.try_take() {
                Ok(place) => *held = Some(place),
                Err(_) if places.waits() => return Ok(false),
                Err(full) => return Err(places.refuse(full)),
            }
        }
        Ok(true)
    }

    fn shadow_taken(&self, caller: u64, noticed: &mut Noticed) -> Vec<Place> {
        let mut taken = Vec::new();
        for places in self.shadow_places.iter().filter_map(|pick| pick.of(caller)) {
            match places.try_take() {
                Ok(place) => taken.push(place),
                Err(full) => {
                    // Only counted.
                    drop(places.refuse(full));
                    noticed.shadow_refused = true;
                }
            }
        }
        taken
    }
}

impl Waiting {
    /// Waits for the turn and for places, as long as the policies say. Cancel safe: dropped, all that was taken comes
    /// back, but for the turn.
    pub(crate) async fn enter(self) -> Result<Entered, Refusal> {
        let Self { plan, caller, pause, mut entered } = self;
        if !pause.is_zero() {
            sleep(pause).await;
        }
        // In the order in which all take them, so that nobody waits for somebody who waits for him.
        for (pick, held) in plan.places.iter().zip(&mut entered.places) {
            let Some(places) = pick.of(caller) else { continue };
            if held.is_none() {
                *held = Some(places.take().await.map_err(|full| places.refuse(full))?);
            }
        }
        entered.shadow_places = plan.shadow_taken(caller, &mut entered.noticed);
        Ok(entered)
    }
}

impl Entered {
    /// Gives everything back, and says how the call went: adaptive numbers of permits follow that.
    pub(crate) fn done(self, now: Duration, latency: Duration, outcome: Outcome) {
        for place in self.places.into_iter().flatten().chain(self.shadow_places) {
            place.done(now, latency, outcome);
        }
    }
}

/// Asks the limits of all scopes, in this order. The first one that refuses is what the caller is told, and what it was given
/// by those before is taken back: who is over a limit of his own leaves what all share to the others.
fn ask_limits(scopes: &[Pick<Arc<Limits>>; 3], caller: Caller<'_>, now: Duration) -> Result<Passed, Refusal> {
    let mut near = [false; 3];
    let mut pause = Duration::ZERO;
    for (n, pick) in scopes.iter().enumerate() {
        let Some(limits) = pick.of(caller.key) else { continue };
        match limits.decide(caller.key, now) {
            Ok(passed) => {
                near[n] = passed.near;
                pause = pause.max(passed.pause);
            }
            Err(refusal) => {
                limits.counted.remember(|| name_of(&limits.of, caller));
                let before = scopes.iter().take(n).filter_map(|pick| pick.of(caller.key));
                before.for_each(|limits| limits.give_back(caller.key, now));
                return Err(refusal);
            }
        }
    }
    for (pick, near) in scopes.iter().zip(near) {
        pick.of(caller.key).into_iter().for_each(|limits| limits.passed(near));
    }
    Ok(Passed { near: near.contains(&true), pause })
}

fn name_of(of: &Arc<str>, caller: Caller<'_>) -> Arc<str> {
    if of.is_empty() { caller.name.to_string().into() } else { Arc::clone(of) }
}

#[cfg(test)]
mod tests;
