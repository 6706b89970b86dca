//! Notes: decisions about a backup that were made after it, each an object of its own. Of a kind the last one counts. And
//! what the lists of pruning say, which writers and readers obey.

use std::collections::HashSet;

use minicbor::{Decode, Encode};
use object_store::PutPayload;

use super::{
    keyring::DomainKeys,
    names::{self, Id, PackName},
    place::Place,
    problem::{Problem, Result},
    seal::{Header, Kind, ObjectKey, open_single, seal_single},
    secret::SystemRandom,
};

/// What was decided.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(index_only)]
pub enum Decision {
    /// It is to go, once the grace is over.
    #[n(1)]
    Delete,
    /// It is to stay after all.
    #[n(2)]
    Undelete,
    /// It stays, whatever else says that it should go.
    #[n(3)]
    Hold,
    /// It is held no more.
    #[n(4)]
    Release,
    /// It came in time, or late, and all that it needs was there.
    #[n(5)]
    Checked,
    /// It was looked at, and could be restored.
    #[n(6)]
    Verified,
    /// It was looked at, and could not be restored, or not all of it.
    #[n(7)]
    Damaged,
}

/// A decision about a backup.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub struct Note {
    /// What was decided. None: something that this build does not know.
    #[n(1)]
    pub decision: Option<Decision>,
    /// When, in milliseconds since 1970 by the control plane's clock.
    #[n(2)]
    pub time: u64,
    /// By whom.
    #[n(3)]
    pub by: String,
    /// Why, or what was found.
    #[n(4)]
    pub evidence: String,
}

/// How often a number that somebody else took meanwhile is tried again with the next.
const TRIES: u32 = 16;

/// The notes of a backup, in order.
pub(super) async fn read(place: &Place, keys: &DomainKeys, backup: Id) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    for listed in place.list(&names::notes(backup)).await? {
        let Some(sequence) = names::number(listed.last()) else { continue };
        let object = &listed.name;
        let bytes = place.get(object).await?;
        let header = Header::decode(object, &bytes)?;
        // A note is bound to its backup and its number: that of another one opens nowhere else.
        if header.operation != backup || header.sequence != sequence {
            return Err(Problem::damaged(object, "is not what its name says"));
        }
        let key = ObjectKey::of(keys.epoch(), Kind::Note, object, &header)?;
        let plain = open_single(&key, object, &bytes)?;
        notes.push(minicbor::decode(&plain).map_err(|error| Problem::damaged(object, error.to_string()))?);
    }
    Ok(notes)
}

/// Writes a note after all that there are.
pub(super) async fn write(
    place: &Place,
    keys: &DomainKeys,
    backup: Id,
    note: &Note,
    random: &SystemRandom,
) -> Result<()> {
    let plain = minicbor::to_vec(note).map_err(|error| Problem::Internal(error.to_string()))?;
    let listed = place.list(&names::notes(backup)).await?;
    let last = listed.iter().filter_map(|one| names::number(one.last())).max();
    let mut sequence = last.map_or(0, |last| last.saturating_add(1));
    for _ in 0..TRIES {
        let object = names::note(backup, sequence);
        let key = ObjectKey::fresh(keys.epoch(), Kind::Note, backup, sequence, random)?;
        match place.create(&object, PutPayload::from(seal_single(&key, &plain)?)).await {
            Ok(()) => return Ok(()),
            Err(Problem::Taken { .. }) => sequence = sequence.saturating_add(1),
            Err(problem) => return Err(problem),
        }
    }
    Err(Problem::Taken { object: names::notes(backup) })
}

/// What a list of pruning says.
#[derive(Clone, Debug, Decode, Encode, Eq, PartialEq)]
#[cbor(map)]
pub(super) struct Condemned {
    /// Packs, 32 bytes for each.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) packs: Vec<u8>,
    /// Backups, 16 bytes for each.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) backups: Vec<u8>,
}

/// What is on the list of any cycle of pruning.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    pub(super) packs: HashSet<PackName>,
    pub(super) backups: HashSet<Id>,
}

/// Everything that is on the list of any cycle of pruning, finished or not. A list that cannot be read is an error: who does
/// not know what is condemned must refer to nothing.
pub(super) async fn condemned(place: &Place, vault_keys: &DomainKeys) -> Result<Doomed> {
    let mut doomed = Doomed::default();
    for listed in place.list(names::GC).await? {
        if listed.last() != names::CONDEMNED {
            continue;
        }
        let object = &listed.name;
        let bytes = place.get(object).await?;
        let header = Header::decode(object, &bytes)?;
        if names::parse_condemned(object) != Some(header.sequence) {
            return Err(Problem::damaged(object, "is not what its name says"));
        }
        let key = ObjectKey::of(vault_keys.epoch(), Kind::Condemned, object, &header)?;
        let plain = open_single(&key, object, &bytes)?;
        let list: Condemned =
            minicbor::decode(&plain).map_err(|error| Problem::damaged(object, error.to_string()))?;
        let (packs, rest) = list.packs.as_chunks::<32>();
        let (backups, others) = list.backups.as_chunks::<16>();
        if !rest.is_empty() || !others.is_empty() {
            return Err(Problem::damaged(object, "has half a name"));
        }
        doomed.packs.extend(packs.iter().map(|name| PackName(*name)));
        doomed.backups.extend(backups.iter().map(|id| Id::from_bits(u128::from_be_bytes(*id))));
    }
    Ok(doomed)
}
