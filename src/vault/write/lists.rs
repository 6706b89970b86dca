//! The list of a component's chunks, as it grows: a few stand in the manifest, more become lists, which are chunks themselves
//! and cut by what is in them, so that two backups share the lists of what did not change. Bounded in memory however long
//! the component is.

use bytes::Bytes;

use crate::vault::{
    chunk::{ENTRY, Entry},
    manifest::{MAX_INLINE, MAX_LEVELS},
    problem::{Problem, Result},
};

/// Entries that a list has at least, and at most.
const LEAST: usize = 256;
const MOST: usize = 4096;
/// A list ends at an entry of whose id these bits are zero: one in a thousand.
const BOUNDARY: u16 = 0x03ff;

/// A list in the making. Lists that are full are handed out, and their entries come back by [`Lists::add`], one level up.
#[derive(Debug, Default)]
pub(super) struct Lists {
    levels: Vec<Vec<u8>>,
}

/// A list that is full: to be stored as a chunk.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) bytes: Bytes,
    /// Where the entry of the stored chunk goes.
    pub(super) level: usize,
}

impl Lists {
    /// Adds an entry at a level; 0 is that of the component's own chunks.
    pub(super) fn add(&mut self, level: usize, entry: &Entry) -> Option<Full> {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        let list = &mut self.levels[level];
        entry.write(list);
        let count = list.len() / ENTRY;
        let bits = u16::from_le_bytes([entry.id.0[0], entry.id.0[1]]) & BOUNDARY;
        let ends = count >= MOST || (count >= LEAST && bits == 0);
        ends.then(|| Full { bytes: Bytes::from(std::mem::take(list)), level: level + 1 })
    }

    /// The next list that has to be stored before the rest fits into a manifest. None: it does.
    pub(super) fn next_to_store(&mut self) -> Option<Full> {
        let top = self.levels.len().saturating_sub(1);
        let at = self.levels.iter().position(|list| !list.is_empty())?;
        if at == top && self.levels[at].len() <= MAX_INLINE * ENTRY {
            return None;
        }
        Some(Full { bytes: Bytes::from(std::mem::take(&mut self.levels[at])), level: at + 1 })
    }

    /// What stands in the manifest, and how many levels below it there are.
    pub(super) fn finish(self) -> Result<(Vec<u8>, u8)> {
        let levels = u8::try_from(self.levels.len().saturating_sub(1)).unwrap_or(u8::MAX);
        if levels > MAX_LEVELS {
            return Err(Problem::Internal(format!("a component has {levels} levels of lists")));
        }
        Ok((self.levels.into_iter().next_back().unwrap_or_default(), levels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::chunk::ChunkId;

    fn entry(number: u32) -> Entry {
        Entry { id: ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes()), length: 1 + number }
    }

    /// Builds a list, storing what is full, and answers what the manifest has and all that was stored.
    fn build(numbers: impl Iterator<Item = u32>) -> (Vec<u8>, u8, Vec<Vec<u8>>) {
        let (mut lists, mut stored) = (Lists::default(), Vec::new());
        let store = |lists: &mut Lists, stored: &mut Vec<Vec<u8>>, mut full: Option<Full>| {
            while let Some(Full { bytes, level }) = full {
                let id = ChunkId(*blake3::hash(&bytes).as_bytes());
                let length = u32::try_from(bytes.len()).unwrap();
                stored.push(bytes.to_vec());
                full = lists.add(level, &Entry { id, length });
            }
        };
        for number in numbers {
            let full = lists.add(0, &entry(number));
            store(&mut lists, &mut stored, full);
        }
        while let Some(full) = lists.next_to_store() {
            store(&mut lists, &mut stored, Some(full));
        }
        let (list, levels) = lists.finish().unwrap();
        (list, levels, stored)
    }

    fn read(list: &[u8], levels: u8, stored: &[Vec<u8>]) -> Vec<Entry> {
        let entries = Entry::read_all(list).unwrap();
        if levels == 0 {
            return entries;
        }
        let find = |entry: &Entry| {
            stored
                .iter()
                .find(|one| blake3::hash(one).as_bytes() == &entry.id.0)
                .expect("a list that was stored")
        };
        entries.iter().flat_map(|entry| read(find(entry), levels - 1, stored)).collect()
    }

    #[test]
    fn every_entry_comes_back_in_order() {
        for count in [0, 1, 255, 256, 1024, 1025, 5000, 300_000] {
            let (list, levels, stored) = build(0..count);
            assert!(list.len() <= MAX_INLINE * ENTRY);
            let entries = read(&list, levels, &stored);
            assert_eq!(entries.len(), count as usize);
            assert!(entries.iter().zip(0..).all(|(one, number)| *one == entry(number)));
        }
    }

    #[test]
    fn lists_of_what_did_not_change_are_shared() {
        let (_, _, before) = build(0..100_000);
        let (_, _, after) = build((0..100_000).filter(|number| *number != 50_000));
        let shared = after.iter().filter(|list| before.contains(list)).count();
        assert!(shared + 3 >= after.len(), "{shared} of {}", after.len());
    }
}
