//! Keeps the exported file in step with the store: it is opened again when it was moved away or has failed, and then
//! brought up to date, without a gap and without a line twice.
//!
//! A file that is not empty says itself where it ends, and is refused where the store does not go on with the very next
//! entry: it would never be a chain again. An empty one (the first, or the one after a rotation) goes on
//! after the last entry that is known to have been exported; after a crash between the rotation and the next entry that
//! may be a few that the file before has too, and never fewer.

use std::{fmt, num::NonZeroUsize, path::PathBuf};

use tracing::{info, warn};

use super::{
    chain::{Link, hash},
    file::Appender,
    record::{self, Kept},
    verify::exported,
};
use crate::{
    error::{Chain, Error, Kind, Reason, Result},
    store::Store,
    task,
};

/// Entries that are read from the store at once to bring a file up to date.
const PIECE: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// The file, if there is one.
#[derive(Debug)]
pub(super) struct Export {
    path: Option<PathBuf>,
    open: Option<Appender>,
    /// Entries up to this one are in the file, or in one that was moved away.
    exported: u64,
}

impl Export {
    /// Writes to this file, which has all entries up to one as far as the store knows.
    pub(super) fn new(path: Option<PathBuf>, exported: u64) -> Self {
        Self { path, open: None, exported }
    }

    /// Entries up to this one are exported; None where there is no file.
    pub(super) fn reached(&self) -> Option<u64> {
        self.path.as_ref().map(|_| self.exported)
    }

    /// What the store is to remember.
    pub(super) fn exported(&self) -> u64 {
        self.exported
    }

    /// Makes the file ready for what comes after the newest entry.
    ///
    /// # Errors
    /// It cannot be written, or does not belong to this chain.
    pub(super) async fn ready(&mut self, store: &Store, newest: &Link) -> Result<()> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let open = self.open.take();
        let named = path.clone();
        let looked = move || match open {
            Some(open) if open.has_its_name(&named) => Ok((open, None)),
            moved => {
                // Its lock is on the file, and would be in the way where only its name was taken.
                drop(moved);
                Appender::open(&named).map(|(open, last)| (open, Some(last)))
            }
        };
        let looked = task::blocking("audit file", looked).await.map_err(Error::internal)?;
        let (open, opened) = looked.map_err(|cause| unusable(path.display(), cause))?;
        match opened {
            Some(Some(last)) => {
                belongs(store, newest, &last).await.map_err(|why| unusable(path.display(), why))?;
                self.exported = last.sequence;
            }
            // Never beyond the end: another chain may have been exported before.
            Some(None) => self.exported = self.exported.min(newest.sequence),
            None => {}
        }
        if opened.is_some() {
            info!(component = "audit", file = %path.display(), after = self.exported, "file opened");
        }
        self.open = Some(open);
        self.catch_up(store, newest).await
    }

    /// Writes what the store has and the file has not.
    async fn catch_up(&mut self, store: &Store, newest: &Link) -> Result<()> {
        while self.exported < newest.sequence {
            let (entries, _) = record::after(store, self.exported, PIECE).await?;
            let entries: Vec<Kept> =
                entries.into_iter().filter(|kept| kept.sequence <= newest.sequence).collect();
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                warn!(
                    component = "audit",
                    after = self.exported,
                    "entries are missing from the file: the store has them no more"
                );
                self.exported = newest.sequence;
                return Ok(());
            };
            if first.sequence != self.exported.saturating_add(1) {
                warn!(
                    component = "audit",
                    after = self.exported,
                    before = first.sequence,
                    "entries are missing from the file: the store has them no more"
                );
            }
            let last = last.sequence;
            let lines = entries.iter().map(|kept| exported(&kept.line, &kept.hash)).collect();
            self.append(lines, last).await?;
        }
        Ok(())
    }

    /// Appends lines, whose last entry has this number. They are durable when it answers.
    ///
    /// # Errors
    /// The file cannot be written; it is to be made ready again first.
    pub(super) async fn append(&mut self, lines: String, last: u64) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let Some(mut open) = self.open.take() else {
            return Err(unusable(path.display(), "it is not open"));
        };
        let written = move || open.append(lines.as_bytes()).map(|()| open);
        let written = task::blocking("audit file", written).await.map_err(Error::internal)?;
        self.open = Some(written.map_err(|cause| unusable(path.display(), cause))?);
        self.exported = last;
        Ok(())
    }
}

/// Whether a file ends in this chain.
async fn belongs(store: &Store, newest: &Link, last: &Link) -> Result<(), String> {
    let Link { sequence, .. } = *last;
    if sequence > newest.sequence {
        return Err(format!(
            "it ends with entry {sequence}, and the store with entry {}: the store has lost entries, or the file is \
             of another control plane; move it away to go on",
            newest.sequence
        ));
    }
    let (known, next) = around(store, sequence).await.map_err(|error| Chain(&error).to_string())?;
    let follows =
        sequence == newest.sequence || next.as_ref().is_some_and(|next| next.sequence - sequence == 1);
    if !follows {
        let next =
            next.map_or_else(|| "none after it".to_owned(), |next| format!("entry {} next", next.sequence));
        return Err(format!(
            "it ends with entry {sequence}, and the store has {next}: what comes between is there no more; move it \
             away to go on"
        ));
    }
    // What the store has no more is known by what refers to it.
    let hash = match known {
        Some(known) => Some(hash(&known.line)),
        None if sequence == newest.sequence => Some(newest.hash),
        None => next.and_then(|next| next.entry).map(|entry| entry.previous_hash),
    };
    if hash.is_some_and(|hash| hash != last.hash) {
        return Err(format!(
            "its last entry, {sequence}, is another one than the store's: one of the two was changed, or the file is of \
             another control plane; move it away to go on"
        ));
    }
    Ok(())
}

/// The entry with a number, and the next one that the store has.
async fn around(store: &Store, sequence: u64) -> Result<(Option<Kept>, Option<Kept>)> {
    let known = match store.get(&record::key(sequence)).await? {
        Some(found) => record::decode_entry(&found)?,
        None => None,
    };
    let (next, _) = record::after(store, sequence, NonZeroUsize::MIN).await?;
    Ok((known, next.into_iter().next()))
}

/// The file cannot be written. Where it is and why is for operators: in the log and in the report.
fn unusable(path: impl fmt::Display, why: impl fmt::Display) -> Error {
    Error::new(Kind::Unavailable, Reason::AuditUnavailable, "the file of the audit cannot be written")
        .because(format!("{path}: {why}"))
}
