//! The mark beside the log: how much of it was there at least, so that a part that goes missing is noticed.
//!
//! It is written after the log when a store is made, when it is opened after a crash, when the log was
//! written anew, and when the store is closed. A folder with a mark has held a store: one whose log is
//! missing is never taken for an empty one.

use std::io;

use serde::{Deserialize, Serialize};

use super::disk::Folder;

/// Name of the mark in the data folder.
pub(super) const FILE: &str = "store.mark";
pub(super) const NEW_FILE: &str = "store.mark.new";
/// A mark is smaller than this.
const MOST: u64 = 4096;

/// At least so much was durable.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Mark {
    /// Which log: each that is written anew has the next number.
    pub(super) generation: u64,
    /// Bytes of it up to the end of its last frame.
    pub(super) end: u64,
}

/// Reads the mark; an outer none: there is none, an inner: it is damaged.
pub(super) fn read(folder: &dyn Folder) -> io::Result<Option<Option<Mark>>> {
    let Some(file) = folder.open(FILE)? else { return Ok(None) };
    let length = usize::try_from(file.len()?.min(MOST)).unwrap_or_default();
    let mut text = vec![0; length];
    file.read_at(&mut text, 0)?;
    Ok(Some(serde_json::from_slice(&text).ok()))
}

/// Writes the mark, as a whole or not at all.
pub(super) fn write(folder: &dyn Folder, mark: Mark) -> io::Result<()> {
    let file = folder.create(NEW_FILE)?;
    file.write_at(&serde_json::to_vec(&mark)?, 0)?;
    file.sync()?;
    folder.rename(NEW_FILE, FILE)?;
    folder.sync()
}
