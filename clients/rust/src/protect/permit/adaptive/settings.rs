//! What an adaptive limit may do.

use std::{num::NonZeroU32, time::Duration};

/// Bounds and pace of an [`Adaptive`](super::Adaptive) limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveSettings {
    min: u32,
    initial: u32,
    max: u32,
    buffer: f64,
    refresh: Duration,
    jitter: f64,
}

/// A setting that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidAdaptive {
    /// They are not in this order.
    #[error("min {min}, initial {initial}, max {max}: give them in this order, equal or rising")]
    Bounds {
        /// The least limit.
        min: u32,
        /// The first limit.
        initial: u32,
        /// The greatest limit.
        max: u32,
    },
    /// The share of latency that is bearable.
    #[error("buffer {0}: use a share from 0 to 10, as 0.25 for a quarter")]
    Buffer(f64),
    /// How often the latency without load is looked for.
    #[error("refresh {0:?}: use 1 s to 1 day")]
    Refresh(Duration),
    /// The share by which that is put off.
    #[error("jitter {0}: use a share from 0 to 1, as 0.15")]
    Jitter(f64),
}

impl Default for AdaptiveSettings {
    /// 5 to 1,000 and 20 at first; a quarter more latency than without load is bearable; looked for each 60 s,
    /// put off by up to 15 % of that.
    fn default() -> Self {
        Self { min: 5, initial: 20, max: 1_000, buffer: 0.25, refresh: Duration::from_secs(60), jitter: 0.15 }
    }
}

impl AdaptiveSettings {
    /// The least, first and greatest limit. Default 5, 20, 1,000.
    ///
    /// # Errors
    ///
    /// Where they are not in this order.
    pub fn bounds(
        self,
        min: NonZeroU32,
        initial: NonZeroU32,
        max: NonZeroU32,
    ) -> Result<Self, InvalidAdaptive> {
        let (min, initial, max) = (min.get(), initial.get(), max.get());
        match min <= initial && initial <= max {
            true => Ok(Self { min, initial, max, ..self }),
            false => Err(InvalidAdaptive::Bounds { min, initial, max }),
        }
    }

    /// How much slower than without load an operation may be, as a share. Default 0.25; 0 to 10.
    ///
    /// # Errors
    ///
    /// Where it is not in this range.
    pub fn with_buffer(self, buffer: f64) -> Result<Self, InvalidAdaptive> {
        match (0.0..=10.0).contains(&buffer) {
            true => Ok(Self { buffer, ..self }),
            false => Err(InvalidAdaptive::Buffer(buffer)),
        }
    }

    /// How often the latency without load is looked for. Default 60 s; 1 s to 1 day.
    ///
    /// # Errors
    ///
    /// Where it is not in this range.
    pub fn with_refresh(self, refresh: Duration) -> Result<Self, InvalidAdaptive> {
        match (Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60)).contains(&refresh) {
            true => Ok(Self { refresh, ..self }),
            false => Err(InvalidAdaptive::Refresh(refresh)),
        }
    }

    /// The share of the refresh by which one is put off at random, so that a fleet does not do it at the same
    /// moment. Default 0.15; 0 to 1.
    ///
    /// # Errors
    ///
    /// Where it is not in this range.
    pub fn with_jitter(self, jitter: f64) -> Result<Self, InvalidAdaptive> {
        match (0.0..=1.0).contains(&jitter) {
            true => Ok(Self { jitter, ..self }),
            false => Err(InvalidAdaptive::Jitter(jitter)),
        }
    }

    pub(super) fn min(&self) -> u32 {
        self.min
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    pub(super) fn buffer(&self) -> f64 {
        self.buffer
    }

    pub(super) fn refresh(&self) -> Duration {
        self.refresh
    }

    pub(super) fn jitter(&self) -> f64 {
        self.jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_sense_is_taken() {
        let settings = AdaptiveSettings::default();
        let count = |count| NonZeroU32::new(count).expect("more than zero");
        for (min, initial, max, right) in
            [(5, 20, 1_000, true), (1, 1, 1, true), (5, 4, 10, false), (5, 11, 10, false), (10, 10, 5, false)]
        {
            let found = settings.bounds(count(min), count(initial), count(max));
            assert_eq!(found.is_ok(), right, "{min} {initial} {max}");
        }
        for (share, buffer, jitter) in [
            (0.0, true, true),
            (1.0, true, true),
            (1.1, true, false),
            (10.1, false, false),
            (-0.1, false, false),
            (f64::NAN, false, false),
        ] {
            assert_eq!(settings.with_buffer(share).is_ok(), buffer, "{share}");
            assert_eq!(settings.with_jitter(share).is_ok(), jitter, "{share}");
        }
        for (seconds, right) in [(0, false), (1, true), (86_400, true), (86_401, false)] {
            assert_eq!(settings.with_refresh(Duration::from_secs(seconds)).is_ok(), right, "{seconds}");
        }
    }
}
