//! Any sequence of calls, against a model that says what ought to be as plainly as possible.

use std::collections::VecDeque;

use proptest::{prelude::*, test_runner::TestCaseError};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Try,
    /// Wait for so many milliseconds.
    Ask(u64),
    /// Give one of those back that are out.
    Return(prop::sample::Index),
    /// One of those that wait gives up, before it looks whether it has one.
    GiveUp(prop::sample::Index),
    Resize(u32),
    SetMaxWaiting(u32),
    /// So many milliseconds go by.
    Pass(u64),
    TakePeak,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        2 => Just(Step::Try),
        6 => (0..200_u64).prop_map(Step::Ask),
        5 => index().prop_map(Step::Return),
        2 => index().prop_map(Step::GiveUp),
        2 => (1..6_u32).prop_map(Step::Resize),
        1 => (0..6_u32).prop_map(Step::SetMaxWaiting),
        2 => (1..100_u64).prop_map(Step::Pass),
        1 => Just(Step::TakePeak),
    ];
    prop::collection::vec(step, 1..80)
}

/// What ought to be.
struct Model {
    max: usize,
    max_waiting: usize,
    /// Who has a permit.
    out: Vec<usize>,
    /// Who waits and until when, the first first.
    waiting: VecDeque<(usize, u64)>,
    peak: usize,
    refused: u64,
    now: u64,
}

impl Model {
    fn asks(&mut self, who: usize, wait: u64) {
        if self.out.len() < self.max {
            self.out.push(who);
        } else if wait > 0 && self.waiting.len() < self.max_waiting {
            self.waiting.push_back((who, self.now + wait));
        } else {
            self.refused += 1;
        }
        self.serve();
    }

    fn serve(&mut self) {
        while self.out.len() < self.max {
            let Some((next, _)) = self.waiting.pop_front() else { break };
            self.out.push(next);
        }
        self.peak = self.peak.max(self.out.len());
    }

    /// Returns, or gives up: both leave no trace of it.
    fn goes(&mut self, who: usize) {
        self.out.retain(|other| *other != who);
        self.waiting.retain(|(other, _)| *other != who);
        self.serve();
    }

    fn passes(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        let before = self.waiting.len();
        self.waiting.retain(|(_, deadline)| *deadline > now);
        self.refused += u64::try_from(before - self.waiting.len()).expect("few");
    }

    fn usage(&self) -> Usage {
        let count = |count: usize| u32::try_from(count).expect("few");
        Usage {
            in_use: count(self.out.len()),
            max: count(self.max),
            peak: count(self.peak),
            waiting: count(self.waiting.len()),
            refused: self.refused,
        }
    }
}

/// Callers by number: those that have a permit, and those that still ask.
#[derive(Default)]
struct Real {
    out: Vec<(usize, Permit)>,
    asking: Vec<(usize, Waiting)>,
}

impl Real {
    /// All that ask look whether they have one, the last first: the order must not matter.
    fn all_look(&mut self) {
        for (who, mut waiting) in std::mem::take(&mut self.asking).into_iter().rev() {
            match look(&mut waiting) {
                Poll::Pending => self.asking.insert(0, (who, waiting)),
                Poll::Ready(Ok(permit)) => self.out.push((who, permit)),
                Poll::Ready(Err(_)) => {}
            }
        }
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let permits = permits(2, 3);
    let mut real = Real::default();
    let mut model = Model {
        max: 2,
        max_waiting: 3,
        out: Vec::new(),
        waiting: VecDeque::new(),
        peak: 0,
        refused: 0,
        now: 0,
    };
    for (who, step) in steps.into_iter().enumerate() {
        match step {
            Step::Try => {
                model.asks(who, 0);
                real.out.extend(permits.try_acquire().ok().map(|permit| (who, permit)));
            }
            Step::Ask(wait) => {
                model.asks(who, wait);
                match ask(&permits, Duration::from_millis(wait)) {
                    (waiting, Poll::Pending) => real.asking.push((who, waiting)),
                    (_, Poll::Ready(answer)) => real.out.extend(answer.ok().map(|permit| (who, permit))),
                }
            }
            Step::Return(index) if !real.out.is_empty() => {
                let (who, _) = real.out.swap_remove(index.index(real.out.len()));
                model.goes(who);
                // One that gives up now may just have been given that very permit.
                continue;
            }
            Step::GiveUp(index) if !real.asking.is_empty() => {
                let (who, _) = real.asking.remove(index.index(real.asking.len()));
                model.goes(who);
            }
            Step::Resize(max) => {
                model.max = usize::try_from(max).expect("small");
                model.serve();
                permits.resize(size(max));
                prop_assert_eq!(permits.usage(), model.usage());
                continue;
            }
            Step::SetMaxWaiting(max_waiting) => {
                model.max_waiting = usize::try_from(max_waiting).expect("small");
                permits.set_max_waiting(max_waiting);
            }
            Step::Pass(millis) => {
                // Whoever was given a permit before has it, late as it looks.
                model.passes(millis);
                advance(Duration::from_millis(millis)).await;
            }
            Step::TakePeak => {
                prop_assert_eq!(permits.take_peak(), model.usage().peak);
                model.peak = model.out.len();
            }
            Step::Return(_) | Step::GiveUp(_) => continue,
        }
        real.all_look();
        let mut out: Vec<_> = real.out.iter().map(|(who, _)| *who).collect();
        let mut expected = model.out.clone();
        out.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(out, expected);
        prop_assert_eq!(permits.usage(), model.usage());
    }
    drop(real);
    let left = permits.usage();
    prop_assert_eq!((left.in_use, left.waiting), (0, 0), "nothing is lost");
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_calls_does_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(steps))?;
    }
}
