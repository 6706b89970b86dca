//! What the benches share: servers as child processes, closed loops of load, and tables.
//!
//! Generator and server are separate processes. Both sides of a comparison are driven by the same
//! code with the same number in flight, in turn (A B A B ...), each round on a server that starts
//! with an empty data folder. Nothing here decides whether a figure is good: it prints what it saw
//! beside what was asked for.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub(crate) mod bare;
pub(crate) mod checking;
pub(crate) mod encrypted;
pub(crate) mod etcd;
pub(crate) mod fleet;
pub(crate) mod followers;
pub(crate) mod keepalive;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod pair;
#[path = "../tests/server/pki.rs"]
pub(crate) mod pki;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod reporting;
pub(crate) mod settings;
pub(crate) mod wire;

use tokio::signal::unix::{SignalKind, signal};

/// What a bench answers: any failure ends it with its message.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs the generator on one thread, so that a server with one thread has a core of its own.
///
/// Ends early on SIGINT and SIGTERM, so that the servers are dropped, and with that ended, by then too.
pub(crate) fn run<T>(generator: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            biased;
            _ = terminate.recv() => Err("ended by SIGTERM".into()),
            _ = interrupt.recv() => Err("ended by SIGINT".into()),
            done = generator => done,
        }
    })
}
