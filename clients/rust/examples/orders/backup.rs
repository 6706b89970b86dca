//! How the orders are backed up while they are taken, and restored: the file is copied page by page by SQLite itself to beside it,
//! and the copy is sent; what comes back is staged beside it, looked at, and put in its place at once.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup as Copying, StepResult},
};
use seaworthy_client::backup::{
    Backup, CaptureWriter, Error, Evidence, Inspection, PIECE_BYTES, RestoreReader, Restored,
};

use crate::store::{Store, remove, rows, version, with_suffix};

/// SQLite's pages, so that a changed one costs no more than itself in the next backup.
pub(crate) const PAGE_BYTES: u32 = 4096;

/// The orders, as the control plane captures and restores them.
pub(crate) struct Orders {
    store: Store,
}

impl Orders {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Backup for Orders {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, Error> {
        let store = self.store.clone();
        // The copy is there for as long as it is read.
        let (_copy, mut file, length, evidence) = blocking(move || {
            let (copy, evidence) = copy_of(&store)?;
            let file = fs::File::open(&copy.0)?;
            let length = file.metadata()?.len();
            Ok((copy, file, length, evidence))
        })
        .await?;
        into.expect_bytes(length);
        loop {
            let (back, piece) = blocking(move || {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                (&mut file).take(PIECE_BYTES.try_into()?).read_to_end(&mut piece)?;
                Ok((file, piece))
            })
            .await?;
            if piece.is_empty() {
                return Ok(evidence);
            }
            file = back;
            into.write_bytes(piece.into()).await?;
        }
    }

    async fn restore(&self, from: &mut RestoreReader, what: &Restored) -> Result<(), Error> {
        let path = self.store.path().to_owned();
        let (staged, mut file) = blocking(move || {
            let staged = Beside::of(&path, "restoring")?;
            let file = fs::File::create_new(&staged.0)?;
            Ok((staged, file))
        })
        .await?;
        while let Some(piece) = from.read_bytes().await? {
            file = blocking(move || {
                file.write_all(&piece)?;
                Ok(file)
            })
            .await?;
        }
        let (store, expected) = (self.store.clone(), what.evidence.get("rows").map(str::to_owned));
        blocking(move || {
            file.sync_all()?;
            drop(file);
            let found = looked_at(&staged.0)?;
            if let Some(expected) = expected.filter(|expected| *expected != found.to_string()) {
                return Err(format!("it has {found} orders, and {expected} were captured").into());
            }
            store.replace_by(&staged.0)
        })
        .await
    }

    async fn inspect(&self) -> Result<Inspection, Error> {
        let store = self.store.clone();
        blocking(move || {
            let Ok(file) = fs::metadata(store.path()) else { return Ok(Inspection::empty()) };
            // What cannot be read as a database may still be worth something to somebody.
            let Ok((orders, version)) = store.by_name(|it| Ok((rows(it)?, version(it)?))) else {
                return Ok(Inspection::holds(file.len()));
            };
            Ok(match orders {
                0 => Inspection::empty(),
                _ => Inspection::holds(file.len()),
            }
            .schema_version(version.into()))
        })
        .await
    }

    async fn verify(&self) -> Result<String, Error> {
        let store = self.store.clone();
        blocking(move || {
            let orders = store.by_name(|it| {
                sound(it)?;
                rows(it)
            })?;
            Ok(format!("the database is sound and has {orders} orders"))
        })
        .await
    }
}

/// A file beside the database. Gone when it is dropped, unless it was renamed.
struct Beside(PathBuf);

impl Beside {
    /// What an earlier run has left there goes.
    fn of(database: &Path, what: &str) -> Result<Self, Error> {
        let beside = Self(with_suffix(database, &format!(".{what}")));
        beside.clear()?;
        Ok(beside)
    }

    fn clear(&self) -> std::io::Result<()> {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            remove(&with_suffix(&self.0, suffix))?;
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What cannot be removed now goes before the next one.
        self.clear().ok();
    }
}

/// Copies the database as it is at one moment, in one read of it, which nobody who writes waits for.
fn copy_of(store: &Store) -> Result<(Beside, Evidence), Error> {
    let copy = Beside::of(store.path(), "capturing")?;
    let mut target = Connection::open(&copy.0)?;
    let copied = store.by_name(|source| Copying::new(source, &mut target)?.step(-1))?;
    if copied != StepResult::Done {
        return Err("the database could not be read: it is locked".into());
    }
    // The copy is whole in one file, whatever the original keeps beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    let pages: i64 = target.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let evidence = Evidence::new()
        .with("rows", rows(&target)?)
        .with("page_count", pages)
        .schema_version(version(&target)?.into());
    Ok((copy, evidence))
}

/// Looks whether a staged file is a sound database, and counts its orders.
fn looked_at(staged: &Path) -> Result<i64, Error> {
    let connection = Connection::open_with_flags(staged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    sound(&connection)?;
    Ok(rows(&connection)?)
}

fn sound(connection: &Connection) -> rusqlite::Result<()> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(rusqlite::Error::ToSqlConversionFailure(format!("the database is damaged: {found}").into())),
    }
}

/// Runs what blocks off the runtime.
#[allow(clippy::disallowed_methods)] // a service spawns as it likes; only the library must not
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}
