//! Carries a plan out: runs the operation, waits, and runs it again.

use std::{error::Error, fmt, future::Future, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    budget::Budget,
    counts::Counts,
    plan::{Advice, Attempt, Next, Plan, Safety, Why},
    settings::Settings,
};
use crate::{protect::clock::Clock, rt};

/// Runs operations again when they fail. Cheap to clone; clones share the budget and the counts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use seaworthy_client::protect::{clock::Monotonic, retry::{self, Budget, Retry, Safety}};
///
/// let settings = retry::Settings::new(retry::Values { attempts: 5, ..Default::default() })?;
/// let retry = Retry::new(settings, Budget::new(&settings, Monotonic::start()));
/// let ask = |attempt: retry::Attempt| async move {
///     if attempt.number == 1 { Err(tonic::Status::unavailable("not yet")) } else { Ok("here") }
/// };
/// assert_eq!(retry.run(Safety::Idempotent, None, ask, retry::status::advice).await?, "here");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Retry<C> {
    settings: Settings,
    budget: Budget<C>,
    counts: Counts,
    random: fn() -> f64,
}

impl<C: Clock> Retry<C> {
    /// By these settings, within this budget, whose clock tells the time. The budget's own values are those that it was
    /// made with.
    pub fn new(settings: Settings, budget: Budget<C>) -> Self {
        Self { settings, budget, counts: Counts::default(), random: rt::random }
    }

    /// Draws its randomness from this function instead: numbers from 0 up to 1.
    #[must_use]
    pub fn with_random(mut self, random: fn() -> f64) -> Self {
        self.random = random;
        self
    }

    /// Counts here instead.
    #[must_use]
    pub fn with_counts(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    /// What it counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Runs `op` until it succeeds, or until `advice`, the settings or the budget say stop. `time_left` is how long the
    /// caller waits from now on: `None` for as long as the settings say, which bound it in any case. At the end of that
    /// time, to the millisecond of tokio's timers, an attempt that still runs is dropped.
    ///
    /// Cancel safe: dropped, it ends the attempt or the pause that it is at, and no attempt follows.
    ///
    /// # Errors
    /// The failure of the last attempt that ended, and why there is no other.
    pub async fn run<T, E, F>(
        &self,
        safety: Safety,
        time_left: Option<Duration>,
        mut op: impl FnMut(Attempt) -> F,
        advice: impl Fn(&E) -> Advice,
    ) -> Result<T, Failed<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.budget.deposit();
        self.counts.called();
        let mut plan = Plan::new(&self.settings, safety, self.budget.now(), time_left);
        let mut last = None;
        let why = loop {
            let attempt = match plan.begin(self.budget.now()) {
                Ok(attempt) => attempt,
                Err(over) => break over,
            };
            if attempt.number > 1 {
                self.counts.retried();
            }
            let error = match timeout(attempt.time_left, op(attempt)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => break plan.over(),
            };
            let next = plan.after(advice(&error), self.budget.now(), (self.random)());
            last = Some(error);
            match next {
                Next::After(pause) if self.budget.withdraw() => sleep(pause).await,
                Next::After(_) => break Why::Budget,
                Next::Stop(why) => break why,
            }
        };
        self.counts.gave_up(why);
        Err(Failed { error: last, attempts: plan.attempts(), why })
    }
}

/// An operation failed, and is not tried again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed<E> {
    /// What the last attempt that ended failed with. `None`: none ended before its time did.
    pub error: Option<E>,
    /// How many attempts began.
    pub attempts: u32,
    /// Why there is no other.
    pub why: Why,
}

impl<E: fmt::Display> fmt::Display for Failed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts;
        let times = if attempts == 1 { "attempt" } else { "attempts" };
        let why = match self.why {
            Why::NotRetryable => "it does not help to repeat it",
            Why::Unsafe => "it may have been done, and must not be done twice",
            Why::Pushback => "the other end asks not to repeat it",
            Why::Attempts => "no more are allowed",
            Why::Time => "no time is left",
            Why::Deadline => "the caller waits no longer",
            Why::Budget => "too many calls are being repeated already",
        };
        match &self.error {
            Some(error) => write!(f, "{error} (gave up after {attempts} {times}: {why})"),
            None => write!(f, "no answer (gave up after {attempts} {times}: {why})"),
        }
    }
}

impl<E: Error + 'static> Error for Failed<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_ref().and_then(Error::source)
    }
}

#[cfg(test)]
mod tests;
