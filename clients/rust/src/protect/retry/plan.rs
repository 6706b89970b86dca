//! What follows from a failed attempt: one decision, without a clock and without randomness of its own.

use std::time::Duration;

use super::settings::{Settings, Values};

/// Whether an operation may be done twice.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Safety {
    /// Done twice is as good as done once.
    Idempotent,
    /// It is repeated only where it certainly was not done.
    #[default]
    Unsafe,
}

/// What a failure allows. A pause is one that the other end asked for: it replaces the computed one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Advice {
    /// To repeat it does not help.
    Never,
    /// The other end asks not to repeat it.
    Pushback,
    /// It may have been done: repeat it where that is safe.
    IfSafe(Option<Duration>),
    /// It certainly was not done: nothing of the whole operation.
    Always(Option<Duration>),
}

/// Why a call is not tried again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Why {
    /// To repeat it does not help.
    NotRetryable,
    /// It may have been done, and is not safe to do twice.
    Unsafe,
    /// The other end asked not to repeat it.
    Pushback,
    /// The attempts are used up.
    Attempts,
    /// The total time is over, or would be before the next attempt.
    Time,
    /// The caller's time is over, or would be before the next attempt.
    Deadline,
    /// The budget of all calls together is used up.
    Budget,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 7] =
        [Why::NotRetryable, Why::Unsafe, Why::Pushback, Why::Attempts, Why::Time, Why::Deadline, Why::Budget];

    /// The word for it in metrics: `not_retryable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::NotRetryable => "not_retryable",
            Why::Unsafe => "unsafe",
            Why::Pushback => "pushback",
            Why::Attempts => "attempts",
            Why::Time => "time",
            Why::Deadline => "deadline",
            Why::Budget => "budget",
        }
    }
}

/// One attempt, as its operation sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// Which one: 1 is the first.
    pub number: u32,
    /// How long it may take at the most; more than zero. A limit of its own that is shorter leaves time for another.
    pub time_left: Duration,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Try again after this pause, if the budget allows it.
    After(Duration),
    /// Give up.
    Stop(Why),
}

/// Where one call stands. All times are readings of one clock.
///
/// [`Retry`](super::Retry) carries it out; by hand, ask [`Budget::withdraw`](super::Budget::withdraw) before each pause.
#[derive(Clone, Debug)]
pub struct Plan {
    settings: Settings,
    safety: Safety,
    ends: Duration,
    /// What it means that the end has come.
    over: Why,
    attempts: u32,
    /// How often the next computed pause has been multiplied.
    grown: i32,
}

impl Plan {
    /// For a call that begins now, whose caller waits for so long: `None` for as long as the settings say.
    pub fn new(settings: &Settings, safety: Safety, now: Duration, time_left: Option<Duration>) -> Self {
        let total = settings.values().total;
        let (lasts, over) = match time_left {
            Some(left) if left <= total => (left, Why::Deadline),
            _ => (total, Why::Time),
        };
        let ends = now.saturating_add(lasts);
        Self { settings: *settings, safety, ends, over, attempts: 0, grown: 0 }
    }

    /// Begins the next attempt.
    ///
    /// # Errors
    /// [`Why::Time`] or [`Why::Deadline`]: no time is left for one.
    pub fn begin(&mut self, now: Duration) -> Result<Attempt, Why> {
        let time_left = self.time_left(now);
        if time_left.is_zero() {
            return Err(self.over);
        }
        self.attempts += 1;
        Ok(Attempt { number: self.attempts, time_left })
    }

    /// What follows from the failure of the attempt that was begun last, for a random number from 0 up to 1.
    ///
    /// A pause that does not end before the time does is not begun: nobody waits for nothing.
    pub fn after(&mut self, advice: Advice, now: Duration, random: f64) -> Next {
        let asked = match (advice, self.safety) {
            (Advice::Never, _) => return Next::Stop(Why::NotRetryable),
            (Advice::Pushback, _) => return Next::Stop(Why::Pushback),
            (Advice::IfSafe(_), Safety::Unsafe) => return Next::Stop(Why::Unsafe),
            (Advice::IfSafe(asked), Safety::Idempotent) | (Advice::Always(asked), _) => asked,
        };
        let values = self.settings.values();
        if self.attempts >= values.attempts {
            return Next::Stop(Why::Attempts);
        }
        let left = self.time_left(now);
        let random = random.clamp(0.0, 1.0);
        let pause = match asked {
            // What is too long stays too long, and then can be stretched: it may be any number.
            Some(asked) => stretched(values, asked.min(left), random),
            None => computed(values, self.grown, random),
        };
        if pause >= left {
            return Next::Stop(self.over);
        }
        // As in gRFC A6: after a pause that was asked for, the computed ones begin again.
        self.grown = if asked.is_some() { 0 } else { self.grown + 1 };
        Next::After(pause)
    }

    /// Attempts that have begun.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// [`Why::Time`] or [`Why::Deadline`]: which of the two ends the call.
    pub(super) fn over(&self) -> Why {
        self.over
    }

    fn time_left(&self, now: Duration) -> Duration {
        self.ends.saturating_sub(now)
    }
}

/// `min(first × multiplier^n, longest) × (1 ± jitter)`, as in gRFC A6.
fn computed(values: &Values, grown: i32, random: f64) -> Duration {
    // 300 s × 10^9 at the most: the settings bound all three.
    let pause = values.first_pause.mul_f64(values.multiplier.powi(grown)).min(values.max_pause);
    pause.mul_f64(1.0 + values.jitter * (2.0 * random - 1.0))
}

/// Never shorter than was asked for, and not the same for all who were asked.
fn stretched(values: &Values, asked: Duration, random: f64) -> Duration {
    asked.mul_f64(1.0 + values.jitter * random)
}

#[cfg(test)]
mod tests;
