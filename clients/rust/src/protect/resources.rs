//! Whether the process can afford one operation more: by its memory, its share of the CPU, and what memory is
//! free for it on the machine and in its control groups. A [`Ceiling`] says how much that may be, a [`Meter`]
//! measures. What an operation is likely to need is reserved until it ends, so that many that come at one moment
//! do not each count on the same.
//!
//! It only refuses to begin: it measures no single operation, stops none, and allocates nothing. It starts no
//! task: whoever owns the meter calls [`Meter::sample`] by a timer, and a decision that finds no sample younger
//! than [`MAX_AGE`] takes one itself. Linux only: elsewhere nothing is measured, and nothing refused.

mod ceiling;
mod cpu;
mod decide;
mod exhausted;
mod ledger;
pub(crate) mod linux;
mod sampler;

use std::{fmt, sync::Arc, time::Duration};

pub use self::{
    ceiling::{Ceiling, CpuShare, InvalidCeiling, InvalidCpuShare},
    decide::Sample,
    exhausted::{Exhausted, Resource},
    ledger::Reservation,
    sampler::Reading,
};
use self::{ledger::Ledger, sampler::Sampler};
use super::clock::{Clock, Monotonic};

/// An older sample is not decided by, if a newer one can be had. Longer than the 500 ms at which a timer may
/// take them.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// Measures what a process uses, and knows what is promised to operations. One for a process, whatever ceilings
/// it has. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Meter<C = Monotonic> {
    clock: C,
    sampler: Arc<Sampler>,
    ledger: Arc<Ledger>,
}

/// What is used, at one moment and at most. What was never measured is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// The newest sample.
    pub newest: Sample,
    /// The most memory of the process that a sample found, in bytes.
    pub peak_memory: Option<u64>,
    /// The greatest share of the CPU that a sample found.
    pub peak_cpu: Option<f64>,
    /// The least free memory that a sample found, in bytes.
    pub least_free: Option<u64>,
    /// Bytes that are reserved now.
    pub reserved: u64,
    /// The most bytes that were reserved at once.
    pub peak_reserved: u64,
}

impl Meter {
    /// Of this process, on this machine, by the time of the process.
    pub fn new() -> Self {
        Self::reading(Monotonic::start(), linux::read)
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> Meter<C> {
    /// Of whatever `read` reads. It is called by one thread at a time, and must not block for long.
    pub fn reading(clock: C, read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self { clock, sampler: Arc::new(Sampler::new(Box::new(read))), ledger: Arc::default() }
    }

    /// Lets an operation begin under this ceiling, and reserves what it is likely to need until the reservation
    /// is dropped.
    ///
    /// What is reserved counts as used even where the operation has allocated it already, so that it is in the
    /// memory of the process too: that errs on the safe side, by no more than is reserved.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] where it cannot be afforded now.
    pub fn admit(&self, ceiling: &Ceiling) -> Result<Reservation, Exhausted> {
        let sample = self.sampler.newest_or_sample(self.clock.now(), MAX_AGE);
        self.ledger.reserve(ceiling.asked(), |reserved| decide::decide(ceiling, &sample, reserved))
    }

    /// Takes a sample: some files of `/proc` and of control groups are read, in less than a millisecond. While
    /// another thread does so, its last one is answered.
    pub fn sample(&self) -> Sample {
        self.sampler.sample(self.clock.now())
    }

    /// What is used, without taking a new sample.
    pub fn usage(&self) -> Usage {
        let (reserved, peak_reserved) = self.ledger.figures();
        Usage { reserved, peak_reserved, ..self.sampler.usage() }
    }
}

impl<C> fmt::Debug for Meter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock: _, sampler, ledger } = self;
        f.debug_struct("Meter").field("sampler", sampler).field("ledger", ledger).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
