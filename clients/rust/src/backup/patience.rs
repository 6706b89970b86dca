//! How long a transfer is tried without getting anywhere. The clock is tokio's, so that tests can pause it.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{TransferError, carry::Ended};
use crate::rt::{self, backoff::Backoff};

/// How long a transfer may get nowhere.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// How long connecting and opening may take together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause before the first try after one that got somewhere.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Counts from the last step ahead.
#[derive(Debug)]
pub(crate) struct Patience {
    since: Instant,
    backoff: Backoff,
    last: String,
}

impl Patience {
    /// Two minutes, from now on.
    pub(crate) fn new() -> Self {
        Self { since: rt::now(), backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), last: "none".to_owned() }
    }

    /// It got somewhere, or there was nothing to do until now.
    pub(super) fn renew(&mut self) {
        self.since = rt::now();
        self.backoff.reset();
    }

    /// When it is over.
    pub(super) fn until(&self) -> Instant {
        self.since + GIVE_UP_AFTER
    }

    /// Opens a stream, within a time of its own.
    pub(super) async fn opening<T>(&self, open: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
        let by = self.until().min(rt::now() + OPEN_TIMEOUT);
        let opened = timeout_at(by, open).await;
        opened.map_err(|_| Ended::broken(format!("it was not open within {OPEN_TIMEOUT:?}")))?
    }

    /// What to say when it is over.
    pub(super) fn over(&self) -> TransferError {
        TransferError::GaveUp { after: GIVE_UP_AFTER, message: self.last.clone() }
    }

    /// When to try again after a try that failed like this; the control plane may have asked for a pause.
    pub(super) fn again(&mut self, why: String, asked: Option<Duration>) -> Result<Instant, TransferError> {
        self.last = why;
        let own = self.backoff.next(rt::random());
        let pause = asked.map_or(own, |asked| asked.clamp(own, GIVE_UP_AFTER / 4));
        let again = rt::now() + pause;
        if again >= self.until() { Err(self.over()) } else { Ok(again) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_two_minutes_after_the_last_step() {
        let mut patience = Patience::new();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(patience.again("refused".into(), None).is_ok());
        patience.renew();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(patience.again("refused".into(), None).is_ok());
        tokio::time::advance(Duration::from_secs(20)).await;
        let over = patience.again("no route".into(), None).expect_err("over");
        assert_eq!(over.to_string(), "nothing got through for 120s; the last try: no route");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_kept_within_reason() {
        let mut patience = Patience::new();
        let asked = patience.again("busy".into(), Some(Duration::from_secs(7))).expect("time is left");
        assert_eq!(asked - rt::now(), Duration::from_secs(7));
        let asked = patience.again("busy".into(), Some(Duration::from_secs(7000))).expect("time is left");
        assert_eq!(asked - rt::now(), GIVE_UP_AFTER / 4);
    }
}
