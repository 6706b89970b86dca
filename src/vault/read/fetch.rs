//! Fetches records: those of one pack that lie near each other as one range, several ranges at a time, opened on other
//! threads.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::{
    task,
    vault::{
        chunk::{ChunkId, chunks_of},
        index::{Index, Location},
        keyring::DomainKeys,
        names::{self, PackName},
        open::Vault,
        pack::Opened,
        place::Place,
        problem::{Problem, Result},
        seal::HEADER,
    },
};

/// What lies between two records that are fetched as one range, at the most.
const GAP: u32 = 128 << 10;
/// Bytes of one range.
const RANGE: u32 = 4 << 20;
/// Ranges that are fetched at a time for one window.
const PARALLEL: usize = 4;
/// Packs whose keys are kept: a key is derived in microseconds, and read in a request.
const KEYS: usize = 256;

/// A chunk that is wanted, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) id: ChunkId,
    pub(super) length: u32,
    pub(super) position: u8,
    pub(super) location: Location,
}

/// Records of one pack that are fetched as one range.
#[derive(Debug)]
struct Span {
    pack: u32,
    range: Range<u32>,
    /// Each with the places, in the order that was asked for, of the chunks that are wanted of it.
    records: Vec<(Location, Vec<usize>)>,
}

/// Fetches, and remembers the keys of packs.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    opened: Mutex<HashMap<PackName, Arc<Opened>>>,
}

impl Fetcher {
    /// The bytes of chunks, in the order that was asked for, in pieces of any size.
    pub(super) async fn fetch(
        &self,
        vault: &Vault,
        keys: &Arc<DomainKeys>,
        index: &Index,
        wanted: Vec<Wanted>,
    ) -> Result<Vec<Bytes>> {
        let wanted = Arc::new(wanted);
        let place = vault.place();
        let spans = spans(&wanted).into_iter();
        let each = spans.map(|span| self.fetch_span(place, keys, index, span, Arc::clone(&wanted)));
        let mut fetching = stream::iter(each.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        let mut found: Vec<Option<Piece>> = vec![None; wanted.len()];
        while let Some(fetched) = fetching.next().await {
            for (at, piece) in fetched? {
                found[at] = Some(piece);
            }
        }
        let missing = || Problem::Internal("a chunk was fetched and is not there".to_owned());
        let found = found.into_iter().collect::<Option<Vec<_>>>().ok_or_else(missing)?;
        Ok(join(found))
    }

    async fn fetch_span(
        &self,
        place: &Place,
        keys: &Arc<DomainKeys>,
        index: &Index,
        span: Span,
        wanted: Arc<Vec<Wanted>>,
    ) -> Result<Vec<(usize, Piece)>> {
        let unnamed = || Problem::Internal("a record is in a pack without a name".to_owned());
        let name = index.pack(span.pack).ok_or_else(unnamed)?;
        let object = names::pack(keys.domain(), name);
        let opened = self.open(place, keys, name, &object).await?;
        let range = u64::from(span.range.start)..u64::from(span.range.end);
        let stored = place.range(&object, range).await?;
        let keys = Arc::clone(keys);
        let opening = task::blocking("vault open", move || {
            let mut found = Vec::new();
            for (location, places) in &span.records {
                let from = (location.offset - span.range.start) as usize;
                let stored = &stored[from..from + location.stored as usize];
                let plain = opened.record(location.number.into(), &location.record(), stored)?;
                let damaged =
                    |what: &str| Problem::damaged(&object, format!("record {} {what}", location.number));
                let ranges = chunks_of(&plain).ok_or_else(|| damaged("is none"))?;
                let plain = Bytes::from(plain);
                let used: usize = places.iter().map(|at| wanted[*at].length as usize).sum();
                // A piece keeps all of its record in memory; where little of it is wanted, that little is copied.
                let is_sparse = used < plain.len() / 2;
                for at in places {
                    let Wanted { id, length, position, .. } = wanted[*at];
                    let range =
                        ranges.get(usize::from(position)).ok_or_else(|| damaged("has too few chunks"))?;
                    let chunk = &plain[range.clone()];
                    if chunk.len() != length as usize || ChunkId::of(keys.chunk_id(), chunk) != id {
                        return Err(damaged(&format!("has something else for chunk {id}")));
                    }
                    found.push((*at, Piece::of(&plain, range.clone(), is_sparse)));
                }
            }
            Ok(found)
        });
        opening.await.map_err(|ended| Problem::Internal(ended.to_string()))?
    }

    async fn open(
        &self,
        place: &Place,
        keys: &DomainKeys,
        name: PackName,
        object: &str,
    ) -> Result<Arc<Opened>> {
        if let Some(opened) = self.opened.lock().get(&name) {
            return Ok(Arc::clone(opened));
        }
        let head = place.range(object, 0..HEADER as u64).await?;
        let opened = Arc::new(Opened::new(keys, object, &head)?);
        let mut known = self.opened.lock();
        if known.len() >= KEYS {
            known.clear();
        }
        known.insert(name, Arc::clone(&opened));
        Ok(opened)
    }
}

/// Puts the records that are wanted together into ranges.
fn spans(wanted: &[Wanted]) -> Vec<Span> {
    let mut records: BTreeMap<(u32, u32), (Location, Vec<usize>)> = BTreeMap::new();
    for (at, one) in wanted.iter().enumerate() {
        let Wanted { location, .. } = one;
        records.entry((location.pack, location.offset)).or_insert_with(|| (*location, Vec::new())).1.push(at);
    }
    let mut spans: Vec<Span> = Vec::new();
    for ((pack, offset), record) in records {
        let end = offset.saturating_add(record.0.stored);
        match spans.last_mut() {
            Some(span)
                if span.pack == pack
                    && offset.saturating_sub(span.range.end) <= GAP
                    && end - span.range.start <= RANGE =>
            {
                span.range.end = end;
                span.records.push(record);
            }
            _ => spans.push(Span { pack, range: offset..end, records: vec![record] }),
        }
    }
    spans
}

/// A chunk as a part of its record.
#[derive(Clone, Debug)]
struct Piece {
    record: Bytes,
    range: Range<usize>,
}

impl Piece {
    fn of(record: &Bytes, range: Range<usize>, copied: bool) -> Self {
        match copied {
            true => Self { range: 0..range.len(), record: Bytes::copy_from_slice(&record[range]) },
            false => Self { record: record.clone(), range },
        }
    }
}

/// Joins pieces that lie beside each other in one record.
fn join(pieces: Vec<Piece>) -> Vec<Bytes> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if last.record.as_ptr() == piece.record.as_ptr() && last.range.end == piece.range.start =>
            {
                last.range.end = piece.range.end;
            }
            _ => joined.push(piece),
        }
    }
    joined.into_iter().map(|Piece { record, range }| record.slice(range)).collect()
}
