//! How the audit stands in the store: an entry at `audit/` and its number, and beside them the newest entry and the
//! one that was dropped last.
//!
//! The line that was hashed is kept as a text, byte for byte: written anew from its fields it might not be the same.

use std::num::NonZeroUsize;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Entry,
    chain::{Hash, Link, hash},
};
use crate::{
    error::{Error, Reason, Result},
    store::{self, Store, record},
};

/// Where entries are.
pub(super) const ENTRIES: &str = "audit/";
/// Where it is stored which entry is the newest.
pub(super) const HEAD: &str = "audit-chain/head";
/// Where it is stored which entry was dropped last.
pub(super) const ANCHOR: &str = "audit-chain/anchor";
/// Newest version of the records that this build writes and reads.
const VERSION: u32 = 1;

/// The key of an entry.
pub(super) fn key(sequence: u64) -> String {
    format!("{ENTRIES}{sequence:020}")
}

/// The number of an entry, by its key. None: it is the key of none.
pub(super) fn sequence(key: &str) -> Option<u64> {
    let digits = key.strip_prefix(ENTRIES)?;
    let right = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    right.then(|| digits.parse().ok()).flatten()
}

/// An entry as it is kept, whatever became of it there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The number under which it is kept.
    pub sequence: u64,
    /// The line that was hashed.
    pub line: String,
    /// The hash that is kept beside it.
    pub hash: String,
    /// What the line says. None: it is no entry any more.
    pub entry: Option<Entry>,
}

#[derive(Deserialize, Serialize)]
struct EntryRecord {
    line: String,
    hash: String,
}

/// An entry for the store.
///
/// # Errors
/// None in practice.
pub(super) fn encode_entry(line: &str, hash: Hash) -> Result<Bytes> {
    record::encode(VERSION, &EntryRecord { line: line.to_owned(), hash: hash.to_hex().to_string() })
}

/// An entry from the store. What cannot be read any more is an entry that was changed, and is shown as it is; None:
/// nothing of an entry is under its key.
///
/// # Errors
/// A newer build wrote it.
pub(super) fn decode_entry(found: &store::Entry) -> Result<Option<Kept>> {
    let Some(sequence) = sequence(&found.key) else { return Ok(None) };
    let EntryRecord { line, hash } = match record::decode(&found.key, VERSION, &found.value) {
        Ok(read) => read,
        Err(error) if error.reason() == Reason::RecordDamaged => {
            let line = String::from_utf8_lossy(&found.value).into_owned();
            EntryRecord { line, hash: String::new() }
        }
        Err(error) => return Err(error),
    };
    let entry = Entry::read(&line);
    Ok(Some(Kept { sequence, line, hash, entry }))
}

impl Kept {
    /// Its place in the chain, by the line as it is now.
    pub(super) fn link(&self) -> Link {
        Link { sequence: self.sequence, hash: hash(&self.line) }
    }
}

/// The newest entry, and what else is known at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) newest: Link,
    /// Entries up to this one are in the file for certain.
    pub(super) exported: u64,
    /// The newest entry that says that the chain was found broken; 0 for none.
    pub(super) broken: u64,
}

#[derive(Deserialize, Serialize)]
struct HeadRecord {
    sequence: u64,
    hash: String,
    #[serde(default)]
    exported: u64,
    #[serde(default)]
    broken: u64,
}

#[derive(Deserialize, Serialize)]
struct AnchorRecord {
    sequence: u64,
    hash: String,
}

/// The newest entry for the store.
///
/// # Errors
/// None in practice.
pub(super) fn encode_head(head: &Head) -> Result<Bytes> {
    let Head { newest: Link { sequence, hash }, exported, broken } = *head;
    record::encode(VERSION, &HeadRecord { sequence, hash: hash.to_hex().to_string(), exported, broken })
}

/// The one that was dropped last, for the store.
///
/// # Errors
/// None in practice.
pub(super) fn encode_anchor(anchor: &Link) -> Result<Bytes> {
    let Link { sequence, hash } = *anchor;
    record::encode(VERSION, &AnchorRecord { sequence, hash: hash.to_hex().to_string() })
}

/// Which entry is the newest. None: nothing says so.
///
/// # Errors
/// The store cannot be read, or the record is damaged or from a newer build.
pub(super) async fn head(store: &Store) -> Result<Option<Head>> {
    let Some(found) = store.get(HEAD).await? else { return Ok(None) };
    let HeadRecord { sequence, hash, exported, broken } = record::decode(HEAD, VERSION, &found.value)?;
    Ok(Some(Head { newest: Link { sequence, hash: stored_hash(HEAD, &hash)? }, exported, broken }))
}

/// Which entry was dropped last; the start where none was.
///
/// # Errors
/// As [`head`].
pub(super) async fn anchor(store: &Store) -> Result<Link> {
    let Some(found) = store.get(ANCHOR).await? else { return Ok(Link::START) };
    let AnchorRecord { sequence, hash } = record::decode(ANCHOR, VERSION, &found.value)?;
    Ok(Link { sequence, hash: stored_hash(ANCHOR, &hash)? })
}

/// Entries after a number, oldest first: so many at the most, and whether there are more.
///
/// # Errors
/// The store cannot be read, or a newer build wrote an entry.
pub(super) async fn after(store: &Store, sequence: u64, most: NonZeroUsize) -> Result<(Vec<Kept>, bool)> {
    let page = store.list(ENTRIES, Some(&key(sequence)), most).await?;
    let mut entries = Vec::with_capacity(page.entries.len());
    for found in &page.entries {
        entries.extend(decode_entry(found)?);
    }
    Ok((entries, page.next.is_some()))
}

fn stored_hash(key: &str, text: &str) -> Result<Hash> {
    Hash::from_hex(text).map_err(|wrong| {
        let message = format!("the record at key {key:?} is damaged: its hash is none");
        Error::new(crate::error::Kind::Internal, Reason::RecordDamaged, message).because(wrong)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers() {
        for number in [0, 1, 9, 10, u64::MAX - 1] {
            assert_eq!(sequence(&key(number)), Some(number));
            assert!(key(number) < key(number + 1));
        }
        for other in ["audit/1", "audit/+0000000000000000001", "audit-chain/head", "audit/head"] {
            assert_eq!(sequence(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_is_kept_byte_for_byte() {
        let line = "{\"a\" : \"\\u000a é\" }  ";
        let value = encode_entry(line, hash(line)).unwrap();
        let kept = decode_entry(&store::Entry { key: key(7), value, revision: 1 }).unwrap().unwrap();
        assert_eq!((kept.line.as_str(), kept.sequence, kept.entry), (line, 7, None));
        assert_eq!(kept.hash, hash(line).to_hex().to_string());
    }
}
