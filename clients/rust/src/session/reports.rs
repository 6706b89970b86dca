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
        let is_due = self.told_at.is_none_or(|at| now - at >= TELL_EVERY) && is_news(&report, &self.told);
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

/// Whether something else happened than that time went by.
fn is_news(report: &Report, told: &Report) -> bool {
    let count = |report: &Report| {
        report
            .breakers
            .iter()
            .map(|it| (it.operation.clone(), it.state, it.calls, it.refused))
            .collect::<Vec<_>>()
    };
    report.operations != told.operations || report.pools != told.pools || count(report) != count(told)
}

fn states(report: &Report) -> impl Iterator<Item = (&str, State)> {
    report.breakers.iter().map(|breaker| (breaker.operation.as_str(), breaker.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(ruled: &Ruled, works: bool) {
        let work = || async move { if works { Ok(()) } else { Err(std::io::Error::other("down")) } };
        ruled.operations.protect("charge", "shop", work).await.ok();
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_is_told_soon_and_that_time_goes_by_is_not() {
        let ruled = Ruled::new("orders", "i-1");
        let mut reports = Reports::begin();
        assert!(reports.next(&ruled).is_none(), "nothing is protected yet");
        call(&ruled, true).await;
        assert!(reports.next(&ruled).is_some());
        // It could not be sent: it is told at the next look.
        reports.said(false);
        assert!(reports.next(&ruled).is_some());
        reports.said(true);
        tokio::time::advance(2 * TELL_EVERY).await;
        assert!(reports.next(&ruled).is_none(), "breakers are only older");
        call(&ruled, true).await;
        assert!(reports.next(&ruled).is_some());
        reports.said(true);
        call(&ruled, true).await;
        assert!(reports.next(&ruled).is_none(), "figures wait their time");
        for _ in 0..7 {
            call(&ruled, false).await;
        }
        let told = reports.next(&ruled).expect("a breaker does not");
        assert_eq!(told.breakers[0].state(), crate::proto::seaworthy::v1::BreakerState::Open);
    }
}
