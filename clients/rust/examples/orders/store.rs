//! The orders, in a SQLite file. Writers and readers do not wait for each other (WAL), so it is copied while it serves; how it is
//! backed up is in `backup.rs`.

use std::{
    fs, io, mem,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use seaworthy_client::Report;
use tokio::sync::{Mutex, RwLock};

/// How long to wait for a lock of the file.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// How new the schema is that this program writes.
const SCHEMA_VERSION: u32 = 1;
/// What SQLite keeps beside a file while it is open.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What is done with the store, and went wrong.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// One order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) quantity: u32,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    path: PathBuf,
    open: Arc<Mutex<Open>>,
    /// Written while the file is replaced, read by whoever opens it by its name.
    name: Arc<RwLock<()>>,
}

/// The file that is open.
struct Open {
    connection: Connection,
    /// Which file it was when it was opened: an open handle outlives the name.
    file: (u64, u64),
}

impl Open {
    fn at(path: &Path) -> Result<Self, Failed> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL)",
        )?;
        if version(&connection)? == 0 {
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        Ok(Self { connection, file: identity(path)? })
    }
}

impl Store {
    /// Opens the file, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failed> {
        let open = Open::at(path)?;
        let path = path.canonicalize()?;
        Ok(Self { path, open: Arc::new(Mutex::new(open)), name: Arc::default() })
    }

    /// The file, by its whole name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that holds the file.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("/")).to_owned()
    }

    /// How the database is: the file must still be the one that is open, and answer a query on a fresh
    /// connection that would not make a new file.
    pub(crate) fn check(&self) -> Result<Report, Failed> {
        let orders = self.by_name(rows)?;
        Ok(Report::healthy().detail("orders", orders))
    }

    /// Works on a fresh connection to the file that has the name, which must be the one that is open. Orders are taken
    /// meanwhile.
    pub(crate) fn by_name<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failed> {
        let _stays = self.name.blocking_read();
        let name = self.path.display();
        let file = identity(&self.path).map_err(|error| format!("database file {name}: {error}"))?;
        if file != self.open.blocking_lock().file {
            return Err(format!("database file {name} was replaced; restart the service").into());
        }
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(work(&connection)?)
    }

    /// Brings orders into the file itself, as far as nobody reads their older state; what stays in the log beside it is as safe
    /// there. Answers how many orders there are, and how large the file is.
    pub(crate) fn checkpoint(&self) -> Result<(i64, u64), Failed> {
        let open = self.open.blocking_lock();
        open.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok((rows(&open.connection)?, fs::metadata(&self.path)?.len()))
    }

    /// Closes the file; nothing can be done with it any more.
    pub(crate) fn close(&self) -> Result<(), Failed> {
        let mut open = self.open.blocking_lock();
        let connection = mem::replace(&mut open.connection, Connection::open_in_memory()?);
        connection.close().map_err(|(_, cause)| cause.into())
    }

    /// Puts this file, which is on the same file system, in its place, if that is still wanted when it is its turn. Orders wait meanwhile;
    /// what was there is gone.
    pub(crate) fn replace_by(&self, staged: &Path, wanted: impl FnOnce() -> bool) -> Result<(), Failed> {
        let _stays = self.name.blocking_write();
        let mut open = self.open.blocking_lock();
        // A later one may have been put in place meanwhile.
        if !wanted() {
            return Err("nobody waits for it any more, and nothing was replaced".into());
        }
        // Closing removes what SQLite keeps beside the file, by name: that must not be the new one's.
        drop(mem::replace(&mut open.connection, Connection::open_in_memory()?));
        let placed = self.settle().and_then(|()| Ok(self.place(staged)?));
        // Whichever is there now. An empty one is not made up.
        if self.path.exists() {
            let opened = Open::at(&self.path).map(|opened| *open = opened);
            return placed.and(opened);
        }
        placed
    }

    /// Brings everything into the file itself that is in the log beside it: until the new one is in its place, the old one is whole.
    fn settle(&self) -> Result<(), Failed> {
        let opened = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let settled = opened.and_then(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        });
        let is_busy = match settled {
            Ok(is_busy) => is_busy,
            // Not there, or damaged: then there is nothing to be kept whole.
            Err(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
            }
        };
        if is_busy {
            let name = self.path.display();
            return Err(format!(
                "database file {name} is in use by another process, and was not replaced; end that, and restore it again"
            )
            .into());
        }
        Ok(())
    }

    fn place(&self, staged: &Path) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(replaced) => fs::set_permissions(staged, replaced.permissions())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::File::open(staged)?.sync_all()?;
        // The log of the old one must never be taken for the new one's.
        for beside in BESIDE {
            remove(&with_suffix(&self.path, beside))?;
        }
        fs::rename(staged, &self.path)?;
        fs::File::open(self.folder())?.sync_all()
    }

    /// Adds an order.
    pub(crate) fn add(&self, item: &str, quantity: u32) -> rusqlite::Result<Order> {
        let connection = &self.open.blocking_lock().connection;
        connection.execute("INSERT INTO orders (item, quantity) VALUES (?1, ?2)", params![item, quantity])?;
        Ok(Order { id: connection.last_insert_rowid(), item: item.to_owned(), quantity })
    }

    /// The newest orders, at most a hundred.
    pub(crate) fn newest(&self) -> rusqlite::Result<Vec<Order>> {
        let connection = &self.open.blocking_lock().connection;
        let mut query =
            connection.prepare("SELECT id, item, quantity FROM orders ORDER BY id DESC LIMIT 100")?;
        query.query_map([], order)?.collect()
    }

    /// One order.
    pub(crate) fn get(&self, id: i64) -> rusqlite::Result<Option<Order>> {
        let connection = &self.open.blocking_lock().connection;
        connection.query_row("SELECT id, item, quantity FROM orders WHERE id = ?1", [id], order).optional()
    }
}

/// How many orders there are.
pub(crate) fn rows(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
}

/// How new the schema is.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Removes a file, which need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The same name with something behind it.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn order(row: &rusqlite::Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order { id: row.get(0)?, item: row.get(1)?, quantity: row.get(2)? })
}

/// Device and inode: the file itself, whatever its name.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
