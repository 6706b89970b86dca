//! How operations stand in the store: one record each, under its id, so that they are listed by time.

use std::num::NonZeroUsize;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    error::{Error, Kind, Reason, Result},
    id::Ordered,
    store::{Entry, Store, record},
    text::cut,
};

const OPERATIONS: &str = "operations/";
/// Newest version of the records that this build writes and reads.
const VERSION: u32 = 1;
/// Records that are read at once.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(499);
/// A record that is larger is written with its words cut shorter: well below what a store takes.
const LARGE: usize = 900 << 10;
/// Characters of a message in a record that would be too large.
const SHORT: usize = 100;
/// What such a record says of itself, as one of its events.
pub(super) const SHORTENED: &str =
    "there was more to say than is kept: long messages are cut to 100 characters";

/// An operation, and what is known of it besides.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Record {
    pub(super) operation: Operation,
    /// Of one scope one operation is under way.
    pub(super) scope: String,
    /// Who carries it out. Another one who takes it over writes its own name.
    pub(super) run: String,
    /// Whether it has gone too far to be cancelled.
    #[serde(default)]
    pub(super) commits: bool,
    /// Who cancelled it and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cancelled: Option<String>,
}

/// Where an operation is stored.
pub(super) fn key(id: Ordered) -> String {
    format!("{OPERATIONS}{id}")
}

/// Writes a record.
pub(super) fn encode(written: &Record) -> Result<Bytes> {
    record::encode(VERSION, written)
}

/// Whether a record is larger than it may be.
pub(super) fn is_large(bytes: &Bytes) -> bool {
    bytes.len() > LARGE
}

/// Reads a record.
pub(super) fn decode(entry: &Entry) -> Result<Record> {
    let mut read: Record = record::decode(&entry.key, VERSION, &entry.value)?;
    if key(read.operation.id) != entry.key {
        let message = format!("the record at key {:?} is of another operation; delete it", entry.key);
        return Err(Error::new(Kind::Internal, Reason::RecordDamaged, message).with("key", &entry.key));
    }
    read.operation.revision = entry.revision;
    Ok(read)
}

/// Reads all records, oldest first, and hands each on.
pub(super) async fn load(store: &Store, mut take: impl FnMut(Record)) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.list(OPERATIONS, after.as_deref(), PAGE).await?;
        for entry in &page.entries {
            take(decode(entry)?);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Cuts the words of an operation so that its record fits, whatever they are.
pub(super) fn shorten(operation: &mut Operation) {
    let steps = operation.steps.iter_mut().map(|step| &mut step.message);
    let events = operation.events.iter_mut().flat_map(|event| [&mut event.message, &mut event.step]);
    for words in steps.chain(events).chain(&mut operation.report) {
        *words = cut(words, SHORT);
    }
}
