//! The samples by which the limit is judged once.

use std::time::Duration;

use super::latencies::Latencies;

/// A window is at least so long (Envoy), and at least as long as its operations take: the limit is not changed
/// again before the last change shows, and those that take long are in it.
const SHORTEST: Duration = Duration::from_millis(100);
/// A window waits no longer than that for its samples, and an operation that takes longer counts for no more.
const LONGEST: Duration = Duration::from_secs(60);
/// Samples that tell a latency well enough to follow it by small steps.
const FEW: u32 = 20;
/// Samples that tell it well enough to be compared with for a minute.
const ENOUGH: u32 = 100;

/// How an operation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was done: its latency counts, whether the answer was the one hoped for or not.
    Done,
    /// It got nowhere for want of capacity: it ran out of time, or what is behind refused it as too much. It
    /// counts as slower than any other.
    Dropped,
    /// It failed for reasons of its own, as a caller's mistake that is told at once. It does not count.
    Failed,
}

/// One operation that ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// From the permit to the end.
    pub latency: Duration,
    /// Operations in flight when it began, itself included.
    pub in_flight: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// Samples since a moment, and when there are enough of them.
#[derive(Clone, Debug)]
pub(super) struct Window {
    opened: Duration,
    enough: u32,
    latencies: Latencies,
    peak_in_flight: u32,
    /// It does not end before.
    until: Duration,
}

impl Window {
    /// Opens now.
    pub(super) fn following(now: Duration) -> Self {
        Self::new(now, FEW)
    }

    /// Opens when what began before has ended, after two latencies (in seconds), under a limit that changed now.
    pub(super) fn probing(now: Duration, latency: f64) -> Self {
        Self::new(now + bounded(2.0 * latency), ENOUGH)
    }

    fn new(opened: Duration, enough: u32) -> Self {
        Self { opened, enough, latencies: Latencies::new(), peak_in_flight: 0, until: opened + SHORTEST }
    }

    pub(super) fn add(&mut self, now: Duration, sample: Sample) {
        if now < self.opened {
            return;
        }
        let Sample { latency, in_flight, outcome } = sample;
        self.peak_in_flight = self.peak_in_flight.max(in_flight);
        match outcome {
            Outcome::Done => self.latencies.add(latency),
            Outcome::Dropped => self.latencies.add_endless(),
            Outcome::Failed => {}
        }
    }

    pub(super) fn peak_in_flight(&self) -> u32 {
        self.peak_in_flight
    }

    /// What operations took, in seconds, once it is long enough and has enough samples. Infinite where they got
    /// nowhere.
    pub(super) fn latency(&mut self, now: Duration) -> Option<f64> {
        if now < self.until || self.latencies.count() < self.enough {
            return None;
        }
        let latency = self.latencies.typical();
        self.until = self.opened + bounded(latency);
        (now >= self.until).then_some(latency)
    }

    /// It waited long enough for samples that do not come.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        now.saturating_sub(self.opened) >= LONGEST
    }
}

/// Where operations get nowhere there is nothing to wait for.
fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().min(LONGEST / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn done(latency: Duration, in_flight: u32) -> Sample {
        Sample { latency, in_flight, outcome: Outcome::Done }
    }

    #[test]
    fn it_ends_with_enough_samples_and_time() {
        let mut window = Window::following(Duration::ZERO);
        (1..FEW).for_each(|_| window.add(MS, done(MS, 3)));
        window.add(MS, Sample { outcome: Outcome::Failed, ..done(MS, 7) });
        assert!(window.latency(100 * MS).is_none(), "what failed by itself tells nothing");
        window.add(MS, Sample { outcome: Outcome::Dropped, ..done(MS, 3) });
        assert!(window.latency(99 * MS).is_none());
        assert!(window.latency(100 * MS).is_some_and(|latency| latency < 0.002));
        assert_eq!(window.peak_in_flight(), 7);
    }

    #[test]
    fn it_is_as_long_as_its_operations_take() {
        let mut window = Window::following(Duration::ZERO);
        (0..FEW).for_each(|_| window.add(300 * MS, done(500 * MS, 3)));
        assert!(window.latency(480 * MS).is_none());
        assert!(window.latency(520 * MS).is_some());
    }

    #[test]
    fn a_step_down_is_judged_when_what_began_before_is_gone() {
        let mut window = Window::probing(1_000 * MS, 0.2);
        (0..ENOUGH).for_each(|_| window.add(1_399 * MS, done(MS, 9)));
        assert!(window.latency(1_500 * MS).is_none());
        (0..ENOUGH).for_each(|_| window.add(1_400 * MS, done(100 * MS, 3)));
        assert!(window.latency(1_499 * MS).is_none());
        assert!(window.latency(1_502 * MS).is_some_and(|latency| latency > 0.09));
        assert_eq!(window.peak_in_flight(), 3);
    }

    #[test]
    fn it_does_not_wait_for_ever() {
        let mut window = Window::following(Duration::ZERO);
        (0..FEW).for_each(|_| window.add(MS, Sample { outcome: Outcome::Dropped, ..done(MS, 3) }));
        assert!(window.latency(100 * MS).is_some_and(f64::is_infinite));
        assert!(!window.is_stale(LONGEST - MS) && window.is_stale(LONGEST));
    }
}
