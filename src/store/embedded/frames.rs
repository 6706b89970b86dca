//! Reading a log: one frame after the other, and what follows the last.

use std::io;

use super::{
    disk::Medium,
    frame::{self, Malformed, PREFIX, Prefix},
    index::Index,
};

/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// Reads frames in order from a part of a log.
#[derive(Debug)]
pub(super) struct Frames<'f> {
    file: &'f dyn Medium,
    at: u64,
    end: u64,
    sequence: Option<u64>,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    from: u64,
}

impl<'f> Frames<'f> {
    /// From the frame at `from` to `end`. `sequence`: the number that the first must have.
    pub(super) fn new(file: &'f dyn Medium, from: u64, end: u64, sequence: Option<u64>) -> Self {
        Self { file, at: from, end, sequence, buffer: Vec::new(), from }
    }

    /// Where the next frame begins, or where there is none.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Number of the next frame.
    pub(super) fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// The next frame: where it begins, and its body. None: at the end, or what is there is no frame.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let at = self.at;
        let Some(bytes) = self.bytes(at, PREFIX)? else { return Ok(None) };
        let Some(prefix) = bytes.try_into().ok().and_then(Prefix::read) else { return Ok(None) };
        if self.sequence.is_some_and(|sequence| sequence != prefix.sequence) {
            return Ok(None);
        }
        let Some(body) = self.bytes(at + PREFIX as u64, prefix.length)? else { return Ok(None) };
        if !prefix.proves(body) {
            return Ok(None);
        }
        self.sequence = Some(prefix.sequence + 1);
        self.at = at + (PREFIX + prefix.length) as u64;
        // Read already: borrowed again because the borrow above ends with the change of `self`.
        Ok(self.bytes(at + PREFIX as u64, prefix.length)?.map(|body| (at, body)))
    }

    /// Applies every frame that is left to an index.
    pub(super) fn apply_to(&mut self, index: &mut Index) -> io::Result<Result<(), Malformed>> {
        while let Some((at, body)) = self.next()? {
            if let Err(malformed) = index.apply(body, at) {
                return Ok(Err(malformed));
            }
        }
        Ok(Ok(()))
    }

    /// What follows the last frame: nothing but zeros, what a torn write leaves, or more frames.
    pub(super) fn tail(&mut self) -> io::Result<Tail> {
        let (mut at, mut tail) = (self.at, Tail::Empty);
        let wanted = self.sequence.unwrap_or_default();
        while at < self.end {
            let length = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(READ);
            let Some(bytes) = self.bytes(at, length)? else { break };
            if bytes.iter().all(|byte| *byte == 0) {
                at += length as u64;
                continue;
            }
            tail = Tail::Torn;
            let marks: Vec<u64> = bytes
                .windows(frame::MARK.len())
                .enumerate()
                .filter(|(_, window)| window == frame::MARK)
                .map(|(n, _)| at + n as u64)
                .collect();
            for mark in marks {
                let mut beyond = Frames::new(self.file, mark, self.end, None);
                if beyond.next()?.is_some() && beyond.sequence > Some(wanted) {
                    return Ok(Tail::Frames { at: mark });
                }
            }
            // A mark may begin in the last bytes of this part.
            let overlap = frame::MARK.len() - 1;
            at += length.saturating_sub(if at + (length as u64) < self.end { overlap } else { 0 }) as u64;
        }
        Ok(tail)
    }

    fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if at + length as u64 > self.end {
            return Ok(None);
        }
        let held = self.from + self.buffer.len() as u64;
        if at < self.from || at + length as u64 > held {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.buffer.resize(length.max(READ).min(left), 0);
            self.file.read_at(&mut self.buffer, at)?;
            self.from = at;
        }
        // Within the buffer: it fits into memory.
        let start = usize::try_from(at - self.from).unwrap_or_default();
        Ok(self.buffer.get(start..start + length))
    }
}

/// What is in a log beyond its last frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tail {
    /// Zeros, as they were filled in.
    Empty,
    /// Part of a frame that was never acknowledged.
    Torn,
    /// Later frames: what is before them was damaged.
    Frames { at: u64 },
}
