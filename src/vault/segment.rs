//! Segments of the index: what the trailers of an operation's packs say, in one object, so that many packs are known at once.
//! They are no truth of their own: where one is missing or does not open, the trailers are read.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tracing::warn;

use super::{
    index::Index,
    keyring::DomainKeys,
    names::{self, Id, PackName},
    pack::read_table,
    place::{MAX_OBJECT, Place},
    problem::{Problem, Result},
    seal::{Header, Kind, ObjectKey, open_single, seal_single},
    secret::SystemRandom,
    table::Table,
};
use crate::task;

/// A segment ends when its tables have this many bytes: more packs than an hour of backup, and less than anybody misses.
pub(super) const TARGET: usize = 8 << 20;
/// Objects that are read at a time.
const PARALLEL: usize = 4;

/// What is to be written of an operation's packs.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    packs: u32,
}

impl Pending {
    pub(super) fn add(&mut self, name: PackName, size: u32, table: &Table) {
        self.bytes.extend_from_slice(&name.0);
        self.bytes.extend_from_slice(&size.to_le_bytes());
        table.write(&mut self.bytes);
        self.packs += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= TARGET
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packs == 0
    }

    /// As an object.
    pub(super) fn seal(
        &self,
        keys: &DomainKeys,
        operation: Id,
        sequence: u32,
        random: &SystemRandom,
    ) -> Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(4 + self.bytes.len());
        plain.extend_from_slice(&self.packs.to_le_bytes());
        plain.extend_from_slice(&self.bytes);
        let key = ObjectKey::fresh(keys.epoch(), Kind::Index, operation, sequence, random)?;
        let sealed = seal_single(&key, &plain)?;
        // What one pack adds is bounded by the pack.
        if sealed.len() as u64 > MAX_OBJECT {
            let size = sealed.len();
            return Err(Problem::Internal(format!("a segment of {size} bytes is more than anybody reads")));
        }
        Ok(sealed)
    }
}

/// What a segment says of one pack.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: PackName,
    pub(super) size: u32,
    pub(super) table: Table,
}

/// Reads a segment.
pub(super) fn open(keys: &DomainKeys, object: &str, bytes: &[u8]) -> Result<Vec<Described>> {
    let header = Header::decode(object, bytes)?;
    let named = object.rsplit('/').next().and_then(names::parse_segment);
    if named != Some((header.operation, header.sequence)) {
        return Err(Problem::damaged(object, "is not what its name says"));
    }
    let key = ObjectKey::of(keys.epoch(), Kind::Index, object, &header)?;
    parse(&open_single(&key, object, bytes)?).map_err(|what| Problem::damaged(object, what))
}

/// Reads what a segment seals.
pub(super) fn parse(plain: &[u8]) -> Result<Vec<Described>, &'static str> {
    let (count, mut rest) = plain.split_first_chunk::<4>().ok_or("is cut short")?;
    let mut described = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (name, after) = rest.split_first_chunk::<32>().ok_or("is cut short")?;
        let (size, after) = after.split_first_chunk::<4>().ok_or("is cut short")?;
        let (table, after) = Table::read(after)?;
        described.push(Described { name: PackName(*name), size: u32::from_le_bytes(*size), table });
        rest = after;
    }
    if rest.is_empty() { Ok(described) } else { Err("has bytes behind its last pack") }
}

/// What the bucket holds of a domain: its packs, and what is in them.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) index: Index,
    /// Segments and packs that are there and cannot be read. Nothing is known to be in such a pack; a segment that cannot be
    /// read costs time alone.
    pub(super) problems: Vec<Problem>,
}

/// The packs of a domain that are there.
pub(super) async fn list_packs(place: &Place, keys: &DomainKeys) -> Result<HashMap<PackName, u64>> {
    let listed = place.list(&names::packs(keys.domain())).await?;
    Ok(listed.iter().filter_map(|one| Some((PackName::parse(one.last())?, one.size))).collect())
}

/// Packs that are not taken as others are.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// What is in one of these counts as not there.
    pub(super) absent: HashSet<PackName>,
    /// What is in one of these is taken where there is no other copy, and later the later they come.
    pub(super) last: Vec<HashSet<PackName>>,
}

impl Hidden {
    /// How late a pack is taken: 0 at once.
    fn rank(&self, name: PackName) -> usize {
        self.last.iter().rposition(|some| some.contains(&name)).map_or(0, |at| at + 1)
    }
}

/// The index of a domain as it is being read. Moved to where it takes something, as that is work for milliseconds.
struct Loading {
    keys: Arc<DomainKeys>,
    packs: HashMap<PackName, u64>,
    hidden: Hidden,
    index: Index,
    problems: Vec<Problem>,
    known: HashSet<PackName>,
    late: Vec<Described>,
}

impl Loading {
    /// Takes what a segment says.
    fn segment(&mut self, object: &str, bytes: Result<Bytes>) -> Result<()> {
        let described = match bytes.and_then(|bytes| open(&self.keys, object, &bytes)) {
            Ok(described) => described,
            Err(problem @ (Problem::Damaged { .. } | Problem::Missing { .. } | Problem::TooNew { .. })) => {
                warn!(component = "vault", operation = "index", object, %problem, "a segment of the index is of no use; the packs are read instead");
                self.problems.push(problem);
                return Ok(());
            }
            Err(problem) => return Err(problem),
        };
        for one in described {
            // A pack of another size is not the one that was described.
            if self.packs.get(&one.name) == Some(&u64::from(one.size)) && self.known.insert(one.name) {
                self.add(one)?;
            }
        }
        Ok(())
    }

    /// Takes what a pack says of itself.
    fn pack(&mut self, name: PackName, size: u64, table: Result<Table>) -> Result<()> {
        match table {
            Ok(table) => {
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                self.add(Described { name, size, table })
            }
            Err(problem @ Problem::Place { .. }) => Err(problem),
            Err(problem) => {
                warn!(component = "vault", operation = "index", pack = %name, %problem, "a pack cannot be read");
                self.problems.push(problem);
                Ok(())
            }
        }
    }

    fn add(&mut self, one: Described) -> Result<()> {
        if self.hidden.absent.contains(&one.name) {
            return Ok(());
        }
        match self.hidden.rank(one.name) {
            0 => self.index.add_table(one.name, &one.table),
            _ => {
                self.late.push(one);
                Ok(())
            }
        }
    }

    /// Packs that no segment describes.
    fn others(&self) -> Vec<(PackName, u64)> {
        let mut others: Vec<_> = self
            .packs
            .iter()
            .map(|(name, size)| (*name, *size))
            .filter(|(name, _)| !self.known.contains(name))
            .filter(|(name, _)| !self.hidden.absent.contains(name))
            .collect();
        others.sort_unstable();
        others
    }

    fn finish(mut self) -> Result<Loaded> {
        self.late.sort_by_key(|one| self.hidden.rank(one.name));
        for one in std::mem::take(&mut self.late) {
            self.index.add_table(one.name, &one.table)?;
        }
        Ok(Loaded { index: self.index, problems: self.problems })
    }
}

/// Does something with it where nobody waits for the processor.
async fn aside<T: Send + 'static>(
    mut loading: Loading,
    work: impl FnOnce(&mut Loading) -> Result<T> + Send + 'static,
) -> Result<(Loading, T)> {
    let done = task::blocking("vault index", move || work(&mut loading).map(|done| (loading, done)));
    done.await.map_err(|ended| Problem::Internal(ended.to_string()))?
}

/// Reads the index of a domain: without packs that nobody may refer to, and with those last that only a reader takes, where
/// there is no other copy.
pub(super) async fn load(place: &Place, keys: &Arc<DomainKeys>, hidden: Hidden) -> Result<Loaded> {
    let mut loading = Loading {
        keys: Arc::clone(keys),
        packs: list_packs(place, keys).await?,
        hidden,
        index: Index::new(),
        problems: Vec::new(),
        known: HashSet::new(),
        late: Vec::new(),
    };
    let segments = place.list(&names::index(keys.domain())).await?;
    let each = segments.into_iter().map(|listed| async move {
        let bytes = place.get(&listed.name).await;
        (listed.name, bytes)
    });
    let mut reading = stream::iter(each.collect::<Vec<_>>()).buffered(PARALLEL);
    while let Some((object, bytes)) = reading.next().await {
        (loading, ()) = aside(loading, move |loading| loading.segment(&object, bytes)).await?;
    }
    let each = loading.others().into_iter().map(|(name, size)| async move {
        let object = names::pack(keys.domain(), name);
        (name, size, read_table(place, keys, &object, size).await)
    });
    let mut reading = stream::iter(each.collect::<Vec<_>>()).buffered(PARALLEL);
    while let Some((name, size, table)) = reading.next().await {
        (loading, ()) = aside(loading, move |loading| loading.pack(name, size, table)).await?;
    }
    drop(reading);
    loading.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::table::tests::tables;

    proptest! {
        #[test]
        fn a_segment_is_read_as_it_was_written(tables in prop::collection::vec(tables(), 0..5)) {
            let mut pending = Pending::default();
            for (table, at) in tables.iter().zip(0_u8..) {
                pending.add(PackName([at; 32]), 100 + u32::from(at), table);
            }
            let mut plain = pending.packs.to_le_bytes().to_vec();
            plain.extend_from_slice(&pending.bytes);
            let read = parse(&plain).unwrap();
            prop_assert_eq!(read.len(), tables.len());
            for ((one, table), at) in read.iter().zip(&tables).zip(0_u8..) {
                prop_assert_eq!((one.name, one.size, &one.table), (PackName([at; 32]), 100 + u32::from(at), table));
            }
            plain.push(0);
            prop_assert!(parse(&plain).is_err());
        }

        #[test]
        fn whatever_is_no_segment_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _read = parse(&bytes);
        }
    }
}
