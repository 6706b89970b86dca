//! Where chunks go that the vault has not: into records, and records into packs. Done on many threads at once; none of it is
//! async. What is known already is found here too, so that of two threads with the same chunk one alone stores it.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::mpsc;

use crate::vault::{
    chunk::{ChunkId, Entry, MAX_IN_RECORD, RECORD, begin_record, prefix},
    compress,
    index::{Index, Location},
    keyring::DomainKeys,
    names::{Id, PackName},
    pack::{Filling, Finished},
    problem::{Problem, Result},
    seal::TAG,
    secret::SystemRandom,
};

/// A pack on its way to the bucket.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Which of the operation's packs it is.
    pub(super) sequence: u32,
    pub(super) finished: Finished,
}

/// What became of a piece of a component.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Its chunks, in order.
    pub(super) entries: Vec<Entry>,
    /// Bytes of chunks that were new.
    pub(super) new_bytes: u64,
    /// Bytes that these take in packs.
    pub(super) stored_bytes: u64,
    /// All of it is in packs up to this one.
    pub(super) last_pack: u32,
}

/// What is to be done with a piece.
struct Claims {
    /// What is new of it.
    groups: Vec<Group>,
    /// Records of others that have its other chunks, and that have no place yet.
    others: Vec<u32>,
}

/// Chunks that are new and become one record.
struct Group {
    record: u32,
    /// Which of the piece's chunks.
    chunks: Vec<usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    filling: Arc<Mutex<Option<Filling>>>,
    pack: u32,
    sequence: u32,
}

/// Packs chunks of one operation in one domain.
#[derive(Debug)]
pub(super) struct Packer {
    keys: Arc<DomainKeys>,
    operation: Id,
    random: SystemRandom,
    index: Mutex<Index>,
    /// Packs of the index that were there before: what is referred to of them must stay.
    before: u32,
    used: Mutex<HashSet<u32>>,
    open: Mutex<Option<Open>>,
    sequence: AtomicU32,
    /// Told when a record has got its place, or never will.
    placed: Condvar,
    /// Something that was claimed will never be stored, and others may lean on it: nothing of the operation counts.
    broken: AtomicBool,
    /// Held while somebody packs. None: the operation commits, and nothing more is taken.
    outgoing: RwLock<Option<mpsc::Sender<Outgoing>>>,
}

impl Packer {
    pub(super) fn new(
        keys: Arc<DomainKeys>,
        operation: Id,
        random: SystemRandom,
        index: Index,
        before: u32,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Self {
        let (index, used, open) = (Mutex::new(index), Mutex::default(), Mutex::default());
        let (sequence, outgoing) = (AtomicU32::new(0), RwLock::new(Some(outgoing)));
        let (placed, broken) = (Condvar::new(), AtomicBool::new(false));
        Self { keys, operation, random, index, before, used, open, sequence, placed, broken, outgoing }
    }

    /// The domain's keys.
    pub(super) fn keys(&self) -> &Arc<DomainKeys> {
        &self.keys
    }

    /// Stores what is new of a piece that was cut into chunks of these lengths, from `start` on. What stands before a chunk may
    /// be written over once that chunk is stored. Blocks.
    ///
    /// # Errors
    /// Sealing fails, or nobody takes packs any more.
    pub(super) fn pack(
        &self,
        bytes: &mut [u8],
        start: usize,
        lengths: &[u32],
        compressible: bool,
    ) -> Result<Packed> {
        let outgoing = self.outgoing.read();
        let outgoing = outgoing.as_ref().ok_or(Problem::GivenUp)?;
        let mut chunks = Vec::with_capacity(lengths.len());
        let mut packed = Packed { entries: Vec::with_capacity(lengths.len()), ..Packed::default() };
        let mut at = start;
        for length in lengths {
            let range = at..at + *length as usize;
            let chunk = bytes
                .get(range.clone())
                .ok_or_else(|| Problem::Internal("a piece is shorter than its chunks".to_owned()))?;
            packed.entries.push(Entry { id: ChunkId::of(self.keys.chunk_id(), chunk), length: *length });
            at = range.end;
            chunks.push(range);
        }
        let mut keeping = Keeping { packer: self, done: false };
        let Claims { groups, others } = self.claim(&packed.entries)?;
        for group in groups {
            packed.new_bytes += group.bytes as u64;
            packed.stored_bytes +=
                self.store(&group, &packed.entries, bytes, &chunks, compressible, outgoing)?;
        }
        keeping.done = true;
        // Whoever claimed these waits for nobody until they have their places, as we did not.
        self.wait_for(&others)?;
        packed.last_pack = self.sequence.load(Ordering::Acquire);
        Ok(packed)
    }

    /// Finds out which chunks are new, and claims places for them.
    fn claim(&self, entries: &[Entry]) -> Result<Claims> {
        let mut others = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut leaned_on = Vec::new();
        let mut index = self.index.lock();
        for (at, entry) in entries.iter().enumerate() {
            if let Some(there) = index.get(&entry.id) {
                match index.location(there.record) {
                    Some(location) => leaned_on.push(location.pack),
                    None if groups.iter().any(|group| group.record == there.record) => {}
                    None => others.push(there.record),
                }
                continue;
            }
            let room = groups.last().is_some_and(|group| {
                group.chunks.len() < MAX_IN_RECORD && group.bytes + entry.length as usize <= RECORD
            });
            if !room {
                groups.push(Group { record: index.add_record()?, chunks: Vec::new(), bytes: 0 });
            }
            if let Some(group) = groups.last_mut() {
                let position = u8::try_from(group.chunks.len()).unwrap_or(u8::MAX);
                index.claim(&entry.id, group.record, position);
                group.chunks.push(at);
                group.bytes += entry.length as usize;
            }
        }
        drop(index);
        leaned_on.retain(|pack| *pack < self.before);
        if !leaned_on.is_empty() {
            self.used.lock().extend(leaned_on);
        }
        Ok(Claims { groups, others })
    }

    /// Waits until these records have their places: what leans on them is in packs up to the newest one then.
    fn wait_for(&self, records: &[u32]) -> Result<()> {
        let mut index = self.index.lock();
        for record in records {
            while index.location(*record).is_none() {
                if self.broken.load(Ordering::Acquire) {
                    return Err(Problem::GivenUp);
                }
                self.placed.wait(&mut index);
            }
        }
        Ok(())
    }

    /// Makes a record of chunks and puts it into a pack. Answers how many bytes it takes there.
    fn store(
        &self,
        group: &Group,
        entries: &[Entry],
        bytes: &mut [u8],
        chunks: &[Range<usize>],
        compressible: bool,
        outgoing: &mpsc::Sender<Outgoing>,
    ) -> Result<u64> {
        let own: Vec<Entry> = group.chunks.iter().map(|at| entries[*at]).collect();
        let mut plain = Vec::with_capacity(prefix(own.len()));
        begin_record(&mut plain, own.iter().map(|entry| entry.length));
        let ranges = || group.chunks.iter().map(|at| chunks[*at].clone());
        let (mut text, compression) = match in_place(ranges(), plain.len()) {
            // They stand in a row: the head of the record goes before them, over what is stored already.
            Some(record) => {
                bytes[record.start..record.start + plain.len()].copy_from_slice(&plain);
                plain.clear();
                compress::text(&bytes[record], compressible, TAG)?
            }
            None => {
                plain.reserve_exact(group.bytes);
                ranges().for_each(|range| plain.extend_from_slice(&bytes[range]));
                compress::text(&plain, compressible, TAG)?
            }
        };
        let plain_length = u32::try_from(prefix(own.len()) + group.bytes).unwrap_or(u32::MAX);
        drop(plain);

        let (filling, slot, location) = {
            let mut open = self.open.lock();
            let current = match open.take() {
                Some(current) => current,
                None => self.begin()?,
            };
            let mut filling = current.filling.lock();
            let pack = filling
                .as_mut()
                .ok_or_else(|| Problem::Internal("a pack was ended while open".to_owned()))?;
            let offset = pack.end();
            let slot = pack.place(text.len(), plain_length, compression, &own)?;
            let stored = u32::try_from(text.len() + TAG).unwrap_or(u32::MAX);
            let number = u16::try_from(slot.number()).unwrap_or(u16::MAX);
            let location =
                Location { pack: current.pack, offset, stored, plain: plain_length, number, compression };
            let is_full = pack.is_full();
            if is_full {
                pack.close();
            }
            drop(filling);
            let own = Open { filling: Arc::clone(&current.filling), ..current };
            if !is_full {
                *open = Some(current);
            }
            (own, slot, location)
        };
        let tag = slot.seal(&mut text)?;
        let stored = text.len() as u64;
        self.index.lock().locate(group.record, location);
        self.placed.notify_all();
        let complete = {
            let mut guarded = filling.filling.lock();
            if let Some(pack) = guarded.as_mut() {
                pack.put(&slot, Bytes::from(text), tag);
            }
            guarded.take_if(|pack| pack.is_complete())
        };
        if let Some(pack) = complete {
            self.send(&filling, pack, outgoing)?;
        }
        Ok(stored)
    }

    fn begin(&self) -> Result<Open> {
        let sequence = self.sequence.fetch_add(1, Ordering::AcqRel) + 1;
        let filling = Filling::new(&self.keys, self.operation, sequence, &self.random)?;
        let pack = self.index.lock().add_pack(None);
        Ok(Open { filling: Arc::new(Mutex::new(Some(filling))), pack, sequence })
    }

    fn send(&self, open: &Open, pack: Filling, outgoing: &mpsc::Sender<Outgoing>) -> Result<()> {
        let finished = pack.finish()?;
        self.index.lock().name_pack(open.pack, finished.name);
        // Waits for room: so many packs are in memory, and no more.
        let sent = outgoing.blocking_send(Outgoing { sequence: open.sequence, finished });
        sent.map_err(|_| Problem::GivenUp)
    }

    /// Takes nothing more: waits for those who pack, and ends the open pack although it is not full. Blocks.
    ///
    /// # Errors
    /// As of [`pack`](Self::pack).
    pub(super) fn close(&self) -> Result<()> {
        let Some(outgoing) = self.outgoing.write().take() else { return Ok(()) };
        if self.broken.load(Ordering::Acquire) {
            return Err(Problem::Internal("a chunk that others may lean on could not be stored".to_owned()));
        }
        let Some(open) = self.open.lock().take() else { return Ok(()) };
        let taken = open.filling.lock().take();
        match taken {
            Some(mut pack) => {
                pack.close();
                if !pack.is_complete() {
                    // Somebody had a place in it and has failed since: nothing can be relied on.
                    return Err(Problem::GivenUp);
                }
                self.send(&open, pack, &outgoing)
            }
            None => Ok(()),
        }
    }

    /// Packs that were there before, and that chunks refer to.
    pub(super) fn leaned_on(&self) -> Vec<PackName> {
        let index = self.index.lock();
        self.used.lock().iter().filter_map(|pack| index.pack(*pack)).collect()
    }
}

/// Where a record of chunks lies that stand in a row, with so many bytes before them for its head. None: they do not, or there
/// is no room.
fn in_place(mut chunks: impl Iterator<Item = Range<usize>>, head: usize) -> Option<Range<usize>> {
    let first = chunks.next()?;
    let start = first.start.checked_sub(head)?;
    let end = chunks.try_fold(first.end, |end, next| (next.start == end).then_some(next.end))?;
    Some(start..end)
}

/// What was claimed has to be stored. Dropped before it is, by an error or by a panic, nothing of the operation counts.
struct Keeping<'a> {
    packer: &'a Packer,
    done: bool,
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Under the lock, so that nobody looks before it and waits after it.
            let _index = self.packer.index.lock();
            self.packer.broken.store(true, Ordering::Release);
            self.packer.placed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        time::Clock,
        vault::{Domain, Kek, KeyItself, Options, Place, Secret, Vault},
    };

    /// One component fails between claiming a chunk and storing it; another one has the same chunk.
    #[tokio::test]
    async fn nothing_counts_that_leans_on_what_was_never_stored() {
        let place = Place::open("memory:///", &[]).unwrap();
        let key = Arc::new(KeyItself::new(Kek::new(Secret::new([1; 32])), "test"));
        let vault = Vault::open(Options { place, key, clock: Clock::start() }).await.unwrap();
        let domain = Domain::of_service("orders").unwrap();
        let keys = vault.keyring().for_writing(&domain).await.unwrap();
        let (outgoing, nobody) = mpsc::channel(1);
        drop(nobody);
        let id = vault.new_id().unwrap();
        let packer = Packer::new(keys, id, vault.random().clone(), Index::new(), 0, outgoing);
        let work = move || {
            // More than a pack, which cannot be sent: what comes after it is claimed, and is in none.
            let mut noise = vec![0; 18 << 20];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            assert!(packer.pack(&mut noise, 0, &[1 << 20; 18], false).is_err());
            assert!(packer.pack(&mut noise, 17 << 20, &[1 << 20], false).is_err());
            assert!(packer.close().is_err());
        };
        crate::task::blocking("test", work).await.unwrap();
    }
}
