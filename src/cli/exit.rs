//! Exit codes of every command but `probe`: a promise to scripts, documented in `seaworthy --help`.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It was done.
    Done,
    /// It was answered, and the answer is no: unhealthy, not ready, or the user did not confirm.
    No,
    /// The command line is wrong.
    Usage,
    /// There is no such thing.
    NotFound,
    /// The server cannot be reached, or does not answer in time.
    Unreachable,
    /// The server refused.
    Refused,
    /// An operation that was followed was done in part.
    InPart,
    /// An operation that was followed failed.
    Failed,
    /// An operation that was followed was cancelled.
    Cancelled,
    /// The configuration is invalid.
    Config,
    /// A bug, or an operating system that does not do its part.
    Internal,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// A view was told to end, and has put the terminal back.
    Ended(Ending),
    /// A code of `probe`, which has its own.
    Probe(u8),
}

/// What else than Ctrl-C ends a view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// SIGHUP: the terminal was closed.
    Hangup,
    /// SIGQUIT: Ctrl-\.
    Quit,
    /// SIGTERM.
    Terminate,
}

impl Exit {
    /// The number that the caller of the process sees.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Unreachable => 4,
            Exit::Refused => 5,
            Exit::InPart => 6,
            Exit::Failed => 7,
            Exit::Cancelled => 8,
            Exit::Config => 64,
            Exit::Internal => 70,
            // As a shell tells the signal that ended a program: 128 and its number.
            Exit::Ended(Ending::Hangup) => 129,
            Exit::Interrupted => 130,
            Exit::Ended(Ending::Quit) => 131,
            Exit::Ended(Ending::Terminate) => 143,
            Exit::Probe(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
