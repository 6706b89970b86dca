//! Entries of the audit as messages.

use super::timestamp;
use crate::{
    api::proto::v1 as pb,
    audit::{Call, Entry, Kept, Stage, Who},
};

/// An entry. One that cannot be read any more is its number, its line and its hash alone.
pub fn entry(kept: Kept) -> pb::AuditEntry {
    let Kept { sequence, line, hash, entry } = kept;
    let Some(entry) = entry else {
        return pb::AuditEntry { sequence, line, hash, ..pb::AuditEntry::default() };
    };
    // What it says of its number and of the one before is in the line; here is under which number it is kept.
    let Entry { sequence: _, time, call, stage, outcome, detail, previous_hash: _ } = entry;
    let Call { who: Who { principal, peer }, operation, object, request_id } = call;
    pb::AuditEntry {
        sequence,
        time: Some(timestamp(time)),
        principal,
        peer,
        operation,
        object,
        request_id,
        stage: stage_of(stage).into(),
        outcome,
        detail,
        line,
        hash,
    }
}

fn stage_of(stage: Stage) -> pb::AuditStage {
    match stage {
        Stage::Received => pb::AuditStage::Received,
        Stage::Completed => pb::AuditStage::Completed,
        Stage::Denied => pb::AuditStage::Denied,
    }
}
