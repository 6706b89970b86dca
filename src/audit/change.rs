//! A change and its two entries: RECEIVED before anything is done, COMPLETED before the caller is told.
//!
//! It runs in a task of its own, which the room owns: a caller that goes away in the middle loses its answer, never the
//! second entry.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, TryAcquireError, mpsc, oneshot},
    time::timeout,
};

use super::{Call, Handle, Shared, entry::Draft, writer::Request};
use crate::{
    error::{Error, Kind, Reason, Result},
    task::{Group, drain},
};

/// How long an entry may take to be written.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to come back where there is too much to do, or nothing is written in time.
const COME_BACK: Duration = Duration::from_secs(1);

/// A change with its entries.
pub(super) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Handle {
    /// Makes a change that is written down: nothing is done unless it is in the audit that it is about to be, and nobody
    /// is told before it is in the audit how it came out. `done` says in a few words what was done.
    ///
    /// Cancel safe: a change that has begun is finished and written down without its caller.
    ///
    /// # Errors
    /// That of the change. `AuditUnavailable`: the audit cannot be written, and nothing was done; with `outcome: changed`
    /// in the metadata it was, and is not in the audit yet.
    pub async fn change<T, F>(
        &self,
        call: Call,
        change: F,
        done: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let place =
            Arc::clone(&self.shared.changes).try_acquire_owned().map_err(|refused| match refused {
                TryAcquireError::NoPermits => busy(),
                TryAcquireError::Closed => stopping(),
            })?;
        let (answer, answered) = oneshot::channel();
        let pen = Pen { entries: self.entries.clone() };
        let job = async move {
            drop(answer.send(carry_out(&pen, call, change, done).await));
            drop::<OwnedSemaphorePermit>(place);
        };
        // There is room for as many as have a place.
        self.jobs.try_send(Box::pin(job)).map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(Error::internal("a change ended early")))
    }
}

/// Writes entries and waits for them.
struct Pen {
    entries: mpsc::Sender<Request>,
}

/// The place of the second entry in the queue, held before anything is done: however long the first ones take, there is
/// room for it. Dropped before it is used, by a panic or because the runtime stops, it says that the change ended early.
struct Completion {
    call: Call,
    place: Option<mpsc::OwnedPermit<Request>>,
}

impl Pen {
    async fn reserve(&self) -> Result<mpsc::OwnedPermit<Request>> {
        within_patience(async { self.entries.clone().reserve_owned().await.map_err(|_| stopping()) }).await
    }

    async fn write(&self, draft: Draft) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        within_patience(async {
            self.entries.send(Request { draft, answer: Some(answer) }).await.map_err(|_| stopping())?;
            answered.await.unwrap_or_else(|_| Err(stopping()))
        })
        .await
    }
}

impl Completion {
    /// Writes the second entry.
    async fn write(mut self, outcome: Result<String, &Error>) -> Result<()> {
        let Some(place) = self.place.take() else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        let draft = Draft::completed(self.call.clone(), outcome);
        place.send(Request { draft, answer: Some(answer) });
        within_patience(async { answered.await.unwrap_or_else(|_| Err(stopping())) }).await
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let draft = Draft::completed(self.call.clone(), Err(&Error::internal("it ended early")));
            place.send(Request { draft, answer: None });
        }
    }
}

async fn within_patience<T>(written: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, written).await.unwrap_or_else(|_| {
        Err(unavailable(format!("the audit was not written within {PATIENCE:?}, so nothing was done")))
    })
}

async fn carry_out<T>(
    pen: &Pen,
    call: Call,
    change: impl Future<Output = Result<T>>,
    done: impl FnOnce(&T) -> String,
) -> Result<T> {
    let place = pen.reserve().await?;
    pen.write(Draft::received(call.clone())).await?;
    let completion = Completion { call, place: Some(place) };
    let outcome = change.await;
    let written = completion.write(outcome.as_ref().map(done)).await;
    match (outcome, written) {
        (Ok(_), Err(unwritten)) => Err(changed(&unwritten)),
        // Why it failed matters more than that this is not written yet.
        (outcome, _) => outcome,
    }
}

/// It was done, and is not in the audit yet.
fn changed(unwritten: &Error) -> Error {
    let message = "it was done, and the audit cannot be written; the entry follows as soon as it can";
    unavailable(message).with("outcome", "changed").because(unwritten.to_string())
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, Reason::AuditUnavailable, message).retry_after(COME_BACK)
}

fn busy() -> Error {
    unavailable("too many changes are being made at once, so nothing was done; try again later")
}

fn stopping() -> Error {
    Error::new(
        Kind::Unavailable,
        Reason::ServerDraining,
        "the control plane is stopping; retry on another one or later",
    )
    .retry_after(COME_BACK)
}

/// Runs changes until the drain begins, and then until all have ended.
pub(super) async fn run(shared: &Shared, mut jobs: mpsc::Receiver<Job>, mut drain: drain::Watch) {
    let mut running = Group::new("audited change");
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            () = drain.begun(), if !draining => {
                // Those that have a place are finished, and no others get one.
                shared.changes.close();
                jobs.close();
                draining = true;
            }
            Some(_) = running.next(), if !running.is_empty() => {}
            job = jobs.recv() => match job {
                Some(job) => running.spawn(job),
                None => break,
            }
        }
    }
    while running.next().await.is_some() {}
}
