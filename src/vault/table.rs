//! The table of a pack: its records, and the chunks of each. It is what the trailer of a pack seals, and what a segment of
//! the index repeats for each of its packs.

use super::{
    chunk::{ENTRY, Entry, MAX_CHUNK, MAX_IN_RECORD, MAX_RECORD, prefix},
    seal::{HEADER, MAX_RECORDS, TAG},
};

/// Bytes that a pack may have.
pub(super) const MAX_PACK: u32 = 64 << 20;
/// Where the first record of a pack begins: behind its header.
const BEGIN: u32 = 112;
const _: () = assert!(BEGIN as usize == HEADER);
/// Bytes of a record in a table.
const RECORD_ENTRY: usize = 16;

/// How a record is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Compression {
    None = 0,
    Zstd = 1,
}

impl Compression {
    pub(super) fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Where a record lies in its pack, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Record {
    /// Where it begins in the pack.
    pub(super) offset: u32,
    /// How many bytes it takes there, its tag with them.
    pub(super) stored: u32,
    /// How many bytes it has when it is opened.
    pub(super) plain: u32,
    /// How many chunks.
    pub(super) chunks: u16,
    pub(super) compression: Compression,
}

/// The table of a pack.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Table {
    pub(super) records: Vec<Record>,
    /// The chunks of all records, in order.
    pub(super) chunks: Vec<Entry>,
}

impl Table {
    /// Bytes that it takes when it is written.
    pub(super) fn size(&self) -> usize {
        8 + self.records.len() * RECORD_ENTRY + self.chunks.len() * ENTRY
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&count(self.records.len()));
        out.extend_from_slice(&count(self.chunks.len()));
        for Record { offset, stored, plain, chunks, compression } in &self.records {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&stored.to_le_bytes());
            out.extend_from_slice(&plain.to_le_bytes());
            out.extend_from_slice(&chunks.to_le_bytes());
            out.extend_from_slice(&[*compression as u8, 0]);
        }
        for chunk in &self.chunks {
            chunk.write(out);
        }
    }

    /// Reads a table from the beginning of bytes, and answers what follows it. What is wrong with it where it is none: counts
    /// are held against what is there before anything is made of them, and records must follow each other in the pack.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let (counts, rest) = bytes.split_first_chunk::<8>().ok_or("is cut short")?;
        let count =
            |at: usize| u32::from_le_bytes([counts[at], counts[at + 1], counts[at + 2], counts[at + 3]]);
        let (record_count, chunk_count) = (count(0), count(4) as usize);
        if record_count > MAX_RECORDS {
            return Err("has more records than a pack may");
        }
        let record_bytes = record_count as usize * RECORD_ENTRY;
        let chunk_bytes = chunk_count.checked_mul(ENTRY).ok_or("has more chunks than a pack may")?;
        let (records, rest) = rest.split_at_checked(record_bytes).ok_or("is cut short")?;
        let (chunks, rest) = rest.split_at_checked(chunk_bytes).ok_or("is cut short")?;
        let table = Self {
            records: records.chunks_exact(RECORD_ENTRY).map(read_record).collect::<Result<_, _>>()?,
            chunks: Entry::read_all(chunks).ok_or("has a chunk of no length, or too long")?,
        };
        table.check()?;
        Ok((table, rest))
    }

    fn check(&self) -> Result<(), &'static str> {
        let (mut end, mut chunks) = (HEADER, &self.chunks[..]);
        for record in &self.records {
            let (stored, plain, count) =
                (record.stored as usize, record.plain as usize, usize::from(record.chunks));
            if record.offset as usize != end {
                return Err("has records that do not follow each other");
            }
            end += stored;
            if stored <= TAG || end > MAX_PACK as usize {
                return Err("has a record that leaves the pack");
            }
            if count == 0 || count > MAX_IN_RECORD || plain > MAX_RECORD.max(prefix(count) + MAX_CHUNK) {
                return Err("has a record that no writer makes");
            }
            let (own, others) = chunks.split_at_checked(count).ok_or("has fewer chunks than its records")?;
            let total: usize = own.iter().map(|chunk| chunk.length as usize).sum();
            if prefix(count) + total != plain {
                return Err("has a record that is not as long as its chunks");
            }
            if record.compression == Compression::None && plain + TAG != stored {
                return Err("has a record that is not as long as it is stored");
            }
            chunks = others;
        }
        if chunks.is_empty() { Ok(()) } else { Err("has more chunks than its records") }
    }

    /// Each record with its number and its chunks.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Record, &[Entry])> {
        let mut chunks = &self.chunks[..];
        self.records.iter().zip(0_u32..).map(move |(record, number)| {
            let (own, others) = chunks.split_at(usize::from(record.chunks).min(chunks.len()));
            chunks = others;
            (number, record, own)
        })
    }

    /// Where the last record ends.
    pub(super) fn end(&self) -> u32 {
        self.records.last().map_or(BEGIN, |record| record.offset + record.stored)
    }
}

fn read_record(bytes: &[u8]) -> Result<Record, &'static str> {
    let bytes: &[u8; RECORD_ENTRY] = bytes.try_into().map_err(|_| "is cut short")?;
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[15] != 0 {
        return Err("has a record with a byte that should be zero");
    }
    Ok(Record {
        offset: number(0),
        stored: number(4),
        plain: number(8),
        chunks: u16::from_le_bytes([bytes[12], bytes[13]]),
        compression: Compression::of(bytes[14]).ok_or("has a record of a compression that is not known")?,
    })
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // of small tables
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::chunk::ChunkId;

    /// A table that a writer could have made.
    pub(in crate::vault) fn tables() -> impl Strategy<Value = Table> {
        let record = (prop::collection::vec((any::<[u8; 32]>(), 1_u32..4000), 1..8), any::<bool>());
        prop::collection::vec(record, 0..20).prop_map(|records| {
            let mut table = Table::default();
            for (chunks, compressed) in records {
                let total: u32 = chunks.iter().map(|(_, length)| length).sum();
                let plain = prefix(chunks.len()) as u32 + total;
                let (compression, stored) =
                    if compressed { (Compression::Zstd, plain / 2) } else { (Compression::None, plain) };
                table.records.push(Record {
                    offset: table.end(),
                    stored: stored + TAG as u32,
                    plain,
                    chunks: chunks.len() as u16,
                    compression,
                });
                table.chunks.extend(chunks.into_iter().map(|(id, length)| Entry { id: ChunkId(id), length }));
            }
            table
        })
    }

    proptest! {
        #[test]
        fn a_table_is_read_as_it_was_written(table in tables(), after in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = Vec::new();
            table.write(&mut bytes);
            prop_assert_eq!(bytes.len(), table.size());
            bytes.extend_from_slice(&after);
            let (read, rest) = Table::read(&bytes).unwrap();
            prop_assert_eq!(&read, &table);
            prop_assert_eq!(rest, &after[..]);
            for cut in 0..table.size().min(200) {
                prop_assert!(Table::read(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn whatever_is_no_table_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok((table, rest)) = Table::read(&bytes) {
                prop_assert_eq!(table.size() + rest.len(), bytes.len());
                prop_assert_eq!(table.iter().map(|(_, _, chunks)| chunks.len()).sum::<usize>(), table.chunks.len());
            }
        }
    }

    #[test]
    fn counts_that_nobody_could_have_written_cost_nothing() {
        for bytes in [[0xff; 8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0, 0, 0, 0, 0, 0]] {
            assert!(Table::read(&bytes).is_err());
        }
    }
}
