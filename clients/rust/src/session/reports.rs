//! When the control plane is told what became of protected operations: every few seconds where something changed, and
//! within one where a breaker did.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    protect::{breaker::State, stats::Report, wire::report_to_wire},
    proto::seaworthy::v1::OperationReport,
    rt,
    ruled::Ruled,
};

/// How often breakers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often figures are told at the most.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What was told on a session, and when.
#[derive(Debug)]
pub(super) struct Reports {
    due: Instant,
    told_at: Option<Instant>,
    told: Report,
    saying: Option<Report>,
}

impl Reports {
    /// Nothing was told yet.
    pub(super) fn begin() -> Self {
        Self { due: rt::now() + LOOK_EVERY, told_at: None, told: Report::default(), saying: None }
    }

    /// When to look again.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What is to be told now.
    pub(super) fn next(&mut self, ruled: &Ruled) -> Option<OperationReport> {
        let now = rt::now();
        self.due = now + LOOK_EVERY;
        let report = ruled.operations.report();
        let is_due = self.told_at.is_none_or(|at| now - at >= TELL_EVERY) && report != self.told;
        if !is_due && states(&report).eq(states(&self.told)) {
            return None;
        }
        let wire = report_to_wire(&report);
        self.saying = Some(report);
        Some(wire)
    }

    /// Whether it could be sent. Otherwise it is tried again at the next look.
    pub(super) fn said(&mut self, sent: bool) {
        if let Some(report) = self.saying.take().filter(|_| sent) {
            (self.told, self.told_at) = (report, Some(rt::now()));
        }
    }
}

fn states(report: &Report) -> impl Iterator<Item = (&str, State)> {
    report.breakers.iter().map(|breaker| (breaker.operation.as_str(), breaker.state))
}
