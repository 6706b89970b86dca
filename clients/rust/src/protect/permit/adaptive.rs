//! How many operations at once are right, found out from how long they take.
//!
//! Below its capacity a server answers as fast with one operation more; beyond it each one more makes all of
//! them wait (Little's law). The limit follows the gradient between the latency without load and the latency
//! now, as Envoy's gradient controller and Netflix's Gradient2 do, and keeps a headroom of its square root to
//! find out whether more is possible. It settles between the capacity and a quarter (the buffer) above it, and
//! the headroom. Latency is the mean of the fastest nine in ten.
//!
//! Two things are done in another way than there. The latency without load is not measured by pinning the limit
//! to its minimum for a while, which refuses healthy traffic: the limit goes down by steps of 30 % for as long
//! as that makes operations faster (two steps in most cases, each a few latencies long), and then back. And the
//! limit grows only while it is used, so that quiet hours do not lift it to where it limits nothing.
//!
//! Pure: times and latencies come in, a limit comes out. It refuses nothing by itself.

mod latencies;
mod settings;
mod window;

use std::{num::NonZeroU32, time::Duration};

use self::window::Window;
pub use self::{
    settings::{AdaptiveSettings, InvalidAdaptive},
    window::{Outcome, Sample},
};

/// How far the limit goes in one window towards where it ought to be (Gradient2's smoothing).
const SMOOTHING: f64 = 0.2;
/// The limit is never told to go further at once than to half, or to the double (Envoy).
const GRADIENT: (f64, f64) = (0.5, 2.0);
/// How far down a step goes that looks for the latency without load.
const STEP: f64 = 0.7;
/// An operation is faster if it takes less than this share of what it took.
const FASTER: f64 = 0.9;
/// Two latencies that differ by no more than this are the same.
const SAME: f64 = 1.1;
/// What was found at first, and a limit near its minimum, is questioned so much sooner.
const SOONER: u32 = 10;
/// The first operations are slow for reasons of their own.
const WARM_UP: Duration = Duration::from_secs(1);

/// Finds out how many operations at once are right. One for each thing that has a capacity.
#[derive(Clone, Debug)]
pub struct Adaptive {
    settings: AdaptiveSettings,
    /// Between the minimum and the maximum of the settings.
    limit: f64,
    /// Seconds an operation takes where it waits for no other.
    unloaded: Option<f64>,
    phase: Phase,
    window: Window,
    dice: Dice,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The limit follows the gradient; then the latency without load is looked for again.
    Following { since: Duration, until: Duration },
    /// The limit goes down from here for as long as that makes operations faster.
    Probing { from: f64, best: Measured },
}

/// What operations took, in seconds, at some limit.
#[derive(Clone, Copy, Debug)]
struct Measured {
    limit: f64,
    latency: f64,
}

impl Adaptive {
    /// Starts at the initial limit. `now` is of the clock that all times come from; the seed makes the jitter
    /// of one process differ from that of another.
    pub fn new(settings: AdaptiveSettings, now: Duration, seed: u64) -> Self {
        let limit = f64::from(settings.initial());
        let phase = Phase::Following { since: now, until: now + WARM_UP };
        Self { settings, limit, unloaded: None, phase, window: Window::following(now), dice: Dice(seed) }
    }

    /// The limit now.
    pub fn limit(&self) -> NonZeroU32 {
        whole(self.limit)
    }

    /// What an operation takes where it waits for no other, as far as is known.
    pub fn unloaded_latency(&self) -> Option<Duration> {
        self.unloaded.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// An operation ended. Answers the new limit where it changed, for [`InFlight::resize`].
    ///
    /// [`InFlight::resize`]: super::InFlight::resize
    pub fn record(&mut self, now: Duration, sample: Sample) -> Option<NonZeroU32> {
        let before = self.limit();
        self.window.add(now, sample);
        if let Some(latency) = self.window.latency(now) {
            self.window_ended(now, latency);
        } else if self.window.is_stale(now) {
            self.give_up(now);
        }
        let after = self.limit();
        (after != before).then_some(after)
    }

    fn window_ended(&mut self, now: Duration, latency: f64) {
        match self.phase {
            Phase::Following { since, until } => {
                self.follow(latency);
                let sooner = since + self.settings.refresh() / SOONER;
                if now >= until || (self.is_cornered() && now >= sooner) {
                    self.go_down(now, self.limit, Measured { limit: self.limit, latency });
                } else {
                    self.window = Window::following(now);
                }
            }
            Phase::Probing { from, best } => self.probed(now, from, best, latency),
        }
    }

    /// One step along the gradient.
    fn follow(&mut self, latency: f64) {
        let limit = self.limit;
        let headroom = limit.sqrt();
        let gradient = match self.unloaded {
            Some(unloaded) => unloaded * (1.0 + self.settings.buffer()) / latency,
            // Nothing to compare with; only that they get nowhere is worse than anything.
            None if latency.is_finite() => return,
            None => 0.0,
        };
        let target = gradient.clamp(GRADIENT.0, GRADIENT.1) * limit + headroom;
        let peak = f64::from(self.window.peak_in_flight());
        let matters = match target > limit {
            // There is room above what was used: more would only be a larger number.
            true => peak + headroom >= limit,
            // So few are not what makes operations slow (Gradient2 does not look at such a window either).
            false => peak >= limit / 2.0,
        };
        if matters {
            self.set(limit + SMOOTHING * (target - limit));
        }
    }

    /// What operations take at this step on the way down.
    fn probed(&mut self, now: Duration, from: f64, best: Measured, latency: f64) {
        let faster = latency < best.latency * FASTER;
        let best = if faster { Measured { limit: self.limit, latency } } else { best };
        if faster && self.limit > f64::from(self.settings.min()) {
            return self.go_down(now, from, best);
        }
        // Two measurements of the same are better than the one that happened to be less.
        let mean = f64::midpoint(best.latency, latency).min(best.latency * SAME);
        let first = self.unloaded.is_none();
        if mean.is_finite() {
            self.unloaded = Some(mean);
        }
        // One step above the best is where operations began to wait for each other.
        self.set(from.min(best.limit / STEP));
        self.go_on(now, first);
    }

    /// Too few operations to tell anything within reasonable time.
    fn give_up(&mut self, now: Duration) {
        match self.phase {
            Phase::Following { .. } => self.window = Window::following(now),
            Phase::Probing { from, .. } => {
                self.set(from);
                self.go_on(now, false);
            }
        }
    }

    fn go_down(&mut self, now: Duration, from: f64, best: Measured) {
        self.set(self.limit * STEP);
        self.phase = Phase::Probing { from, best };
        self.window = Window::probing(now, best.latency);
    }

    fn go_on(&mut self, now: Duration, sooner: bool) {
        let refresh = if sooner { self.settings.refresh() / SOONER } else { self.settings.refresh() };
        let jitter = 1.0 + self.settings.jitter() * self.dice.roll();
        self.phase = Phase::Following { since: now, until: now + refresh.mul_f64(jitter) };
        self.window = Window::following(now);
    }

    /// So low that it had better be right.
    fn is_cornered(&self) -> bool {
        self.limit <= 2.0 * f64::from(self.settings.min())
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(f64::from(self.settings.min()), f64::from(self.settings.max()));
    }
}

/// A limit is never below 1, so that there is no room for less.
fn whole(limit: f64) -> NonZeroU32 {
    // Between the minimum and the maximum, which are of this type; a cast of what is not would be cut.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let limit = limit as u32;
    NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN)
}

/// SplitMix64 (Steele, Lea, Flood 2014): no more than jitter needs.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    /// From 0 up to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
