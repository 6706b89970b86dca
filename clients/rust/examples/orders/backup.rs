//! How the orders are backed up while they are taken, and restored: the file is copied page by page by SQLite itself to beside it,
//! and the copy is sent; what comes back is staged beside it, looked at, and put in its place at once. Each copy is in a folder of
//! its own, so that a capture or a restore that still ends never meets the next one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup as Copying, StepResult},
};
use seaworthy_client::backup::{
    Backup, CaptureWriter, Error, Evidence, File, Inspection, RestoreReader, Restored,
};
use tempfile::TempDir;

use crate::store::{Store, rows, version};

/// SQLite's pages, so that a changed one costs no more than itself in the next backup.
pub(crate) const PAGE_BYTES: u32 = 4096;

/// The orders, as the control plane captures and restores them.
pub(crate) struct Orders {
    store: Store,
}

/// What the folders of copies are called, behind the name of the database.
const CAPTURING: &str = "capturing";
const RESTORING: &str = "restoring";

impl Orders {
    /// Whatever a run that was killed has left beside the database goes now: nobody else works on it.
    pub(crate) fn new(store: Store) -> Self {
        for what in [CAPTURING, RESTORING] {
            // What cannot be removed is an unused folder, and has a name that says so.
            Beside::sweep(store.path(), what).ok();
        }
        Self { store }
    }
}

impl Backup for Orders {
    async fn capture(&self, into: &mut CaptureWriter) -> Result<Evidence, Error> {
        let store = self.store.clone();
        // The copy is there for as long as it is read.
        let (copy, evidence) = blocking(move || copy_of(&store)).await?;
        File::new(copy.file()).capture(into).await.map(|_| evidence)
    }

    async fn restore(&self, from: &mut RestoreReader, what: &Restored) -> Result<(), Error> {
        let path = self.store.path().to_owned();
        let staged = blocking(move || Beside::of(&path, RESTORING)).await?;
        File::new(staged.file()).restore(from, what).await?;
        let (store, expected) = (self.store.clone(), what.evidence.get("rows").map(str::to_owned));
        // What runs elsewhere is not dropped with this, so it asks whether this is still there.
        let wanted = Arc::new(());
        let still = Arc::downgrade(&wanted);
        blocking(move || {
            let found = looked_at(&staged.file())?;
            if let Some(expected) = expected.filter(|expected| *expected != found.to_string()) {
                return Err(format!("it has {found} orders, and {expected} were captured").into());
            }
            store.replace_by(&staged.file(), || still.strong_count() > 0)
        })
        .await
    }

    async fn inspect(&self) -> Result<Inspection, Error> {
        let store = self.store.clone();
        blocking(move || {
            let file = match fs::metadata(store.path()) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Inspection::empty()),
                Err(error) => {
                    return Err(format!("cannot look at {}: {error}", store.path().display()).into());
                }
            };
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

/// A folder of its own beside the database, for one copy and whatever SQLite keeps beside that. Gone when it is dropped.
struct Beside {
    folder: TempDir,
    name: PathBuf,
}

impl Beside {
    fn of(database: &Path, what: &str) -> Result<Self, Error> {
        let name = database.file_name().ok_or("the database has no name")?;
        let folder = tempfile::Builder::new().prefix(&prefix(database, what)).tempdir_in(parent(database))?;
        Ok(Self { folder, name: name.into() })
    }

    /// The copy, which need not be there.
    fn file(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn sweep(database: &Path, what: &str) -> io::Result<()> {
        let prefix = prefix(database, what);
        for entry in fs::read_dir(parent(database))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

fn prefix(database: &Path, what: &str) -> String {
    format!("{}.{what}-", database.file_name().unwrap_or_default().to_string_lossy())
}

fn parent(database: &Path) -> &Path {
    database.parent().unwrap_or_else(|| Path::new("/"))
}

/// Copies the database as it is at one moment, in one read of it, which nobody who writes waits for.
fn copy_of(store: &Store) -> Result<(Beside, Evidence), Error> {
    let copy = Beside::of(store.path(), CAPTURING)?;
    let mut target = Connection::open(copy.file())?;
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

/// Looks whether a staged file is a sound database, and counts its orders. All of it is in the one file afterwards.
fn looked_at(staged: &Path) -> Result<i64, Error> {
    let connection = Connection::open_with_flags(staged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    sound(&connection)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
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
