//! The part of a capture that may have to be sent again: pieces in a row, from the first byte that the control plane does not
//! have yet. Pure: no clock, no network, no waiting.

use std::collections::VecDeque;

use bytes::Bytes;

use super::TransferError;

/// What was written and is not received.
#[derive(Debug)]
pub(super) struct Window {
    pieces: VecDeque<Bytes>,
    /// Where the first piece begins.
    start: u64,
    /// Where the last one ends.
    end: u64,
    /// How far the control plane is, perhaps within the first piece.
    received: u64,
    most: usize,
}

impl Window {
    /// Empty, and full once it keeps this many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { pieces: VecDeque::new(), start: 0, end: 0, received: 0, most }
    }

    /// Whether another piece may come. The last one may pass the bound.
    pub(super) fn has_room(&self) -> bool {
        self.end - self.start < length(self.most)
    }

    /// Keeps one piece more.
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.end += length(piece.len());
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes were written in all.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether everything that was written is received.
    pub(super) fn is_received(&self) -> bool {
        self.received == self.end
    }

    /// Notes how far the control plane is, and forgets what it has. True: it is farther than before.
    pub(super) fn receive(&mut self, offset: u64) -> bool {
        // It cannot have what was not written.
        if offset <= self.received || offset > self.end {
            return false;
        }
        self.received = offset;
        while let Some(first) = self.pieces.front()
            && self.start + length(first.len()) <= offset
        {
            self.start += length(first.len());
            self.pieces.pop_front();
        }
        true
    }

    /// Judges where the control plane wants to go on.
    pub(super) fn go_on(&self, offset: u64) -> Result<(), TransferError> {
        if offset < self.start {
            return Err(TransferError::TooFarBack { wanted: offset, kept: self.start });
        }
        if offset > self.end {
            let problem = format!("it wants to go on at {offset}, and only {} bytes were sent", self.end);
            return Err(TransferError::Nonsense { problem });
        }
        Ok(())
    }

    /// What there is from here on, to the end of its piece.
    pub(super) fn at(&self, offset: u64) -> Option<Bytes> {
        let mut start = self.start;
        for piece in &self.pieces {
            let end = start + length(piece.len());
            if (start..end).contains(&offset) {
                let skip = usize::try_from(offset - start).ok()?;
                return Some(piece.slice(skip..));
            }
            start = end;
        }
        None
    }
}

/// A length as an offset. Nothing in memory is longer than 64 bits can say.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_received_is_forgotten_and_the_rest_can_be_sent_again() {
        let mut window = Window::new(6);
        window.push(Bytes::from_static(b"abcd"));
        assert!(window.has_room());
        window.push(Bytes::from_static(b"efgh"));
        assert!(!window.has_room(), "8 of 6 are kept");
        assert!(window.receive(5));
        assert_eq!(window.at(5).as_deref(), Some(&b"fgh"[..]));
        assert_eq!(window.at(4).as_deref(), Some(&b"efgh"[..]), "its piece is still there");
        assert_eq!(window.at(3), None);
        assert_eq!(window.go_on(3), Err(TransferError::TooFarBack { wanted: 3, kept: 4 }));
        assert!(window.go_on(8).is_ok() && window.go_on(9).is_err());
        assert!(!window.receive(5) && !window.receive(9), "neither is news");
        assert!(window.receive(8) && window.is_received());
        assert_eq!(window.at(8), None);
    }

    proptest! {
        #[test]
        fn any_way_of_sending_ends_with_what_was_written(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..12),
            jumps in prop::collection::vec((0_u64..12, 0_u64..12), 0..40),
        ) {
            let written: Vec<u8> = pieces.concat();
            let mut window = Window::new(usize::MAX);
            for piece in pieces {
                window.push(piece.into());
            }
            let mut got: Vec<u8> = Vec::new();
            let mut next = 0_u64;
            for (back, received) in jumps {
                window.receive(length(got.len()).min(received));
                // A new stream goes on somewhere between what was forgotten and what came.
                let resume = length(got.len()).saturating_sub(back);
                if window.go_on(resume).is_ok() {
                    next = resume;
                    got.truncate(usize::try_from(resume).expect("small"));
                }
                if let Some(piece) = window.at(next) {
                    next += length(piece.len());
                    got.extend_from_slice(&piece);
                }
            }
            while let Some(piece) = window.at(next) {
                next += length(piece.len());
                got.extend_from_slice(&piece);
            }
            prop_assert_eq!(got, written);
        }
    }
}
