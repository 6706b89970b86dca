//! What backups there are, by the bucket alone: manifests, and the notes about them.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use tracing::warn;

use super::{
    keyring::DomainKeys,
    manifest::Manifest,
    names::{self, Domain, Id},
    note::{self, Decision, Note, Notes, Unreadable},
    open::Vault,
    problem::{Problem, Result},
    seal::{Header, Kind, ObjectKey, open_single},
    session::TTL_MILLIS,
    verify::Depth,
};

/// Backups that are read at a time: each is a small object or two.
const PARALLEL: usize = 8;

/// What may be done with a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// All of it is there.
    Complete,
    /// Something is missing; the rest can be restored.
    Partial,
    /// It came late, and nobody has looked whether what it needs is there: not to be restored.
    Late,
    /// Deleted; until the grace is over it can be brought back.
    Deleted,
}

/// A backup as the bucket has it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub manifest: Manifest,
    /// The operation that wrote it.
    pub operation: Id,
    /// What may be done with it.
    pub state: State,
    /// What was decided about it, in order.
    pub notes: Vec<Note>,
    /// Notes about it that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Hash of its manifest as it is stored.
    pub hash: [u8; 32],
}

/// What the last verification of a backup found.
#[derive(Clone, Copy, Debug)]
pub enum Looked<'a> {
    /// It can be restored, as far as that look went.
    Sound(&'a Note),
    /// Something of it cannot.
    Damaged(&'a Note),
    /// What was noted last cannot be read: nobody knows.
    Unclear(&'a Unreadable),
}

impl Listed {
    /// What the last verification found. None: nobody has verified it.
    pub fn looked(&self) -> Option<Looked<'_>> {
        // What cannot be read may say that it is damaged: that it is sound counts again once somebody has looked since.
        let sound = self.since_unreadable().iter().rev().find_map(looked);
        let before = || self.notes.iter().rev().find_map(looked);
        match (sound, self.unreadable.last()) {
            (Some(looked), _) => Some(looked),
            (None, None) => None,
            (None, Some(unreadable)) => match before() {
                Some(damaged @ Looked::Damaged(_)) => Some(damaged),
                _ => Some(Looked::Unclear(unreadable)),
            },
        }
    }

    /// The notes that come after all that cannot be read.
    fn since_unreadable(&self) -> &[Note] {
        let from = self.unreadable.last().map_or(0, |last| last.after);
        self.notes.get(from..).unwrap_or_default()
    }

    /// Whether it was verified as deep as this, or deeper, and nothing has been found to be wrong since.
    pub fn is_verified(&self, depth: Depth) -> bool {
        let known = self.since_unreadable().iter().rev();
        let since = known.take_while(|note| note.decision != Some(Decision::Damaged));
        since
            .filter(|note| note.decision == Some(Decision::Verified))
            .any(|note| Depth::parse(&note.evidence).is_some_and(|looked| looked >= depth))
    }

    /// The last note of a kind.
    pub fn last(&self, decision: Decision) -> Option<&Note> {
        self.notes.iter().rev().find(|note| note.decision == Some(decision))
    }
}

/// What a note says of how it was found.
fn looked(note: &Note) -> Option<Looked<'_>> {
    match note.decision {
        Some(Decision::Verified) => Some(Looked::Sound(note)),
        Some(Decision::Damaged) => Some(Looked::Damaged(note)),
        _ => None,
    }
}

/// Opens a manifest of this name.
pub(super) fn open_manifest(keys: &DomainKeys, object: &str, bytes: &[u8]) -> Result<Manifest> {
    let header = Header::decode(object, bytes)?;
    let key = ObjectKey::of(keys.epoch(), Kind::Manifest, object, &header)?;
    let manifest = Manifest::decode(object, &open_single(&key, object, bytes)?)?;
    let named = object.rsplit('/').next().and_then(|name| Id::parse(name).ok());
    if named != Some(manifest.id()) || manifest.service != keys.domain().as_str() {
        return Err(Problem::damaged(object, "is not what its name says"));
    }
    Ok(manifest)
}

/// What may be done with a backup by what is noted about it. A note of a kind counts until one of its opposite.
fn judge(manifest: &Manifest, written: u64, notes: &Notes) -> State {
    let Notes { read: notes, unreadable } = notes;
    let last = |one: Decision, other: Decision| {
        notes.iter().rev().find_map(|note| {
            if note.decision == Some(one) {
                Some(true)
            } else {
                (note.decision == Some(other)).then_some(false)
            }
        })
    };
    let is_late = written > manifest.last_renewal.saturating_add(TTL_MILLIS);
    // One that cannot be read may be that which each backup has. To take it for that costs a reader nothing: it looks at every
    // byte, and whoever prunes counts the manifest.
    let checked = !unreadable.is_empty() || notes.iter().any(|note| note.decision == Some(Decision::Checked));
    if last(Decision::Delete, Decision::Undelete) == Some(true) {
        State::Deleted
    } else if is_late && !checked {
        State::Late
    } else if manifest.is_complete() {
        State::Complete
    } else {
        State::Partial
    }
}

impl Vault {
    /// The services that have backups, the control plane's own state among them.
    ///
    /// # Errors
    /// The bucket cannot be listed.
    pub async fn services(&self) -> Result<Vec<Domain>> {
        let listed = self.place().list(&names::manifests(None)).await?;
        let mut services: Vec<Domain> = listed
            .iter()
            .filter_map(|one| one.name.split('/').nth(1))
            .filter_map(|name| Domain::of_service(name).ok())
            .collect();
        services.sort_unstable();
        services.dedup();
        Ok(services)
    }

    /// The ids of a service's backups, newest first. None of them is read.
    ///
    /// # Errors
    /// The bucket cannot be listed.
    pub async fn backup_ids(&self, service: &Domain) -> Result<Vec<Id>> {
        let listed = self.place().list(&names::manifests(Some(service))).await?;
        let mut found: Vec<_> = listed.iter().filter_map(|one| Id::parse(one.last()).ok()).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok(found)
    }

    /// The services that have keys: those that have backups, and those that have lost them, or never got one.
    ///
    /// # Errors
    /// The bucket cannot be listed.
    pub async fn keyed_services(&self) -> Result<Vec<Domain>> {
        let listed = self.place().list(names::KEYS).await?;
        let mut services: Vec<Domain> = listed
            .iter()
            .filter_map(|one| one.name.split('/').nth(1))
            .filter_map(|name| Domain::of_service(name).ok())
            .collect();
        services.dedup();
        Ok(services)
    }

    /// The backups of a service, newest first. One that cannot be read is among them, with what is wrong.
    ///
    /// # Errors
    /// The bucket cannot be read, or the key does not open it.
    pub async fn backups(&self, service: &Domain) -> Result<Vec<(Id, Result<Listed>)>> {
        let ids = self.backup_ids(service).await?;
        self.read_backups(ids.into_iter().map(|id| (service.clone(), id))).await
    }

    /// Backups of these services and ids, in this order, several read at a time. One that cannot be read is among them, with
    /// what is wrong.
    ///
    /// # Errors
    /// The bucket cannot be read, or the key does not open it.
    pub async fn read_backups(
        &self,
        which: impl IntoIterator<Item = (Domain, Id)>,
    ) -> Result<Vec<(Id, Result<Listed>)>> {
        let each =
            which.into_iter().map(|(service, id)| async move { (id, self.backup(&service, id).await) });
        let mut reading = stream::iter(each.collect::<Vec<_>>()).buffered(PARALLEL);
        let mut backups = Vec::new();
        while let Some((id, read)) = reading.next().await {
            if let Err(problem @ (Problem::Place { .. } | Problem::WrongKey { .. } | Problem::NoKey { .. })) =
                read
            {
                return Err(problem);
            }
            if let Err(problem) = &read {
                warn!(component = "vault", operation = "list", backup = %id, %problem, "a backup cannot be read");
            }
            backups.push((id, read));
        }
        Ok(backups)
    }

    /// One backup.
    ///
    /// # Errors
    /// It is not there, or cannot be read; what cannot be read of its notes is told beside it.
    pub async fn backup(&self, service: &Domain, backup: Id) -> Result<Listed> {
        let object = names::manifest(service, backup);
        let (there, bytes) = self.place().get_listed(&object).await?;
        let keys = self.keys(service).await?;
        let manifest = open_manifest(&keys, &object, &bytes)?;
        let operation = Header::decode(&object, &bytes)?.operation;
        let notes = note::read(self.place(), &keys, backup).await?;
        let state = judge(&manifest, there.modified, &notes);
        let hash = *blake3::hash(&bytes).as_bytes();
        let Notes { read: notes, unreadable } = notes;
        Ok(Listed { manifest, operation, state, notes, unreadable, hash })
    }

    /// Writes a decision about a backup down.
    ///
    /// # Errors
    /// The bucket cannot be written.
    pub async fn decide(
        &self,
        service: &Domain,
        backup: Id,
        decision: Decision,
        by: &str,
        why: &str,
    ) -> Result<()> {
        let keys = self.keys(service).await?;
        let (by, evidence) = (super::manifest::cut_text(by), super::manifest::cut_text(why));
        let note = Note { decision: Some(decision), time: self.now(), by, evidence, packs: None };
        note::write(self.place(), &keys, backup, &note, self.random()).await?;
        Ok(())
    }
}

/// Whether chains of manifests are whole: each component of each names the hash of the one before. Answers what is missing.
pub(super) fn broken_chains(backups: &[Listed]) -> Vec<String> {
    let known: HashMap<[u8; 32], Id> = backups.iter().map(|one| (one.hash, one.manifest.id())).collect();
    let mut broken = Vec::new();
    for backup in backups {
        for component in &backup.manifest.components {
            if let Some(previous) = component.previous
                && !known.contains_key(&previous)
            {
                let (id, name) = (backup.manifest.id(), &component.name);
                broken.push(format!("{id}: the backup of {name} before it is not there any more"));
            }
        }
    }
    broken
}
