//! Tasks with names and owners: the only place of the server that spawns.
//!
//! A [`Task`] is stopped when its owner drops it, so nothing outlives what it belongs to. A task whose
//! end means that the server cannot go on says so by [`OnEnd::Fatal`]; a panic is always logged.

pub mod drain;
pub mod last_waker;
pub mod local;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tracing::{Instrument as _, debug, error, error_span};

/// What the end of a task means.
#[derive(Clone, Debug)]
pub enum OnEnd {
    /// It may end whenever it is done.
    Fine,
    /// The server must stop: the task should have run until the drain.
    Fatal(Fatal),
}

/// Tells the server that a task it cannot do without has ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fatal(watch::Sender<Option<&'static str>>);

impl Fatal {
    /// Nothing has ended yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Says that the named task has ended.
    pub fn raise(&self, name: &'static str) {
        self.0.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(name);
            }
            first
        });
    }

    /// Waits until a task has ended, and answers its name. Cancel safe.
    pub async fn raised(&self) -> &'static str {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(name) = *receiver.borrow_and_update() {
                return name;
            }
            // `self` holds a sender, so the channel cannot close while we wait.
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Default for Fatal {
    fn default() -> Self {
        Self::new()
    }
}

/// A running task. Dropping it stops the task at its next await.
#[must_use = "a task stops when its owner drops it"]
pub struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

/// The task panicked or was stopped.
#[derive(Debug, thiserror::Error)]
#[error("task {0} ended early")]
pub struct EndedEarly(pub &'static str);

/// Runs a future on the runtime under a name.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub fn spawn<F>(name: &'static str, on_end: OnEnd, future: F) -> Task<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let guard = EndGuard { name, on_end, done: false };
    let watched = async move {
        let mut guard = guard;
        let output = future.await;
        guard.done = true;
        output
    };
    Task { name, handle: tokio::spawn(watched.instrument(error_span!("task", name))) }
}

/// Runs a closure that blocks (files, the embedded store) on the runtime's pool for that.
///
/// # Errors
/// The closure panicked, or the runtime stops.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EndedEarly> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| {
        error!(task = name, %cause, "blocking task ended early");
        EndedEarly(name)
    })
}

/// The same, begun at once: for work that goes on while its owner does something else. Dropping it does not stop what has
/// begun.
#[allow(clippy::disallowed_methods)] // the one place that spawns
pub fn begin_blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Task<T> {
    let guarded = move || {
        let mut guard = EndGuard { name, on_end: OnEnd::Fine, done: false };
        let output = work();
        guard.done = true;
        output
    };
    Task { name, handle: tokio::task::spawn_blocking(guarded) }
}

/// Runs a closure on a thread of its own, for work that blocks for long. Its end means what `on_end` says,
/// by a panic too.
///
/// # Errors
/// The operating system gives no thread.
pub fn thread(
    name: &'static str,
    on_end: OnEnd,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    let guarded = move || {
        let mut guard = EndGuard { name, on_end, done: false };
        work();
        guard.done = true;
    };
    thread::Builder::new().name(name.to_owned()).spawn(guarded)
}

/// A runtime for one thread that must go on when the runtime of the process is stuck.
///
/// # Errors
/// The operating system gives no means to wait.
pub fn small_runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Tasks of one kind that belong together, such as connections. Dropping the group stops them all.
#[derive(Debug)]
pub struct Group<T: 'static> {
    name: &'static str,
    tasks: JoinSet<T>,
}

impl<T: Send + 'static> Group<T> {
    /// No tasks yet; each will carry this name.
    pub fn new(name: &'static str) -> Self {
        Self { name, tasks: JoinSet::new() }
    }

    /// Runs one more.
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.tasks.spawn(future);
    }

    /// How many run, or have ended and not been collected.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for the next one to end; None if there is none. One that panicked is logged, and its
    /// output is lost: `Some(None)`. Cancel safe.
    pub async fn next(&mut self) -> Option<Option<T>> {
        Some(match self.tasks.join_next().await? {
            Ok(output) => Some(output),
            Err(ended) => {
                if ended.is_panic() {
                    error!(task = self.name, "task panicked");
                }
                None
            }
        })
    }

    /// Stops all at their next await, and waits until they have.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Says how a task ended when it is dropped: done, stopped or panicked.
struct EndGuard {
    name: &'static str,
    on_end: OnEnd,
    done: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            error!(task = self.name, "task panicked");
        } else if !self.done {
            debug!(task = self.name, "task stopped by its owner");
            return;
        }
        if let OnEnd::Fatal(fatal) = &self.on_end {
            fatal.raise(self.name);
        }
    }
}

impl<T> Task<T> {
    /// Stops it at its next await.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, EndedEarly>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.handle).poll(cx).map(|joined| joined.map_err(|_| EndedEarly(name)))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_the_owner_stops_the_task() {
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let task = spawn("idle", OnEnd::Fine, async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(task);
        assert!(ended.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_raised_with_its_name() {
        let fatal = Fatal::new();
        let panicked = thread("third", OnEnd::Fatal(fatal.clone()), || panic!("on purpose")).unwrap();
        assert_eq!(fatal.raised().await, "third");
        assert!(panicked.join().is_err());
    }

    #[tokio::test]
    async fn the_end_of_a_fatal_task_is_raised_with_its_name() {
        let fatal = Fatal::new();
        let _first = spawn("first", OnEnd::Fatal(fatal.clone()), async {});
        assert_eq!(fatal.raised().await, "first");
        let panicked = spawn("second", OnEnd::Fatal(fatal.clone()), async { panic!("on purpose") });
        assert!(panicked.await.is_err());
        assert_eq!(fatal.raised().await, "first");
    }
}
