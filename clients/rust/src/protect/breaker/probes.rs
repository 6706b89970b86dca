//! The probes of a half-open breaker: how many are out, and what they said.

use std::{collections::VecDeque, time::Duration};

use super::{
    settings::Options,
    state::Cause,
    window::{Call, share},
};

/// Tells a probe from those before it that had the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeId(u64);

/// How many may be out and have succeeded together is settled when the breaker becomes half-open: settings that
/// change meanwhile could otherwise leave it with more answers than it asked for, and no way on.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    wanted: u32,
    succeeded: u32,
    slow: u32,
    /// By age, oldest first: a probe that lost its place is found in front. Never more than `wanted`.
    out: VecDeque<(ProbeId, Duration)>,
    next: u64,
}

/// What the probes say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Not enough yet.
    Undecided,
    /// All succeeded: close.
    Well,
    /// Open again, because of this.
    Sick(Cause),
}

impl Probes {
    pub(super) fn new(wanted: u32) -> Self {
        Self { wanted, succeeded: 0, slow: 0, out: VecDeque::new(), next: 0 }
    }

    /// Whether another call may go.
    pub(super) fn is_free(&self) -> bool {
        self.out.len() + (self.succeeded as usize) < self.wanted as usize
    }

    /// Sends one out. The caller saw that one is free.
    pub(super) fn hand_out(&mut self, now: Duration) -> ProbeId {
        let id = ProbeId(self.next);
        self.next += 1;
        self.out.push_back((id, now));
        id
    }

    /// Gives up those that were out for as long as a probe may take.
    pub(super) fn give_up(&mut self, now: Duration, timeout: Duration) {
        while self.out.front().is_some_and(|(_, since)| since.saturating_add(timeout) <= now) {
            self.out.pop_front();
        }
    }

    /// How long until the oldest is given up.
    pub(super) fn next_give_up(&self, now: Duration, timeout: Duration) -> Option<Duration> {
        self.out.front().map(|(_, since)| since.saturating_add(timeout).saturating_sub(now))
    }

    /// Takes one back that says nothing. Its place is free again.
    pub(super) fn release(&mut self, id: ProbeId) {
        self.out.retain(|(out, _)| *out != id);
    }

    /// Takes in what one says; nothing, if it was given up before.
    ///
    /// One failure is enough. A slow success is a success, but the slow-call rule holds for the probes as it does
    /// for the calls of a window: once its share of all probes was slow, they found it sick.
    pub(super) fn answer(&mut self, id: ProbeId, call: Call, options: &Options) -> Finding {
        let before = self.out.len();
        self.release(id);
        if self.out.len() == before {
            return Finding::Undecided;
        }
        if call.failed {
            return Finding::Sick(Cause::ProbeFailed);
        }
        self.succeeded += 1;
        self.slow += u32::from(call.slow);
        let slow_share = share(self.slow.into(), self.wanted.into());
        if options.slow_calls.is_some_and(|rule| slow_share.is_some_and(|slow| slow >= rule.rate)) {
            return Finding::Sick(Cause::ProbesSlow);
        }
        match self.succeeded >= self.wanted {
            true => Finding::Well,
            false => Finding::Undecided,
        }
    }

    /// How many are out.
    pub(super) fn out(&self) -> u32 {
        // Never more than `wanted`.
        u32::try_from(self.out.len()).unwrap_or(self.wanted)
    }

    /// How many succeeded.
    pub(super) fn succeeded(&self) -> u32 {
        self.succeeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protect::breaker::SlowCalls;

    const NOW: Duration = Duration::from_secs(100);

    fn findings(wanted: u32, slow_rate: Option<f64>, answers: &str) -> Vec<Finding> {
        let slow_calls = slow_rate.map(|rate| SlowCalls { rate, ..SlowCalls::default() });
        let options = Options { slow_calls, ..Options::default() };
        let mut probes = Probes::new(wanted);
        let ids: Vec<_> = answers.chars().map(|_| probes.hand_out(NOW)).collect();
        let answers = answers.chars().map(|kind| Call { failed: kind == 'f', slow: kind == 's' });
        ids.into_iter().zip(answers).map(|(id, call)| probes.answer(id, call, &options)).collect()
    }

    #[test]
    fn what_probes_say_together() {
        use Finding::{Sick, Undecided, Well};
        const SLOW: Finding = Sick(Cause::ProbesSlow);
        const FAILED: Finding = Sick(Cause::ProbeFailed);
        type Case = (&'static str, u32, Option<f64>, &'static str, &'static [Finding]);
        let cases: [Case; 9] = [
            ("all succeed", 3, Some(1.0), "...", &[Undecided, Undecided, Well]),
            ("one is enough", 1, Some(1.0), ".", &[Well]),
            ("one failure", 3, Some(1.0), ".f", &[Undecided, FAILED]),
            ("all slow", 3, Some(1.0), "sss", &[Undecided, Undecided, SLOW]),
            ("not all slow", 3, Some(1.0), "ss.", &[Undecided, Undecided, Well]),
            ("half slow, known before the last", 4, Some(0.5), "s.s", &[Undecided, Undecided, SLOW]),
            ("below half slow", 4, Some(0.5), "s...", &[Undecided, Undecided, Undecided, Well]),
            ("any slow", 3, Some(0.01), ".s", &[Undecided, SLOW]),
            ("no rule", 2, None, "ss", &[Undecided, Well]),
        ];
        for (name, wanted, slow_rate, answers, expected) in cases {
            assert_eq!(findings(wanted, slow_rate, answers), expected, "{name}");
        }
    }

    #[test]
    fn one_that_was_given_up_says_nothing() {
        let (timeout, nano) = (Duration::from_secs(60), Duration::from_nanos(1));
        let mut probes = Probes::new(2);
        let old = probes.hand_out(NOW);
        let young = probes.hand_out(NOW + nano);
        assert!(!probes.is_free());
        assert_eq!(probes.next_give_up(NOW, timeout), Some(timeout));
        probes.give_up(NOW + timeout - nano, timeout);
        assert_eq!(probes.out(), 2);
        probes.give_up(NOW + timeout, timeout);
        assert_eq!((probes.out(), probes.is_free()), (1, true));
        assert_eq!(probes.next_give_up(NOW + timeout, timeout), Some(nano));

        let options = Options::default();
        let (good, bad) = (Call { failed: false, slow: false }, Call { failed: true, slow: false });
        assert_eq!(probes.answer(old, bad, &options), Finding::Undecided);
        assert_eq!(probes.answer(old, good, &options), Finding::Undecided);
        assert_eq!((probes.out(), probes.succeeded()), (1, 0));
        let again = probes.hand_out(NOW + timeout);
        probes.release(old);
        assert!(!probes.is_free(), "its place belongs to another");
        assert_eq!(probes.answer(young, good, &options), Finding::Undecided);
        assert_eq!(probes.answer(again, good, &options), Finding::Well);
    }
}
