//! A server with so many workers, and callers that always want something: as much of Little's law as the tests
//! of the limit need. Its time is its own.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{Adaptive, Dice, Outcome, Sample};

/// How long the server works on one operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    Always(Duration),
    /// Exponentially distributed, with this mean.
    Varies(Duration),
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Operation {
    began: Duration,
    in_flight: u32,
}

/// The limits that were seen by operations that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) least: u32,
    pub(super) median: u32,
    pub(super) greatest: u32,
}

#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) adaptive: Adaptive,
    pub(super) workers: usize,
    pub(super) service: Service,
    /// Callers that want something at all times.
    pub(super) callers: u32,
    pub(super) now: Duration,
    /// What ends when.
    worked_on: BinaryHeap<Reverse<(Duration, Operation)>>,
    waiting: VecDeque<Operation>,
    dice: Dice,
}

impl Simulation {
    pub(super) fn new(adaptive: Adaptive, workers: usize, service: Service, callers: u32, seed: u64) -> Self {
        Self {
            adaptive,
            workers,
            service,
            callers,
            now: Duration::ZERO,
            worked_on: BinaryHeap::new(),
            waiting: VecDeque::new(),
            dice: Dice(seed),
        }
    }

    /// Goes on for so many seconds.
    pub(super) fn run(&mut self, seconds: u64) -> Limits {
        let until = self.now + Duration::from_secs(seconds);
        let mut limits = Vec::new();
        self.fill();
        while let Some(Reverse((ends, operation))) = self.worked_on.pop() {
            self.now = ends;
            let Operation { began, in_flight } = operation;
            let sample = Sample { latency: self.now - began, in_flight, outcome: Outcome::Done };
            self.adaptive.record(self.now, sample);
            limits.push(self.adaptive.limit().get());
            self.fill();
            if self.now >= until {
                break;
            }
        }
        limits.sort_unstable();
        let at = |index: usize| limits.get(index).copied().expect("operations ended");
        Limits { least: at(0), median: at(limits.len() / 2), greatest: at(limits.len() - 1) }
    }

    fn fill(&mut self) {
        while self.in_flight() < self.adaptive.limit().get().min(self.callers) {
            let operation = Operation { began: self.now, in_flight: self.in_flight() + 1 };
            self.waiting.push_back(operation);
        }
        while self.worked_on.len() < self.workers {
            let Some(operation) = self.waiting.pop_front() else { break };
            let takes = match self.service {
                Service::Always(time) => time,
                Service::Varies(mean) => mean.mul_f64(-(1.0 - self.dice.roll()).ln()),
            };
            self.worked_on.push(Reverse((self.now + takes, operation)));
        }
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.worked_on.len() + self.waiting.len()).expect("few")
    }
}
