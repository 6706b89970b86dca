//! What happened lately, in steps of time, and what that allows.

use crate::protect::{clock::whole_nanos, retry::settings::Settings};

/// Steps in a `ttl`.
const STEPS: u64 = 20;
/// Those, and the one that has not ended: so that no retry is forgotten before a whole `ttl` has passed.
const KEPT: usize = 21;
/// A retry, in the unit of an allowance.
const RETRY: u64 = 1_000_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What a `ttl` allows, in millionths of a retry: whole numbers, so that a share is what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Without any call.
    reserve: u64,
    /// For each call.
    share: u64,
    /// Nanoseconds of a step.
    step: u64,
}

impl Allowance {
    pub(super) fn new(settings: &Settings) -> Self {
        let values = settings.values();
        // The settings bound it at 60 s.
        let step = (whole_nanos(values.budget_ttl) / STEPS).max(1);
        let ttl = u128::from(step * STEPS);
        let reserve = u128::from(values.budget_per_second) * ttl * u128::from(RETRY) / NANOS_PER_SECOND;
        // Between 0 and a million: the settings bound it.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = (values.budget_share * RETRY as f64).round() as u64;
        // 1000 a second for 60 s at the most.
        Self { reserve: u64::try_from(reserve).unwrap_or(u64::MAX), share, step }
    }

    /// The step of a moment.
    pub(super) fn step_of(&self, nanos: u64) -> u64 {
        nanos / self.step
    }
}

/// One step of time.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    calls: u64,
    retries: u64,
}

/// The last steps, the newest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    newest: u64,
    steps: [Step; KEPT],
}

impl Window {
    /// Goes on to a step, and forgets what is over.
    pub(super) fn advance(&mut self, step: u64) {
        let passed = step.saturating_sub(self.newest);
        let passed = usize::try_from(passed).unwrap_or(KEPT).min(KEPT);
        if passed > 0 {
            self.newest = step;
            self.steps.rotate_right(passed);
            self.steps.iter_mut().take(passed).for_each(|step| *step = Step::default());
        }
    }

    pub(super) fn deposit(&mut self) {
        let [newest, ..] = &mut self.steps;
        newest.calls = newest.calls.saturating_add(1);
    }

    pub(super) fn withdraw(&mut self) {
        let [newest, ..] = &mut self.steps;
        newest.retries = newest.retries.saturating_add(1);
    }

    /// How many retries may be made now.
    pub(super) fn balance(&self, allowance: &Allowance) -> u64 {
        // Calls of the oldest step are older than the `ttl` in part; its retries are not yet older in part.
        let [counting @ .., _oldest] = &self.steps;
        let calls = counting.iter().fold(0_u64, |sum, step| sum.saturating_add(step.calls));
        let retries = self.steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.retries));
        let allowed = allowance.reserve.saturating_add(allowance.share.saturating_mul(calls)) / RETRY;
        allowed.saturating_sub(retries)
    }
}
