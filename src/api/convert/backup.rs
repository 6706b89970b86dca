//! Backups and plans of restores, as the wire has them.

use std::{
    fmt::Display,
    time::{Duration, SystemTime},
};

use super::{duration, timestamp};
use crate::{
    api::proto::v1 as pb,
    backup::Found,
    fleet::directive::Inspection,
    id::Ordered,
    operation,
    restore::{Estimate, Guard, Item, Obstacle, Plan},
    vault::{Component, Decision, Depth, Listed, Looked, State, Status},
};

/// A backup that was found, or of which it is known that it cannot be read.
pub fn found(value: &Found) -> pb::Backup {
    match &value.listed {
        Ok(listed) => backup(listed),
        Err(problem) => unreadable(value.id, &value.service, problem),
    }
}

/// A backup that cannot be read: nobody may rely on it, and all that is known of it is its name.
pub fn unreadable(id: Ordered, service: &str, problem: &impl Display) -> pb::Backup {
    pb::Backup {
        id: id.to_string(),
        service: service.to_owned(),
        state: pb::BackupState::Failed.into(),
        cause: format!("it cannot be read: {problem}"),
        start_time: Some(timestamp(id.time())),
        ..pb::Backup::default()
    }
}

/// A backup.
pub fn backup(value: &Listed) -> pb::Backup {
    let Listed { manifest, operation, state, notes: _, unreadable, hash: _ } = value;
    let (verified, damaged) = match value.looked() {
        None | Some(Looked::Unclear(_)) => (None, None),
        Some(Looked::Sound(note)) => (Some(note), None),
        Some(Looked::Damaged(note)) => (None, Some(note)),
    };
    let deleted = value.last(Decision::Delete).filter(|_| *state == State::Deleted);
    let cause = match state {
        State::Late => "it came late, and what it needs may be gone".to_owned(),
        State::Deleted => deleted.map_or_else(String::new, |note| note.evidence.clone()),
        State::Complete | State::Partial => {
            let unreadable =
                unreadable.first().map(|note| format!("a note about it cannot be read: {}", note.what));
            manifest.cause.clone().or(unreadable).unwrap_or_default()
        }
    };
    let sum = |of: fn(&Component) -> u64| manifest.components.iter().map(of).fold(0, u64::saturating_add);
    pb::Backup {
        id: manifest.id().to_string(),
        service: manifest.service.clone(),
        state: match state {
            State::Complete => pb::BackupState::Complete,
            State::Partial => pb::BackupState::Partial,
            State::Late => pb::BackupState::Failed,
            State::Deleted => pb::BackupState::Deleted,
        }
        .into(),
        cause,
        components: manifest.components.iter().map(component).collect(),
        start_time: Some(timestamp(time(manifest.start))),
        end_time: Some(timestamp(time(manifest.end))),
        bytes: sum(|one| one.bytes),
        new_bytes: sum(|one| one.new_bytes),
        stored_bytes: sum(|one| one.stored_bytes),
        consistent: manifest.consistent,
        operation_id: operation.to_string(),
        writer_version: manifest.writer.clone(),
        verify_time: verified.or(damaged).map(|note| timestamp(time(note.time))),
        verify_depth: verified.map_or(pb::VerifyDepth::Unspecified, |note| depth(&note.evidence)).into(),
        verify_cause: damaged.map_or_else(String::new, |note| note.evidence.clone()),
        delete_time: deleted.map(|note| timestamp(time(note.time))),
        request_id: manifest.request_id.clone().unwrap_or_default(),
    }
}

fn component(value: &Component) -> pb::BackupComponent {
    let Component {
        name,
        kind,
        instance,
        status,
        root: _,
        list: _,
        levels: _,
        bytes,
        new_bytes,
        stored_bytes,
        chunks,
        pages: _,
        evidence,
        previous: _,
        cause,
    } = value;
    pb::BackupComponent {
        name: name.clone(),
        kind: kind.clone(),
        instance_id: instance.clone(),
        complete: *status == Status::Complete,
        cause: cause.clone().unwrap_or_default(),
        bytes: *bytes,
        new_bytes: *new_bytes,
        stored_bytes: *stored_bytes,
        chunks: *chunks,
        evidence: evidence.clone().into_iter().collect(),
    }
}

fn depth(word: &str) -> pb::VerifyDepth {
    match Depth::parse(word) {
        Some(Depth::Presence) => pb::VerifyDepth::Presence,
        Some(Depth::Structure) => pb::VerifyDepth::Structure,
        Some(Depth::Data) => pb::VerifyDepth::Data,
        None => pb::VerifyDepth::Unspecified,
    }
}

fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// What a restore would do.
pub fn plan(value: &Plan) -> pb::PlanRestoreResponse {
    let Plan { listed, items, obstacles, bytes, estimate } = value;
    pb::PlanRestoreResponse {
        backup: Some(backup(listed)),
        items: items.iter().map(item).collect(),
        obstacles: obstacles.iter().map(obstacle).collect(),
        bytes: *bytes,
        estimate: estimate.map(|estimate| duration(estimate.takes)),
        estimate_basis: estimate.map(basis).unwrap_or_default().into(),
    }
}

fn basis(estimate: Estimate) -> pb::EstimateBasis {
    match estimate.by {
        operation::Kind::Restore => pb::EstimateBasis::Restores,
        operation::Kind::Verify => pb::EstimateBasis::Verifications,
        operation::Kind::Backup => pb::EstimateBasis::Backups,
    }
}

fn item(value: &Item) -> pb::RestoreItem {
    let Item { component, target, incarnation, target_component, present, obstacles } = value;
    pb::RestoreItem {
        component: component.name.clone(),
        source_instance_id: component.instance.clone(),
        target: Some(pb::InstanceRef {
            service: target.service.to_string(),
            instance_id: target.id.to_string(),
            incarnation: *incarnation,
        }),
        target_component: target_component.to_string(),
        bytes: component.bytes,
        present: present.as_ref().map(inspection),
        obstacles: obstacles.iter().map(obstacle).collect(),
    }
}

fn inspection(value: &Inspection) -> pb::Inspection {
    let Inspection { component, empty, bytes, schema_version } = value;
    pb::Inspection {
        component: component.to_string(),
        empty: *empty,
        bytes: *bytes,
        schema_version: *schema_version,
    }
}

fn obstacle(value: &Obstacle) -> pb::RestoreObstacle {
    let Obstacle { guard, message } = value;
    pb::RestoreObstacle { guard: self::guard(*guard).into(), message: message.clone() }
}

fn guard(value: Guard) -> pb::RestoreGuard {
    match value {
        Guard::Serving => pb::RestoreGuard::Serving,
        Guard::NotEmpty => pb::RestoreGuard::NotEmpty,
        Guard::NewerSchema => pb::RestoreGuard::NewerSchema,
        Guard::Unverified => pb::RestoreGuard::Unverified,
        Guard::Partial => pb::RestoreGuard::Partial,
    }
}
