//! Uploads: what an instance sends of a component goes into the vault as it comes. The transfer outlives its connection: whoever
//! opens it again with the same ticket goes on where it is.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::tickets::{Given, Tickets, TransferKey};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::directive::Ticket,
    id::Entropy,
    operation::StepHandle,
    task::{self, OnEnd, Task},
    vault::{Captured, Cut, DigestKind, How, Intake, Stream},
};

/// What ends an upload.
#[derive(Clone, Debug)]
pub struct Finish {
    /// How many bytes there were.
    pub length: u64,
    /// Their digest.
    pub digest: Bytes,
    /// What the source says of itself.
    pub evidence: BTreeMap<String, String>,
}

/// What came of a component.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) captured: Captured,
    pub(super) evidence: BTreeMap<String, String>,
}

/// How far an upload is, for whoever waits for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Arrival {
    /// How many bytes have come.
    received: u64,
    /// Whether it is we who keep the instance waiting: the vault takes what has come.
    pub(super) storing: bool,
}

/// That the vault takes something, for as long as it lives: whoever waits is not idle meanwhile.
struct Storing<'a>(&'a watch::Sender<Arrival>);

impl<'a> Storing<'a> {
    fn begin(arrival: &'a watch::Sender<Arrival>) -> Self {
        arrival.send_modify(|arrival| arrival.storing = true);
        Self(arrival)
    }
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|arrival| arrival.storing = false);
    }
}

/// Where one component goes.
#[derive(Debug)]
pub(super) struct Slot {
    state: Arc<Mutex<State>>,
    /// Rises with each connection: an older one lets go.
    connection: watch::Sender<u64>,
    /// How far it is, so that whoever waits sees that something comes.
    arrival: watch::Sender<Arrival>,
    step: StepHandle,
    finishing: parking_lot::Mutex<Option<Task<()>>>,
}

/// Where an upload is.
#[derive(Debug)]
enum State {
    Taking(Box<Inner>),
    /// All of it has come. Whoever did not hear that says so again, and is answered again.
    Done(Box<Captured>),
    Failed,
}

#[derive(Debug)]
struct Inner {
    intake: Intake,
    cut: Cut,
    incompressible: bool,
    /// Begun when it is first opened: how its digest is made is said then.
    stream: Option<(DigestKind, Stream)>,
    done: oneshot::Sender<Result<Received, Error>>,
}

/// A slot that waits for what comes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) arrival: watch::Receiver<Arrival>,
    pub(super) done: oneshot::Receiver<Result<Received, Error>>,
    _given: Given<Slot>,
}

/// All uploads that are expected.
#[derive(Debug)]
pub(super) struct Uploads(Arc<Tickets<Slot>>);

impl Uploads {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self(Arc::new(Tickets::new(entropy)))
    }

    /// Expects a component from somebody.
    pub(super) fn expect(
        &self,
        from: TransferKey,
        intake: Intake,
        cut: Cut,
        incompressible: bool,
        step: StepHandle,
    ) -> Result<Waiting> {
        let (done, is_done) = oneshot::channel();
        let inner = Inner { intake, cut, incompressible, stream: None, done };
        let (connection, arrival) = (watch::Sender::new(0), watch::Sender::default());
        let watched = arrival.subscribe();
        let state = Arc::new(Mutex::new(State::Taking(Box::new(inner))));
        let finishing = parking_lot::Mutex::default();
        let slot = Slot { state, connection, arrival, step, finishing };
        let (ticket, _given) = self.0.give(from, Arc::new(slot))?;
        Ok(Waiting { ticket, arrival: watched, done: is_done, _given })
    }

    /// Opens an upload; whoever had it open lets go of it.
    pub(super) async fn open(
        &self,
        ticket: &str,
        from: &TransferKey,
        digest: DigestKind,
        expected: u64,
    ) -> Result<Upload> {
        let slot = self.0.open(ticket, from)?;
        let mut mine = 0;
        slot.connection.send_modify(|connection| {
            *connection += 1;
            mine = *connection;
        });
        let mut state = Arc::clone(&slot.state).lock_owned().await;
        match &mut *state {
            State::Failed => return Err(ended()),
            State::Done(_) => {}
            State::Taking(inner) => inner.open(digest)?,
        }
        slot.step.progress(0, expected);
        let newest = slot.connection.subscribe();
        Ok(Upload { slot, state, mine, newest })
    }
}

/// An upload that is open. Dropped, it waits to be opened again.
#[derive(Debug)]
pub struct Upload {
    slot: Arc<Slot>,
    state: OwnedMutexGuard<State>,
    mine: u64,
    newest: watch::Receiver<u64>,
}

impl Inner {
    /// Begins, or goes on.
    fn open(&mut self, digest: DigestKind) -> Result<()> {
        match &self.stream {
            None => {
                let how = How { cut: self.cut, incompressible: self.incompressible, digest };
                self.stream = Some((digest, self.intake.stream(how)));
                Ok(())
            }
            Some((before, _)) if *before == digest => Ok(()),
            Some(_) => {
                Err(Error::field("open.digest_algorithm", "is another one than this upload began with"))
            }
        }
    }
}

impl Upload {
    fn stream(&mut self) -> Result<&mut Stream> {
        match &mut *self.state {
            State::Taking(inner) => inner.stream.as_mut().map(|(_, stream)| stream).ok_or_else(ended),
            State::Done(_) | State::Failed => Err(ended()),
        }
    }

    /// Where it is: nothing before this is needed again.
    ///
    /// # Errors
    /// It has failed.
    pub fn received(&mut self) -> Result<u64> {
        if let State::Done(captured) = &*self.state {
            return Ok(captured.bytes);
        }
        self.stream().map(|stream| stream.received())
    }

    /// All before this is in the vault.
    ///
    /// # Errors
    /// It has failed.
    pub fn durable(&mut self) -> Result<u64> {
        if let State::Done(_) = &*self.state {
            return Ok(0);
        }
        self.stream().map(Stream::durable)
    }

    /// Waits until another connection wants it. Cancel safe.
    pub async fn superseded(&mut self) {
        let mine = self.mine;
        // The sender lives in the slot, which we hold.
        if self.newest.wait_for(|newest| *newest > mine).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the next bytes, once `turn` says so, which is no fault of whoever sends them. Cancel safe: what [`received`](Self::received) counts is kept.
    ///
    /// # Errors
    /// They do not follow what came before, or cannot be stored; the latter ends it.
    pub async fn push<T>(
        &mut self,
        offset: u64,
        data: Bytes,
        turn: impl Future<Output = Result<T>>,
    ) -> Result<()> {
        let received = self.stream()?.received();
        if offset != received {
            let message = format!("is {offset}, and {received} bytes have come; go on from there");
            return Err(Error::field("data.offset", message));
        }
        let length = data.len() as u64;
        let slot = Arc::clone(&self.slot);
        let storing = Storing::begin(&slot.arrival);
        let _turn = turn.await?;
        let pushed = self.stream()?.push(data).await;
        drop(storing);
        if let Err(problem) = pushed {
            let error = Error::from(problem);
            let again = error.again();
            self.end(Err(error));
            return Err(again);
        }
        self.slot.step.advance(length);
        self.slot.arrival.send_modify(|arrival| arrival.received = received + length);
        Ok(())
    }

    /// All has come. Answers once it is on its way into packs, all of it; it is durable with the backup's commit. Goes on where
    /// the caller goes away: whoever opens the upload again and finishes it again is answered the same.
    ///
    /// # Errors
    /// It is not as long as it should be, its digest is another one, or it cannot be stored. All of these end it.
    pub async fn finish(self, finish: Finish) -> Result<Captured> {
        let (answer, answered) = oneshot::channel();
        let slot = Arc::clone(&self.slot);
        let finishing = task::spawn("upload finish", OnEnd::Fine, async move {
            // Whoever asked may be gone.
            drop(answer.send(self.finish_here(finish).await));
        });
        // The one before has ended, or is what we waited for to be here.
        *slot.finishing.lock() = Some(finishing);
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn finish_here(mut self, finish: Finish) -> Result<Captured> {
        let Finish { length, digest, evidence } = finish;
        let check = |captured: &Captured| {
            if length != captured.bytes {
                let message = format!("is {length}, and {} bytes have come", captured.bytes);
                return Err(Error::field("finish.length", message));
            }
            if captured.digest != digest {
                return Err(Error::field("finish.digest", "is not that of the bytes that have come"));
            }
            Ok(())
        };
        if let State::Done(captured) = &*self.state {
            return check(captured).map(|()| (**captured).clone());
        }
        let stream = match &mut *self.state {
            State::Taking(inner) => inner.stream.take(),
            State::Done(_) | State::Failed => None,
        };
        let (_, stream) = stream.ok_or_else(ended)?;
        let slot = Arc::clone(&self.slot);
        let _storing = Storing::begin(&slot.arrival);
        let finished = stream.finish().await.map_err(Error::from);
        match finished.and_then(|captured| check(&captured).map(|()| captured)) {
            Ok(captured) => {
                let received = Received { captured: captured.clone(), evidence };
                self.end(Ok(received));
                Ok(captured)
            }
            Err(error) => {
                let again = error.again();
                self.end(Err(error));
                Err(again)
            }
        }
    }

    fn end(&mut self, outcome: Result<Received>) {
        let ended = match &outcome {
            Ok(received) => State::Done(Box::new(received.captured.clone())),
            Err(_) => State::Failed,
        };
        if let State::Taking(inner) = std::mem::replace(&mut *self.state, ended) {
            // Whoever waited may have given up.
            drop(inner.done.send(outcome));
        }
    }
}

fn ended() -> Error {
    Error::new(Kind::FailedPrecondition, Reason::TransferEnded, "this upload has ended")
}
