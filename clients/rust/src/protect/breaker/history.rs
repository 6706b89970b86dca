//! What a breaker went through: its last transitions, and how many there were of each kind.

use std::collections::{BTreeMap, VecDeque};

use super::state::{Effect, State, Transition};

/// So many of the last transitions are kept.
pub const KEPT_TRANSITIONS: usize = 32;

/// How often a breaker went from each state to each other one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<(State, State), u64>);

impl Totals {
    /// How often it went this way.
    pub fn between(&self, from: State, to: State) -> u64 {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    /// How often it came into this state, from whichever.
    pub fn entered(&self, state: State) -> u64 {
        self.iter().filter(|(_, to, _)| *to == state).map(|(_, _, count)| count).sum()
    }

    /// Each way that was gone: from, to, how often. In the order of the states.
    pub fn iter(&self) -> impl Iterator<Item = (State, State, u64)> {
        self.0.iter().map(|(&(from, to), &count)| (from, to, count))
    }

    fn count(&mut self, transition: &Transition) {
        *self.0.entry((transition.from, transition.to)).or_default() += 1;
    }
}

/// The last transitions, bounded, with totals that forget nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    last: VecDeque<Transition>,
    totals: Totals,
    shadow_totals: Totals,
}

impl History {
    pub(super) fn record(&mut self, transition: Transition) {
        match transition.effect {
            Effect::Enforced => self.totals.count(&transition),
            Effect::Shadow => self.shadow_totals.count(&transition),
        }
        if self.last.len() == KEPT_TRANSITIONS {
            self.last.pop_front();
        }
        self.last.push_back(transition);
    }

    /// Oldest first.
    pub(super) fn last(&self) -> impl Iterator<Item = &Transition> {
        self.last.iter()
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn shadow_totals(&self) -> &Totals {
        &self.shadow_totals
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protect::breaker::Cause;

    fn transition(from: State, to: State, second: u64, effect: Effect) -> Transition {
        Transition { from, to, at: Duration::from_secs(second), cause: Cause::FailureRate, effect }
    }

    #[test]
    fn the_oldest_goes_and_the_totals_stay() {
        let mut history = History::default();
        for second in 0..40 {
            history.record(transition(State::Closed, State::Open, second, Effect::Enforced));
        }
        assert_eq!(history.last().count(), KEPT_TRANSITIONS);
        assert_eq!(history.last().next().map(|oldest| oldest.at), Some(Duration::from_secs(8)));
        assert_eq!(history.totals().between(State::Closed, State::Open), 40);
    }

    #[test]
    fn totals_by_way_and_by_state() {
        let mut history = History::default();
        for (from, to) in [
            (State::Closed, State::Open),
            (State::HalfOpen, State::Open),
            (State::HalfOpen, State::Open),
            (State::Open, State::HalfOpen),
        ] {
            history.record(transition(from, to, 0, Effect::Enforced));
        }
        let totals = history.totals();
        assert_eq!(totals.entered(State::Open), 3);
        assert_eq!(totals.entered(State::Closed), 0);
        assert_eq!(totals.between(State::HalfOpen, State::Open), 2);
        assert_eq!(totals.between(State::Open, State::Closed), 0);
        assert_eq!(
            totals.iter().collect::<Vec<_>>(),
            [
                (State::Closed, State::Open, 1),
                (State::Open, State::HalfOpen, 1),
                (State::HalfOpen, State::Open, 2),
            ]
        );
    }

    #[test]
    fn what_only_would_have_been_is_counted_apart() {
        let mut history = History::default();
        history.record(transition(State::Closed, State::Open, 0, Effect::Shadow));
        assert_eq!(history.totals(), &Totals::default());
        assert_eq!(history.shadow_totals().entered(State::Open), 1);
        assert_eq!(history.last().count(), 1);
    }
}
