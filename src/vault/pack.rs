//! Packs: chunks in records, sealed under a key of the pack's own, and a trailer that says what is where. Writing one is for
//! many hands: a record is given its place under a lock, sealed by who brought it, and put there; whoever puts the last one
//! ends the pack. Where packs go is not its business.

use bytes::Bytes;
use object_store::PutPayload;

use super::{
    chunk::Entry,
    compress,
    keyring::DomainKeys,
    names::{Id, PackName},
    place::Place,
    problem::{Problem, Result},
    seal::{HEADER, Header, Kind, LAST, MAX_RECORDS, ObjectKey, TAG},
    secret::SystemRandom,
    table::{Compression, MAX_PACK, Record, Table},
};

/// What a pack ends with, after the length of its trailer.
const END: &[u8; 8] = b"SWVPEND1";
/// Bytes after the trailer.
const TAIL: usize = 4 + END.len();
/// Additional data of the trailer.
const TRAILER: &[u8] = b"trailer";
/// Bytes of records after which a pack ends.
pub(super) const TARGET: u32 = 16 << 20;
/// Bytes of its table after which it ends as well: records of which next to nothing is left are listed at full length.
const TABLE_TARGET: usize = 2 << 20;
/// How much of its end is read at once: with 32 KiB to a chunk the trailer of a full pack is in it.
const TAIL_GUESS: u64 = 64 << 10;

/// Additional data of a record, after `H(header)`.
pub(super) fn aad(number: u32, plain: u32, compression: Compression) -> [u8; 9] {
    let mut aad = [0; 9];
    aad[..4].copy_from_slice(&number.to_le_bytes());
    aad[4..8].copy_from_slice(&plain.to_le_bytes());
    aad[8] = compression as u8;
    aad
}

/// A pack that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    key: std::sync::Arc<ObjectKey>,
    table: Table,
    /// The sealed records; None where one is still being sealed.
    records: Vec<Option<Bytes>>,
    tags: Vec<[u8; TAG]>,
    missing: usize,
    closed: bool,
}

/// A record that has its place, and is to be sealed.
#[derive(Debug)]
pub(super) struct Slot {
    key: std::sync::Arc<ObjectKey>,
    number: u32,
    plain: u32,
    compression: Compression,
}

impl Slot {
    /// Seals the text of the record, which has room for its tag.
    pub(super) fn seal(&self, text: &mut Vec<u8>) -> Result<[u8; TAG]> {
        self.key.seal(self.number, &aad(self.number, self.plain, self.compression), text, 0)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

/// A pack as it is stored.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) name: PackName,
    pub(super) size: u32,
    pub(super) table: Table,
    pub(super) payload: PutPayload,
}

impl Filling {
    pub(super) fn new(
        keys: &DomainKeys,
        operation: Id,
        sequence: u32,
        random: &SystemRandom,
    ) -> Result<Self> {
        let key = ObjectKey::fresh(keys.epoch(), Kind::Pack, operation, sequence, random)?;
        let table = Table::default();
        Ok(Self { key: key.into(), table, records: Vec::new(), tags: Vec::new(), missing: 0, closed: false })
    }

    /// Gives a record its place: its text has `text` bytes, compressed or not, and `plain` when it is opened.
    pub(super) fn place(
        &mut self,
        text: usize,
        plain: u32,
        compression: Compression,
        chunks: &[Entry],
    ) -> Result<Slot> {
        let number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let stored = u32::try_from(text + TAG).unwrap_or(u32::MAX);
        let end = self.table.end();
        if self.closed || number >= MAX_RECORDS || end.saturating_add(stored) > MAX_PACK {
            return Err(Problem::Internal("a record was placed in a pack that is full".to_owned()));
        }
        let count = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
        self.table.records.push(Record { offset: end, stored, plain, chunks: count, compression });
        self.table.chunks.extend_from_slice(chunks);
        self.records.push(None);
        self.tags.push([0; TAG]);
        self.missing += 1;
        Ok(Slot { key: std::sync::Arc::clone(&self.key), number, plain, compression })
    }

    /// Where the next record would begin.
    pub(super) fn end(&self) -> u32 {
        self.table.end()
    }

    /// Whether it should take no more.
    pub(super) fn is_full(&self) -> bool {
        self.table.end() >= TARGET
            || self.table.size() >= TABLE_TARGET
            || self.records.len() >= MAX_RECORDS as usize
    }

    /// Nothing more is placed in it.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Takes a sealed record.
    pub(super) fn put(&mut self, slot: &Slot, sealed: Bytes, tag: [u8; TAG]) {
        if let (Some(place), Some(at)) =
            (self.records.get_mut(slot.number as usize), self.tags.get_mut(slot.number as usize))
        {
            self.missing -= usize::from(place.is_none());
            (*place, *at) = (Some(sealed), tag);
        }
    }

    /// Whether it is closed and all records are there.
    pub(super) fn is_complete(&self) -> bool {
        self.closed && self.missing == 0
    }

    /// Seals the trailer, and gives the pack its name.
    pub(super) fn finish(self) -> Result<Finished> {
        let mut trailer = Vec::with_capacity(self.table.size() + 32 + TAG + TAIL);
        self.table.write(&mut trailer);
        trailer.extend_from_slice(digest(&self.tags).as_bytes());
        let trailer = sealed_trailer(&self.key, trailer)?;

        let mut hasher = blake3::Hasher::new();
        let head = Bytes::copy_from_slice(self.key.header());
        let parts =
            [head].into_iter().chain(self.records.into_iter().flatten()).chain([Bytes::from(trailer)]);
        let payload: PutPayload = parts
            .inspect(|part| {
                hasher.update(part);
            })
            .collect();
        let size = u32::try_from(payload.content_length()).unwrap_or(u32::MAX);
        if size > MAX_PACK {
            return Err(Problem::Internal(format!("a pack of {size} bytes is more than anybody reads")));
        }
        Ok(Finished { name: PackName(*hasher.finalize().as_bytes()), size, table: self.table, payload })
    }
}

/// What a pack ends with: this trailer sealed, and how long it is.
pub(super) fn sealed_trailer(key: &ObjectKey, mut trailer: Vec<u8>) -> Result<Vec<u8>> {
    key.seal(LAST, TRAILER, &mut trailer, 0)?;
    let length = u32::try_from(trailer.len()).unwrap_or(u32::MAX);
    trailer.extend_from_slice(&length.to_le_bytes());
    trailer.extend_from_slice(END);
    Ok(trailer)
}

pub(super) fn digest(tags: &[[u8; TAG]]) -> blake3::Hash {
    blake3::hash(tags.as_flattened())
}

/// A pack that can be read: its key, and what it is called.
#[derive(Debug)]
pub(super) struct Opened {
    object: String,
    key: ObjectKey,
}

impl Opened {
    /// By its header, which is its first [`HEADER`] bytes.
    pub(super) fn new(keys: &DomainKeys, object: &str, head: &[u8]) -> Result<Self> {
        let header = Header::decode(object, head)?;
        Ok(Self { object: object.to_owned(), key: ObjectKey::of(keys.epoch(), Kind::Pack, object, &header)? })
    }

    /// Opens a record: its stored bytes become its plain text.
    pub(super) fn record(&self, number: u32, record: &Record, stored: &[u8]) -> Result<Vec<u8>> {
        let damaged = |what: &str| Problem::damaged(&self.object, format!("record {number} {what}"));
        let mut sealed = stored.to_vec();
        let length = self
            .key
            .open(number, &aad(number, record.plain, record.compression), &mut sealed)
            .ok_or_else(|| damaged("does not decrypt: some of it is not what was written"))?;
        sealed.truncate(length);
        match record.compression {
            Compression::None if length == record.plain as usize => Ok(sealed),
            Compression::None => Err(damaged("is not as long as it should be")),
            Compression::Zstd => compress::plain(&sealed, record.plain as usize)
                .filter(|plain| plain.len() == record.plain as usize)
                .ok_or_else(|| damaged("does not decompress")),
        }
    }

    /// Opens a trailer, which ends the pack, and holds the tags of the whole pack against it where they are given.
    fn trailer(&self, sealed: &mut [u8]) -> Result<(Table, [u8; 32])> {
        let damaged = |what: &str| Problem::damaged(&self.object, format!("its trailer {what}"));
        let length = self
            .key
            .open(LAST, TRAILER, sealed)
            .ok_or_else(|| damaged("does not decrypt: some of it is not what was written"))?;
        let (table, rest) = Table::read(&sealed[..length]).map_err(damaged)?;
        let digest = rest.try_into().map_err(|_| damaged("has bytes behind its table"))?;
        Ok((table, digest))
    }
}

/// The table of a pack of this size, read from its two ends.
pub(super) async fn read_table(place: &Place, keys: &DomainKeys, object: &str, size: u64) -> Result<Table> {
    let damaged = |what: &str| Problem::damaged(object, what);
    if size < (HEADER + TAG + TAIL) as u64 || size > MAX_PACK.into() {
        return Err(damaged("has a size that no pack has"));
    }
    let head = place.range(object, 0..HEADER as u64).await?;
    let opened = Opened::new(keys, object, &head)?;
    let guess = TAIL_GUESS.min(size - HEADER as u64);
    let mut tail = place.range(object, size - guess..size).await?.to_vec();
    let length = trailer_length(&tail, size).map_err(damaged)?;
    if length + TAIL > tail.len() {
        tail = place.range(object, size - (length + TAIL) as u64..size).await?.to_vec();
    }
    let begin = tail.len() - TAIL - length;
    let end = tail.len() - TAIL;
    let (table, _) = opened.trailer(&mut tail[begin..end])?;
    if u64::from(table.end()) != size - (length + TAIL) as u64 {
        return Err(damaged("has bytes between its records and its trailer"));
    }
    Ok(table)
}

/// How long the trailer is, by the end of a pack of this size.
pub(super) fn trailer_length(tail: &[u8], size: u64) -> Result<usize, &'static str> {
    let (_, last) = tail.split_last_chunk::<TAIL>().ok_or("is cut short")?;
    if last[4..] != END[..] {
        return Err("has not the end of a pack");
    }
    let length = u32::from_le_bytes([last[0], last[1], last[2], last[3]]);
    if (length as usize) < TAG || u64::from(length) > size.saturating_sub((HEADER + TAIL) as u64) {
        return Err("has a trailer that is longer than the pack");
    }
    Ok(length as usize)
}

/// Opens every record of a pack that was read whole: each is handed on with its chunks.
pub(super) fn read_all(
    keys: &DomainKeys,
    name: PackName,
    object: &str,
    bytes: &[u8],
    mut each: impl FnMut(&[Entry], &[u8]) -> Result<()>,
) -> Result<Table> {
    let damaged = |what: &str| Problem::damaged(object, what);
    if blake3::hash(bytes).as_bytes() != &name.0 {
        return Err(damaged("is not what its name says"));
    }
    let opened = Opened::new(keys, object, bytes)?;
    let length = trailer_length(bytes, bytes.len() as u64).map_err(damaged)?;
    let end = bytes.len() - TAIL;
    let mut sealed = bytes[end - length..end].to_vec();
    let (table, expected) = opened.trailer(&mut sealed)?;
    if table.end() as usize != end - length {
        return Err(damaged("has bytes between its records and its trailer"));
    }
    let mut tags = Vec::with_capacity(table.records.len());
    for (number, record, chunks) in table.iter() {
        let stored = &bytes[record.offset as usize..(record.offset + record.stored) as usize];
        tags.extend(stored.last_chunk::<TAG>());
        each(chunks, &opened.record(number, record, stored)?)?;
    }
    if digest(&tags).as_bytes() != &expected {
        return Err(damaged("has records that are not those of its trailer"));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        time::Clock,
        vault::{
            Domain, Kek, KeyItself, Options, Secret, Vault, chunk::ChunkId, names, place::MAX_OBJECT,
            segment::Pending,
        },
    };

    /// Pages that are nearly all zeros: records of 64 chunks of which next to nothing is left.
    #[tokio::test]
    async fn what_is_small_and_much_fills_no_pack_and_no_segment_that_a_reader_refuses() {
        let place = Place::open("memory:///", &[]).unwrap();
        let key = std::sync::Arc::new(KeyItself::new(Kek::new(Secret::new([1; 32])), "test"));
        let options = Options { place: place.clone(), key, clock: Clock::start() };
        let vault = Vault::open(options).await.unwrap();
        let keys = vault.keyring().for_writing(&Domain::of_service("orders").unwrap()).await.unwrap();
        let (id, mut pending, mut number) = (vault.new_id().unwrap(), Pending::default(), 0_u64);
        let mut sequence = 0;
        while !pending.is_full() {
            sequence += 1;
            let mut pack = Filling::new(&keys, id, sequence, vault.random()).unwrap();
            while !pack.is_full() {
                let chunks: Vec<Entry> = (0..64)
                    .map(|_| {
                        number += 1;
                        let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
                        Entry { id, length: 4096 }
                    })
                    .collect();
                let plain = u32::try_from(crate::vault::chunk::prefix(64) + 64 * 4096).unwrap();
                let mut text = vec![0; 280];
                let slot = pack.place(text.len(), plain, Compression::Zstd, &chunks).unwrap();
                let tag = slot.seal(&mut text).unwrap();
                pack.put(&slot, Bytes::from(text), tag);
            }
            pack.close();
            let Finished { name, size, table, payload } = pack.finish().unwrap();
            assert!(table.records.len() > 500, "a pack of its own for each few is no good either");
            let object = names::pack(keys.domain(), name);
            place.create(&object, payload).await.unwrap();
            assert_eq!(read_table(&place, &keys, &object, size.into()).await.unwrap(), table);
            place.delete(&object).await.unwrap();
            pending.add(name, size, &table);
        }
        let segment = pending.seal(&keys, id, 0, vault.random()).unwrap();
        assert!(segment.len() as u64 <= MAX_OBJECT / 4, "{} bytes", segment.len());
    }
}
