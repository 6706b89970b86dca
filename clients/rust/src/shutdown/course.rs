//! The way through the phases: what is waited for in each, for how long at the most, and what is noted of it.
//!
//! A wait ends when it is done, when its own time is over, when all of the time but what later phases need is over, or when
//! nothing is to be waited for any more. More time that is asked for moves the first three.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    Counting, Ending, Error, Hook, Kind, Shutdown, Stage,
    active::Sums,
    hook::Said,
    report::{Counts, HookReport, Outcome, PhaseReport, Report},
};
use crate::{Agent, Handle, Lifecycle, rt, rules::Phase};

/// What is left for each of the last phases when nothing is to be waited for any more.
const LAST: Duration = Duration::from_secs(1);
/// Nobody must have come for so long, not even to be turned away, before what serves is closed: who is on the way would find
/// nobody who says so.
const DESERTED: Duration = Duration::from_millis(50);
/// For how long that is waited for at the most.
const TURNING_AWAY: Duration = Duration::from_secs(1);
/// Later phases have no more than this part of all the time kept for them.
const KEPT_SHARE: u32 = 4;

/// The phases in which a forced end still does what it can.
fn is_last(phase: Phase) -> bool {
    phase >= Phase::SaveState
}

/// A shutdown that has begun.
pub(super) struct Course {
    shutdown: Shutdown,
    handle: Option<Handle>,
    began: Instant,
    /// When the phase began.
    entered: Instant,
    /// How long all hooks may take.
    needed: Duration,
    requests: Sums,
    long_lived: Sums,
    phases: Vec<PhaseReport>,
}

/// Until when something is waited for, as far as that can be said at its begin.
#[derive(Clone, Copy, Debug)]
struct Bound {
    is_last: bool,
    /// When its phase began.
    entered: Instant,
    /// When its own time is over.
    own: Instant,
    /// When all of the time is over, but what is kept for later.
    all: Instant,
    /// How much more time had been given by then.
    extended: Duration,
}

impl Bound {
    fn until(&self, stage: &Stage) -> Instant {
        let planned = self.own.min(self.all) + stage.extended.saturating_sub(self.extended);
        match stage.forced {
            Some(forced) if self.is_last => planned.min(forced.max(self.entered) + LAST),
            Some(forced) => planned.min(forced),
            None => planned,
        }
    }
}

impl Course {
    /// It begins now.
    pub(super) fn begin(shutdown: Shutdown, handle: Option<Handle>) -> Self {
        let active = shutdown.0.active.clone();
        active.ends();
        let mut course = Self {
            handle,
            needed: Duration::ZERO,
            began: rt::now(),
            entered: rt::now(),
            requests: active.sums(Counting::Request),
            long_lived: active.sums(Counting::LongLived),
            phases: Vec::new(),
            shutdown,
        };
        course.needed = course.needed_later();
        course
    }

    /// Goes through all phases.
    pub(super) async fn go(mut self, agent: Option<Agent>) -> Report {
        let Shutdown(inner) = self.shutdown.clone();
        let (settings, active) = (&inner.settings, &inner.active);
        let cause = inner.stage.borrow().cause.clone();
        info!(cause, settings = %settings, requests = self.requests.now, "stopping");

        self.enter(Phase::InitiateShutdown);
        self.says(Lifecycle::LameDuck);
        // The end of the lame-duck time is no failure.
        if !settings.lame_duck.is_zero() {
            self.wait(settings.lame_duck, active.quiet(settings.quiet)).await;
        }
        self.run_hooks().await;
        self.done(false);

        self.enter(Phase::StopAcceptingRequests);
        let stopped_accepting = rt::now();
        active.shut();
        self.says(Lifecycle::Draining);
        self.run_hooks().await;
        self.done(false);

        self.enter(Phase::FinishActiveRequests);
        let left = settings.finish_requests.saturating_sub(stopped_accepting.elapsed());
        let calls = self.handle.as_ref().map(|handle| handle.operations().active().clone());
        let finished = async {
            active.idle(Counting::Request).await;
            if let Some(calls) = calls {
                calls.idle(Counting::Request).await;
            }
        };
        let closed = active.idle(Counting::LongLived);
        let (finished, closed) =
            tokio::join!(self.wait(left, finished), self.wait(settings.long_lived, closed));
        self.wait(TURNING_AWAY, active.deserted(DESERTED)).await;
        let (requests, long_lived) = (active.sums(Counting::Request), active.sums(Counting::LongLived));
        self.run_hooks().await;
        self.done(!finished || !closed);

        self.enter(Phase::SaveState);
        self.says(Lifecycle::Stopping);
        self.run_hooks().await;
        self.done(false);

        self.enter(Phase::CleanupResources);
        self.run_hooks().await;
        self.done(false);

        // Two seconds at the most.
        let left = match agent {
            Some(agent) => Some(agent.leave(format!("stopped by {cause}")).await),
            None => None,
        };
        self.enter(Phase::Terminated);
        let stage = inner.stage.borrow().clone();
        let report = Report {
            cause,
            forced: stage.is_forced(),
            requests: counts(self.requests, requests, active.sums(Counting::Request).refused),
            long_lived: counts(self.long_lived, long_lived, active.sums(Counting::LongLived).refused),
            extended: stage.extended,
            total: self.began.elapsed(),
            phases: self.phases,
            left,
        };
        log(&report);
        report
    }

    fn enter(&mut self, phase: Phase) {
        self.shutdown.0.stage.send_modify(|stage| stage.phase = phase);
        self.entered = rt::now();
        if phase != Phase::Terminated {
            self.phases.push(PhaseReport {
                phase,
                took: Duration::ZERO,
                timed_out: false,
                hooks: Vec::new(),
            });
        }
    }

    fn phase(&self) -> Phase {
        self.shutdown.0.stage.borrow().phase
    }

    /// The phase is over.
    fn done(&mut self, timed_out: bool) {
        let took = self.entered.elapsed();
        if let Some(report) = self.phases.last_mut() {
            report.took = took;
            report.timed_out = timed_out || report.hooks.iter().any(|hook| hook.outcome == Outcome::TimedOut);
            info!(phase = %report.phase, duration = took.as_secs_f64(), timed_out = report.timed_out, "phase done");
        }
    }

    /// Says so to the control plane and to whoever probes. What it has said already by itself stays.
    fn says(&self, lifecycle: Lifecycle) {
        if let Some(handle) = &self.handle {
            handle.set_lifecycle(lifecycle).ok();
        }
    }

    /// Waits for `work`, and answers whether it was done.
    async fn wait(&self, own: Duration, work: impl Future<Output = ()>) -> bool {
        let bound = self.bound(own);
        tokio::select! {
            biased;
            () = work => true,
            () = over(self.shutdown.0.stage.subscribe(), bound) => false,
        }
    }

    fn bound(&self, own: Duration) -> Bound {
        let settings = &self.shutdown.0.settings;
        let (phase, extended) = {
            let stage = self.shutdown.0.stage.borrow();
            (stage.phase, stage.extended)
        };
        // Where what comes later needs more than its share, each part gets less.
        let (needed, share) = (self.needed_later(), settings.all() / KEPT_SHARE);
        let kept = match self.needed > share {
            true => needed.mul_f64(share.as_secs_f64() / self.needed.as_secs_f64()),
            false => needed,
        };
        Bound {
            is_last: is_last(phase),
            entered: self.entered,
            own: rt::now() + own,
            all: self.began + settings.all() + extended - kept,
            extended,
        }
    }

    /// How long what has not run yet may take: those of one order run beside each other.
    fn needed_later(&self) -> Duration {
        let settings = &self.shutdown.0.settings;
        let mut longest: BTreeMap<(Phase, i32), Duration> = BTreeMap::new();
        for hook in self.shutdown.0.hooks.lock().iter() {
            let longest = longest.entry((hook.phase, hook.order)).or_default();
            *longest = (*longest).max(hook.longest(settings));
        }
        longest.values().sum()
    }

    /// Runs the hooks of this phase, those that are added meanwhile too.
    async fn run_hooks(&mut self) {
        let phase = self.phase();
        while let Some(group) = self.next_hooks(phase) {
            let settings = self.shutdown.0.settings;
            let running: Vec<Running> = group
                .into_iter()
                .map(|hook| {
                    let bound = self.bound(hook.longest(&settings));
                    Running::begin(hook, bound, &self.shutdown.0.stage.borrow())
                })
                .collect();
            for running in running {
                let report = running.ended(&self.shutdown.0.stage).await;
                log_hook(phase, &report);
                self.phases.last_mut().into_iter().for_each(|phase| phase.hooks.push(report.clone()));
            }
        }
    }

    /// Takes out those that come next.
    fn next_hooks(&self, phase: Phase) -> Option<Vec<Hook>> {
        let mut hooks = self.shutdown.0.hooks.lock();
        let order = hooks.iter().filter(|hook| hook.phase == phase).map(|hook| hook.order).min()?;
        Some(hooks.extract_if(.., |hook| hook.phase == phase && hook.order == order).collect())
    }
}

/// A hook that runs.
struct Running {
    name: String,
    kind: Kind,
    began: Instant,
    bound: Bound,
    task: rt::Task<(Result<Said, Error>, Duration)>,
}

impl Running {
    fn begin(hook: Hook, bound: Bound, stage: &Stage) -> Self {
        let Hook { name, kind, work, .. } = hook;
        let began = rt::now();
        let ending = Ending { cause: stage.cause.clone(), until: bound.until(stage) };
        // In a task of its own: a panic is its own.
        let task = rt::spawn(async move {
            let said = work(ending).await;
            (said, began.elapsed())
        });
        Self { name, kind, began, bound, task }
    }

    /// Waits until it is done, or its time is over: it is dropped then.
    async fn ended(self, stage: &watch::Sender<Stage>) -> HookReport {
        let Self { name, kind, began, bound, mut task } = self;
        let ended = tokio::select! {
            biased;
            ended = task.join() => Some(ended),
            () = over(stage.subscribe(), bound) => None,
        };
        let (outcome, said, took) = match ended {
            Some(Ok((Ok(said), took))) => (Outcome::Done, said, took),
            Some(Ok((Err(why), took))) => (Outcome::Failed(rt::chain(&*why)), Said::default(), took),
            Some(Err(ended)) => {
                (Outcome::Failed(rt::why_ended("hook", ended)), Said::default(), began.elapsed())
            }
            None => (Outcome::TimedOut, Said::default(), began.elapsed()),
        };
        HookReport { name, kind, took, outcome, note: said.note, checkpoint: said.checkpoint }
    }
}

/// Waits until it is over.
async fn over(mut stage: watch::Receiver<Stage>, bound: Bound) {
    loop {
        let until = bound.until(&stage.borrow_and_update());
        tokio::select! {
            () = sleep_until(until) => return,
            // More time, or none. Nobody is there to say so: it stays as it is.
            Ok(()) = stage.changed() => {}
        }
    }
}

fn counts(at_start: Sums, at_end: Sums, refused: u64) -> Counts {
    Counts {
        at_start: at_start.now,
        finished: at_end.ended - at_start.ended,
        cut: at_end.now,
        refused: refused - at_start.refused,
    }
}

fn log_hook(phase: Phase, report: &HookReport) {
    let HookReport { name, kind, took, outcome, note, checkpoint } = report;
    let (kind, duration) = (kind.as_str(), took.as_secs_f64());
    let saved = checkpoint.as_ref();
    let (checkpoint, position, size) = (
        saved.map(|saved| saved.name.as_str()),
        saved.map(|saved| saved.position.as_str()),
        saved.map(|saved| saved.size),
    );
    match outcome {
        Outcome::Done => {
            info!(%phase, hook = name, kind, duration, checkpoint, position, size, note, "hook done");
        }
        Outcome::Failed(why) => warn!(%phase, hook = name, kind, duration, "hook failed: {why}"),
        Outcome::TimedOut => {
            warn!(%phase, hook = name, kind, duration, "hook was not done in time, and dropped");
        }
    }
}

fn log(report: &Report) {
    info!(
        cause = report.cause,
        forced = report.forced,
        requests_finished = report.requests.finished,
        requests_cut = report.requests.cut,
        requests_refused = report.requests.refused,
        long_lived_closed = report.long_lived.finished,
        long_lived_cut = report.long_lived.cut,
        duration = report.total.as_secs_f64(),
        left = ?report.left,
        "stopped"
    );
}
