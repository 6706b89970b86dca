//! Records as bytes from anywhere: the way in for `tests/fuzz`, and for nobody else.

use bytes::Bytes;

use super::record;
use crate::{error::Result, store::Entry};

/// Reads a record as the fleet does when it starts, and writes it again; None: its key is of no kind.
///
/// # Errors
/// It is damaged, or of a newer version.
pub fn rewritten(entry: &Entry) -> Option<Result<Bytes>> {
    let kind = |prefix: &str| entry.key.starts_with(prefix);
    Some(if kind(record::INSTANCES) {
        record::decode_instance(entry).and_then(|birth| record::encode_instance(&birth))
    } else if kind(record::SERVICES) {
        record::decode_operator_spec(entry)
            .and_then(|(_, spec)| record::encode_operator_spec(&spec.spec, spec.updated))
    } else if kind(record::TOMBSTONES) {
        record::decode_grave(entry).and_then(|grave| record::encode_grave(&grave))
    } else if kind(record::TRANSITIONS) {
        record::decode_transition(entry).and_then(|transition| record::encode_transition(&transition))
    } else {
        return None;
    })
}
