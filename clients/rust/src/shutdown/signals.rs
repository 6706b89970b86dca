//! Signals of the operating system that ask a process to end.

use std::io;

use tracing::warn;

/// Hears them from when it is made, so that none is lost.
#[derive(Debug)]
pub(super) struct Signals {
    heard: Option<Heard>,
}

#[cfg(unix)]
type Heard = (tokio::signal::unix::Signal, tokio::signal::unix::Signal);
#[cfg(windows)]
type Heard = (
    tokio::signal::windows::CtrlC,
    tokio::signal::windows::CtrlBreak,
    tokio::signal::windows::CtrlClose,
    tokio::signal::windows::CtrlShutdown,
);
#[cfg(not(any(unix, windows)))]
type Heard = std::convert::Infallible;

impl Signals {
    /// Begins to listen. Where that cannot be, it is logged, and the process ends by the signal as it did before.
    pub(super) fn listen() -> Self {
        let heard = listen()
            .inspect_err(|cause| warn!(%cause, "cannot listen to signals: they end the process at once"))
            .ok();
        Self { heard }
    }

    /// Waits for the next one, and answers its name. Cancel safe.
    pub(super) async fn next(&mut self) -> &'static str {
        match &mut self.heard {
            Some(heard) => next(heard).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
fn listen() -> io::Result<Heard> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

#[cfg(unix)]
async fn next((terminate, interrupt): &mut Heard) -> &'static str {
    // None ends while the runtime lives.
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(windows)]
fn listen() -> io::Result<Heard> {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    Ok((ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_shutdown()?))
}

#[cfg(windows)]
async fn next((c, brk, close, shutdown): &mut Heard) -> &'static str {
    tokio::select! {
        _ = c.recv() => "Ctrl-C",
        _ = brk.recv() => "Ctrl-Break",
        _ = close.recv() => "the window was closed",
        _ = shutdown.recv() => "the system shuts down",
    }
}

#[cfg(not(any(unix, windows)))]
fn listen() -> io::Result<Heard> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(any(unix, windows)))]
async fn next(heard: &mut Heard) -> &'static str {
    match *heard {}
}
