//! Puts packs into the bucket as they are finished, a few at a time, and writes down what is in them.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use object_store::PutPayload;
use tokio::sync::{mpsc, watch};

use super::packer::Outgoing;
use crate::vault::{
    keyring::DomainKeys,
    names::{self, Id, PackName},
    place::Place,
    problem::{Problem, Result},
    secret::SystemRandom,
    segment::Pending,
    step::{Step, reached},
};

/// How far packs have got.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// All of the operation's packs up to this one are in the bucket.
    pub(super) all_up_to: u32,
    /// Bytes of all packs that are.
    pub(super) stored_bytes: u64,
    /// Why nothing more can be stored.
    pub(super) failed: Option<Problem>,
}

/// What an operation has stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Its packs, with their sizes.
    pub(super) packs: Vec<(PackName, u32)>,
    /// How many segments of the index it has written.
    pub(super) segments: u32,
}

/// Stores the packs of one operation.
#[derive(Debug)]
pub(super) struct Storer {
    pub(super) place: Place,
    pub(super) keys: Arc<DomainKeys>,
    pub(super) operation: Id,
    pub(super) random: SystemRandom,
    pub(super) durable: watch::Sender<Durable>,
}

impl Storer {
    /// Stores until nobody sends any more, then the rest of the index.
    ///
    /// # Errors
    /// A pack or a segment could not be stored; nothing more is taken then.
    pub(super) async fn run(self, mut incoming: mpsc::Receiver<Outgoing>) -> Result<Stored> {
        let stored = self.store(&mut incoming).await;
        if let Err(problem) = &stored {
            // Said before the door is closed, so that whoever finds it closed knows why.
            self.durable.send_modify(|durable| durable.failed = Some(problem.again()));
        }
        stored
    }

    async fn store(&self, incoming: &mut mpsc::Receiver<Outgoing>) -> Result<Stored> {
        let (mut stored, mut pending) = (Stored::default(), Pending::default());
        let (mut sending, mut open) = (FuturesUnordered::new(), true);
        let mut ahead: BTreeSet<u32> = BTreeSet::new();
        let parallel = self.place.parallel_puts();
        while open || !sending.is_empty() {
            tokio::select! {
                next = incoming.recv(), if open && sending.len() < parallel => match next {
                    Some(outgoing) => sending.push(self.put(outgoing)),
                    None => open = false,
                },
                Some(sent) = sending.next() => {
                    let (sequence, name, size, table) = sent?;
                    reached(Step::PackStored);
                    pending.add(name, size, &table);
                    stored.packs.push((name, size));
                    ahead.insert(sequence);
                    self.durable.send_modify(|durable| {
                        durable.stored_bytes += u64::from(size);
                        while ahead.remove(&(durable.all_up_to + 1)) {
                            durable.all_up_to += 1;
                        }
                    });
                    if pending.is_full() {
                        self.write(&mut pending, &mut stored).await?;
                    }
                }
            }
        }
        if !pending.is_empty() {
            self.write(&mut pending, &mut stored).await?;
        }
        Ok(stored)
    }

    async fn put(&self, outgoing: Outgoing) -> Result<(u32, PackName, u32, crate::vault::table::Table)> {
        let Outgoing { sequence, finished } = outgoing;
        let object = names::pack(self.keys.domain(), finished.name);
        self.place.create(&object, finished.payload).await?;
        Ok((sequence, finished.name, finished.size, finished.table))
    }

    async fn write(&self, pending: &mut Pending, stored: &mut Stored) -> Result<()> {
        let bytes = pending.seal(&self.keys, self.operation, stored.segments, &self.random)?;
        let object = names::segment(self.keys.domain(), self.operation, stored.segments);
        self.place.create(&object, PutPayload::from(bytes)).await?;
        stored.segments += 1;
        *pending = Pending::default();
        reached(Step::IndexWritten);
        Ok(())
    }
}
