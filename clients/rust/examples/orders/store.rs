//! The orders, in a SQLite file.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use seaworthy_client::Report;
use tokio::sync::Mutex;

/// How long to wait for a lock of the file.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

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
    /// Which file it was when it was opened: an open handle outlives the name.
    file: (u64, u64),
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the file, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL)",
        )?;
        let path = path.canonicalize()?;
        let file = identity(&path)?;
        Ok(Self { path, file, connection: Arc::new(Mutex::new(connection)) })
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
    pub(crate) fn check(&self) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
        let name = self.path.display();
        let file = identity(&self.path).map_err(|error| format!("database file {name}: {error}"))?;
        if file != self.file {
            return Err(format!("database file {name} was replaced; restart the service").into());
        }
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let orders: i64 = connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
        Ok(Report::healthy().detail("orders", orders))
    }

    /// Adds an order.
    pub(crate) fn add(&self, item: &str, quantity: u32) -> rusqlite::Result<Order> {
        let connection = self.connection.blocking_lock();
        connection.execute("INSERT INTO orders (item, quantity) VALUES (?1, ?2)", params![item, quantity])?;
        Ok(Order { id: connection.last_insert_rowid(), item: item.to_owned(), quantity })
    }

    /// The newest orders, at most a hundred.
    pub(crate) fn newest(&self) -> rusqlite::Result<Vec<Order>> {
        let connection = self.connection.blocking_lock();
        let mut query =
            connection.prepare("SELECT id, item, quantity FROM orders ORDER BY id DESC LIMIT 100")?;
        query.query_map([], order)?.collect()
    }

    /// One order.
    pub(crate) fn get(&self, id: i64) -> rusqlite::Result<Option<Order>> {
        let connection = self.connection.blocking_lock();
        connection.query_row("SELECT id, item, quantity FROM orders WHERE id = ?1", [id], order).optional()
    }
}

fn order(row: &rusqlite::Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order { id: row.get(0)?, item: row.get(1)?, quantity: row.get(2)? })
}

/// Device and inode: the file itself, whatever its name.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
