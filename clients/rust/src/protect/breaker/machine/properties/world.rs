//! A machine, the calls it let through, and an account of its own of what it may do, kept beside it.

use super::*;

const NANO: Duration = Duration::from_nanos(1);
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_secs(6);
/// Longer than anything lasts in these worlds.
const AGES: Duration = Duration::from_secs(1_000);

pub(super) struct World {
    machine: Machine,
    settings: Settings,
    now: Duration,
    running: Vec<Pass>,
    probing: Option<Probing>,
    opened_in_a_row: u32,
}

/// The probes of one half-open generation.
struct Probing {
    generation: u64,
    wanted: u32,
    succeeded: u32,
    out: Vec<(Pass, Duration)>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let now = Duration::from_secs(1_000);
        let machine = Machine::new(settings, now);
        Self { machine, settings, now, running: Vec::new(), probing: None, opened_in_a_row: 0 }
    }

    pub(super) fn happen(&mut self, event: &Event, random: f64) {
        let before = self.look();
        match *event {
            Event::Admit => self.admit(&before),
            Event::Report { call, outcome, is_slow } => {
                if let Some(pass) = self.take(call) {
                    self.report(pass, outcome, if is_slow { SLOW } else { QUICK }, random, &before);
                }
            }
            Event::Release { call } => {
                if let Some(pass) = self.take(call) {
                    self.forget_probe(pass);
                    self.machine.release(pass);
                    assert_eq!(self.look().state, before.state, "a dropped call moves nothing");
                }
            }
            Event::Lose { call } => drop(self.take(call)),
            Event::Wait(time) => self.now += time,
            Event::WaitUntilDue => self.wait_until_due(&before),
            Event::Override { force, time } => {
                let until = self.now + time;
                self.machine.override_with(Some(Override { force, until }), self.now);
            }
            Event::EndOverride => self.machine.override_with(None, self.now),
            Event::Reconfigure(settings) => {
                self.machine.reconfigure(settings, self.now);
                self.settings = settings;
            }
        }
        self.check(&before);
    }

    /// Given time and successes only, and nobody's word against it, it gets back to closed. What still runs is
    /// never heard of again.
    pub(super) fn recover(mut self) {
        let options = *self.settings.options();
        let normal = Settings::new(Options { mode: Mode::Normal, ..options }).unwrap();
        self.happen(&Event::Reconfigure(normal), 0.5);
        for _ in 0..10 {
            self.happen(&Event::Wait(AGES), 0.5);
            if self.look().state == State::Closed {
                return;
            }
            for _ in 0..options.probes.max(5) {
                self.running.clear();
                self.happen(&Event::Admit, 0.5);
                self.happen(&Event::Report { call: 0, outcome: Outcome::Success, is_slow: false }, 0.5);
            }
        }
        panic!("wedged: {:?}", self.machine);
    }

    fn admit(&mut self, before: &Snapshot) {
        let answer = self.machine.admit(self.now);
        match (before.state, answer) {
            (State::Open, Err(refused)) => {
                assert_eq!(Some(self.now + refused.retry_after.unwrap()), before.open_until);
            }
            (State::ForcedOpen, Err(refused)) => {
                let until = before.overridden.map(|over| over.until);
                assert_eq!(refused.retry_after.map(|wait| self.now + wait), until);
            }
            (State::HalfOpen, answer) => {
                let probing = self.probing.as_mut().expect("half-open");
                let free = probing.wanted as usize - probing.succeeded as usize - probing.out.len();
                assert_eq!(answer.is_ok(), free > 0, "exactly so many probes: {free} free");
            }
            (State::Closed | State::ForcedClosed, Ok(pass)) => assert_eq!(pass.role, Role::Counted),
            (State::MetricsOnly, Ok(pass)) => assert_eq!(pass.role == Role::Shadow, before.would_refuse),
            (state, answer) => panic!("{state}: {answer:?}"),
        }
        match answer {
            Ok(pass) => {
                assert_eq!(pass.generation, before.generation);
                if let (Role::Probe(_), Some(probing)) = (pass.role, &mut self.probing) {
                    probing.out.push((pass, self.now));
                }
                self.running.push(pass);
            }
            Err(refused) => {
                assert_ne!(refused.retry_after, Some(Duration::ZERO));
                assert_eq!(refused.state, before.state);
                assert_eq!(refused.retry_after, before.retry_after, "a look tells the same");
            }
        }
    }

    fn report(&mut self, pass: Pass, outcome: Outcome, latency: Duration, random: f64, before: &Snapshot) {
        let is_probe = self.forget_probe(pass);
        let is_counted = pass.role == Role::Counted && pass.generation == before.generation;
        if is_probe && outcome == Outcome::Success {
            self.probing.as_mut().expect("it was out").succeeded += 1;
        }
        let probes = self.probing.as_ref().map_or((0, 0), |probing| (probing.succeeded, probing.wanted));
        self.machine.report(pass, outcome, latency, self.now, || random);
        let after = self.look();
        if !is_probe && !is_counted {
            assert_eq!(&after, before, "a straggler changes nothing");
        }
        if matches!(before.state, State::ForcedOpen | State::ForcedClosed) {
            assert_eq!((after.state, after.generation), (before.state, before.generation));
        }
        match (is_probe, outcome, after.judged) {
            (false, _, judged) => assert!(judged == before.judged || judged == State::Open),
            (true, Outcome::Failure, judged) => assert_eq!(judged, State::Open, "one failure is enough"),
            (true, Outcome::Success, State::Closed) => assert_eq!(probes.0, probes.1, "not all succeeded"),
            (true, Outcome::Success, State::HalfOpen) => assert!(probes.0 < probes.1, "all succeeded"),
            (true, Outcome::Success, _) => {
                assert_eq!(after.transitions.last().unwrap().cause, Cause::ProbesSlow);
            }
        }
        if after.open_until.is_some() && after.generation != before.generation {
            self.check_open_time(&after);
        }
    }

    fn check_open_time(&mut self, opened: &Snapshot) {
        let options = self.settings.options();
        let nominal = (options.open_time.as_secs_f64() * f64::from(1_u32 << self.opened_in_a_row.min(20)))
            .min(options.max_open_time.as_secs_f64());
        let time = (opened.open_until.unwrap() - self.now).as_secs_f64();
        assert!(time >= nominal * (1.0 - options.jitter) - 1e-6, "{time} of {nominal}");
        assert!(time <= nominal * (1.0 + options.jitter) + 1e-6, "{time} of {nominal}");
        self.opened_in_a_row += 1;
    }

    fn wait_until_due(&mut self, before: &Snapshot) {
        // While forced there is no open time.
        let Some(due) = before.overridden.map(|over| over.until).or(before.open_until) else { return };
        self.now = due - NANO;
        let early = self.look();
        assert_eq!((early.state, early.generation), (before.state, before.generation), "not yet");
        self.now = due;
        let seen = self.look();
        assert!(seen.overridden.is_none() && seen.open_until.is_none(), "now");
        if before.overridden.is_none() {
            assert_eq!(seen.judged, State::HalfOpen);
        }
    }

    /// What holds at every moment.
    fn check(&mut self, before: &Snapshot) {
        let seen = self.look();
        if seen.judged == State::Closed {
            self.opened_in_a_row = 0;
        }
        assert!(seen.generation >= before.generation && seen.since <= self.now);
        let forced = |state| matches!(state, State::ForcedOpen | State::ForcedClosed).then_some(state);
        if seen.judged != before.judged || forced(seen.state) != forced(before.state) {
            assert!(seen.generation > before.generation, "calls of before must be stragglers");
        }
        assert_eq!(seen.judged == State::Open, seen.open_until.is_some());
        assert!(seen.open_until.is_none_or(|until| until > self.now), "open and over");
        assert!(seen.overridden.is_none_or(|over| over.until > self.now), "overridden and over");
        if let Some(probing) = &self.probing {
            assert_eq!(seen.probes_out as usize, probing.out.len());
            assert_eq!(seen.probes_succeeded, probing.succeeded);
            assert!(seen.probes_out + seen.probes_succeeded <= probing.wanted);
        }
        let enforced: Vec<_> =
            seen.transitions.iter().filter(|transition| transition.effect == Effect::Enforced).collect();
        assert!(enforced.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].at <= pair[1].at));
        if let Some(last) = enforced.last() {
            assert_eq!((last.to, last.at), (seen.state, seen.since));
        }
        if let Some(generation) = self.machine.standing() {
            let admitted = self.machine.clone().admit(self.now + AGES);
            assert_eq!(admitted, Ok(Pass { generation, role: Role::Counted }));
        }
    }

    /// Looks at a copy, so that no look makes up for what the next event has to make up for itself; and brings the
    /// account up to date with what time alone changed.
    fn look(&mut self) -> Snapshot {
        let seen = self.machine.clone().snapshot(self.now);
        let options = self.settings.options();
        if seen.judged != State::HalfOpen {
            self.probing = None;
        } else if self.probing.as_ref().is_none_or(|probing| probing.generation != seen.generation) {
            let (generation, wanted) = (seen.generation, options.probes);
            self.probing = Some(Probing { generation, wanted, succeeded: 0, out: Vec::new() });
        }
        if let Some(probing) = &mut self.probing {
            probing.out.retain(|(_, since)| *since + options.probe_timeout > self.now);
        }
        seen
    }

    fn take(&mut self, call: usize) -> Option<Pass> {
        let index = call.checked_rem(self.running.len())?;
        Some(self.running.swap_remove(index))
    }

    /// Whether it was out.
    fn forget_probe(&mut self, pass: Pass) -> bool {
        let Some(probing) = &mut self.probing else { return false };
        let before = probing.out.len();
        probing.out.retain(|(out, _)| *out != pass);
        probing.out.len() < before
    }
}
