//! The real binary as a process of its own, for tests that signal it, kill it, or read all that it writes. Each of them
//! starts it with what it needs; a test that needs no process runs the server within itself (`server/harness.rs`).

use std::{
    fs,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that the process does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane in a folder of its own, ended when dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) dir: TempDir,
    /// Where it listens; empty before it serves.
    pub(crate) grpc: String,
    pub(crate) http: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Serving {
    /// Waits until it serves: until there is `ready` in its folder, the ready file that it was started with.
    pub(crate) fn ready(dir: TempDir, child: Child) -> Self {
        let mut serving = Self { child, dir, grpc: String::new(), http: String::new() };
        (serving.grpc, serving.http) = until("ready", || addresses(&serving.dir.path().join("ready")));
        serving
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }
}

fn addresses(ready: &Path) -> Option<(String, String)> {
    let ready: Value = serde_json::from_slice(&fs::read(ready).ok()?).ok()?;
    Some((ready["grpc"].as_str()?.to_owned(), ready["http"].as_str()?.to_owned()))
}

/// Waits for a condition of the process, looking again every few milliseconds.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
