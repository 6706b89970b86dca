//! Reading, beside the writer and never through it.
//!
//! redb's readers see the newest finished commit and wait for nobody: a read is a few page look-ups in
//! memory, or on a cache miss reads of single pages that the system mostly has. A key or a small page is
//! therefore read on the caller's own task. Long pages, and readings that meet the database just being
//! opened anew, go to the threads that may block.

use std::{num::NonZeroUsize, ops::Bound, sync::Arc};

use redb::{Database, ReadableDatabase as _};

use super::{Shared, tables};
use crate::{
    error::{Error, Result},
    store::{Entry, Page, problem},
    task,
};

/// A page ends before it holds more than this many bytes of keys and values, unless it would be empty.
pub const PAGE_BYTES: usize = 4 << 20;
/// Longest page that is read on the caller's task.
const INLINE_ENTRIES: usize = 128;

impl Shared {
    pub(in crate::store) async fn get(self: &Arc<Self>, key: &str) -> Result<Option<Entry>> {
        self.counting.read(1);
        if let Some(database) = self.database.try_read() {
            return self.answer(database.as_ref(), |database| read_key(database, key));
        }
        let (shared, key) = (Arc::clone(self), key.to_owned());
        blocking(move || {
            let database = shared.database.read();
            shared.answer(database.as_ref(), |database| read_key(database, &key))
        })
        .await
    }

    pub(in crate::store) async fn list(
        self: &Arc<Self>,
        prefix: &str,
        after: Option<&str>,
        limit: NonZeroUsize,
    ) -> Result<Page> {
        let inline = (limit.get() <= INLINE_ENTRIES).then(|| self.database.try_read()).flatten();
        let page = if let Some(database) = inline {
            self.answer(database.as_ref(), |database| read_page(database, prefix, after, limit))
        } else {
            let shared = Arc::clone(self);
            let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
            blocking(move || {
                let database = shared.database.read();
                shared.answer(database.as_ref(), |database| {
                    read_page(database, &prefix, after.as_deref(), limit)
                })
            })
            .await
        }?;
        self.counting.read(page.entries.len());
        Ok(page)
    }

    /// Reads, and notes a failure of the medium: redb then needs to be opened anew to read on.
    fn answer<T>(
        &self,
        database: Option<&Database>,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let Some(database) = database else {
            return Err(problem::unavailable("cannot be read"));
        };
        read(database).map_err(|cause| {
            self.medium_failed();
            problem::medium("could not be read", cause)
        })
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    task::blocking("store read", read).await.map_err(Error::internal)?
}

fn read_key(database: &Database, key: &str) -> Result<Option<Entry>, redb::Error> {
    let entries = database.begin_read()?.open_table(tables::ENTRIES)?;
    Ok(entries.get(key)?.map(|row| tables::entry(key, row.value())))
}

fn read_page(
    database: &Database,
    prefix: &str,
    after: Option<&str>,
    limit: NonZeroUsize,
) -> Result<Page, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(tables::ENTRIES)?;
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut page = Page { entries: Vec::new(), next: None, revision: tables::read_revision(&transaction)? };
    let mut bytes = 0;
    for row in table.range::<&str>((start, Bound::Unbounded))? {
        let (key, row) = row?;
        let (key, row) = (key.value(), row.value());
        if !key.starts_with(prefix) {
            break;
        }
        bytes += key.len() + row.2.len();
        if page.entries.len() == limit.get() || (bytes > PAGE_BYTES && !page.entries.is_empty()) {
            page.next = page.entries.last().map(|entry| entry.key.clone());
            break;
        }
        page.entries.push(tables::entry(key, row));
    }
    Ok(page)
}
