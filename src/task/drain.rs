//! Tells everything that it is time to end, and knows when everything has.
//!
//! One [`Signal`], many [`Watch`]es: whoever holds a watch is waited for. Says nothing of phases or
//! deadlines: `server::shutdown` owns those.

use tokio::sync::{mpsc, watch};

/// Starts a drain and waits for it.
#[derive(Debug)]
pub struct Signal {
    begun: watch::Sender<bool>,
    held: mpsc::Receiver<()>,
}

/// Sees the drain begin; the drain ends only when every watch is dropped. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    begun: watch::Receiver<bool>,
    // Nothing is ever sent: the channel closes when the last clone is dropped.
    _held: mpsc::Sender<()>,
}

/// A signal and the first of its watches.
pub fn channel() -> (Signal, Watch) {
    let (begun, receiver) = watch::channel(false);
    let (hold, held) = mpsc::channel(1);
    (Signal { begun, held }, Watch { begun: receiver, _held: hold })
}

impl Signal {
    /// Tells every watch. Returns at once; may be called again.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Tells every watch, then waits until all are dropped. Cancel safe; bound it with a deadline.
    pub async fn drained(&mut self) {
        self.begin();
        while self.held.recv().await.is_some() {}
    }
}

impl Watch {
    /// Waits until the drain begins. Cancel safe.
    pub async fn begun(&mut self) {
        // An error means that the signal is gone, and with it the server: that is a drain as well.
        if self.begun.wait_for(|begun| *begun).await.is_err() {}
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn waits_for_every_watch() {
        let (mut signal, watch) = channel();
        let mut other = watch.clone();
        assert!(!other.has_begun());
        drop(watch);
        assert!(tokio::time::timeout(Duration::from_secs(9), signal.drained()).await.is_err());
        other.begun().await;
        drop(other);
        signal.drained().await;
    }

    #[tokio::test]
    async fn a_lost_signal_is_a_drain() {
        let (signal, mut watch) = channel();
        drop(signal);
        watch.begun().await;
    }
}
