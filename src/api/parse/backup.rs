//! What backups and restores are asked for with.

use std::{collections::BTreeMap, time::Duration};

use super::{Fields, bounded_duration, incarnation};
use crate::{
    api::proto::v1 as pb,
    backup::{Finish, Subject, TransferKey, Which, Wish},
    fleet::names::{ComponentName, InstanceId, ServiceName},
    id::Ordered,
    restore::{self, Guard},
    vault::{Depth, DigestKind, MAX_EVIDENCE},
};

/// Names of components or instances in one request.
const MOST_NAMED: usize = 64;
/// Characters of a request id.
const MAX_REQUEST_ID: usize = 128;
/// Characters of a piece of evidence.
const MAX_EVIDENCE_TEXT: usize = 256;
/// How long components may be asked to hold still, where nothing was said.
const QUIESCE: Duration = Duration::from_secs(30);
const QUIESCES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));

/// The service that a backup is of.
pub fn subject(fields: &mut Fields, field: &str, name: &str) -> Option<Subject> {
    fields.take(field, Subject::parse(name))
}

/// Which backup.
pub fn which(fields: &mut Fields, field: &str, id: &str) -> Option<Which> {
    match id {
        "" => {
            fields.wrong(field, "is missing; give an id, or `latest`");
            None
        }
        "latest" => Some(Which::Latest),
        id => fields.take(field, Ordered::parse(id)).map(Which::Id),
    }
}

/// One backup by its id.
pub fn id(fields: &mut Fields, field: &str, id: &str) -> Option<Ordered> {
    fields.take(field, Ordered::parse(id))
}

/// A request id.
pub fn request_id(fields: &mut Fields, text: String) -> String {
    if text.len() > MAX_REQUEST_ID || text.chars().any(char::is_control) {
        fields.wrong("request_id", format!("has control characters, or more than {MAX_REQUEST_ID} bytes"));
    }
    text
}

/// Of which components and instances.
pub fn wish(fields: &mut Fields, components: &[String], instance_ids: &[String]) -> Wish {
    few(fields, "components", components.len());
    few(fields, "instance_ids", instance_ids.len());
    let components = components.iter().take(MOST_NAMED).enumerate();
    let components = components
        .filter_map(|(at, name)| fields.take(format!("components[{at}]"), ComponentName::parse(name)));
    let components = components.collect();
    let instances = instance_ids.iter().take(MOST_NAMED).enumerate();
    let instances =
        instances.filter_map(|(at, id)| fields.take(format!("instance_ids[{at}]"), InstanceId::parse(id)));
    Wish { components, instances: instances.collect(), without: Vec::new() }
}

fn few(fields: &mut Fields, field: &str, count: usize) {
    if count > MOST_NAMED {
        fields.wrong(field, format!("has {count} entries; {MOST_NAMED} are the most"));
    }
}

/// For how long components may be asked to hold still.
pub fn max_quiesce(fields: &mut Fields, wire: Option<prost_types::Duration>) -> Duration {
    bounded_duration(fields, "max_quiesce", wire, QUIESCE, QUIESCES)
}

/// How deep a verification looks.
pub fn depth(fields: &mut Fields, wire: i32) -> Depth {
    match pb::VerifyDepth::try_from(wire) {
        Ok(pb::VerifyDepth::Presence) => Depth::Presence,
        Ok(pb::VerifyDepth::Structure) => Depth::Structure,
        Ok(pb::VerifyDepth::Unspecified | pb::VerifyDepth::Data) => Depth::Data,
        Err(_) => {
            fields.wrong("depth", format!("{wire} is no depth of a verification"));
            Depth::Data
        }
    }
}

/// How a digest is made.
pub fn digest(fields: &mut Fields, field: &str, wire: i32) -> DigestKind {
    match pb::DigestAlgorithm::try_from(wire) {
        Ok(pb::DigestAlgorithm::Unspecified | pb::DigestAlgorithm::Blake3) => DigestKind::Blake3,
        Ok(pb::DigestAlgorithm::Sha256) => DigestKind::Sha256,
        Ok(pb::DigestAlgorithm::Crc64Nvme) => DigestKind::Crc64Nvme,
        Err(_) => {
            fields.wrong(field, format!("{wire} is no way to make a digest"));
            DigestKind::Blake3
        }
    }
}

/// Who transfers.
pub fn transfer(fields: &mut Fields, field: &str, wire: Option<pb::InstanceRef>) -> Option<TransferKey> {
    incarnation(fields, field, wire).map(|(key, incarnation)| TransferKey { key, incarnation })
}

/// What ends an upload.
pub fn finish(fields: &mut Fields, wire: pb::UploadFinish) -> Option<Finish> {
    let pb::UploadFinish { length, digest, evidence } = wire;
    if evidence.len() > MAX_EVIDENCE {
        fields
            .wrong("finish.evidence", format!("has {} entries; {MAX_EVIDENCE} are the most", evidence.len()));
    }
    let long = |(name, text): (&String, &String)| name.len().max(text.len()) > MAX_EVIDENCE_TEXT;
    if evidence.iter().any(long) {
        fields.wrong("finish.evidence", format!("has a text of more than {MAX_EVIDENCE_TEXT} bytes"));
    }
    // How many there are is for the upload to say, which knows how its digest is made.
    Some(Finish { length, digest, evidence: BTreeMap::from_iter(evidence) })
}

/// Of what a restore is, and to where.
#[allow(clippy::too_many_arguments)] // as many as the request has
pub fn restore(
    fields: &mut Fields,
    service: &str,
    backup_id: &str,
    components: Vec<String>,
    target_service: &str,
    target_instance_id: &str,
) -> Option<restore::Wish> {
    let subject = subject(fields, "service", service);
    let backup = which(fields, "backup_id", backup_id);
    few(fields, "components", components.len());
    let target_service = (!target_service.is_empty())
        .then(|| fields.take("target_service", ServiceName::parse(target_service)))
        .flatten();
    let target_instance = (!target_instance_id.is_empty())
        .then(|| fields.take("target_instance_id", InstanceId::parse(target_instance_id)))
        .flatten();
    Some(restore::Wish { subject: subject?, backup: backup?, components, target_service, target_instance })
}

/// Guards that are forced, each by its name.
pub fn force(fields: &mut Fields, wire: &[i32]) -> Vec<Guard> {
    let mut guards = Vec::new();
    for (at, number) in wire.iter().enumerate().take(MOST_NAMED) {
        match pb::RestoreGuard::try_from(*number) {
            Ok(pb::RestoreGuard::Serving) => guards.push(Guard::Serving),
            Ok(pb::RestoreGuard::NotEmpty) => guards.push(Guard::NotEmpty),
            Ok(pb::RestoreGuard::NewerSchema) => guards.push(Guard::NewerSchema),
            Ok(pb::RestoreGuard::Unverified) => guards.push(Guard::Unverified),
            Ok(pb::RestoreGuard::Partial) => guards.push(Guard::Partial),
            Ok(pb::RestoreGuard::Unspecified) | Err(_) => {
                fields.wrong(
                    format!("force[{at}]"),
                    format!("{number} is no guard; each is forced by its own name"),
                );
            }
        }
    }
    guards
}
