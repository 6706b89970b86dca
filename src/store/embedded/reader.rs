//! Reading, beside the writer and never through it.
//!
//! Where a value is, is looked up in memory, under a lock that the writer takes for one short step in a
//! group. The value itself is then read from the log without any lock: what is written there never
//! changes. That is one system call into memory that the system mostly has, so a key or a small page is
//! read on the caller's own task; long pages go to the threads that may block.

use std::{io, num::NonZeroUsize, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{
    Shared, compact,
    disk::Medium,
    index::{Index, Row},
    log,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    store::{Entry, Page, Revision, problem},
    task,
};

/// A page ends before it holds more than this many bytes of keys and values, unless it would be empty.
pub const PAGE_BYTES: usize = 4 << 20;
/// Longest page that is read on the caller's task.
const INLINE_ENTRIES: usize = 128;

impl Shared {
    pub(in crate::store) async fn get(self: &Arc<Self>, key: &str) -> Result<Option<Entry>> {
        self.counting.read(1);
        let (row, file) = self.look(|index| index.rows.get(key).copied())?;
        row.map(|row| entry(file.as_ref(), key, &row)).transpose()
    }

    pub(in crate::store) async fn list(
        self: &Arc<Self>,
        prefix: &str,
        after: Option<&str>,
        limit: NonZeroUsize,
    ) -> Result<Page> {
        let (found, file) = self.look(|index| find(index, prefix, after, limit))?;
        let page = if found.rows.len() <= INLINE_ENTRIES {
            found.read(file.as_ref())
        } else {
            task::blocking("store read", move || found.read(file.as_ref())).await.map_err(Error::internal)?
        }?;
        self.counting.read(page.entries.len());
        Ok(page)
    }

    /// Looks something up; values are read from the file that comes with the answer.
    fn look<T>(&self, what: impl FnOnce(&Index) -> T) -> Result<(T, Arc<dyn Medium>)> {
        match self.table.read().as_ref() {
            Some(table) => Ok((what(&table.index), Arc::clone(&table.file))),
            None => Err(problem::unavailable("is closed")),
        }
    }
}

/// A page whose values are yet to be read.
struct Found {
    rows: Vec<(String, Row)>,
    next: Option<String>,
    revision: Revision,
}

fn find(index: &Index, prefix: &str, after: Option<&str>, limit: NonZeroUsize) -> Found {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut found = Found { rows: Vec::new(), next: None, revision: index.revision };
    let mut bytes = 0;
    for (key, row) in index.rows.range::<str, _>((start, Bound::Unbounded)) {
        if !key.starts_with(prefix) {
            break;
        }
        bytes += key.len() + row.value.len as usize;
        if found.rows.len() == limit.get() || (bytes > PAGE_BYTES && !found.rows.is_empty()) {
            found.next = found.rows.last().map(|(key, _)| key.clone());
            break;
        }
        found.rows.push((key.to_string(), *row));
    }
    found
}

impl Found {
    fn read(self, file: &dyn Medium) -> Result<Page> {
        let entries = self.rows.iter().map(|(key, row)| entry(file, key, row)).collect::<Result<_>>()?;
        Ok(Page { entries, next: self.next, revision: self.revision })
    }
}

fn entry(file: &dyn Medium, key: &str, row: &Row) -> Result<Entry> {
    let value = compact::read_value(file, row).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(key, cause),
        _ => problem::medium("could not be read", cause),
    })?;
    Ok(Entry { key: key.to_owned(), value: Bytes::from(value), revision: row.revision })
}

fn damaged(key: &str, cause: io::Error) -> Error {
    let file = log::FILE;
    let message = format!(
        "the record at key {key:?} is damaged in {file} of the data folder; \
         stop the server, then restore the data folder from a copy, or move it aside to start empty"
    );
    Error::new(Kind::Internal, Reason::RecordDamaged, message).with("key", key).because(cause)
}
