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

    /// How long the control plane has stood still in all.
    pub(super) fn stood_still(&self) -> Duration {
        self.pulse.stood_still()
    }

    /// Waits for the next one that ends; forever while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Ended {
        loop {
            let beat = self.pulse.due().map(|due| self.clock.instant(due));
            let Some(beat) = beat else { return std::future::pending().await };
            tokio::select! {
                biased;
                () = sleep_until(beat) => self.beat(),
                ended = self.runs.next() => match ended {
                    Some(ended) => {
                        self.beat();
                        return ended;
                    }
                    None => self.beat(),
                },
            }
        }
    }

    fn beat(&mut self) {
        self.pulse.beat(self.clock.mono(), !self.runs.is_empty());
    }

    pub(super) fn push(&mut self, run: F) {
        self.runs.push(run);
        self.beat();
    }

    /// Goes on with what is under way while something else is done; what ends meanwhile comes back with it.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> (T, Vec<Ended>) {
        let (mut work, mut ended) = (pin!(work), Vec::new());
        loop {
            tokio::select! {
                done = &mut work => return (done, ended),
                more = self.next() => ended.push(more),
            }
        }
    }
}
