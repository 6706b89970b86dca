//! Downloads: what an instance takes of a component. Opened again with the same ticket after a lost connection, from wherever the
//! instance is.

use std::sync::Arc;

use crate::{
    backup::{Given, Tickets, TransferKey},
    error::{Error, Result},
    fleet::directive::Ticket,
    id::Entropy,
    operation::StepHandle,
    vault::{Component, Digest, DigestKind, Reader, Reading},
};
use bytes::Bytes;

/// The largest piece that is handed on.
const PIECE: usize = 1 << 20;

/// Where a component comes from.
#[derive(Debug)]
pub(super) struct Slot {
    reader: Arc<Reader>,
    component: Component,
    step: StepHandle,
}

/// All downloads that are expected.
#[derive(Debug)]
pub(super) struct Downloads(Arc<Tickets<Slot>>);

impl Downloads {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self(Arc::new(Tickets::new(entropy)))
    }

    /// Lets somebody take a component, until what is answered beside the ticket is dropped.
    pub(super) fn offer(
        &self,
        to: TransferKey,
        reader: Arc<Reader>,
        component: Component,
        step: StepHandle,
    ) -> Result<(Ticket, Given<Slot>)> {
        self.0.give(to, Arc::new(Slot { reader, component, step }))
    }

    pub(super) fn open(
        &self,
        ticket: &str,
        by: &TransferKey,
        offset: u64,
        digest: DigestKind,
    ) -> Result<Download> {
        let slot = self.0.open(ticket, by)?;
        let length = slot.component.bytes;
        if offset > length {
            return Err(Error::field("offset", format!("is {offset}, and there are {length} bytes")));
        }
        let reading = slot.reader.read(&slot.component, offset)?;
        slot.step.progress(offset, length);
        Ok(Download { slot, reading, offset, rest: Bytes::new(), digest: Digest::new(digest) })
    }
}

/// A download that is open.
#[derive(Debug)]
pub struct Download {
    slot: Arc<Slot>,
    reading: Reading,
    offset: u64,
    rest: Bytes,
    digest: Digest,
}

impl Download {
    /// The next piece, with where it begins; None after the last. Cancel safe.
    ///
    /// # Errors
    /// The vault cannot be read, or what it has is damaged. Nothing that was handed on before was wrong.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        if self.rest.is_empty() {
            match self.reading.next().await? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(None),
            }
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        let offset = self.offset;
        self.offset += piece.len() as u64;
        self.digest.update(&piece);
        self.slot.step.progress(self.offset, self.slot.component.bytes);
        Ok(Some((offset, piece)))
    }

    /// How many bytes there are in all, and the digest of what was handed on here.
    pub fn finish(self) -> (u64, Bytes) {
        (self.slot.component.bytes, self.digest.finish())
    }
}
