//! From CPU time to a share of the CPU, smoothed.

use std::time::Duration;

/// So long ago counts for about a third (1/e) of now.
const LOOKS_BACK: Duration = Duration::from_secs(1);
/// The kernel counts CPU time in hundredths of a second: a shorter span says little.
const SHORTEST: Duration = Duration::from_millis(100);

/// The share of the CPU that a process used lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    last: Option<(Duration, Duration)>,
    share: Option<f64>,
}

impl Cpu {
    /// By `now` the process has used this much CPU time in all, and may use so many CPUs. Answers the share, once
    /// there are two readings.
    pub(super) fn step(&mut self, now: Duration, used: Duration, cpus: f64) -> Option<f64> {
        let Some((then, used_then)) = self.last else {
            self.last = Some((now, used));
            return None;
        };
        let span = now.saturating_sub(then);
        if span < SHORTEST {
            return self.share;
        }
        self.last = Some((now, used));
        let newest = used.saturating_sub(used_then).as_secs_f64() / (span.as_secs_f64() * cpus);
        let weight = 1.0 - (-span.as_secs_f64() / LOOKS_BACK.as_secs_f64()).exp();
        let before = self.share.unwrap_or(newest);
        self.share = Some(before + weight * (newest - before));
        self.share
    }
}

#[cfg(test)]
mod tests;
