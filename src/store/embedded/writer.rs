//! The one thread that writes: it takes what waits, decides, makes it durable, and answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{
    Shared,
    disk::{Medium, OpenError, Opened},
    tables::{Done, Writing},
};
use crate::{
    error::Result,
    store::{Commit, LeaseId, lock::DataDir, problem},
    time::Mono,
};

/// Most requests of one group: bounds how long the first waits for the last.
const GROUP_REQUESTS: usize = 1024;
/// Most bytes of one group, give or take one commit.
const GROUP_BYTES: usize = 4 << 20;

/// What the writer is asked to do.
#[derive(Debug)]
pub(in crate::store) enum Work {
    Commit(Commit),
    Grant {
        ttl: Duration,
    },
    Revoke(LeaseId),
    /// Ends leases that have run out, unless they were renewed meanwhile.
    Expire(Vec<LeaseId>),
    /// Opens the database anew if writing or reading failed.
    Reopen,
    /// Nothing: wakes the writer to see that it shall close.
    Wake,
}

/// Work, when it was handed over, and who waits for the answer: a revision or a lease.
#[derive(Debug)]
pub(in crate::store) struct Request {
    pub(super) work: Work,
    /// The writer goes by its callers' time: a thread outside the runtime cannot see it paused.
    pub(super) at: Mono,
    pub(super) answer: Option<oneshot::Sender<Result<u64>>>,
}

impl Request {
    pub(super) fn wake() -> Self {
        Self { work: Work::Wake, at: Mono::default(), answer: None }
    }

    /// Answers, if somebody still waits.
    fn answer(self, answer: Result<u64>) {
        if let Some(waiting) = self.answer {
            drop(waiting.send(answer));
        }
    }
}

/// A group that is durable, with an answer for each of its requests.
struct Written {
    answers: Vec<Result<u64>>,
    done: Done,
    granted: Vec<(LeaseId, Duration)>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    medium: Medium,
    queue: mpsc::Receiver<Request>,
    /// The folder is held for as long as this thread may write to it.
    _dir: DataDir,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        medium: Medium,
        queue: mpsc::Receiver<Request>,
        dir: DataDir,
    ) -> Self {
        Self { shared, medium, queue, _dir: dir }
    }

    /// Runs until the engine is closed and everything handed over is answered.
    pub(super) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let mut group = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            self.gather(first, &mut group);
            self.serve(&mut group);
            if self.shared.closing.load(Ordering::Acquire) {
                // Nobody can hand over any more; what is in the queue is still served.
                self.queue.close();
            }
        }
        info!(revision = self.shared.ring.head(), "store closed");
    }

    /// Takes everything that waits, up to the size of a group. Never waits itself.
    fn gather(&mut self, first: Request, group: &mut Vec<Request>) {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            if let Work::Commit(commit) = &request.work {
                bytes += commit.size();
            }
            group.push(request);
            let full = group.len() >= GROUP_REQUESTS || bytes >= GROUP_BYTES;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
    }

    fn serve(&mut self, group: &mut Vec<Request>) {
        let now = group.iter().map(|request| request.at).max().unwrap_or_default();
        if group.iter().any(|request| matches!(request.work, Work::Reopen)) {
            self.reopen(now);
        }
        if !self.shared.writable.load(Ordering::Acquire) {
            for request in group.drain(..) {
                request.answer(Err(problem::refused("is read-only, because writing failed")));
            }
            return;
        }
        // The writer alone replaces the database, so holding it for reading holds up nobody.
        let outcome = match self.shared.database.read().as_ref() {
            Some(database) => self.write(database, group),
            None => Err(redb::Error::DatabaseClosed),
        };
        match outcome {
            Ok(written) => self.acknowledge(written, group, now),
            Err(cause) => self.fail(&cause, group, now),
        }
    }

    /// Decides each request of a group against what those before it did, and makes all durable at once.
    fn write(&self, database: &Database, group: &[Request]) -> Result<Written, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut granted = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut writing = Writing::begin(&transaction)?;
        for request in group {
            answers.push(match &request.work {
                Work::Commit(commit) => writing.commit(commit)?,
                Work::Grant { ttl } => {
                    let id = writing.grant(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))?;
                    granted.push((id, *ttl));
                    Ok(id.0)
                }
                Work::Revoke(lease) => {
                    self.shared.leases.remove(*lease);
                    writing.end_lease(*lease)?;
                    Ok(writing.revision())
                }
                Work::Expire(leases) => {
                    for lease in leases {
                        if self.shared.leases.remove_if_due(*lease, request.at) {
                            writing.end_lease(*lease)?;
                        }
                    }
                    Ok(writing.revision())
                }
                Work::Reopen | Work::Wake => Ok(writing.revision()),
            });
        }
        let done = writing.finish()?;
        match done.keys {
            Some(_) => transaction.commit()?,
            None => transaction.abort()?,
        }
        Ok(Written { answers, done, granted })
    }

    fn acknowledge(&self, written: Written, group: &mut Vec<Request>, now: Mono) {
        let shared = &self.shared;
        let done = written.done;
        if let Some(keys) = done.keys {
            shared.set_keys(keys);
            shared.counting.changed(done.puts, done.deletes);
            // Before the answers: who is told of a commit finds it in the watches too.
            shared.ring.publish(done.events, done.revision);
        }
        for (id, ttl) in &written.granted {
            shared.leases.insert(*id, *ttl, now);
        }
        if !written.granted.is_empty() {
            shared.attention.notify_one();
        }
        for (request, answer) in group.drain(..).zip(written.answers) {
            request.answer(answer);
        }
    }

    /// Answers a group whose outcome is unknown, and sees at once whether the medium is back.
    fn fail(&self, cause: &redb::Error, group: &mut Vec<Request>, now: Mono) {
        error!(%cause, requests = group.len(), "store write failed: read-only until a write succeeds");
        self.shared.writable.store(false, Ordering::Release);
        self.reopen(now);
        for request in group.drain(..) {
            let text = cause.to_string();
            request.answer(Err(problem::medium("could not write; the outcome is unknown", text)));
        }
        self.shared.attention.notify_one();
    }

    /// Opens the database anew after a failure: for writing if a probe succeeds, else for reading.
    fn reopen(&self, now: Mono) {
        if self.shared.writable.load(Ordering::Acquire) {
            return;
        }
        let mut database = self.shared.database.write();
        // The old one goes first: two must never have the file at once.
        drop(database.take());
        let opened = match self.medium.open_and_probe() {
            Ok(opened) => {
                info!(revision = opened.state.revision, "store is writable again");
                self.shared.writable.store(true, Ordering::Release);
                Ok(opened)
            }
            Err(cause) => {
                warn!(%cause, "store stays read-only");
                self.medium.open_shadow()
            }
        };
        self.replace(&mut database, opened, now);
    }

    fn replace(&self, database: &mut Option<Database>, opened: Result<Opened, OpenError>, now: Mono) {
        match opened {
            Ok(Opened { database: new, state }) => {
                if state.revision < self.shared.ring.head() {
                    error!(
                        found = state.revision,
                        acknowledged = self.shared.ring.head(),
                        "the medium lost acknowledged commits"
                    );
                }
                *database = Some(new);
                self.shared.take_state(&state, now);
            }
            Err(cause) => error!(%cause, "store cannot even be read"),
        }
    }
}

/// Closes the database when the writer ends, by a panic too, so that nobody takes it for alive.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.closing.store(true, Ordering::Release);
        drop(self.0.database.write().take());
    }
}
