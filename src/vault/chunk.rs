//! Chunks: what one is called, and how several lie together in a record. A record holds chunks that follow each other, up to
//! a MiB, so that they are compressed and sealed together though they are found one by one.

use std::fmt;

/// BLAKE3 of a chunk, keyed with the domain's key for it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ChunkId(pub(super) [u8; 32]);

impl ChunkId {
    /// The id of these bytes.
    pub(super) fn of(key: &[u8; 32], plain: &[u8]) -> Self {
        Self(*blake3::keyed_hash(key, plain).as_bytes())
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// A chunk as lists have it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// Its id.
    pub(super) id: ChunkId,
    /// How many bytes it has.
    pub(super) length: u32,
}

/// Bytes of an entry as it is written.
pub(super) const ENTRY: usize = 36;
/// The largest chunk.
pub(super) const MAX_CHUNK: usize = 8 << 20;
/// Chunks that a record has at the most.
pub(super) const MAX_IN_RECORD: usize = 64;
/// Bytes of chunks after which a record ends.
pub(super) const RECORD: usize = 1 << 20;
/// Bytes that the plain text of a record may have: the largest chunk, with its length.
pub(super) const MAX_RECORD: usize = MAX_CHUNK + prefix(1);

/// Bytes before the chunks of a record: how many there are, and how long each is.
pub(super) const fn prefix(chunks: usize) -> usize {
    2 + 4 * chunks
}

impl Entry {
    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.length.to_le_bytes());
    }

    /// Reads a list of them. None: it is none.
    pub(super) fn read_all(bytes: &[u8]) -> Option<Vec<Self>> {
        if !bytes.len().is_multiple_of(ENTRY) {
            return None;
        }
        bytes.chunks_exact(ENTRY).map(Self::read).collect()
    }

    /// Reads one. None: it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (id, length) = bytes.split_first_chunk::<32>()?;
        let length = u32::from_le_bytes(length.try_into().ok()?);
        (length > 0 && length as usize <= MAX_CHUNK).then_some(Self { id: ChunkId(*id), length })
    }
}

/// Begins the plain text of a record of these chunks.
pub(super) fn begin_record(out: &mut Vec<u8>, lengths: impl ExactSizeIterator<Item = u32>) {
    // A record has at most 64 chunks.
    out.extend_from_slice(&u16::try_from(lengths.len()).unwrap_or(u16::MAX).to_le_bytes());
    for length in lengths {
        out.extend_from_slice(&length.to_le_bytes());
    }
}

/// Where the chunks of a record lie in its plain text. None: it is no record.
pub(super) fn chunks_of(plain: &[u8]) -> Option<Vec<std::ops::Range<usize>>> {
    let (count, rest) = plain.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    if count == 0 || count > MAX_IN_RECORD {
        return None;
    }
    let lengths = rest.get(..4 * count)?;
    let mut at = prefix(count);
    let mut ranges = Vec::with_capacity(count);
    for length in lengths.as_chunks::<4>().0 {
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > MAX_CHUNK {
            return None;
        }
        ranges.push(at..at + length);
        at += length;
    }
    (at == plain.len()).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(lengths in prop::collection::vec(1_u32..500, 1..64)) {
            let mut plain = Vec::new();
            begin_record(&mut plain, lengths.iter().copied());
            let total: u32 = lengths.iter().sum();
            plain.resize(plain.len() + total as usize, 7);
            let ranges = chunks_of(&plain).unwrap();
            prop_assert_eq!(ranges.iter().map(|one| one.len()).collect::<Vec<_>>(), lengths.iter().map(|one| *one as usize).collect::<Vec<_>>());
            prop_assert_eq!(ranges.last().unwrap().end, plain.len());
            plain.push(0);
            prop_assert!(chunks_of(&plain).is_none());
        }

        #[test]
        fn whatever_is_no_record_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(ranges) = chunks_of(&bytes) {
                prop_assert_eq!(ranges.last().unwrap().end, bytes.len());
            }
            Entry::read_all(&bytes);
        }
    }
}
