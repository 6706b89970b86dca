//! What is said between clients and control plane, and what happens at a moment.

use std::time::Duration;

use crate::{
    error::Reason,
    fleet::{lifecycle::Lifecycle, member::Report},
    id::TokenHash,
};

/// A client, by its place among all that there ever were.
pub(super) type Who = usize;
/// A stream between a client and the control plane.
pub(super) type Stream = u64;

/// What an incarnation proves itself by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Credentials {
    pub(super) incarnation: u64,
    pub(super) token: TokenHash,
}

/// To whom an answer goes: an attempt that was given up gets none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) who: Who,
    pub(super) attempt: u64,
}

/// To the control plane.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Register {
        from: Sender,
        slot: usize,
        request: u64,
        claim: Option<TokenHash>,
        stream: Option<Stream>,
    },
    Resume {
        from: Sender,
        slot: usize,
        stream: Stream,
        credentials: Credentials,
    },
    StreamBeat {
        from: Sender,
        stream: Stream,
    },
    StreamReport {
        from: Sender,
        stream: Stream,
        reports: Vec<Report>,
        lifecycle: Option<Lifecycle>,
    },
    StreamLeave {
        from: Sender,
        stream: Stream,
    },
    /// The other end of a stream is gone.
    StreamEnd {
        stream: Stream,
    },
    Beat {
        from: Sender,
        slot: usize,
        credentials: Credentials,
    },
    Report {
        from: Sender,
        slot: usize,
        credentials: Credentials,
        reports: Vec<Report>,
        lifecycle: Option<Lifecycle>,
    },
    Leave {
        from: Sender,
        slot: usize,
        credentials: Credentials,
    },
}

impl Message {
    pub(super) fn stream(&self) -> Option<Stream> {
        match self {
            Message::Register { stream, .. } => *stream,
            Message::Resume { stream, .. }
            | Message::StreamBeat { stream, .. }
            | Message::StreamReport { stream, .. }
            | Message::StreamLeave { stream, .. }
            | Message::StreamEnd { stream } => Some(*stream),
            Message::Beat { .. } | Message::Report { .. } | Message::Leave { .. } => None,
        }
    }

    pub(super) fn from(&self) -> Option<Sender> {
        match self {
            Message::Register { from, .. }
            | Message::Resume { from, .. }
            | Message::StreamBeat { from, .. }
            | Message::StreamReport { from, .. }
            | Message::StreamLeave { from, .. }
            | Message::Beat { from, .. }
            | Message::Report { from, .. }
            | Message::Leave { from, .. } => Some(*from),
            Message::StreamEnd { .. } => None,
        }
    }
}

/// To a client.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It is registered, and its stream is open if it asked for one.
    Registered(Credentials),
    /// It is not registered, and why.
    Unregistered(Reason, Option<Duration>),
    /// Its stream is open.
    Resumed,
    Acknowledged,
    /// A report was taken, with this lifecycle if it named one.
    Reported(Option<Lifecycle>),
    Left,
    Refused(Reason, Option<Duration>),
    /// The stream has ended, or nobody was there.
    Broken,
}

/// A client's own timers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// Begin, or try again.
    Open,
    Beat,
    Report,
    /// No answer to opening or leaving.
    GiveUp,
}

/// What happens at a moment.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Timer(Sender, Timer),
    Arrives(Message),
    Answered(Sender, Answer),
    Watcher(usize),
    /// A turn of the weather.
    Weather,
    Heal(usize),
    /// The control plane ends for good, and starts again.
    Down,
    Up,
    /// The storm is over; by the next event all is well again.
    Calm,
    Settled,
}
