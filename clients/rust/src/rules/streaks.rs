//! How the reports of one component become its state: a change needs a streak of reports that point the
//! same way, except from unknown, where the first report counts at once.
//!
//! A component whose state goes back and forth is *flapping*, and from then on one good report is not enough.
//! What counts are turns: a change that goes another way than the one before. An outage that comes and goes
//! by degrees (healthy, degraded, unhealthy, degraded, healthy) has two of them, as one that comes at once.

use std::{cmp::Ordering, num::NonZeroU32};

use super::{HealthState, Reported};

/// How many reports in a row it takes to change the state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Bad reports until it counts as bad.
    pub fail: NonZeroU32,
    /// Good reports until it counts as good again.
    pub pass: NonZeroU32,
}

impl Thresholds {
    /// Three to fail, one to pass (as Kubernetes probes).
    pub const DEFAULT: Thresholds =
        Thresholds { fail: NonZeroU32::new(3).expect("3 is not zero"), pass: NonZeroU32::MIN };

    /// Good reports in a row that it takes to count as good again. `flapping`: while it is, one is not enough.
    pub fn pass_needed(self, flapping: bool) -> u32 {
        let pass = self.pass.get();
        if flapping { pass.max(FLAPPING_PASS) } else { pass }
    }
}

/// Reports that flapping is judged by: a minute and a half at the usual interval of five seconds.
const FLAPPING_REPORTS: u32 = 20;
/// Turns of the state among them that begin it: down and up again, twice. Once is an outage.
const FLAPPING_FROM: u32 = 4;
/// Turns of the reports among them with which it ends: one is a change that has come to stay. Reports, and
/// not the state: that stands still for as long as they go to and fro and none of its thresholds is reached,
/// and would end the flapping only to begin it anew.
const FLAPPING_UNTIL: u32 = 1;
/// Good reports in a row that it takes at least while flapping.
const FLAPPING_PASS: u32 = 2;

/// When something turned, among the last reports.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    /// A bit for each report, the newest lowest.
    history: u32,
    direction: Option<Ordering>,
}

impl Turns {
    /// Takes note of where a report moved it; true if that is another way than the last time.
    fn take(&mut self, moved: Ordering) -> bool {
        let turned = moved != Ordering::Equal && self.direction != Some(moved);
        self.history = ((self.history << 1) | u32::from(turned)) & ((1 << FLAPPING_REPORTS) - 1);
        if turned {
            self.direction = Some(moved);
        }
        turned
    }

    fn count(self) -> u32 {
        self.history.count_ones()
    }
}

/// The state of one component, from its reports.
#[derive(Clone, Debug)]
pub struct Streaks {
    thresholds: Thresholds,
    state: HealthState,
    // How many reports in a row were at least this bad, or at most this bad.
    at_least_degraded: u32,
    at_least_unhealthy: u32,
    at_most_healthy: u32,
    at_most_degraded: u32,
    last: Option<Reported>,
    reports_turned: Turns,
    state_turned: Turns,
    flapping: bool,
}

impl Streaks {
    /// A component that has not reported yet: unknown.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: HealthState::Unknown,
            at_least_degraded: 0,
            at_least_unhealthy: 0,
            at_most_healthy: 0,
            at_most_degraded: 0,
            last: None,
            reports_turned: Turns::default(),
            state_turned: Turns::default(),
            flapping: false,
        }
    }

    /// Takes a report, and answers the state after it.
    ///
    /// From unknown the first report counts at once: there is nothing to hold on to.
    pub fn report(&mut self, reported: Reported) -> HealthState {
        let streak = |length: u32, goes_on: bool| if goes_on { length.saturating_add(1) } else { 0 };
        self.at_least_degraded = streak(self.at_least_degraded, reported >= Reported::Degraded);
        self.at_least_unhealthy = streak(self.at_least_unhealthy, reported >= Reported::Unhealthy);
        self.at_most_healthy = streak(self.at_most_healthy, reported <= Reported::Healthy);
        self.at_most_degraded = streak(self.at_most_degraded, reported <= Reported::Degraded);
        let moved = self.last.map_or(Ordering::Equal, |last| reported.cmp(&last));
        self.last = Some(reported);
        self.reports_turned.take(moved);
        if self.reports_turned.count() <= FLAPPING_UNTIL {
            self.flapping = false;
        }
        let before = self.state;
        self.state = self.next(reported);
        let moved = match (reported_as(before), reported_as(self.state)) {
            (Some(before), Some(after)) => after.cmp(&before),
            // From unknown it goes neither up nor down.
            _ => Ordering::Equal,
        };
        if self.state_turned.take(moved) && self.state_turned.count() >= FLAPPING_FROM {
            self.flapping = true;
        }
        self.state
    }

    fn next(&self, reported: Reported) -> HealthState {
        use HealthState::{Degraded, Healthy, Unhealthy, Unknown};
        let (fail, pass) = (self.thresholds.fail.get(), self.thresholds.pass_needed(self.flapping));
        match self.state {
            Unknown => reported.into(),
            Healthy if self.at_least_unhealthy >= fail => Unhealthy,
            Healthy if self.at_least_degraded >= fail => Degraded,
            Degraded if self.at_least_unhealthy >= fail => Unhealthy,
            Degraded if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_healthy >= pass => Healthy,
            Unhealthy if self.at_most_degraded >= pass => Degraded,
            same => same,
        }
    }

    /// Nothing was heard for too long: nobody knows any more. The next report counts at once.
    pub fn forget(&mut self) {
        self.state = HealthState::Unknown;
    }

    /// The state after thresholds.
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// How many reports in a row were not healthy.
    pub fn consecutive_failures(&self) -> u32 {
        self.at_least_degraded
    }

    /// What the bad reports in a row make of it where they go on as the last one: unhealthy only if all of them
    /// said so. None: the last one was good.
    pub fn leads_to(&self) -> Option<Reported> {
        match (self.at_least_degraded, self.at_least_unhealthy) {
            (0, _) => None,
            (bad, unhealthy) if unhealthy == bad => Some(Reported::Unhealthy),
            _ => Some(Reported::Degraded),
        }
    }

    /// Whether its state goes back and forth: at least four turns within 20 reports, until the reports have
    /// turned once at the most within 20. While it does, it takes two good reports to pass, or more.
    pub fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// Why it is not healthy, from what was reported: with that it is flapping, while it is.
    pub fn cause(&self, message: &str) -> String {
        if !self.flapping {
            return message.to_owned();
        }
        let turned = self.reports_turned.count();
        let more = if message.is_empty() { "" } else { "; " };
        format!("flapping: {turned} changes in the last {FLAPPING_REPORTS} reports{more}{message}")
    }
}

/// A state as it would be reported. None: unknown never is.
fn reported_as(state: HealthState) -> Option<Reported> {
    match state {
        HealthState::Unknown => None,
        HealthState::Healthy => Some(Reported::Healthy),
        HealthState::Degraded => Some(Reported::Degraded),
        HealthState::Unhealthy => Some(Reported::Unhealthy),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thresholds(fail: u32, pass: u32) -> Thresholds {
        Thresholds { fail: NonZeroU32::new(fail).unwrap(), pass: NonZeroU32::new(pass).unwrap() }
    }

    /// H, D and U are reports; the states expected after each stand beside them.
    #[test]
    fn thresholds_as_a_table() {
        for (fail, pass, reports, states) in [
            (3, 1, "HUUUH", "HHHUH"),
            (3, 1, "HUUHUU", "HHHHHH"),
            (3, 1, "HDDDH", "HHHDH"),
            (3, 1, "HUDU", "HHHD"),
            (3, 1, "HUDUUU", "HHHDDU"),
            (3, 1, "U", "U"),
            (3, 1, "D", "D"),
            (1, 1, "HUDH", "HUDH"),
            (1, 2, "HUHH", "HUUH"),
            (1, 2, "HUDD", "HUUD"),
            (1, 2, "HUDH", "HUUD"),
            (2, 2, "HUUHUHH", "HHUUUUH"),
        ] {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let got: String = reports
                .chars()
                .map(|report| {
                    streaks.report(reported(report)).as_str().to_uppercase().chars().next().unwrap()
                })
                .collect();
            assert_eq!(got, states, "fail {fail}, pass {pass}, reports {reports}");
        }
    }

    fn reported(letter: char) -> Reported {
        match letter {
            'H' => Reported::Healthy,
            'D' => Reported::Degraded,
            _ => Reported::Unhealthy,
        }
    }

    /// Below each report: `.`, or `f` while it is flapping.
    #[test]
    fn flapping_as_a_table() {
        for (fail, pass, reports, flapping, states) in [
            // Down and up again, twice.
            (1, 1, "HUHUHUHH", "....ffff", "HUHUHUUH"),
            // One outage by degrees, there and back, is none, nor are two changes that stay.
            (1, 1, "HDUDHHH", ".......", "HDUDHHH"),
            (1, 1, "HHUUUHHHUUU", "...........", "HHUUUHHHUUU"),
            // The first report is no change.
            (1, 1, "UHUHU", "....f", "UHUHU"),
            // What thresholds hold back does not flap.
            (3, 1, "HUHUHUHUHUHU", "............", "HHHHHHHHHHHH"),
            (3, 1, "HUUUHUUUHUUUH", "........fffff", "HHHUHHHUHHHUU"),
            // Degraded and unhealthy count as well.
            (1, 1, "DUDUDUU", "....fff", "DUDUDUU"),
            // A threshold that asks for more stays.
            (1, 3, "HUHHHUHHHUHH", "........ffff", "HUUUHUUUHUUU"),
        ] {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let (mut flapped, mut went) = (String::new(), String::new());
            for letter in reports.chars() {
                let state = streaks.report(reported(letter));
                flapped.push(if streaks.is_flapping() { 'f' } else { '.' });
                went.push(state.as_str().to_uppercase().chars().next().unwrap());
            }
            assert_eq!(
                (flapped.as_str(), went.as_str()),
                (flapping, states),
                "fail {fail}, pass {pass}, {reports}"
            );
        }
    }

    #[test]
    fn flapping_goes_on_while_reports_go_to_and_fro_and_ends_when_they_stay() {
        let mut streaks = Streaks::new(thresholds(1, 1));
        for letter in "HUHUH".chars() {
            streaks.report(reported(letter));
        }
        assert!(streaks.is_flapping());
        assert_eq!(streaks.cause("gone"), "flapping: 4 changes in the last 20 reports; gone");
        assert_eq!(streaks.cause(""), "flapping: 4 changes in the last 20 reports");
        // The state does not move any more, the reports do.
        for letter in "UH".repeat(50).chars() {
            assert_eq!(streaks.report(reported(letter)), HealthState::Unhealthy);
            assert!(streaks.is_flapping());
        }
        let mut calm = 0;
        while streaks.is_flapping() {
            streaks.report(Reported::Healthy);
            calm += 1;
        }
        assert_eq!((calm, streaks.state()), (19, HealthState::Healthy));
        assert_eq!(streaks.cause("gone"), "gone");
    }

    #[test]
    fn silence_does_not_hide_flapping() {
        let mut streaks = Streaks::new(thresholds(1, 1));
        for letter in "HUHUH".chars() {
            streaks.report(reported(letter));
        }
        streaks.forget();
        assert!(streaks.is_flapping());
        assert_eq!(streaks.report(Reported::Healthy), HealthState::Healthy);
        assert!(streaks.is_flapping());
    }

    #[test]
    fn silence_is_unknown_and_the_next_report_counts_at_once() {
        let mut streaks = Streaks::new(Thresholds::DEFAULT);
        streaks.report(Reported::Healthy);
        streaks.forget();
        assert_eq!(streaks.state(), HealthState::Unknown);
        assert_eq!(streaks.report(Reported::Unhealthy), HealthState::Unhealthy);
    }

    #[test]
    fn failures_are_counted_until_a_good_report() {
        let mut streaks = Streaks::new(Thresholds::DEFAULT);
        for reported in [Reported::Unhealthy, Reported::Degraded] {
            streaks.report(reported);
        }
        assert_eq!(streaks.consecutive_failures(), 2);
        streaks.report(Reported::Healthy);
        assert_eq!(streaks.consecutive_failures(), 0);
    }

    proptest! {
        #[test]
        fn a_state_lasts_only_while_reports_allow_it(fail in 1u32..5, pass in 1u32..5, reports in prop::collection::vec(0u8..3, 1..60)) {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let reports: Vec<_> = reports.into_iter().map(|r| [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][usize::from(r)]).collect();
            for (at, reported) in reports.iter().enumerate() {
                let before = streaks.state();
                let after = streaks.report(*reported);
                let tail = |n: u32| reports[(at + 1).saturating_sub(n as usize)..=at].iter();
                // A change is always backed by a full streak that points the same way.
                if before != HealthState::Unknown && after != before {
                    let worse = |s: HealthState| match s { HealthState::Healthy => 0, HealthState::Degraded => 1, _ => 2 };
                    let after_report = [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][worse(after)];
                    if worse(after) > worse(before) {
                        prop_assert!(tail(fail).count() == fail as usize && tail(fail).all(|r| *r >= after_report));
                    } else {
                        prop_assert!(tail(pass).count() == pass as usize && tail(pass).all(|r| *r <= after_report));
                    }
                }
                // Enough of the same always arrives there.
                let enough = fail.max(pass).max(FLAPPING_PASS);
                if tail(enough).count() == enough as usize && tail(enough).all(|r| r == reported) {
                    prop_assert_eq!(after, HealthState::from(*reported));
                }
            }
        }

        #[test]
        fn flapping_is_what_its_last_reports_say(fail in 1u32..5, pass in 1u32..5, reports in prop::collection::vec(0u8..3, 1..120)) {
            let mut streaks = Streaks::new(thresholds(fail, pass));
            let (mut taken, mut states) = (Vec::new(), Vec::new());
            // Turns among the last moves, counted anew each time.
            let turns = |all: &[Reported]| {
                let mut direction = Ordering::Equal;
                let turned = all.windows(2).map(|pair| {
                    let moved = pair[1].cmp(&pair[0]);
                    let turned = moved != Ordering::Equal && moved != direction;
                    if turned {
                        direction = moved;
                    }
                    turned
                });
                let turned: Vec<bool> = turned.collect();
                turned.iter().rev().take(FLAPPING_REPORTS as usize).filter(|turned| **turned).count()
            };
            for report in reports {
                let reported = [Reported::Healthy, Reported::Degraded, Reported::Unhealthy][usize::from(report)];
                let (before, was) = (streaks.state(), streaks.is_flapping());
                let after = streaks.report(reported);
                taken.push(reported);
                states.extend(reported_as(after));
                match (was, streaks.is_flapping()) {
                    (false, true) => prop_assert!(turns(&states) >= FLAPPING_FROM as usize),
                    (true, false) => prop_assert!(turns(&taken) <= FLAPPING_UNTIL as usize),
                    (false, false) => prop_assert!(turns(&states) < FLAPPING_FROM as usize),
                    (true, true) => prop_assert!(turns(&taken) > FLAPPING_UNTIL as usize),
                }
                // It never gets better by a single report while it flaps.
                let better = reported_as(after) < reported_as(before) && before != HealthState::Unknown;
                if better && streaks.is_flapping() && was {
                    let last = taken.iter().rev().take(2);
                    prop_assert!(last.clone().count() == 2 && last.into_iter().all(|report| Some(*report) < reported_as(before)));
                }
            }
        }
    }
}
