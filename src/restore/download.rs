//! Downloads: what an instance takes of a component. Opened again with the same ticket after a lost connection, from wherever the
//! instance is.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    backup::{Given, Tickets, TransferKey},
    error::{Error, Result},
    fleet::directive::Ticket,
    id::Entropy,
    operation::StepHandle,
    vault::{Component, Digest, DigestKind, Reader, Reading},
};

/// The largest piece that is handed on.
const PIECE: usize = 1 << 20;

/// What was handed out of a component.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct HandedOut {
    /// All before this.
    pub(super) up_to: u64,
    /// The end, after all of it: whoever has heard it can have everything.
    pub(super) finished: bool,
    /// How often something was asked for.
    asked: u64,
}

impl HandedOut {
    /// A piece. One that leaves a gap before it does not count: nobody can have put the whole in place by it.
    fn piece(&mut self, from: u64, to: u64) {
        self.asked += 1;
        if from <= self.up_to {
            self.up_to = self.up_to.max(to);
        }
    }

    /// The end of so many bytes.
    fn end(&mut self, length: u64) {
        self.asked += 1;
        self.finished |= self.up_to >= length;
    }
}

/// Where a component comes from.
#[derive(Debug)]
pub(super) struct Slot {
    reader: Arc<Reader>,
    component: Component,
    step: StepHandle,
    handed_out: watch::Sender<HandedOut>,
}

/// A component that somebody may take.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) ticket: Ticket,
    pub(super) handed_out: watch::Receiver<HandedOut>,
    /// Dropped, the ticket opens nothing any more.
    pub(super) given: Given<Slot>,
}

/// All downloads that are expected.
#[derive(Debug)]
pub(super) struct Downloads(Arc<Tickets<Slot>>);

impl Downloads {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self(Arc::new(Tickets::new(entropy)))
    }

    /// Lets somebody take a component.
    pub(super) fn offer(
        &self,
        to: TransferKey,
        reader: Arc<Reader>,
        component: Component,
        step: StepHandle,
    ) -> Result<Offered> {
        let (sender, handed_out) = watch::channel(HandedOut::default());
        let slot = Slot { reader, component, step, handed_out: sender };
        let (ticket, given) = self.0.give(to, Arc::new(slot))?;
        Ok(Offered { ticket, handed_out, given })
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
        // What it is asked to begin with is no proof that anybody has what comes before.
        slot.handed_out.send_modify(|handed_out| handed_out.asked += 1);
        slot.step.progress(0, length);
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
        let mut up_to = 0;
        self.slot.handed_out.send_modify(|handed_out| {
            handed_out.piece(offset, self.offset);
            up_to = handed_out.up_to;
        });
        self.slot.step.progress(up_to, self.slot.component.bytes);
        Ok(Some((offset, piece)))
    }

    /// How many bytes there are in all, and the digest of what was handed on here.
    pub fn finish(self) -> (u64, Bytes) {
        let length = self.slot.component.bytes;
        self.slot.handed_out.send_modify(|handed_out| handed_out.end(length));
        (length, self.digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_once_all_before_it_was_handed_out() {
        let after = |pieces: &[(u64, u64)]| {
            let mut handed_out = HandedOut::default();
            pieces.iter().for_each(|(from, to)| handed_out.piece(*from, *to));
            handed_out.end(4);
            (handed_out.up_to, handed_out.finished)
        };
        assert_eq!(after(&[(0, 2), (2, 4)]), (4, true));
        assert_eq!(after(&[(0, 3), (1, 4)]), (4, true), "it was opened again, a little before");
        assert_eq!(after(&[(2, 4)]), (0, false));
        assert_eq!(after(&[(0, 1), (2, 4)]), (1, false));
        assert_eq!(after(&[]), (0, false), "it was opened at its end");
        let mut nothing = HandedOut::default();
        nothing.end(0);
        assert!(nothing.finished);
    }
}
