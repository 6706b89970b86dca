//! Samples: taken by one thread at a time, read by all without waiting.

mod figures;

use std::{fmt, time::Duration};

use parking_lot::Mutex;

use self::figures::Figures;
use super::{Sample, Usage, cpu::Cpu};

/// What is read of a process and its machine. What cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Resident memory of the process, in bytes.
    pub memory: Option<u64>,
    /// Memory that the process can still get, in bytes.
    pub free: Option<u64>,
    /// CPU time that the process has used since it started.
    pub cpu_time: Option<Duration>,
    /// CPUs that the process may use, a quota of one and a half being 1.5. More than zero.
    pub cpus: Option<f64>,
}

type Read = Box<dyn Fn() -> Reading + Send + Sync>;

pub(super) struct Sampler {
    read: Read,
    cpu: Mutex<Cpu>,
    figures: Figures,
}

impl Sampler {
    pub(super) fn new(read: Read) -> Self {
        Self { read, cpu: Mutex::default(), figures: Figures::default() }
    }

    /// Takes a sample now; while another thread does so, the newest there is.
    pub(super) fn sample(&self, now: Duration) -> Sample {
        if let Some(mut cpu) = self.cpu.try_lock() {
            self.take(now, &mut cpu);
        }
        self.newest()
    }

    /// The newest if it is young enough, or else a new one; while another thread takes one, the newest there is.
    pub(super) fn newest_or_sample(&self, now: Duration, max_age: Duration) -> Sample {
        if self.figures.is_older(now, max_age)
            && let Some(mut cpu) = self.cpu.try_lock()
        {
            self.take(now, &mut cpu);
        }
        self.newest()
    }

    pub(super) fn newest(&self) -> Sample {
        self.figures.newest()
    }

    pub(super) fn usage(&self) -> Usage {
        self.figures.usage()
    }

    fn take(&self, now: Duration, cpu: &mut Cpu) {
        let Reading { memory, free, cpu_time, cpus } = (self.read)();
        let share = cpu_time.zip(cpus).and_then(|(used, cpus)| cpu.step(now, used, cpus));
        self.figures.set(now, Sample { memory, cpu: share, free });
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read: _, cpu: _, figures } = self;
        f.debug_struct("Sampler").field("figures", figures).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
