//! Permits for operations in flight.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    full::{Full, retry_after},
    queue::{Queue, Ticket, Wake},
};
use crate::rt;

/// How long a permit is taken to be held before the first one came back.
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// The newest hold counts for one part in so many of the mean.
const MEAN_OF: u32 = 8;
/// Of permits that are lent at once the hold of one in so many is measured: it is a guess in any case, and each reading of
/// the clock has its price.
const MEASURED_OF: u32 = 16;
/// At first each is, until the guess has been left behind.
const MEASURED_AT_FIRST: u32 = 64;

/// Permits for at most so many operations at once, lent in the order in which they are asked for. Cheap to
/// clone; clones lend the same permits.
///
/// Taking one and giving it back are a short lock each.
#[derive(Clone)]
pub struct InFlight(Arc<Mutex<State>>);

struct State {
    queue: Queue,
    refused: u64,
    mean_hold: Duration,
    /// Permits that were lent without waiting, to choose whose hold is measured.
    lent: u32,
}

/// How permits are used at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Permits that are out. More than `max` for a while after that was lowered.
    pub in_use: u32,
    /// Permits that may be out.
    pub max: u32,
    /// The most that were out at once, since the start or the last [`InFlight::take_peak`].
    pub peak: u32,
    /// Callers that wait.
    pub waiting: u32,
    /// Callers that were refused since the start. One that gave up by itself was not.
    pub refused: u64,
}

impl InFlight {
    /// Lends at most `max` permits, and lets at most `max_waiting` callers wait for one: more are refused at
    /// once. Zero: nobody waits.
    pub fn new(max: NonZeroU32, max_waiting: u32) -> Self {
        let queue = Queue::new(max, max_waiting);
        Self(Arc::new(Mutex::new(State { queue, refused: 0, mean_hold: FIRST_GUESS, lent: 0 })))
    }

    /// Takes a permit if one is free now.
    ///
    /// # Errors
    ///
    /// [`Full`] where none is.
    pub fn try_acquire(&self) -> Result<Permit, Full> {
        let mut state = self.0.lock();
        match state.queue.try_take() {
            true => {
                let is_measured = state.lent < MEASURED_AT_FIRST || state.lent.is_multiple_of(MEASURED_OF);
                // Where it would begin anew it goes on behind those.
                state.lent = state.lent.checked_add(1).unwrap_or(MEASURED_AT_FIRST);
                drop(state);
                Ok(Permit { permits: self.clone(), since: is_measured.then(rt::now) })
            }
            false => Err(state.refuse(Duration::ZERO)),
        }
    }

    /// Takes a permit, and waits for one at most so long, behind those who came before. Zero does not wait.
    /// The place in the queue is taken when this is first polled.
    ///
    /// Cancel safe: dropped, it leaves its place, and a permit that was already meant for it goes to the next.
    /// Waiting needs tokio's time.
    ///
    /// # Errors
    ///
    /// [`Full`]: at once where as many wait as may, otherwise after `wait`.
    pub async fn acquire(&self, wait: Duration) -> Result<Permit, Full> {
        let asked = rt::now();
        let (place, woken) = {
            let mut state = self.0.lock();
            if state.queue.try_take() {
                return Ok(self.permit());
            }
            let joined = if wait.is_zero() { None } else { state.queue.join() };
            let Some((ticket, woken)) = joined else { return Err(state.refuse(Duration::ZERO)) };
            (Place { permits: self, ticket: Some(ticket) }, woken)
        };
        // Woken or late: what happened is asked of the queue, so that the two cannot disagree.
        timeout(wait, woken).await.ok();
        place.settle(asked)
    }

    /// Lends at most `max` from now on. More: those who wait get theirs at once. Fewer: nothing is taken away,
    /// permits that come back are not lent again until few enough are out.
    pub fn resize(&self, max: NonZeroU32) {
        let woken = self.0.lock().queue.resize(max);
        woken.into_iter().for_each(wake);
    }

    /// Lets at most so many wait from now on. Those that wait already stay.
    pub fn set_max_waiting(&self, max_waiting: u32) {
        self.0.lock().queue.set_max_waiting(max_waiting);
    }

    /// How they are used now.
    pub fn usage(&self) -> Usage {
        let State { queue, refused, mean_hold: _, lent: _ } = &*self.0.lock();
        Usage {
            in_use: queue.in_use(),
            max: queue.max(),
            peak: queue.peak(),
            waiting: queue.waiting(),
            refused: *refused,
        }
    }

    /// The most that were out at once since the start or the last call. The peak counts anew from what is out
    /// now.
    pub fn take_peak(&self) -> u32 {
        self.0.lock().queue.take_peak()
    }

    fn permit(&self) -> Permit {
        Permit { permits: self.clone(), since: Some(rt::now()) }
    }

    fn give_back(&self, held: Option<Duration>) {
        let next = {
            let mut state = self.0.lock();
            if let Some(held) = held {
                state.mean_hold = mean(state.mean_hold, held);
            }
            state.queue.give_back()
        };
        next.into_iter().for_each(wake);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.usage()).finish()
    }
}

impl State {
    fn refuse(&mut self, waited: Duration) -> Full {
        self.refused += 1;
        let (max, waiting) = (self.queue.max(), self.queue.waiting());
        Full { max, waited, waiting, retry_after: retry_after(self.mean_hold, waiting, max) }
    }
}

fn mean(before: Duration, newest: Duration) -> Duration {
    before.saturating_mul(MEAN_OF - 1).saturating_add(newest) / MEAN_OF
}

/// Outside of the lock: a waker may run what it wakes.
fn wake(waiter: Wake) {
    // One that went away gave its permit back itself.
    waiter.send(()).ok();
}

/// One who waits. Gone before it is settled, it leaves its place or returns what it was given meanwhile.
struct Place<'a> {
    permits: &'a InFlight,
    ticket: Option<Ticket>,
}

impl Place<'_> {
    fn settle(mut self, asked: Instant) -> Result<Permit, Full> {
        let mut state = self.permits.0.lock();
        match self.ticket.take() {
            Some(ticket) if state.queue.leave(ticket) => Err(state.refuse(rt::now() - asked)),
            _ => Ok(self.permits.permit()),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let left = self.permits.0.lock().queue.leave(ticket);
        if !left {
            self.permits.give_back(None);
        }
    }
}

/// The right to run one operation. It comes back when this is dropped, on whatever thread.
#[must_use = "a permit comes back when it is dropped: hold it for as long as the operation runs"]
pub struct Permit {
    permits: InFlight,
    /// Since when it is out, where somebody wants to know.
    since: Option<Instant>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { permits: _, since } = self;
        f.debug_struct("Permit").field("since", since).finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.give_back(self.since.map(|since| rt::now() - since));
    }
}

#[cfg(test)]
mod tests;
