//! The checks that are under way, and whether the control plane held them up.

use std::{pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::sleep_until;

use super::{pulse::Pulse, run::Ended};
use crate::time::Clock;

/// What is under way, and whether it was held up.
pub(super) struct Running<F> {
    runs: FuturesUnordered<F>,
    pulse: Pulse,
    clock: Clock,
}

impl<F: Future<Output = Ended>> Running<F> {
    pub(super) fn new(clock: Clock) -> Self {
        Self { runs: FuturesUnordered::new(), pulse: Pulse::default(), clock }
    }

    /// Waits for the next one that ends, and answers how long the control plane had stood still in all by
    /// then; forever while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> (Ended, Duration) {
        loop {
            let beat = self.pulse.due().map(|due| self.clock.instant(due));
            let Some(beat) = beat else { return std::future::pending().await };
            tokio::select! {
                biased;
                () = sleep_until(beat) => self.beat(),
                ended = self.runs.next() => match ended {
                    Some(ended) => {
                        self.beat();
                        return (ended, self.pulse.stood_still());
                    }
                    None => self.beat(),
                },
            }
        }
    }

    fn beat(&mut self) {
        self.pulse.beat(self.clock.mono(), !self.runs.is_empty());
    }

    /// Begins one more, which is told how long the control plane has stood still in all by now.
    pub(super) fn push(&mut self, begin: impl FnOnce(Duration) -> F) {
        // What was late before is nothing that this one was held up by.
        self.beat();
        self.runs.push(begin(self.pulse.stood_still()));
        self.beat();
    }

    /// Goes on with what is under way while something else is done; what ends meanwhile comes back with it.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> (T, Vec<(Ended, Duration)>) {
        let (mut work, mut ended) = (pin!(work), Vec::new());
        loop {
            tokio::select! {
                done = &mut work => return (done, ended),
                more = self.next() => ended.push(more),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tokio::time::advance;

    use super::*;
    use crate::{
        checks::{
            run::End,
            schedule::{Job, Schedule},
            testing::instance,
        },
        time::Mono,
    };

    fn job() -> Job {
        let mut schedule = Schedule::default();
        schedule.follow(Mono::default(), &instance(0, 1, "127.0.0.1:40000"));
        schedule.due(Mono::default() + Duration::from_secs(20));
        schedule.start(1).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_before_a_run_is_not_counted_to_it() {
        let mut running: Running<BoxFuture<'static, Ended>> = Running::new(Clock::start());
        let end = End::NotAsked("for the test".to_owned());
        let (first, second) = tokio::sync::oneshot::channel::<()>();
        let ended = |stood_still| Ended { job: job(), end: end.clone(), stood_still };
        running.push(|before| {
            let ended = ended(before);
            Box::pin(async move {
                second.await.ok();
                ended
            })
        });
        // Nobody looks meanwhile.
        advance(Duration::from_secs(1)).await;
        running.push(|before| Box::pin(std::future::ready(ended(before))));
        let (ended, stood_still) = running.next().await;
        assert_eq!(ended.stood_still, stood_still);
        // Nor is one after it; the other was held up by both.
        drop(first);
        advance(Duration::from_secs(1)).await;
        let (ended, stood_still) = running.next().await;
        assert_eq!(stood_still - ended.stood_still, Duration::from_millis(1_800));
    }
}
