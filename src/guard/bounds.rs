//! How many bytes the server holds for others: every number of it, in one table.
//!
//! Without the bound of a peer, one with enough connections would take the room of all the others. Without the reserve,
//! whoever fills what is shared would take the signs of life of everybody along.

use crate::config::LARGEST_MESSAGE;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How many bytes may be held. What is held alone may always be, whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For one connection.
    pub connection: usize,
    /// For all connections of one peer.
    pub peer: usize,
    /// In all.
    pub all: usize,
    /// What each connection has beside these, for what must not be refused where others have filled them.
    pub reserve: usize,
}

/// Answers that wait to be taken: on one connection a dozen of the largest pages.
pub const ANSWERS: Bounds = Bounds { connection: 16 * MIB, peer: 64 * MIB, all: 256 * MIB, reserve: MIB };

/// Messages that have begun to come: on one connection four of the largest, at the default.
pub const QUESTIONS: Bounds = Bounds { connection: 16 * MIB, peer: 64 * MIB, all: 256 * MIB, reserve: MIB };

/// Bytes of data in one message of an upload or a download.
pub const DATA: usize = 2 * MIB;

/// Longest message that carries them: with what stands beside the data. Whatever `grpc.max_message_bytes` is, it can come.
pub const UPLOAD_MESSAGE: usize = DATA + 64 * KIB;

/// What one upload takes at the most: a message is counted until the next has ended, so that two are.
const UPLOAD: usize = 2 * UPLOAD_MESSAGE;

/// Connections for much data at once, in all. What comes beyond these is taken as on all others.
pub const BULK_CONNECTIONS: usize = 64;

/// The same, of one peer.
pub const BULK_CONNECTIONS_OF_PEER: usize = 8;

/// Messages that have begun to come on connections for much data, beside `QUESTIONS`, so that neither takes the room of the
/// other: who fills these delays no registration, and who fills those no backup. Each connection has room for four uploads,
/// each peer for two on each of its connections, and all together for one on each: whoever keeps within that is never
/// refused. Whoever means harm has as much as that, once more than on other connections, and no more; and what it has sent
/// and nobody has read yet, which is bounded by the window of the connection: 8 MiB, that is 64 MiB of one peer.
pub const BULK_QUESTIONS: Bounds = Bounds {
    connection: 4 * UPLOAD,
    peer: 2 * BULK_CONNECTIONS_OF_PEER * UPLOAD,
    all: BULK_CONNECTIONS * UPLOAD,
    reserve: MIB,
};

/// Answers on such connections: of a download as of an upload, a message waits while another one is written.
pub const BULK_ANSWERS: Bounds = BULK_QUESTIONS;

/// Bytes of uploads and downloads that are in work for one identity, over all of its connections: a dozen transfers and more
/// go on at full speed with it.
pub const IDENTITY_TRANSFERS: usize = 64 * MIB;

/// Smaller pieces of answers are neither counted nor refused, so that most answers are spared the work.
pub const COUNTED_ANSWER: usize = 4 * KIB;

/// What may wait on one stream for a transport that takes nothing, beside the last piece. It bounds what is not counted.
pub const SEND_BUFFER: usize = 32 * KIB;

/// Shorter messages are neither counted nor refused, so that most are spared the work: those of all streams of a
/// connection are 2 MiB, at the default number of streams, and as many times more as that is raised.
pub const COUNTED_QUESTION: usize = 16 * KIB;

/// Longest message that may come into the reserve: twice what 1,000 heartbeats take.
pub const MODEST_QUESTION: usize = 256 * KIB;

/// Shorter messages of a stream share a buffer with their neighbours, in bytes; each longer one has a buffer of its own,
/// which is let go with the next.
pub const SMALL_QUESTION: usize = 256;

/// Small messages of a stream that are handed on together, in bytes: twice that, and a message, is what their buffer
/// grows to, which stays.
pub const SMALL_QUESTIONS: usize = 1024;

/// Streams of a connection, at the default.
const STREAMS: usize = 128;

// What is allowed can come, and nobody has the room of all.
const _: () = assert!(LARGEST_MESSAGE <= QUESTIONS.peer && QUESTIONS.peer <= QUESTIONS.all / 4);
const _: () = assert!(ANSWERS.connection <= ANSWERS.peer && ANSWERS.peer <= ANSWERS.all / 4);
const _: () = assert!(BULK_QUESTIONS.connection <= BULK_QUESTIONS.peer);
const _: () = assert!(BULK_QUESTIONS.peer <= BULK_QUESTIONS.all / 4);
// The reserve holds more than one of what it is for.
const _: () = assert!(COUNTED_QUESTION <= MODEST_QUESTION && 2 * MODEST_QUESTION <= QUESTIONS.reserve);
const _: () = assert!(STREAMS * COUNTED_QUESTION == 2 * MIB);
// What is not counted is little beside what is.
const _: () = assert!(STREAMS * (SEND_BUFFER + COUNTED_ANSWER) < ANSWERS.connection / 3);
