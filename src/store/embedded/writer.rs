//! The one thread that writes: it takes what waits, decides, makes it durable, and answers.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{
    Shared,
    compact::Renewed,
    disk::Folder,
    group::{Done, Group},
    log::{Failure, Log},
    mark,
};
use crate::{
    error::{Error, Result},
    store::{Commit, LeaseId, Trouble, lock::DataDir, problem},
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
    /// Makes the log fit for writing again if writing failed.
    Mend,
    /// Takes over a log that was written anew, if that succeeded.
    Adopt(Option<Box<Renewed>>),
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

/// What was decided about a group: an answer for each of its requests.
struct Decided {
    answers: Vec<Result<u64>>,
    done: Done,
    granted: Vec<(LeaseId, Duration)>,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) log: Log,
    queue: mpsc::Receiver<Request>,
    /// The folder is held for as long as this thread may write to it.
    dir: DataDir,
    /// So many bytes of the log may be dead before it is written anew.
    pub(super) dead_bytes: u64,
    pub(super) renewal: Option<JoinHandle<()>>,
    renewed: Option<Option<Box<Renewed>>>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: Arc<dyn Folder>,
        log: Log,
        queue: mpsc::Receiver<Request>,
        dir: DataDir,
        dead_bytes: u64,
    ) -> Self {
        Self { shared, folder, log, queue, dir, dead_bytes, renewal: None, renewed: None }
    }

    /// Runs until the engine is closed and everything handed over is answered.
    pub(super) fn run(mut self) {
        let ending = Ending(Arc::clone(&self.shared));
        let mut group = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            self.gather(first, &mut group);
            self.serve(&mut group);
            if let Some(renewed) = self.renewed.take() {
                self.adopt(renewed);
            }
            if self.shared.closing.load(Ordering::Acquire) {
                // Nobody can hand over any more; what is in the queue is still served.
                self.queue.close();
            }
        }
        self.finish();
        drop(ending);
    }

    fn finish(mut self) {
        if let Some(renewal) = self.renewal.take() {
            // It sees that the store closes, and its panic is in the log already.
            drop(renewal.join());
            self.forget_renewed();
        }
        if self.shared.undone.load(Ordering::Acquire) && self.shared.ring.head() == 0 {
            self.dir.undo();
            return;
        }
        self.write_mark();
        info!(component = "store", revision = self.shared.ring.head(), "store closed");
    }

    /// Takes everything that waits, up to the size of a group. Never waits itself.
    fn gather(&mut self, first: Request, group: &mut Vec<Request>) {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(mut request) = next {
            match &mut request.work {
                Work::Commit(commit) => bytes += commit.size(),
                Work::Adopt(renewed) => self.renewed = Some(renewed.take()),
                _ => {}
            }
            group.push(request);
            let full = group.len() >= GROUP_REQUESTS || bytes >= GROUP_BYTES;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
    }

    fn serve(&mut self, group: &mut Vec<Request>) {
        let now = group.iter().map(|request| request.at).max().unwrap_or_default();
        if group.iter().any(|request| matches!(request.work, Work::Mend)) {
            self.mend();
        }
        let trouble = *self.shared.trouble.lock();
        if let Some(trouble) = trouble {
            return answer_all(group, || problem::read_only(trouble));
        }
        let Some(mut decided) = self.decide(group) else {
            return answer_all(group, || problem::refused("is closed"));
        };
        if decided.done.frame.is_empty() {
            return answer_each(group, decided.answers);
        }
        match self.log.append(&mut decided.done.frame) {
            Ok(offset) => self.acknowledge(decided, offset, group, now),
            Err(failure) => self.fail(&failure, group, now),
        }
    }

    /// Decides each request of a group against what those before it did.
    fn decide(&self, requests: &[Request]) -> Option<Decided> {
        let table = self.shared.table.read();
        let mut group = Group::new(&table.as_ref()?.index);
        let mut granted = Vec::new();
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(match &request.work {
                Work::Commit(commit) => group.commit(commit),
                Work::Grant { ttl } => {
                    let id = group.grant(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
                    granted.push((id, *ttl));
                    Ok(id.0)
                }
                Work::Revoke(lease) => {
                    self.shared.leases.remove(*lease);
                    group.end_lease(*lease);
                    Ok(group.revision())
                }
                Work::Expire(leases) => {
                    for lease in leases {
                        if self.shared.leases.remove_if_due(*lease, request.at) {
                            group.end_lease(*lease);
                        }
                    }
                    Ok(group.revision())
                }
                Work::Mend | Work::Adopt(_) | Work::Wake => Ok(group.revision()),
            });
        }
        Some(Decided { answers, done: group.done(), granted })
    }

    fn acknowledge(&mut self, decided: Decided, offset: u64, group: &mut Vec<Request>, now: Mono) {
        let Decided { answers, done, granted } = decided;
        let shared = &self.shared;
        let mut revision = shared.ring.head();
        if let Some(table) = shared.table.write().as_mut() {
            #[allow(clippy::expect_used)] // the frame was made by this program a moment ago
            table.index.apply(done.frame.body(), offset).expect("a frame that was just made");
            revision = table.index.revision;
        }
        shared.note_log(&self.log);
        shared.counting.changed(done.puts, done.deletes);
        // Before the answers: who is told of a commit finds it in the watches too.
        shared.ring.publish(done.events, revision);
        for (id, ttl) in &granted {
            shared.leases.insert(*id, *ttl, now);
        }
        if !granted.is_empty() {
            shared.attention.notify_one();
        }
        answer_each(group, answers);
        self.renew_if_due();
    }

    /// Answers a group that was not written, and sees at once whether the medium is back.
    fn fail(&mut self, failure: &Failure, group: &mut Vec<Request>, now: Mono) {
        let (Failure::NoRoom(cause) | Failure::Torn(cause)) = failure;
        error!(component = "store", %cause, requests = group.len(), "store write failed: read-only until a write succeeds");
        let trouble = Trouble::from(cause);
        *self.shared.trouble.lock() = Some(trouble);
        self.mend();
        // Leases whose end was not written live on. Before the answers: who has one finds things in order.
        self.shared.start_leases(now);
        self.shared.attention.notify_one();
        let taken_back = self.shared.trouble.lock().is_none();
        answer_all(group, || match failure {
            Failure::NoRoom(_) => problem::read_only(trouble),
            Failure::Torn(_) if taken_back => problem::not_written(trouble),
            Failure::Torn(_) => problem::outcome_unknown(trouble),
        });
    }

    /// Makes the log fit for writing again after a failure, if the medium lets it.
    fn mend(&mut self) {
        if self.shared.trouble.lock().is_none() {
            return;
        }
        match self.log.mend() {
            Ok(()) => {
                info!(component = "store", revision = self.shared.ring.head(), "store is writable again");
                *self.shared.trouble.lock() = None;
            }
            Err(cause) => {
                warn!(component = "store", %cause, "store stays read-only");
                *self.shared.trouble.lock() = Some(Trouble::from(&cause));
            }
        }
        self.shared.note_log(&self.log);
    }

    pub(super) fn write_mark(&self) {
        if let Err(cause) = mark::write(self.folder.as_ref(), self.log.mark()) {
            warn!(component = "store", %cause, "could not write the store's mark");
        }
    }
}

fn answer_all(group: &mut Vec<Request>, error: impl Fn() -> Error) {
    for request in group.drain(..) {
        request.answer(Err(error()));
    }
}

fn answer_each(group: &mut Vec<Request>, answers: Vec<Result<u64>>) {
    for (request, answer) in group.drain(..).zip(answers) {
        request.answer(answer);
    }
}

/// Says that the engine is gone when the writer ends, by a panic too, so that nobody takes it for alive.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.closing.store(true, Ordering::Release);
        drop(self.0.table.write().take());
    }
}
