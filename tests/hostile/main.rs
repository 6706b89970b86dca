//! Clients that mean harm, against the binary: each is refused or ended as documented, costs the server a
//! bounded amount of memory, and does not take the answers of a good client away.
//!
//! The server is a process of its own, so that its memory can be told from the test's. What is bounded is
//! counted: frames, bytes, answers; no assertion is timed. What `tests/server` shows already (`limits`, `slow`,
//! `unread`, `bad_bytes`, `wrong_port`) is not shown again.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic
)]

mod good;
mod hpack;
mod raw;
mod spelled;
mod victim;

mod bodies;
mod connections;
mod frames;
mod headers;
mod http1;
mod messages;
mod reflection;
mod resets;
mod sessions;
mod unread;
