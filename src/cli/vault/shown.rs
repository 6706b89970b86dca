//! Backups of a bucket as the contract has them, so that they look as those of a control plane do.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use seaworthy_client::proto::seaworthy::v1::{Backup, BackupComponent, BackupState, VerifyDepth};

use crate::{
    cli::render::backup::DEPTHS,
    vault::{Component, Decision, Domain, Id, Listed, Problem, State, Status},
};

/// A backup; one that cannot be read has no state, and says why.
pub(super) fn backup(service: &Domain, id: Id, listed: &Result<Listed, Problem>) -> Backup {
    match listed {
        Ok(listed) => readable(listed),
        Err(problem) => Backup {
            id: id.to_string(),
            service: service.to_string(),
            cause: problem.to_string(),
            ..Backup::default()
        },
    }
}

fn readable(listed: &Listed) -> Backup {
    let Listed { manifest, operation, state, .. } = listed;
    let (state, late) = match state {
        State::Complete => (BackupState::Complete, None),
        State::Partial => (BackupState::Partial, None),
        State::Late => {
            (BackupState::Failed, Some("it came too late, and what it needs may be gone".to_owned()))
        }
        State::Deleted => (BackupState::Deleted, None),
    };
    let sum = |of: fn(&Component) -> u64| manifest.components.iter().map(of).fold(0, u64::saturating_add);
    let verified = listed.last(Decision::Verified);
    let depth = verified.and_then(|note| DEPTHS.iter().find(|(word, _)| *word == note.evidence));
    let deleted = listed.last(Decision::Delete).filter(|_| state == BackupState::Deleted);
    Backup {
        id: manifest.id().to_string(),
        service: manifest.service.clone(),
        state: state.into(),
        cause: late.or_else(|| manifest.cause.clone()).unwrap_or_default(),
        components: manifest.components.iter().map(component).collect(),
        start_time: Some(stamp(manifest.start)),
        end_time: Some(stamp(manifest.end)),
        bytes: sum(|one| one.bytes),
        new_bytes: sum(|one| one.new_bytes),
        stored_bytes: sum(|one| one.stored_bytes),
        consistent: manifest.consistent,
        operation_id: operation.to_string(),
        writer_version: manifest.writer.clone(),
        verify_time: verified.map(|note| stamp(note.time)),
        verify_depth: depth.map_or(VerifyDepth::Unspecified, |(_, depth)| *depth).into(),
        delete_time: deleted.map(|note| stamp(note.time)),
        request_id: manifest.request_id.clone().unwrap_or_default(),
    }
}

fn component(one: &Component) -> BackupComponent {
    BackupComponent {
        name: one.name.clone(),
        kind: one.kind.clone(),
        instance_id: one.instance.clone(),
        complete: one.status == Status::Complete,
        cause: one.cause.clone().unwrap_or_default(),
        bytes: one.bytes,
        new_bytes: one.new_bytes,
        stored_bytes: one.stored_bytes,
        chunks: one.chunks,
        evidence: one.evidence.clone().into_iter().collect(),
    }
}

fn stamp(millis: u64) -> Timestamp {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    time.map(Timestamp::from).unwrap_or_default()
}

/// A hash of a manifest, as people compare it.
pub(super) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
