//! Reads a secret from the standard input: all of it, or a line from a person, who does not see what is typed.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    pin::pin,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use seaworthy_client::transport::Secret;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    failure::Failure,
    live::signals::{Signal, Signals, suspend},
};
use crate::task::{self, EndedEarly};

/// Most bytes of a secret that are read.
const LONGEST: u64 = 16 << 10;

/// Whether somebody is there to be asked.
pub(crate) fn is_somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a secret, and asks for it by `question` where somebody types. A signal that ends it leaves the terminal as it was.
///
/// # Errors
/// There is none, it cannot be read, or it was told to end.
pub(crate) async fn secret(question: &str) -> Result<Secret, Failure> {
    let text = if is_somebody_there() {
        ask(question).await?
    } else {
        // A thread, for it waits for as long as whoever writes takes.
        task::blocking("secret", || read(false)).await
    };
    let text =
        text.map_err(|_| Failure::Internal("the reader of the standard input broke down".to_owned()))?;
    let text = text.map_err(|cause| Failure::Usage(format!("cannot read the standard input: {cause}")))?;
    match text.trim() {
        "" => Err(Failure::Usage("nothing was given on the standard input".to_owned())),
        text => Ok(Secret::new(text)),
    }
}

type Read = Result<io::Result<String>, EndedEarly>;

async fn ask(question: &str) -> Result<Read, Failure> {
    let cannot = |cause| Failure::Internal(format!("cannot listen to signals: {cause}"));
    // First: whoever is ended once nothing is shown any more would leave the terminal so.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut signals = Signals::listen()?;
    let mut hidden = Hidden::ask(question)?;
    let mut reading = pin!(task::blocking("secret", || read(true)));
    loop {
        let signal = tokio::select! {
            text = &mut reading => return Ok(text),
            _ = interrupt.recv() => return Err(Failure::Interrupted),
            signal = signals.next() => signal,
        };
        match signal {
            Signal::Resized => {}
            Signal::Stop(ending) => return Err(Failure::Ended(ending)),
            Signal::Suspend => {
                drop(hidden);
                suspend();
                hidden = Hidden::ask(question)?;
            }
        }
    }
}

fn read(line: bool) -> io::Result<String> {
    let mut text = String::new();
    let mut input = io::stdin().lock().take(LONGEST);
    if line {
        input.read_line(&mut text)?
    } else {
        input.read_to_string(&mut text)?
    };
    Ok(text)
}

/// A terminal that does not show what is typed. It does again once this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn ask(question: &str) -> Result<Self, Failure> {
        let cannot = |cause: io::Error| Failure::Internal(format!("cannot ask at the terminal: {cause}"));
        let before = tcgetattr(io::stdin()).map_err(|cause| cannot(cause.into()))?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // First, so that nothing that is typed ahead is shown.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).map_err(|cause| cannot(cause.into()))?;
        let hidden = Self(before);
        write!(io::stderr(), "{question}: ").map_err(cannot)?;
        Ok(hidden)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put back; else the end of the line that was not shown is due.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
        drop(writeln!(io::stderr()));
    }
}
