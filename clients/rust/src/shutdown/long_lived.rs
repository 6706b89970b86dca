//! A stream that ends only when it is told to, and how it is told.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use super::{Counted, Stage};
use crate::rules::Phase;

/// A stream or connection that is counted until this is dropped, and hears when it is to end.
#[derive(Debug)]
#[must_use = "the stream counts as closed when this is dropped"]
pub struct LongLived {
    _counted: Counted,
    stage: watch::Receiver<Stage>,
    last_word: Duration,
}

/// It is time for a last message, and then to close.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "send the last message, then close"]
pub struct Goodbye {
    cause: String,
    last_word: Duration,
}

impl LongLived {
    pub(super) fn new(counted: Counted, stage: watch::Receiver<Stage>, last_word: Duration) -> Self {
        Self { _counted: counted, stage, last_word }
    }

    /// Waits until it is to end. Cancel safe.
    ///
    /// ```no_run
    /// # use seaworthy_client::shutdown::LongLived;
    /// # async fn next_message() {}
    /// # async fn send(_: &str) {}
    /// async fn serve(mut stream: LongLived) {
    ///     loop {
    ///         tokio::select! {
    ///             () = next_message() => send("news").await,
    ///             goodbye = stream.closing() => {
    ///                 send("going away, connect again").await;
    ///                 goodbye.pause().await; // the peer has half a second to take it
    ///                 return; // closes
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn closing(&mut self) -> Goodbye {
        // Nobody is there to go on: that is an end as well.
        let cause = match self.stage.wait_for(|stage| stage.phase >= Phase::StopAcceptingRequests).await {
            Ok(stage) => stage.cause.clone(),
            Err(_) => String::new(),
        };
        Goodbye { cause, last_word: self.last_word }
    }
}

impl Goodbye {
    /// Why the service ends.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Waits for as long as a peer gets to take the last message, before it is closed.
    pub async fn pause(self) {
        sleep(self.last_word).await;
    }
}
