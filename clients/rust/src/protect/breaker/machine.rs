//! The breaker as a plain value: every rule of it, told the time and the randomness, with no lock and no clock.
//!
//! What time alone changes (an open time that is over, an override that ended, a lost probe) is made up for at the
//! begin of whatever is asked next, and dated to when it was due. Nobody can therefore see a state whose time is
//! over, and no timer is needed.
//!
//! The rules themselves know three phases. An override or a mode stands above them: while one forces the breaker,
//! the phase is closed and nothing judges it, so that what comes after begins with an empty window.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    evidence::Evidence,
    forced::{Force, Override},
    history::History,
    open_time::open_time,
    pass::{Outcome, Pass, Role},
    probes::{Finding, Probes},
    refused::Refused,
    settings::{Mode, Options, Settings},
    snapshot::Snapshot,
    state::{Cause, Effect, State, Transition},
    window::Call,
};

/// While probes are out nobody knows when they answer. They mostly do soon, and asking again costs little.
const PROBING_RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Machine {
    settings: Settings,
    /// In force: one whose time is over is taken away before anything else happens.
    over: Option<Override>,
    phase: Phase,
    /// When the state that is shown began.
    since: Duration,
    /// Goes up with every phase, forced or not: what a call of another one says counts for nothing.
    generation: u64,
    evidence: Evidence,
    /// How often it opened since it was last closed.
    opened_in_a_row: u32,
    history: History,
    refused: u64,
    would_have_refused: u64,
    /// Callers read the clock before they have the lock, so that a later one may come with an earlier time.
    latest: Duration,
}

#[derive(Clone, Debug)]
enum Phase {
    Closed,
    Open { until: Duration },
    HalfOpen(Probes),
}

impl Phase {
    fn state(&self) -> State {
        match self {
            Self::Closed => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
        }
    }
}

impl Machine {
    pub(super) fn new(settings: Settings, now: Duration) -> Self {
        Self {
            settings,
            over: None,
            phase: Phase::Closed,
            since: now,
            generation: 1,
            evidence: Evidence::new(settings.options().window, now),
            opened_in_a_row: 0,
            history: History::default(),
            refused: 0,
            would_have_refused: 0,
            latest: now,
        }
    }

    /// Lets a call through, or says why not.
    pub(super) fn admit(&mut self, now: Duration) -> Result<Pass, Refused> {
        let now = self.catch_up(now);
        let generation = self.generation;
        if let Some(refused) = self.refusal(now) {
            if self.is_enforced() {
                self.refused += 1;
                return Err(refused);
            }
            self.would_have_refused += 1;
            return Ok(Pass { generation, role: Role::Shadow });
        }
        let role = match &mut self.phase {
            Phase::HalfOpen(probes) => Role::Probe(probes.hand_out(now)),
            Phase::Closed | Phase::Open { .. } => Role::Counted,
        };
        Ok(Pass { generation, role })
    }

    /// The generation of the pass that every call gets until something is reported or changed, whatever the time:
    /// `None` if a call has to [`admit`](Self::admit).
    pub(super) fn standing(&self) -> Option<u64> {
        let forced_open = self.options().mode == Mode::ForcedOpen;
        let closed = matches!(self.phase, Phase::Closed) && self.over.is_none() && !forced_open;
        closed.then_some(self.generation)
    }

    /// Takes in how a call ended. `random` is drawn from only if the breaker opens.
    pub(super) fn report(
        &mut self,
        pass: Pass,
        outcome: Outcome,
        latency: Duration,
        now: Duration,
        random: impl FnOnce() -> f64,
    ) {
        let now = self.catch_up(now);
        if pass.generation != self.generation {
            return;
        }
        let options = self.settings.options();
        let slow = self.is_slow(latency);
        let call = Call { failed: outcome == Outcome::Failure, slow };
        match (&mut self.phase, pass.role) {
            (Phase::Closed, Role::Counted) => {
                self.evidence.record(now, call);
                if self.forced().is_none()
                    && let Some(cause) = self.evidence.verdict(self.options())
                {
                    self.open(now, cause, random);
                }
            }
            (Phase::HalfOpen(probes), Role::Probe(id)) => match probes.answer(id, call, options) {
                Finding::Undecided => {}
                Finding::Well => self.close(now),
                Finding::Sick(cause) => self.open(now, cause, random),
            },
            _ => {}
        }
    }

    /// Whether a call that took so long is a slow one.
    pub(super) fn is_slow(&self, latency: Duration) -> bool {
        self.settings.options().slow_calls.is_some_and(|slow| latency > slow.longer_than)
    }

    /// Takes back a pass whose call says nothing.
    pub(super) fn release(&mut self, pass: Pass) {
        if pass.generation == self.generation
            && let (Phase::HalfOpen(probes), Role::Probe(id)) = (&mut self.phase, pass.role)
        {
            probes.release(id);
        }
    }

    /// Forces it, or no longer. An override that is over already is as good as none.
    pub(super) fn override_with(&mut self, over: Option<Override>, now: Duration) {
        let now = self.catch_up(now);
        let over = over.filter(|over| over.until > now);
        let cause = if over.is_some() { Cause::Forced } else { Cause::Released };
        self.command(now, cause, |machine| machine.over = over);
    }

    /// Goes by other settings from now on.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Duration) {
        let now = self.catch_up(now);
        let form = settings.options().window;
        if form != self.options().window {
            self.evidence.reform(form, now);
        }
        self.command(now, Cause::ModeChanged, |machine| machine.settings = settings);
    }

    /// The state that calls meet.
    pub(super) fn state(&mut self, now: Duration) -> State {
        self.catch_up(now);
        self.shown()
    }

    /// Everything there is to see.
    pub(super) fn snapshot(&mut self, now: Duration) -> Snapshot {
        let now = self.catch_up(now);
        if let Phase::Closed = self.phase {
            self.evidence.advance(now);
        }
        let refusal = self.refusal(now);
        let counts = self.evidence.counts();
        Snapshot {
            state: self.shown(),
            since: self.since,
            judged: self.phase.state(),
            generation: self.generation,
            overridden: self.over,
            calls: counts.calls,
            failure_rate: counts.failure_rate(),
            slow_call_rate: counts.slow_call_rate(),
            consecutive_failures: self.evidence.consecutive_failures(),
            open_until: match self.phase {
                Phase::Open { until } => Some(until),
                Phase::Closed | Phase::HalfOpen(_) => None,
            },
            retry_after: refusal.and_then(|refused| refused.retry_after),
            would_refuse: refusal.is_some() && !self.is_enforced(),
            probes_out: self.probes().map_or(0, Probes::out),
            probes_succeeded: self.probes().map_or(0, Probes::succeeded),
            opened: self.history.totals().entered(State::Open),
            refused: self.refused,
            would_have_refused: self.would_have_refused,
            transitions: self.history.last().copied().collect(),
            totals: self.history.totals().clone(),
            shadow_totals: self.history.shadow_totals().clone(),
        }
    }

    /// Makes up for what time alone changed. Answers the time to go by, which never goes back.
    fn catch_up(&mut self, now: Duration) -> Duration {
        let now = now.max(self.latest);
        self.latest = now;
        if let Some(over) = self.over
            && over.until <= now
        {
            self.command(over.until, Cause::OverrideExpired, |machine| machine.over = None);
        }
        let options = self.settings.options();
        match &mut self.phase {
            Phase::Closed => {}
            &mut Phase::Open { until } => {
                if until <= now {
                    let probes = Probes::new(options.probes);
                    self.enter(Phase::HalfOpen(probes), until, Cause::OpenTimeOver);
                }
            }
            Phase::HalfOpen(probes) => probes.give_up(now, options.probe_timeout),
        }
        now
    }

    /// What a call would be told now; `None` if it may go.
    fn refusal(&self, now: Duration) -> Option<Refused> {
        match (self.forced(), &self.phase) {
            (Some(Force::Open), _) => Some(Refused {
                state: State::ForcedOpen,
                retry_after: self.over.map(|over| over.until.saturating_sub(now)),
            }),
            (Some(Force::Closed), _) | (None, Phase::Closed) => None,
            (None, Phase::Open { until }) => {
                Some(Refused { state: State::Open, retry_after: Some(until.saturating_sub(now)) })
            }
            (None, Phase::HalfOpen(probes)) => {
                let give_up = probes.next_give_up(now, self.options().probe_timeout);
                let wait = give_up.map_or(PROBING_RETRY_AFTER, |wait| wait.min(PROBING_RETRY_AFTER));
                let refused = Refused { state: State::HalfOpen, retry_after: Some(wait) };
                (!probes.is_free()).then_some(refused)
            }
        }
    }

    fn open(&mut self, now: Duration, cause: Cause, random: impl FnOnce() -> f64) {
        let time = open_time(self.options(), self.opened_in_a_row, random());
        self.opened_in_a_row = self.opened_in_a_row.saturating_add(1);
        self.enter(Phase::Open { until: now.saturating_add(time) }, now, cause);
    }

    fn close(&mut self, now: Duration) {
        self.forget(now);
        self.enter(Phase::Closed, now, Cause::ProbesSucceeded);
    }

    /// Goes into a phase, by the rules.
    fn enter(&mut self, phase: Phase, at: Duration, cause: Cause) {
        let (from, to) = (self.phase.state(), phase.state());
        self.phase = phase;
        self.generation += 1;
        let effect = match self.is_enforced() {
            true => Effect::Enforced,
            false => Effect::Shadow,
        };
        if effect == Effect::Enforced {
            self.since = at;
        }
        self.history.record(Transition { from, to, at, cause, effect });
    }

    /// Changes what stands above the rules. Wherever that forces otherwise than before, they begin anew.
    fn command(&mut self, at: Duration, cause: Cause, change: impl FnOnce(&mut Self)) {
        let (from, forced) = (self.shown(), self.forced());
        change(self);
        if self.forced() != forced {
            self.phase = Phase::Closed;
            self.generation += 1;
            self.forget(at);
        }
        let to = self.shown();
        if to != from {
            self.since = at;
            self.history.record(Transition { from, to, at, cause, effect: Effect::Enforced });
        }
    }

    /// What was held against the protected thing before it is closed.
    fn forget(&mut self, now: Duration) {
        self.evidence = Evidence::new(self.options().window, now);
        self.opened_in_a_row = 0;
    }

    fn shown(&self) -> State {
        match self.forced() {
            Some(Force::Open) => State::ForcedOpen,
            Some(Force::Closed) => State::ForcedClosed,
            None if self.is_enforced() => self.phase.state(),
            None => State::MetricsOnly,
        }
    }

    /// An operator's word comes before the settings'.
    fn forced(&self) -> Option<Force> {
        let mode = match self.options().mode {
            Mode::Normal | Mode::MetricsOnly => None,
            Mode::ForcedOpen => Some(Force::Open),
            Mode::ForcedClosed => Some(Force::Closed),
        };
        self.over.map(|over| over.force).or(mode)
    }

    /// Whether calls feel what it says.
    fn is_enforced(&self) -> bool {
        self.over.is_some() || self.options().mode != Mode::MetricsOnly
    }

    fn probes(&self) -> Option<&Probes> {
        match &self.phase {
            Phase::HalfOpen(probes) => Some(probes),
            Phase::Closed | Phase::Open { .. } => None,
        }
    }

    fn options(&self) -> &Options {
        self.settings.options()
    }
}
