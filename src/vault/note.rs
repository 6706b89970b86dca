//! Notes: decisions about a backup that were made after it, each an object of its own. Of a kind the last one counts. One that
//! cannot be read is told, and keeps nobody from what can: a note is no part of what it is about.

use minicbor::{Decode, Encode};
use object_store::PutPayload;
use tracing::warn;

use super::{
    keyring::DomainKeys,
    names::{self, Id},
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
    /// Packs that were found to be damaged, 32 bytes for each, in a note of a domain about them.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub(super) packs: Option<Vec<u8>>,
}

/// How often a number that somebody else took meanwhile is tried again with the next.
const TRIES: u32 = 16;

/// A note that is there and cannot be read: what it says is not known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// Its name in the bucket.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// So many of those that can be read come before it.
    pub(super) after: usize,
}

/// What is noted about a backup.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// What can be read, in order.
    pub(super) read: Vec<Note>,
    /// What cannot.
    pub(super) unreadable: Vec<Unreadable>,
}

/// The notes of a backup, in order.
pub(super) async fn read(place: &Place, keys: &DomainKeys, backup: Id) -> Result<Notes> {
    let mut notes = Notes::default();
    for listed in place.list(&names::notes(backup)).await? {
        let Some(sequence) = names::number(listed.last()) else { continue };
        let object = &listed.name;
        let opened = place.get(object).await.and_then(|bytes| open(keys, object, (backup, sequence), &bytes));
        match opened {
            Ok(note) => notes.read.push(note),
            // It was swept with its backup in between.
            Err(Problem::Missing { .. }) => {}
            Err(problem @ (Problem::Damaged { .. } | Problem::TooNew { .. })) => {
                warn!(component = "vault", operation = "read note", object, %problem, "a note cannot be read; it does not count");
                let (object, what, after) = (object.clone(), problem.to_string(), notes.read.len());
                notes.unreadable.push(Unreadable { object, what, after });
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(notes)
}

fn open(keys: &DomainKeys, object: &str, named: (Id, u32), bytes: &[u8]) -> Result<Note> {
    let header = Header::decode(object, bytes)?;
    // A note is bound to its backup and its number: that of another one opens nowhere else.
    if (header.operation, header.sequence) != named {
        return Err(Problem::damaged(object, "is not what its name says"));
    }
    let key = ObjectKey::of(keys.epoch(), Kind::Note, object, &header)?;
    let plain = open_single(&key, object, bytes)?;
    minicbor::decode(&plain).map_err(|error| Problem::damaged(object, error.to_string()))
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
