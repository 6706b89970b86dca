//! When a transfer moved last, told by both of its ends: by it somebody sees that a component's code does nothing any more. It judges
//! nobody, and ends nothing. The clock is tokio's, so that tests can pause it.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::rt;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    /// It counts from now on.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(rt::now())))
    }

    /// It moved.
    pub(super) fn now(&self) {
        *self.0.lock() = rt::now();
    }

    /// Waits until it has not moved for so long. Cancel safe.
    pub(crate) async fn still_for(&self, long: Duration) {
        loop {
            let last = *self.0.lock();
            let until = last + long;
            if rt::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn each_move_begins_it_anew() {
        let moved = Moved::new();
        let began = rt::now();
        let (also, mut still) = (moved.clone(), Box::pin(moved.still_for(MINUTE)));
        for _ in 0..3 {
            assert!(tokio::time::timeout(MINUTE / 2, &mut still).await.is_err());
            also.now();
        }
        still.await;
        assert_eq!(began.elapsed(), MINUTE / 2 * 5);
    }
}
