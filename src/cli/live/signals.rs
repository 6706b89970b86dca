//! What a terminal program is told by signals while it draws, Ctrl-C aside.

use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{self, SignalKind, signal};

use crate::cli::{exit::Ending, failure::Failure};

/// What it was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// The terminal has another size.
    Resized,
    /// End.
    Stop(Ending),
    /// Ctrl-Z.
    Suspend,
}

/// Hears them for as long as it lives.
#[derive(Debug)]
pub(crate) struct Signals {
    resized: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    suspend: unix::Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|cause| Failure::Internal(format!("cannot listen to signals: {cause}")))
        };
        Ok(Self {
            resized: listen(SignalKind::window_change())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            suspend: listen(SignalKind::from_raw(Number::TSTP.as_raw()))?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.resized.recv() => Signal::Resized,
            _ = self.terminate.recv() => Signal::Stop(Ending::Terminate),
            _ = self.hangup.recv() => Signal::Stop(Ending::Hangup),
            _ = self.quit.recv() => Signal::Stop(Ending::Quit),
            _ = self.suspend.recv() => Signal::Suspend,
        }
    }
}

/// Stops this process as Ctrl-Z would have, until the shell lets it go on.
pub(crate) fn suspend() {
    // A process may always stop itself.
    kill_process(getpid(), Number::STOP).ok();
}
