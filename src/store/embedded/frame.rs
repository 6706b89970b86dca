//! How the log is written: a header, then frames, each one group of commits that is there as a whole or
//! not at all. Pure: it knows bytes, not files.
//!
//! ```text
//! header  "seaworthy store\n"  format u32  generation u64  crc u32
//! frame   "SwFr"  length of the body u32  sequence u64  crc of all but these first four u32  body
//! ```
//!
//! Numbers are little-endian. Sequences count the frames of a file from 1, so that a frame that is
//! missing between others is noticed. A body is a list of [`Change`]s, which say what is true afterwards
//! and not how it came about: making the same changes again changes nothing.

use crc32fast::Hasher;

use crate::store::Revision;

/// Layout of the log. A log with a higher number is refused.
pub(super) const FORMAT: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 32;
/// Bytes of a frame before its body.
pub(super) const PREFIX: usize = 20;
/// Longest body. A full group and one more commit are a few MiB; the end of a lease deletes all its keys
/// in one frame, which may be millions.
pub(super) const BODY_MOST: usize = 256 << 20;
/// Where a frame begins.
pub(super) const MARK: &[u8; 4] = b"SwFr";

const MAGIC: &[u8; 16] = b"seaworthy store\n";

const PUT: u8 = 1;
const DELETE: u8 = 2;
const GRANT: u8 = 3;
const END_LEASE: u8 = 4;
const COUNTERS: u8 = 5;

/// What one group did, step by step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change<'b> {
    /// A key has this value. `lease` 0: none.
    Put { key: &'b str, revision: Revision, lease: u64, value: Value },
    /// A key is gone.
    Delete { key: &'b str, revision: Revision },
    /// A lease was made.
    Grant { lease: u64, ttl_millis: u64 },
    /// A lease is gone. Its keys were deleted before.
    EndLease { lease: u64 },
    /// How far the store has counted: what no key shows any more.
    Counters { revision: Revision, last_lease: u64 },
}

/// Where a value is, and its checksum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Value {
    /// Offset in the frame; in the index, in the file.
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

/// A frame that is being written.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new() -> Self {
        Self(vec![0; PREFIX])
    }

    /// Whether nothing was written into it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == PREFIX
    }

    /// Its length so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a value, and answers where it is in the frame.
    pub(super) fn put(&mut self, key: &str, revision: Revision, lease: u64, value: &[u8]) -> Value {
        let crc = crc32fast::hash(value);
        // Commits are checked before: neither length comes near 32 bits.
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(PUT);
        self.number(revision);
        self.number(lease);
        self.0.extend_from_slice(&crc.to_le_bytes());
        self.key(key);
        self.0.extend_from_slice(&len.to_le_bytes());
        let at = self.0.len() as u64;
        self.0.extend_from_slice(value);
        Value { at, len, crc }
    }

    pub(super) fn delete(&mut self, key: &str, revision: Revision) {
        self.0.push(DELETE);
        self.number(revision);
        self.key(key);
    }

    pub(super) fn grant(&mut self, lease: u64, ttl_millis: u64) {
        self.0.push(GRANT);
        self.number(lease);
        self.number(ttl_millis);
    }

    pub(super) fn end_lease(&mut self, lease: u64) {
        self.0.push(END_LEASE);
        self.number(lease);
    }

    pub(super) fn counters(&mut self, revision: Revision, last_lease: u64) {
        self.0.push(COUNTERS);
        self.number(revision);
        self.number(last_lease);
    }

    /// A frame with a body that was in another one.
    pub(super) fn of_body(body: &[u8]) -> Self {
        let mut frame = Self::new();
        frame.0.extend_from_slice(body);
        frame
    }

    /// Completes it as number `sequence` of its file.
    pub(super) fn seal(&mut self, sequence: u64) -> &[u8] {
        let length = u32::try_from(self.0.len() - PREFIX).unwrap_or(u32::MAX).to_le_bytes();
        let sequence = sequence.to_le_bytes();
        let crc = checksum(&length, &sequence, &self.0[PREFIX..]).to_le_bytes();
        for (at, part) in [(0, &MARK[..]), (4, &length), (8, &sequence), (16, &crc)] {
            self.0[at..at + part.len()].copy_from_slice(part);
        }
        &self.0
    }

    /// The changes in it.
    pub(super) fn body(&self) -> &[u8] {
        &self.0[PREFIX..]
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.extend_from_slice(key.as_bytes());
    }
}

fn checksum(length: &[u8], sequence: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    for part in [length, sequence, body] {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The first bytes of a frame, not yet proven by its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prefix {
    pub(super) length: usize,
    pub(super) sequence: u64,
    crc: u32,
}

impl Prefix {
    /// Reads it, if it can be the beginning of a frame.
    pub(super) fn read(bytes: &[u8; PREFIX]) -> Option<Self> {
        let mut rest = Rest(bytes.strip_prefix(MARK)?);
        let length = usize::try_from(rest.u32()?).ok().filter(|length| *length <= BODY_MOST)?;
        Some(Self { length, sequence: rest.u64()?, crc: rest.u32()? })
    }

    /// Whether the body belongs to it and is whole.
    pub(super) fn proves(&self, body: &[u8]) -> bool {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        body.len() == self.length
            && checksum(&length.to_le_bytes(), &self.sequence.to_le_bytes(), body) == self.crc
    }
}

/// The header of a file.
pub(super) fn header(generation: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (at, part) in [(0, &MAGIC[..]), (16, &FORMAT.to_le_bytes()[..]), (20, &generation.to_le_bytes())] {
        header[at..at + part.len()].copy_from_slice(part);
    }
    let crc = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Header {
    Generation(u64),
    TooNew { format: u32 },
    Damaged,
}

/// Reads a header.
pub(super) fn read_header(bytes: &[u8; HEADER]) -> Header {
    let read = || {
        let mut rest = Rest(bytes.strip_prefix(MAGIC)?);
        let (format, generation, crc) = (rest.u32()?, rest.u64()?, rest.u32()?);
        (crc == crc32fast::hash(&bytes[..28])).then_some((format, generation))
    };
    match read() {
        None => Header::Damaged,
        Some((format, _)) if format > FORMAT => Header::TooNew { format },
        Some((_, generation)) => Header::Generation(generation),
    }
}

/// A body whose checksum holds and whose content makes no sense: a bug wrote it.
#[derive(Debug, thiserror::Error)]
#[error("a frame holds something that is no change")]
pub(super) struct Malformed;

/// The changes of a body, in order.
pub(super) fn changes(body: &[u8]) -> impl Iterator<Item = Result<Change<'_>, Malformed>> {
    let mut rest = Rest(body);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let change = rest.change(body.len());
        if change.is_none() {
            rest = Rest(&[]);
        }
        Some(change.ok_or(Malformed))
    })
}

/// What is left to read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Option<&'b str> {
        let length = self.array().map(u16::from_le_bytes)?;
        std::str::from_utf8(self.bytes(length.into())?).ok()
    }

    fn change(&mut self, body: usize) -> Option<Change<'b>> {
        Some(match self.array::<1>()? {
            [PUT] => {
                let (revision, lease, crc) = (self.u64()?, self.u64()?, self.u32()?);
                let (key, len) = (self.key()?, self.u32()?);
                let at = (PREFIX + body - self.0.len()) as u64;
                self.bytes(usize::try_from(len).ok()?)?;
                Change::Put { key, revision, lease, value: Value { at, len, crc } }
            }
            [DELETE] => {
                let revision = self.u64()?;
                Change::Delete { key: self.key()?, revision }
            }
            [GRANT] => Change::Grant { lease: self.u64()?, ttl_millis: self.u64()? },
            [END_LEASE] => Change::EndLease { lease: self.u64()? },
            [COUNTERS] => Change::Counters { revision: self.u64()?, last_lease: self.u64()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Frame {
        let mut frame = Frame::new();
        frame.put("services/a", 7, 0, b"value");
        frame.put("é", u64::MAX, 3, b"");
        frame.delete("gone", 8);
        frame.grant(3, 1000);
        frame.end_lease(3);
        frame.counters(9, 3);
        frame
    }

    #[test]
    fn what_was_written_is_read_with_its_place() {
        let mut frame = sample();
        let sealed = frame.seal(41).to_vec();
        let prefix = Prefix::read(sealed[..PREFIX].try_into().unwrap()).unwrap();
        assert_eq!((prefix.sequence, prefix.length), (41, sealed.len() - PREFIX));
        assert!(prefix.proves(&sealed[PREFIX..]));
        let read: Vec<_> = changes(&sealed[PREFIX..]).map(Result::unwrap).collect();
        let Change::Put { key: "services/a", revision: 7, lease: 0, value } = read[0] else {
            panic!("{:?}", read[0])
        };
        let at = usize::try_from(value.at).unwrap();
        assert_eq!(&sealed[at..at + value.len as usize], b"value");
        assert_eq!(value.crc, crc32fast::hash(b"value"));
        let rest = [
            Change::Delete { key: "gone", revision: 8 },
            Change::Grant { lease: 3, ttl_millis: 1000 },
            Change::EndLease { lease: 3 },
            Change::Counters { revision: 9, last_lease: 3 },
        ];
        assert_eq!(read[2..], rest);
    }

    #[test]
    fn a_header_says_what_it_is() {
        assert_eq!(read_header(&header(5)), Header::Generation(5));
        for at in 0..HEADER {
            let mut damaged = header(5);
            damaged[at] ^= 1;
            assert_eq!(read_header(&damaged), Header::Damaged, "byte {at}");
        }
        let mut newer = header(5);
        newer[16] = 2;
        let crc = crc32fast::hash(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_header(&newer), Header::TooNew { format: 2 });
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0..1_000_000_usize, bit in 0..8_u32) {
            let mut frame = sample();
            let mut sealed = frame.seal(41).to_vec();
            let at = at % sealed.len();
            sealed[at] ^= 1_u8 << bit;
            let prefix = Prefix::read(sealed[..PREFIX].try_into().unwrap());
            prop_assert!(prefix.is_none_or(|prefix| !prefix.proves(&sealed[PREFIX..])));
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read: Vec<_> = changes(&bytes).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing follows an error");
        }
    }
}
