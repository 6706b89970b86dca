//! The clock, handed to whoever needs the time: nothing else in the library reads it.
//!
//! Two times are kept apart. *Monotonic* time decides (leases, deadlines, staleness): it never goes
//! backwards. *Wall* time is only shown and stored. Monotonic time is tokio's, so that tests pause it.

use std::{
    ops::Add,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Monotonic time: whole milliseconds since the clock was made.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mono(u64);

impl Mono {
    /// The given number of milliseconds after the clock was made.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock was made.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, pause: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Decides.
    pub mono: Mono,
    /// Is shown.
    pub wall: SystemTime,
}

/// Tells the time. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Wall time at the origin, where the ambient one is not asked.
    wall: Option<SystemTime>,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods)] // the one place that reads the ambient clock
    pub fn start() -> Self {
        Self { origin: Instant::now(), wall: None }
    }

    /// A clock that starts now and takes the wall time for this, whatever it is: for tests and
    /// simulations only.
    #[allow(clippy::disallowed_methods)] // the one place that reads the ambient clock
    pub fn start_at(wall: SystemTime) -> Self {
        Self { origin: Instant::now(), wall: Some(wall) }
    }

    /// Both times.
    #[allow(clippy::disallowed_methods)] // the one place that reads the ambient clock
    pub fn now(&self) -> Now {
        let wall = self.wall.map_or_else(SystemTime::now, |origin| origin + self.elapsed());
        Now { mono: self.mono(), wall }
    }

    /// Monotonic time alone: what hot paths need.
    pub fn mono(&self) -> Mono {
        Mono(u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since the clock was made, in full precision: for measuring.
    #[allow(clippy::disallowed_methods)] // the one place that reads the ambient clock
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.origin)
    }

    /// The runtime's instant for a monotonic time, to sleep until it.
    pub fn instant(&self, at: Mono) -> Instant {
        self.origin + Duration::from_millis(at.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_paused_time() {
        let clock = Clock::start();
        let before = clock.mono();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.mono().since(before), Duration::from_millis(1500));
        assert_eq!(before.since(clock.mono()), Duration::ZERO);
    }
}
