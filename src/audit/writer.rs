//! The one writer of entries: it gives each its place in the chain, and makes it durable before whoever waits for it
//! is answered. Entries that queued meanwhile become one commit.
//!
//! First the store, then the file: what a crash leaves out of the file is in the store, and is put into the file before
//! anything else. An entry of which nobody knows whether it was written is looked for before the next one gets its
//! number, so that no number is given twice and none is left out.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{error, info, warn};

use super::{
    BROKEN, Shared, Stage,
    chain::{Link, hash},
    entry::Draft,
    export::Export,
    record::{self, Head},
    verify::exported,
};
use crate::{
    error::{Chain, Error, Kind, Reason, Result},
    store::{self, Commit, Store},
};

/// Entries of one commit: of the longest entries so many are as large as a commit may be.
const BATCH: usize = 64;
/// Time between two looks at what is owed, and at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Pause between two tries to find out what became of a commit.
const READ_BACK_PAUSE: Duration = Duration::from_millis(250);
/// When to try again after the audit could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// An entry that is to be written, and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) draft: Draft,
    /// None: nobody waits.
    pub(super) answer: Option<oneshot::Sender<Result<()>>>,
}

impl Request {
    /// Whether it must be written although nobody waits for it any more: it was done.
    fn is_owed(&self) -> bool {
        self.draft.stage == Stage::Completed
    }

    /// Whether nothing comes of it any more.
    fn is_given_up(&self) -> bool {
        !self.is_owed() && self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Answers, if somebody still waits.
    fn answer(self, answer: Result<()>) {
        if let Some(waiting) = self.answer {
            drop(waiting.send(answer));
        }
    }
}

/// The writer and all that it knows.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) head: Head,
    pub(super) export: Export,
    /// What was done and could not be written yet. No more than changes that are done at once, and one.
    pub(super) owed: VecDeque<Draft>,
}

/// Why a batch was refused.
struct Failed {
    why: Error,
    /// Whether the store has it all the same, and the file will once it can be written.
    kept: bool,
}

impl Writer {
    /// Runs until `end` comes and everything that was queued is written. False: something that was done is not in the
    /// audit.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<()>) -> bool {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut incoming, mut ending) = (Vec::with_capacity(BATCH), false);
        loop {
            tokio::select! {
                biased;
                _ = &mut end, if !ending => {
                    self.queue.close();
                    ending = true;
                }
                _ = ticks.tick() => self.look().await,
                count = self.queue.recv_many(&mut incoming, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.write(std::mem::take(&mut incoming)).await;
                }
            }
        }
        self.look().await;
        if self.owed.is_empty() && self.head.exported != self.export.exported() {
            self.remember_exported().await;
        }
        if !self.owed.is_empty() {
            error!(
                component = "audit",
                operation = "stop",
                left = self.owed.len(),
                "what was done is not in the audit: it could not be written"
            );
        }
        self.owed.is_empty()
    }

    /// Writes what is owed, and sees whether the file is as it should be.
    async fn look(&mut self) {
        if !self.owed.is_empty() {
            return self.write(Vec::new()).await;
        }
        if let Err(why) = self.export.ready(&self.store, &self.head.newest).await {
            self.tell(Some(&why));
        } else if self.store.status().writable {
            self.tell(None);
        }
    }

    /// Writes what is owed and what was asked for, in this order, and answers.
    async fn write(&mut self, requests: Vec<Request>) {
        while !self.owed.is_empty() {
            let some: Vec<Draft> = self.owed.iter().take(BATCH).cloned().collect();
            match self.put_down(&some).await {
                Ok(()) | Err(Failed { kept: true, .. }) => drop(self.owed.drain(..some.len())),
                Err(Failed { why, kept: false }) => return self.refuse(requests, &why, false),
            }
        }
        let requests: Vec<Request> = requests.into_iter().filter(|request| !request.is_given_up()).collect();
        if requests.is_empty() {
            return;
        }
        let drafts: Vec<Draft> = requests.iter().map(|request| request.draft.clone()).collect();
        match self.put_down(&drafts).await {
            Ok(()) => requests.into_iter().for_each(|request| request.answer(Ok(()))),
            Err(Failed { why, kept }) => self.refuse(requests, &why, kept),
        }
    }

    /// Answers that nothing was written. What was done already is owed from then on.
    fn refuse(&mut self, requests: Vec<Request>, why: &Error, kept: bool) {
        self.shared.counters.failed(requests.len());
        for request in requests {
            if request.draft.stage == Stage::Denied && !kept {
                self.shared.counters.dropped_denials.fetch_add(1, Ordering::Relaxed);
            }
            if request.is_owed() && !kept {
                let Draft { call, outcome, .. } = &request.draft;
                error!(component = "audit", principal = call.who.principal, peer = call.who.peer, operation = call.operation, object = call.object, request_id = call.request_id, outcome, error = %Chain(why), "what was done is not in the audit yet: it cannot be written now");
                self.owed.push_back(request.draft.clone());
            }
            request.answer(Err(why.again()));
        }
    }

    /// Makes entries durable, in the store and in the file.
    async fn put_down(&mut self, drafts: &[Draft]) -> Result<(), Failed> {
        let written = self.put_into_both(drafts).await;
        self.tell(written.as_ref().err().map(|failed| &failed.why));
        written
    }

    async fn put_into_both(&mut self, drafts: &[Draft]) -> Result<(), Failed> {
        let not_kept = |error: Error| Failed { why: unavailable(error), kept: false };
        // A file that is known to be unusable keeps the store from filling up with what is refused.
        self.export.ready(&self.store, &self.head.newest).await.map_err(not_kept)?;
        let now = self.shared.clock.now().wall;
        let mut head = Head { exported: self.export.exported(), ..self.head };
        let (mut commit, mut lines) = (Commit::new(), String::new());
        for draft in drafts {
            let sequence = number_after(&head.newest).map_err(not_kept)?;
            let line = draft.line(&head.newest, now);
            head.newest = Link { sequence, hash: hash(&line) };
            if draft.call.operation == BROKEN {
                head.broken = head.newest.sequence;
            }
            let value = record::encode_entry(&line, head.newest.hash).map_err(not_kept)?;
            commit = commit.put(record::key(head.newest.sequence), value);
            if self.export.reached().is_some() {
                lines.push_str(&exported(&line, &head.newest.hash.to_hex()));
            }
        }
        let commit = commit.put(record::HEAD, record::encode_head(&head).map_err(not_kept)?);
        self.commit(commit, &head).await.map_err(|why| Failed { why, kept: false })?;
        self.head = head;
        self.shared.counters.written(drafts);
        self.publish();
        let exported = self.export.append(lines, head.newest.sequence).await;
        self.publish();
        exported.map_err(|error| Failed { why: unavailable(error), kept: true })
    }

    /// Commits, and knows afterwards whether that has happened.
    async fn commit(&mut self, commit: Commit, head: &Head) -> Result<()> {
        match self.store.commit_settled(commit).await {
            Ok(_) => Ok(()),
            Err(error) if store::outcome_is_open(&error) => {
                warn!(component = "audit", operation = "commit", error = %Chain(&error), "entries may or may not have been written; looking for them");
                let error = unavailable(error);
                self.tell(Some(&error));
                let happened = self.read_back(head, &error).await;
                info!(component = "audit", operation = "read back", happened, "the outcome is known");
                if happened { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Whether the newest entry in the store is the one that was to be, once the store says what is on the disk. Until
    /// then nothing else is taken, and callers hear so at once.
    async fn read_back(&mut self, wanted: &Head, why: &Error) -> bool {
        let mut incoming = Vec::new();
        loop {
            if self.store.status().writable
                && let Ok(found) = record::head(&self.store).await
            {
                return found.is_some_and(|found| found.newest == wanted.newest);
            }
            tokio::select! {
                _ = self.queue.recv_many(&mut incoming, BATCH), if !self.queue.is_closed() => {
                    self.refuse(std::mem::take(&mut incoming), why, false);
                }
                () = sleep(READ_BACK_PAUSE) => {}
            }
        }
    }

    /// Writes down how far the file is, so that the next start neither leaves out entries nor writes them twice.
    async fn remember_exported(&mut self) {
        let head = Head { exported: self.export.exported(), ..self.head };
        let written = async {
            let commit = Commit::new().put(record::HEAD, record::encode_head(&head)?);
            self.store.commit(commit).await
        };
        if let Err(error) = written.await {
            info!(component = "audit", operation = "stop", error = %Chain(&error), "could not write down how far the file is; it says so itself");
        }
    }

    /// Shows where the chain ends.
    fn publish(&self) {
        let mut state = self.shared.state.lock();
        state.newest = self.head.newest;
        state.exported = self.export.reached();
        state.broken_at = self.head.broken;
    }

    /// Shows whether it can be written, and says in the log when that changes.
    fn tell(&self, why: Option<&Error>) {
        let trouble = why.map(|why| Chain(why).to_string());
        let before = std::mem::replace(&mut self.shared.state.lock().trouble, trouble.clone());
        match (before, trouble) {
            (None, Some(why)) => {
                error!(component = "audit", error = why, "the audit cannot be written: changes are refused");
            }
            (Some(_), None) => info!(component = "audit", "the audit can be written again"),
            _ => {}
        }
    }
}

/// The number of the next entry. Without an end of them, the first entries would be written over.
fn number_after(newest: &Link) -> Result<u64> {
    newest.sequence.checked_add(1).ok_or_else(|| {
        let message = format!(
            "there is no number after entry {}, the newest: somebody has written to the data folder; restore it from a \
             backup",
            newest.sequence
        );
        Error::new(Kind::Internal, Reason::RecordDamaged, message)
    })
}

/// The audit cannot be written. What the store says of that is safe to show.
fn unavailable(error: Error) -> Error {
    let message = format!("the audit cannot be written, so nothing was done: {error}");
    Error::new(Kind::Unavailable, Reason::AuditUnavailable, message).retry_after(RETRY).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_last_number_there_is_none() {
        assert_eq!(number_after(&Link::START).unwrap(), 1);
        let last = Link { sequence: u64::MAX, hash: hash("a") };
        let refused = number_after(&last).unwrap_err();
        assert!(refused.message().contains("no number after entry 18446744073709551615"), "{refused}");
    }
}
