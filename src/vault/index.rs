//! Which chunk is in which record of which pack, in memory: 15 bytes for each chunk and 20 for each record. A chunk is known
//! by twelve bytes of its id: one by where it is, eleven beside it; that two of ten million have these alike has one chance
//! in 10^15, and whoever reads a chunk compares all of its id. Where this comes from is not its business (`segment`).

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    chunk::{ChunkId, Entry},
    names::PackName,
    problem::{Problem, Result},
    table::{Compression, Record, Table},
};

/// Shards by the first byte of an id, so that what is put in order is put in order a little at a time.
const SHARDS: usize = 256;
/// A shard holds this many unordered before it puts them in order, or an eighth of what it has.
const FRESH: usize = 256;
/// Bits of a reference that are the position within a record.
const POSITION_BITS: u32 = 6;
/// Records that an index can have.
const MAX_RECORDS: usize = 1 << (32 - POSITION_BITS);
/// Bytes of an id that are compared beside its shard.
const TAIL: usize = 11;
/// Bytes of a chunk in a shard.
const SLOT: usize = TAIL + 4;

/// Where a record lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Location {
    /// Its pack, by its place in the index.
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) stored: u32,
    pub(super) plain: u32,
    /// Its number in the pack.
    pub(super) number: u16,
    pub(super) compression: Compression,
}

impl Location {
    /// As the table of its pack has it.
    pub(super) fn record(&self) -> Record {
        // How many chunks it has, its own text says.
        let Self { pack: _, offset, stored, plain, number: _, compression } = *self;
        Record { offset, stored, plain, chunks: 0, compression }
    }
}

/// Where a chunk lies: a record, and its place there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reference {
    /// The record, by its place in the index.
    pub(super) record: u32,
    pub(super) position: u8,
}

impl Reference {
    fn packed(self) -> u32 {
        self.record << POSITION_BITS | u32::from(self.position)
    }

    fn unpacked(packed: u32) -> Self {
        let position = u8::try_from(packed & ((1 << POSITION_BITS) - 1)).unwrap_or(0);
        Self { record: packed >> POSITION_BITS, position }
    }
}

/// An id is random already: any eight of its bytes are a hash.
#[derive(Debug, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(eight) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*eight);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// In order.
    base: Vec<[u8; SLOT]>,
    fresh: HashMap<[u8; TAIL], u32, BuildHasherDefault<FirstBytes>>,
}

impl Shard {
    fn get(&self, tail: &[u8; TAIL]) -> Option<u32> {
        self.fresh.get(tail).copied().or_else(|| {
            let at = self.base.binary_search_by(|slot| slot[..TAIL].cmp(tail)).ok()?;
            let slot = &self.base[at];
            Some(u32::from_le_bytes([slot[TAIL], slot[TAIL + 1], slot[TAIL + 2], slot[TAIL + 3]]))
        })
    }

    fn put(&mut self, tail: [u8; TAIL], packed: u32) {
        self.fresh.insert(tail, packed);
        if self.fresh.len() >= FRESH.max(self.base.len() / 8) {
            self.settle();
        }
    }

    /// Puts what is fresh in order.
    fn settle(&mut self) {
        self.base.reserve_exact(self.fresh.len());
        for (tail, packed) in self.fresh.drain() {
            let mut slot = [0; SLOT];
            slot[..TAIL].copy_from_slice(&tail);
            slot[TAIL..].copy_from_slice(&packed.to_le_bytes());
            self.base.push(slot);
        }
        self.fresh.shrink_to(FRESH);
        self.base.sort_unstable();
    }
}

/// The chunks of a domain.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
    records: Vec<Option<Location>>,
    packs: Vec<Option<PackName>>,
}

impl Index {
    pub(super) fn new() -> Self {
        let shards = std::iter::repeat_with(Shard::default).take(SHARDS).collect();
        Self { shards, records: Vec::new(), packs: Vec::new() }
    }

    fn key(id: &ChunkId) -> (usize, [u8; TAIL]) {
        let mut tail = [0; TAIL];
        tail.copy_from_slice(&id.0[1..=TAIL]);
        (usize::from(id.0[0]), tail)
    }

    /// Where a chunk is, or is going to be.
    pub(super) fn get(&self, id: &ChunkId) -> Option<Reference> {
        let (shard, tail) = Self::key(id);
        self.shards[shard].get(&tail).map(Reference::unpacked)
    }

    /// Says where a chunk is, unless it is somewhere already.
    fn put(&mut self, id: &ChunkId, reference: Reference) {
        let (shard, tail) = Self::key(id);
        let shard = &mut self.shards[shard];
        if shard.get(&tail).is_none() {
            shard.put(tail, reference.packed());
        }
    }

    /// A pack that has a name, or gets one.
    pub(super) fn add_pack(&mut self, name: Option<PackName>) -> u32 {
        self.packs.push(name);
        u32::try_from(self.packs.len() - 1).unwrap_or(u32::MAX)
    }

    /// Names a pack.
    pub(super) fn name_pack(&mut self, pack: u32, name: PackName) {
        if let Some(place) = self.packs.get_mut(pack as usize) {
            *place = Some(name);
        }
    }

    /// The name of a pack. None: it has none yet.
    pub(super) fn pack(&self, pack: u32) -> Option<PackName> {
        self.packs.get(pack as usize).copied().flatten()
    }

    /// A record whose place is not known yet.
    ///
    /// # Errors
    /// There are more than an index can have: 64 TiB at a MiB to a record.
    pub(super) fn add_record(&mut self) -> Result<u32> {
        if self.records.len() >= MAX_RECORDS {
            return Err(Problem::Internal(format!("an index has at most {MAX_RECORDS} records")));
        }
        self.records.push(None);
        Ok(u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX))
    }

    /// Says where a record is.
    pub(super) fn locate(&mut self, record: u32, location: Location) {
        if let Some(place) = self.records.get_mut(record as usize) {
            *place = Some(location);
        }
    }

    /// Where a record is. None: nobody has said so yet.
    pub(super) fn location(&self, record: u32) -> Option<Location> {
        self.records.get(record as usize).copied().flatten()
    }

    /// Gives a chunk that is nowhere yet the next place of a record.
    pub(super) fn claim(&mut self, id: &ChunkId, record: u32, position: u8) {
        let (shard, tail) = Self::key(id);
        self.shards[shard].put(tail, Reference { record, position }.packed());
    }

    /// Adds all of a pack.
    ///
    /// # Errors
    /// As of [`add_record`](Self::add_record).
    pub(super) fn add_table(&mut self, name: PackName, table: &Table) -> Result<()> {
        let pack = self.add_pack(Some(name));
        for (number, record, chunks) in table.iter() {
            let Record { offset, stored, plain, chunks: _, compression } = *record;
            let at = self.add_record()?;
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            self.locate(at, Location { pack, offset, stored, plain, number, compression });
            for (Entry { id, .. }, position) in chunks.iter().zip(0_u8..) {
                self.put(id, Reference { record: at, position });
            }
        }
        Ok(())
    }

    /// How many packs it knows.
    pub(super) fn packs(&self) -> u32 {
        u32::try_from(self.packs.len()).unwrap_or(u32::MAX)
    }

    /// How many chunks it knows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.base.len() + shard.fresh.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::table::tests::tables;

    #[test]
    fn a_slot_is_as_small_as_it_is_said_to_be() {
        assert_eq!(size_of::<[u8; SLOT]>(), 15);
        assert_eq!(size_of::<Option<Location>>(), 20);
    }

    proptest! {
        #[test]
        fn every_chunk_is_where_its_table_says(tables in prop::collection::vec(tables(), 1..6)) {
            let mut index = Index::new();
            for (table, at) in tables.iter().zip(0_u8..) {
                index.add_table(PackName([at; 32]), table).unwrap();
            }
            for (table, at) in tables.iter().zip(0_u8..) {
                for (number, record, chunks) in table.iter() {
                    for (entry, position) in chunks.iter().zip(0_u8..) {
                        let found = index.get(&entry.id).unwrap();
                        let location = index.location(found.record).unwrap();
                        // Random ids do not come twice.
                        prop_assert_eq!(found.position, position);
                        prop_assert_eq!(index.pack(location.pack), Some(PackName([at; 32])));
                        prop_assert_eq!(u32::from(location.number), number);
                        prop_assert_eq!((location.offset, location.stored), (record.offset, record.stored));
                    }
                }
            }
            prop_assert_eq!(index.get(&ChunkId([0xaa; 32])), None);
        }
    }

    #[test]
    fn many_are_found_and_the_first_place_stays() {
        let mut index = Index::new();
        let id = |number: u32| ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
        for number in 0..200_000 {
            index.claim(&id(number), number, (number % 64) as u8);
        }
        assert_eq!(index.len(), 200_000);
        for number in 0..200_000 {
            let there = Reference { record: number, position: (number % 64) as u8 };
            index.put(&id(number), Reference { record: 1, position: 1 });
            assert_eq!(index.get(&id(number)), Some(there));
        }
        assert_eq!(index.len(), 200_000);
        assert_eq!(index.get(&id(200_000)), None);
    }
}
