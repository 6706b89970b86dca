//! The newest sample and the peaks, in atomics.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use super::super::{Sample, Usage};
use crate::protect::clock::whole_nanos;

/// Stands for a figure that was not measured. No count of bytes comes near, and as a share of the CPU it is no
/// number.
const NONE: u64 = u64::MAX;

/// Written by one thread at a time. A reader may see one figure of this sample and one of the last; each is judged
/// by itself.
#[derive(Debug)]
pub(super) struct Figures {
    taken_at: AtomicU64,
    memory: AtomicU64,
    cpu: AtomicU64,
    free: AtomicU64,
    peak_memory: AtomicU64,
    peak_cpu: AtomicU64,
    least_free: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        let none = || AtomicU64::new(NONE);
        Self {
            taken_at: none(),
            memory: none(),
            cpu: none(),
            free: none(),
            peak_memory: none(),
            peak_cpu: none(),
            least_free: none(),
        }
    }
}

impl Figures {
    pub(super) fn set(&self, now: Duration, sample: Sample) {
        let Sample { memory, cpu, free } = sample;
        self.memory.store(memory.unwrap_or(NONE), Relaxed);
        self.cpu.store(cpu.map_or(NONE, f64::to_bits), Relaxed);
        self.free.store(free.unwrap_or(NONE), Relaxed);
        let Usage { peak_memory, peak_cpu, least_free, .. } = self.usage();
        self.peak_memory.store(memory.max(peak_memory).unwrap_or(NONE), Relaxed);
        let greater = |one: f64, other: f64| one.max(other);
        self.peak_cpu.store(either(cpu, peak_cpu, greater).map_or(NONE, f64::to_bits), Relaxed);
        self.least_free.store(either(free, least_free, u64::min).unwrap_or(NONE), Relaxed);
        // The figures before the time by which they are judged.
        self.taken_at.store(whole_nanos(now), Release);
    }

    /// There is none, or it is older than that.
    pub(super) fn is_older(&self, now: Duration, max_age: Duration) -> bool {
        let taken_at = self.taken_at.load(Acquire);
        taken_at == NONE || whole_nanos(now).saturating_sub(taken_at) > whole_nanos(max_age)
    }

    pub(super) fn newest(&self) -> Sample {
        Sample { memory: bytes(&self.memory), cpu: share(&self.cpu), free: bytes(&self.free) }
    }

    /// What is measured of it; the rest is zero.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            newest: self.newest(),
            peak_memory: bytes(&self.peak_memory),
            peak_cpu: share(&self.peak_cpu),
            least_free: bytes(&self.least_free),
            ..Usage::default()
        }
    }
}

fn bytes(figure: &AtomicU64) -> Option<u64> {
    Some(figure.load(Relaxed)).filter(|value| *value != NONE)
}

fn share(figure: &AtomicU64) -> Option<f64> {
    bytes(figure).map(f64::from_bits)
}

fn either<T>(one: Option<T>, other: Option<T>, of_both: fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(of_both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_outlive_what_is_newest() {
        let figures = Figures::default();
        assert_eq!(figures.usage(), Usage::default());
        let samples = [
            Sample { memory: Some(10), cpu: Some(0.9), free: Some(50) },
            Sample { memory: Some(30), cpu: None, free: Some(20) },
            Sample { memory: None, cpu: Some(0.0), free: Some(40) },
        ];
        for sample in samples {
            figures.set(Duration::from_secs(1), sample);
            assert_eq!(figures.newest(), sample);
        }
        let usage = figures.usage();
        assert_eq!((usage.peak_memory, usage.peak_cpu, usage.least_free), (Some(30), Some(0.9), Some(20)));
    }

    #[test]
    fn there_is_a_sample_only_once_one_was_taken() {
        let figures = Figures::default();
        assert!(figures.is_older(Duration::ZERO, Duration::MAX));
        figures.set(Duration::ZERO, Sample::default());
        assert!(!figures.is_older(Duration::ZERO, Duration::ZERO));
        assert!(figures.is_older(Duration::from_nanos(1), Duration::ZERO));
    }
}
