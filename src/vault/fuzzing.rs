//! Objects of a vault as bytes from anywhere: the way in for `tests/fuzz` and for benches, and for nobody else.

use futures_util::FutureExt as _;

use super::{
    chunk::{ChunkId, chunks_of},
    compress,
    index::{Index, Reference},
    keyring::DomainKeys,
    manifest::Manifest,
    names::{self, Domain, Id, PackName},
    pack,
    place::Place,
    problem::{Problem, Result},
    seal::{Epoch, Header, Kind, ObjectKey, TAG, open_single, seal_single},
    secret::{Secret, SystemRandom},
    segment,
    table::{Compression, Table},
};

/// Creates an object where none is; that it is there already is fine, if it is the same.
///
/// # Errors
/// Another one is there, or the store refuses it.
pub async fn create(place: &Place, name: &str, bytes: &'static [u8]) -> Result<()> {
    place.create(name, object_store::PutPayload::from_static(bytes)).await
}

/// Reads what the trailer of a pack seals, and writes it again, with what was behind it. None: it is no table.
pub fn table(bytes: &[u8]) -> Option<Vec<u8>> {
    let (table, rest) = Table::read(bytes).ok()?;
    let mut written = Vec::with_capacity(bytes.len());
    table.write(&mut written);
    assert_eq!(written.len(), table.size());
    let listed: usize = table.iter().map(|(_, _, chunks)| chunks.len()).sum();
    assert_eq!(listed, table.chunks.len());
    written.extend_from_slice(rest);
    Some(written)
}

/// Finds the trailer by the end of a pack of this size, which is at least as long as the end.
pub fn trailer(tail: &[u8], size: u64) -> Option<usize> {
    let length = pack::trailer_length(tail, size).ok()?;
    assert!(length as u64 <= size);
    Some(length)
}

/// Reads what a segment of the index seals, puts it into an index, and answers how many packs it has. None: it is none.
pub fn segment(bytes: &[u8]) -> Option<usize> {
    let described = segment::parse(bytes).ok()?;
    let mut index = Index::new();
    for one in &described {
        index.add_table(one.name, &one.table).ok()?;
        for entry in &one.table.chunks {
            assert!(index.get(&entry.id).and_then(|at| index.location(at.record)).is_some());
        }
    }
    Some(described.len())
}

/// Reads a manifest, and writes it again.
///
/// # Errors
/// It is damaged.
pub fn manifest(bytes: &[u8]) -> Result<Vec<u8>> {
    Manifest::decode("it", bytes)?.encode()
}

/// Opens an object of one record that somebody else made. None: it is refused, as it always has to be but for what
/// [`sealed`] made.
pub fn single(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::decode("it", bytes).ok()?;
    assert_eq!(header.encode()[..], bytes[..header.encode().len()]);
    let (secret, domain) = (Secret::new([7; 32]), Domain::vault());
    let key = ObjectKey::of(epoch(&domain, &secret), Kind::Note, "it", &header).ok()?;
    open_single(&key, "it", bytes).ok()
}

/// An object that [`single`] opens.
///
/// # Errors
/// There is no randomness.
pub fn sealed(plain: &[u8]) -> Result<Vec<u8>> {
    let (secret, domain) = (Secret::new([7; 32]), Domain::vault());
    let random = SystemRandom::new();
    let key = ObjectKey::fresh(epoch(&domain, &secret), Kind::Note, Id::from_bits(1), 0, &random)?;
    seal_single(&key, plain)
}

/// Bytes that the records of a pack may have that [`whole_pack`] makes.
const MOST_RECORDS: usize = 256 << 10;

/// Reads a whole pack that somebody made who has the key: what its trailer seals is said, and what its records seal comes one after
/// the other, over and over, at the places that the trailer names. Answers how many chunks it has. None: it is refused.
///
/// # Errors
/// There is no randomness, or no room in memory.
pub fn whole_pack(trailer: &[u8], records: &[u8]) -> Result<Option<usize>> {
    let domain = Domain::vault();
    let keys = DomainKeys::new([1; 16], &domain, 1, Secret::new([7; 32]))?;
    let key = ObjectKey::fresh(keys.epoch(), Kind::Pack, Id::from_bits(1), 1, &SystemRandom::new())?;
    let table = Table::read(trailer).ok().map(|(table, _)| table);
    let table = table.filter(|table| table.end() as usize <= MOST_RECORDS);
    let mut bytes = key.header().to_vec();
    let mut tags = Vec::new();
    let mut next = records.iter().copied().cycle();
    for (number, record, _) in table.iter().flat_map(Table::iter) {
        let wanted = (record.stored as usize).saturating_sub(TAG);
        let mut text: Vec<u8> = next.by_ref().take(wanted).collect();
        text.resize(wanted, 0);
        tags.push(key.seal(number, &pack::aad(number, record.plain, record.compression), &mut text, 0)?);
        bytes.extend_from_slice(&text);
    }
    let mut sealed = trailer.to_vec();
    if table.is_some() {
        // Nobody guesses it: as it should be where the trailer says nothing of its own.
        sealed.extend_from_slice(pack::digest(&tags).as_bytes());
    }
    bytes.extend_from_slice(&pack::sealed_trailer(&key, sealed)?);
    let name = PackName(*blake3::hash(&bytes).as_bytes());
    let object = names::pack(&domain, name);
    let mut chunks = 0;
    let read = pack::read_all(&keys, name, &object, &bytes, |entries, plain| {
        chunks += entries.len();
        assert!(
            chunks_of(plain).is_none_or(|ranges| ranges.last().is_some_and(|last| last.end == plain.len()))
        );
        Ok(())
    });
    let place = Place::open("memory:///", &[])?;
    let size = bytes.len() as u64;
    let tabled = async {
        place.create(&object, object_store::PutPayload::from(bytes)).await?;
        pack::read_table(&place, &keys, &object, size).await
    };
    // A bucket in memory answers at once.
    let tabled = tabled.now_or_never().and_then(Result::ok);
    match read {
        Ok(table) => {
            assert_eq!(tabled, Some(table), "the two ways to read a pack differ");
            Ok(Some(chunks))
        }
        Err(_) => Ok(None),
    }
}

fn epoch<'a>(domain: &'a Domain, key: &'a Secret) -> Epoch<'a> {
    Epoch { vault: [1; 16], domain, number: 1, key }
}

/// Where the chunks of a record lie in its plain text: they follow each other up to its end. None: it is no record.
pub fn record(plain: &[u8]) -> Option<usize> {
    let ranges = chunks_of(plain)?;
    let begin = ranges.first().map_or(0, |range| range.start);
    let end = ranges.iter().fold(begin, |at, range| {
        assert_eq!(range.start, at);
        range.end
    });
    assert_eq!(end, plain.len());
    Some(ranges.len())
}

/// Compresses the text of a record and takes it apart again.
///
/// # Errors
/// Zstd fails, or what comes back is something else.
pub fn compressed(plain: &[u8]) -> Result<()> {
    let (text, compression) = compress::text(plain, true, TAG)?;
    let back = match compression {
        Compression::None => Some(text),
        Compression::Zstd => zstd::bulk::decompress(&text, plain.len()).ok(),
    };
    if back.as_deref() == Some(plain) {
        return Ok(());
    }
    Err(Problem::Internal("a record comes back as something else".to_owned()))
}

/// An index of this many chunks, a few to a record, as random as those of a vault; held for who measures it.
#[derive(Debug)]
pub struct Simulated(Index);

impl Simulated {
    /// Fills it.
    ///
    /// # Errors
    /// There are more records than an index may have.
    pub fn new(chunks: u64, in_record: u8) -> Result<Self> {
        let mut index = Index::new();
        let (mut record, mut position) = (index.add_record()?, 0);
        for number in 0..chunks {
            if position == in_record {
                (record, position) = (index.add_record()?, 0);
            }
            index.claim(&Self::id(number), record, position);
            position += 1;
        }
        Ok(Self(index))
    }

    /// Whether a chunk is there.
    pub fn has(&self, number: u64) -> bool {
        let found: Option<Reference> = self.0.get(&Self::id(number));
        found.is_some()
    }

    fn id(number: u64) -> ChunkId {
        ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/fuzz` begins with gets as far as it is meant to.
    #[test]
    fn seeds_of_packs_are_packs() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/vault_pack");
        for (seed, chunks) in
            [("empty", Some(0)), ("one", Some(2)), ("two", Some(3)), ("compressed", Some(1)), ("none", None)]
        {
            let bytes = std::fs::read(format!("{folder}/{seed}")).unwrap();
            let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let (trailer, records) = bytes[2..].split_at(length);
            assert_eq!(whole_pack(trailer, records).unwrap(), chunks, "{seed}");
        }
    }
}
