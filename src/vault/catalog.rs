//! What backups there are, by the bucket alone: manifests, and the notes about them.

use std::collections::HashMap;

use tracing::warn;

use super::{
    keyring::DomainKeys,
    manifest::Manifest,
    names::{self, Domain, Id},
    note::{self, Decision, Note},
    open::Vault,
    problem::{Problem, Result},
    seal::{Header, Kind, ObjectKey, open_single},
    session::TTL_MILLIS,
};

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
    /// Hash of its manifest as it is stored.
    pub hash: [u8; 32],
    /// When the store wrote it, in milliseconds since 1970.
    pub written: u64,
}

impl Listed {
    /// The last note of a kind.
    pub fn last(&self, decision: Decision) -> Option<&Note> {
        self.notes.iter().rev().find(|note| note.decision == Some(decision))
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
fn judge(manifest: &Manifest, written: u64, notes: &[Note]) -> State {
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
    let checked = notes.iter().any(|note| note.decision == Some(Decision::Checked));
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
        let listed = self.place().list(&names::manifests(Some(service))).await?;
        let mut found: Vec<_> = listed.iter().filter_map(|one| Id::parse(one.last()).ok()).collect();
        found.sort_unstable();
        let mut backups = Vec::with_capacity(found.len());
        for backup in found.into_iter().rev() {
            let read = self.backup(service, backup).await;
            if let Err(problem @ (Problem::Place { .. } | Problem::WrongKey { .. } | Problem::NoKey { .. })) =
                read
            {
                return Err(problem);
            }
            if let Err(problem) = &read {
                warn!(component = "vault", operation = "list", backup = %backup, %problem, "a backup cannot be read");
            }
            backups.push((backup, read));
        }
        Ok(backups)
    }

    /// One backup.
    ///
    /// # Errors
    /// It is not there, cannot be read, or its notes cannot.
    pub async fn backup(&self, service: &Domain, backup: Id) -> Result<Listed> {
        let object = names::manifest(service, backup);
        let there = self.place().head(&object).await?.ok_or_else(|| Problem::missing(&object))?;
        let keys = self.keys(service).await?;
        let bytes = self.place().get(&object).await?;
        let manifest = open_manifest(&keys, &object, &bytes)?;
        let operation = Header::decode(&object, &bytes)?.operation;
        let notes = note::read(self.place(), &keys, backup).await?;
        let notes: Vec<Note> = notes.into_iter().map(|(note, _)| note).collect();
        let state = judge(&manifest, there.modified, &notes);
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(Listed { manifest, operation, state, notes, hash, written: there.modified })
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
        let note = Note { decision: Some(decision), time: self.now(), by, evidence };
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
