//! The samples of both sides of a comparison, round by round.

use super::{
    load::Sample,
    report::{self, Goal},
};

/// Samples of Seaworthy and of a peer; the n-th of both ran side by side.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    /// Seaworthy's.
    pub(crate) ours: Vec<Sample>,
    /// The peer's.
    pub(crate) theirs: Vec<Sample>,
}

impl Pair {
    /// Prints the line of the rate.
    pub(crate) fn rate(&self, what: &str, goal: Goal) {
        self.line(what, "/s", |sample| sample.rate, goal);
    }

    /// Prints the line of the server's CPU time for each, and that of the cores it kept busy.
    pub(crate) fn cpu(&self, what: &str, goal: Goal) {
        self.line(what, " µs", |sample| sample.cpu_us, goal);
        self.line("(cores that the server kept busy)", "", |sample| sample.busy, Goal::Shown);
    }

    /// Prints the lines of the latencies.
    pub(crate) fn latencies(&self, what: &str) {
        self.line(&format!("{what}, p50"), " µs", |sample| sample.p50_us, Goal::Shown);
        self.line(&format!("{what}, p99"), " µs", |sample| sample.p99_us, Goal::Shown);
    }

    fn line(&self, what: &str, unit: &str, field: fn(&Sample) -> f64, goal: Goal) {
        let ours: Vec<f64> = self.ours.iter().map(field).collect();
        let theirs: Vec<f64> = self.theirs.iter().map(field).collect();
        report::line(what, unit, &ours, &theirs, goal);
    }
}
