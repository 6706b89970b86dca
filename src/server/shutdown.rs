//! The end of the control plane, in phases, each with a deadline, all under one.
//!
//! Health says NOT_SERVING first, while work is still taken. Then nothing new is taken, streams say
//! goodbye, requests finish, state is saved, and everything is closed. Whoever does not let go in time
//! is cut. A second request to stop skips every wait.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{listening::Doors, signals::Stop};
use crate::{
    api::overview::Overview,
    config,
    guard::active::Active,
    store,
    system::Phase,
    task::{Group, Task, drain},
    telemetry::notify,
    time::Clock,
};

/// The lame-duck time ends early when no connection was open for this long: nobody has to be told.
const QUIET: Duration = Duration::from_secs(1);
/// How long connections may take to say goodbye once nobody waits for an answer, and for how long no stream may have
/// ended before the others are given up. A peer that is asleep, gone without a word, or does not read, never does.
const GOODBYE: Duration = Duration::from_secs(3);
/// What is left for saving and closing when everything else is skipped.
const LAST: Duration = Duration::from_secs(1);

/// What is taken down.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: config::Shutdown,
    pub(super) clock: Clock,
    pub(super) overview: Overview,
    pub(super) doors: Doors,
    pub(super) checks_drain: drain::Signal,
    pub(super) fleet_drain: drain::Signal,
    pub(super) fleet: Task<bool>,
    pub(super) identity: Task<()>,
    pub(super) operations: Task<bool>,
    pub(super) backups: Task<()>,
    pub(super) restores: Task<()>,
    pub(super) policies: Task<()>,
    pub(super) audit_drain: drain::Signal,
    pub(super) audit: Task<bool>,
    pub(super) engine: store::embedded::Engine,
}

/// What happened in one phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How long it took.
    pub took: Duration,
    /// Whether its deadline ended it.
    pub timed_out: bool,
}

/// How the end went.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Why it ended.
    pub cause: String,
    /// Whether a task that the server cannot do without ended, instead of somebody asking to stop.
    pub failed: bool,
    /// Every phase, in order.
    pub phases: Vec<PhaseReport>,
    /// Connections that had to be cut.
    pub connections_cut: usize,
    /// Requests, streams included, that had to be cut.
    pub requests_cut: u64,
    /// Whether a second request to stop skipped the waits.
    pub aborted: bool,
    /// Whether everything that was acknowledged is on the disk and closed.
    pub state_saved: bool,
    /// How long all of it took.
    pub total: Duration,
}

/// Measures phases against their own deadline and the one of all.
struct Course {
    clock: Clock,
    began: Duration,
    total: Duration,
    stop: Stop,
    /// Requests to stop that skip the waits: an end that nobody asked for needs one.
    impatient: u32,
    aborted: bool,
    phases: Vec<PhaseReport>,
}

impl Course {
    /// Waits for `work`, until the phase's deadline, the end of all time, or a second request to stop; neither of the
    /// last two cuts short the takeover of connections, which is bounded by itself. None: it was not done.
    async fn phase<T>(
        &mut self,
        phase: Phase,
        longest: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let began = self.clock.elapsed();
        let left = self.total.saturating_sub(began - self.began);
        // The connections that are open have to be taken over, to be cut: nothing skips that.
        let takes_over = phase == Phase::StopAcceptingRequests;
        let bound = match self.aborted {
            _ if takes_over => longest.min(LAST),
            true if phase < Phase::SaveState => Duration::ZERO,
            true => longest.min(LAST),
            // The last phases get their moment even when the others took all of the time.
            false if phase >= Phase::SaveState => longest.min(left.max(LAST)),
            false => longest.min(left),
        };
        let outcome = tokio::select! {
            biased;
            done = work => Some(Some(done)),
            cause = self.stop.times(self.impatient), if !self.aborted && !takes_over && phase < Phase::SaveState => {
                warn!(component = "server", operation = "shutdown", cause, "asked again: stopping now");
                self.aborted = true;
                None
            }
            () = sleep(bound) => Some(None),
        };
        let timed_out = matches!(outcome, Some(None));
        let took = self.clock.elapsed() - began;
        info!(
            component = "server",
            operation = "shutdown",
            phase = phase.as_str(),
            duration = took.as_secs_f64(),
            timed_out,
            "phase done"
        );
        self.phases.push(PhaseReport { phase, took, timed_out });
        outcome.flatten()
    }
}

impl Parts {
    /// Takes everything down. Bounded, whatever the other ends do.
    pub(super) async fn stop(mut self, (cause, failed): (String, bool), stop: Stop) -> Report {
        match failed {
            false => info!(component = "server", operation = "shutdown", cause, "stopping"),
            true => error!(component = "server", operation = "shutdown", cause, "failed, stopping"),
        }
        let began = self.clock.elapsed();
        let mut course = Course {
            clock: self.clock,
            began,
            total: self.config.total,
            stop,
            impatient: if failed { 1 } else { 2 },
            aborted: false,
            phases: Vec::new(),
        };
        let vitals = self.overview.vitals.clone();
        let mut doors = self.doors;

        enter(&self.overview, Phase::InitiateShutdown);
        // The end of the lame-duck time is no failure.
        let lame_duck = timeout(self.config.lame_duck, vitals.quiet(QUIET));
        course.phase(Phase::InitiateShutdown, self.config.total, lame_duck).await;

        enter(&self.overview, Phase::StopAcceptingRequests);
        self.overview.guard.gate.shut();
        doors.grpc_drain.begin();
        // A check may take half a minute: whoever waits for one is told to ask elsewhere.
        self.checks_drain.begin();
        let connections = course.phase(Phase::StopAcceptingRequests, LAST, &mut doors.grpc).await;
        let mut connections = connections.and_then(Result::ok).unwrap_or_else(|| Group::new("connection"));

        enter(&self.overview, Phase::FinishActiveRequests);
        doors.closing.send_replace(true);
        let active = &self.overview.guard.active;
        let finish = async {
            tokio::select! {
                () = async { while connections.next().await.is_some() {} } => {}
                () = goodbyes(active) => {}
            }
        };
        course.phase(Phase::FinishActiveRequests, self.config.finish_requests, finish).await;
        let (connections_cut, requests_cut) = (connections.len(), self.overview.guard.active.count());
        // Stopping tasks is quick, but nothing here waits without a bound.
        if timeout(LAST, connections.stop()).await.is_err() {
            warn!(component = "server", operation = "shutdown", "some connections would not stop");
        }

        enter(&self.overview, Phase::SaveState);
        self.fleet_drain.begin();
        self.audit_drain.begin();
        let (fleet, identity, audit) = (&mut self.fleet, &mut self.identity, &mut self.audit);
        let (policies, operations) = (&mut self.policies, &mut self.operations);
        let (backups, restores) = (&mut self.backups, &mut self.restores);
        let save = async {
            // What is under way is left to the next start; operations are written for as long as anybody holds one.
            let (fleet, tokens, policies, operations, audit, _, _) =
                tokio::join!(fleet, identity, policies, operations, audit, backups, restores);
            (policies.and(tokens).and(fleet), operations, audit)
        };
        let saved = course.phase(Phase::SaveState, self.config.save_state, save).await;

        enter(&self.overview, Phase::CleanupResources);
        doors.http_drain.begin();
        let (pages, engine) = (doors.http, self.engine);
        let cleanup = async {
            let closed = engine.close().await;
            for page in pages {
                if let Ok(mut connections) = page.await {
                    while connections.next().await.is_some() {}
                }
            }
            closed
        };
        let closed = course.phase(Phase::CleanupResources, self.config.cleanup, cleanup).await;

        enter(&self.overview, Phase::Terminated);
        let report = Report {
            cause,
            failed,
            connections_cut,
            requests_cut,
            aborted: course.aborted,
            state_saved: matches!(saved, Some((Ok(true), Ok(true), Ok(true))))
                && closed.is_some_and(|closed| closed.is_ok()),
            total: self.clock.elapsed() - began,
            phases: course.phases,
        };
        log(&report);
        report
    }
}

/// Waits until unary RPCs have finished, and then for as long as streams end.
///
/// Who reads is told, however many they are. Who does not cannot be: what is on its way to them is in the way of their
/// last message, and they would be waited for to the end of the phase.
async fn goodbyes(active: &Active) {
    active.idle().await;
    loop {
        let before = active.streams();
        sleep(GOODBYE).await;
        let left = active.streams();
        // None left and none before: the last one has had its time too.
        if left >= before {
            return;
        }
    }
}

fn enter(overview: &Overview, phase: Phase) {
    overview.vitals.enter(phase);
    notify::status(phase.as_str());
}

fn log(report: &Report) {
    info!(
        component = "server",
        operation = "shutdown",
        cause = report.cause,
        connections_cut = report.connections_cut,
        requests_cut = report.requests_cut,
        failed = report.failed,
        aborted = report.aborted,
        state_saved = report.state_saved,
        duration = report.total.as_secs_f64(),
        "stopped"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rpc::Shape;

    #[tokio::test(start_paused = true)]
    async fn connections_are_taken_over_to_be_cut_however_little_time_is_left() {
        const LONG: Duration = Duration::from_secs(60);
        for (asked, total) in [(1, LONG), (2, LONG), (1, Duration::ZERO), (2, Duration::ZERO)] {
            let (stopper, stop) = Stop::by_hand();
            (0..asked).for_each(|_| stopper.ask("test"));
            let mut course = Course {
                clock: Clock::start(),
                began: Duration::ZERO,
                total,
                stop,
                impatient: 2,
                aborted: false,
                phases: Vec::new(),
            };
            // Who accepts them may be pausing.
            let given_up = async {
                sleep(Duration::from_millis(100)).await;
                "connections"
            };
            let taken = course.phase(Phase::StopAcceptingRequests, LAST, given_up).await;
            assert_eq!(taken, Some("connections"), "asked {asked} times, {total:?} in all");
            let unfinished = std::future::pending::<()>();
            course.phase(Phase::FinishActiveRequests, LONG, unfinished).await;
            // Whoever is impatient is heard right after.
            assert_eq!(course.aborted, asked == 2);
            assert!(course.clock.elapsed() <= LONG + LAST, "{:?}", course.phases);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_stream_to_end_has_as_long_for_its_goodbye_as_others() {
        for (ends_after, over_after) in [(GOODBYE - QUIET, 2 * GOODBYE), (GOODBYE + QUIET, GOODBYE)] {
            let (active, clock) = (Active::default(), Clock::start());
            let last = active.enter(Shape::Stream);
            let ends = async {
                sleep(ends_after).await;
                drop(last);
            };
            let over = async {
                goodbyes(&active).await;
                clock.elapsed()
            };
            assert_eq!(tokio::join!(over, ends).0, over_after, "it ends after {ends_after:?}");
        }
    }
}
