//! Sessions: whoever writes or reads says so by objects in the bucket, so that nobody who prunes takes away what they lean
//! on. The store's clock judges them, never a machine's.

use std::time::Duration;

use minicbor::{Decode, Encode};
use object_store::PutPayload;
use tokio::sync::watch;
use tracing::warn;

use super::{
    keyring::DomainKeys,
    names::{self, Id},
    place::Place,
    problem::{Problem, Result},
    seal::{Kind, ObjectKey, seal_single},
    secret::SystemRandom,
};
use crate::task::{self, OnEnd, Task};

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_mins(10);
/// How long one lasts after its last renewal, in milliseconds of the store's clock.
pub(super) const TTL_MILLIS: u64 = 60 * 60 * 1000;
/// How soon a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// What a session is for.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(index_only)]
pub enum Purpose {
    /// A backup is written.
    #[n(1)]
    Backup,
    /// A backup is read to be restored.
    #[n(2)]
    Restore,
    /// A backup is read to be verified.
    #[n(3)]
    Verify,
    /// A deletion is undone.
    #[n(4)]
    Undelete,
}

#[derive(Debug, Decode, Encode)]
#[cbor(map)]
struct Said {
    #[n(1)]
    purpose: Option<Purpose>,
}

/// An open session. Dropped without an end, it runs out by itself.
#[derive(Debug)]
pub(super) struct Session {
    writer: Writer,
    state: watch::Sender<State>,
    _renewing: Task<()>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The number of the next renewal.
    next: u32,
    /// When the last one was written, by the store's clock.
    last: u64,
    /// Whether two renewals were ever further apart than a session lasts: then whatever is written under it is late.
    gap: bool,
}

#[derive(Clone, Debug)]
struct Writer {
    place: Place,
    keys: std::sync::Arc<DomainKeys>,
    operation: Id,
    said: Vec<u8>,
    random: SystemRandom,
}

impl Writer {
    /// Writes one object of the session, and answers when the store wrote it.
    async fn write(&self, number: u32) -> Result<u64> {
        let object = names::session(self.operation, number);
        let key = ObjectKey::fresh(self.keys.epoch(), Kind::Session, self.operation, number, &self.random)?;
        match self.place.create(&object, PutPayload::from(seal_single(&key, &self.said)?)).await {
            // Only we write sessions of our operation: it is there because an answer was lost.
            Ok(()) | Err(Problem::Taken { .. }) => {}
            Err(problem) => return Err(problem),
        }
        Ok(self.place.head(&object).await?.ok_or_else(|| Problem::missing(object))?.modified)
    }
}

impl Session {
    /// Opens the session of an operation, and keeps it for as long as it is held.
    pub(super) async fn open(
        place: &Place,
        vault_keys: &std::sync::Arc<DomainKeys>,
        operation: Id,
        purpose: Purpose,
        random: &SystemRandom,
    ) -> Result<Self> {
        let said = minicbor::to_vec(&Said { purpose: Some(purpose) })
            .map_err(|error| Problem::Internal(error.to_string()))?;
        let keys = std::sync::Arc::clone(vault_keys);
        let writer = Writer { place: place.clone(), keys, operation, said, random: random.clone() };
        let last = writer.write(0).await?;
        let state = watch::Sender::new(State { next: 1, last, gap: false });
        let keeping = keep(writer.clone(), state.clone());
        let _renewing = task::spawn("vault session", OnEnd::Fine, keeping);
        Ok(Self { writer, state, _renewing })
    }

    /// Renews it now, and answers when the last renewal was, by the store's clock. None: there was a gap before, and it is over.
    pub(super) async fn renew(&self) -> Result<Option<u64>> {
        renew(&self.writer, &self.state).await?;
        let state = *self.state.borrow();
        Ok((!state.gap).then_some(state.last))
    }

    /// Ends it. What cannot be deleted runs out.
    pub(super) async fn end(self) {
        let Self { writer, state, _renewing } = self;
        drop(_renewing);
        let next = state.borrow().next;
        // The first one last: as long as it is there, the session is seen.
        for number in (0..next).rev() {
            let object = names::session(writer.operation, number);
            if let Err(problem) = writer.place.delete(&object).await {
                warn!(component = "vault", operation = "session", object, %problem, "could not be deleted; it runs out");
            }
        }
    }
}

async fn keep(writer: Writer, state: watch::Sender<State>) {
    let mut pause = RENEWAL;
    loop {
        tokio::time::sleep(pause).await;
        pause = match renew(&writer, &state).await {
            Ok(()) => RENEWAL,
            Err(problem) => {
                warn!(component = "vault", operation = "session", %problem, "could not be renewed");
                AGAIN
            }
        };
    }
}

async fn renew(writer: &Writer, state: &watch::Sender<State>) -> Result<()> {
    let mut number = 0;
    // Each number is used once, whoever renews.
    state.send_modify(|state| {
        number = state.next;
        state.next += 1;
    });
    let written = writer.write(number).await?;
    state.send_modify(|state| {
        state.gap |= written.saturating_sub(state.last) > TTL_MILLIS;
        state.last = state.last.max(written);
    });
    Ok(())
}
