//! What is counted of checks: by kind, never by instance, so that a scrape costs the same in any fleet.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::schedule::Job;
use crate::{probe::Kind, time::Mono};

/// A run that begins later than this is counted as delayed.
const LATE: Duration = Duration::from_secs(1);

/// How a run came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// Healthy.
    Healthy,
    /// Degraded.
    Degraded,
    /// Unhealthy: it answered so, or would not be reached.
    Unhealthy,
    /// No answer in time.
    Timeout,
    /// It may not be asked.
    Refused,
    /// It was not asked: the control plane could not, or was held up itself.
    NotAsked,
}

impl Found {
    /// All of them.
    pub const ALL: [Found; 6] =
        [Found::Healthy, Found::Degraded, Found::Unhealthy, Found::Timeout, Found::Refused, Found::NotAsked];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Healthy => "healthy",
            Found::Degraded => "degraded",
            Found::Unhealthy => "unhealthy",
            Found::Timeout => "timeout",
            Found::Refused => "refused",
            Found::NotAsked => "not_asked",
        }
    }
}

/// Counts since the start, and what is now.
#[derive(Debug, Default)]
pub struct Tally {
    ended: [[AtomicU64; Found::ALL.len()]; Kind::ALL.len()],
    running: [AtomicU64; Kind::ALL.len()],
    delayed: [AtomicU64; Kind::ALL.len()],
    skipped: [AtomicU64; Kind::ALL.len()],
    scheduled: [AtomicU64; Kind::ALL.len()],
}

impl Tally {
    /// Runs that came out so.
    pub fn runs(&self, kind: Kind, found: Found) -> u64 {
        self.ended[kind as usize][found as usize].load(Ordering::Relaxed)
    }

    /// Runs that are under way.
    pub fn active(&self, kind: Kind) -> u64 {
        self.running[kind as usize].load(Ordering::Relaxed)
    }

    /// Runs that began more than a second late, because too many others ran.
    pub fn late(&self, kind: Kind) -> u64 {
        self.delayed[kind as usize].load(Ordering::Relaxed)
    }

    /// Runs that were left out, because the one before was not done when they were due.
    pub fn left_out(&self, kind: Kind) -> u64 {
        self.skipped[kind as usize].load(Ordering::Relaxed)
    }

    /// Checks that are kept up.
    pub fn checks(&self, kind: Kind) -> u64 {
        self.scheduled[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn started(&self, job: &Job, now: Mono) {
        let kind = job.check.ask.kind() as usize;
        self.running[kind].fetch_add(1, Ordering::Relaxed);
        // A name has its second start when it is known whom to ask: that is the same run.
        if job.settled.is_none() && now.since(job.wanted) > LATE {
            self.delayed[kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It has its address, and is started again when there is a place.
    pub(super) fn settled(&self, job: &Job) {
        self.running[job.check.ask.kind() as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, job: &Job, found: Found) {
        let kind = job.check.ask.kind() as usize;
        self.running[kind].fetch_sub(1, Ordering::Relaxed);
        self.ended[kind][found as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self, skipped: [u64; Kind::ALL.len()]) {
        for (count, more) in self.skipped.iter().zip(skipped) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn scheduled(&self, now: [u64; Kind::ALL.len()]) {
        for (count, now) in self.scheduled.iter().zip(now) {
            count.store(now, Ordering::Relaxed);
        }
    }
}
