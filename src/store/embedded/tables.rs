//! The tables in the database, and what a commit does to them.

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _};
use redb::{Table, TableDefinition, WriteTransaction};

use super::disk::OpenError;
use crate::store::{Commit, Compare, Entry, Event, Revision, commit::Change, lease::LeaseId, problem};

/// Layout of these tables. A database with a higher number is refused.
pub(super) const FORMAT: u64 = 1;

/// A stored value: revision of the last change, lease (0 for none), value.
pub(super) type Row = (u64, u64, &'static [u8]);
/// Key → row.
pub(super) const ENTRIES: TableDefinition<&str, Row> = TableDefinition::new("entries");
/// Name → number, see the constants below.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Lease → TTL in milliseconds.
const LEASES: TableDefinition<u64, u64> = TableDefinition::new("leases");
/// (Lease, key): the keys that end with a lease.
const LEASE_KEYS: TableDefinition<(u64, &str), ()> = TableDefinition::new("lease_keys");
/// Proves that the medium takes writes.
const PROBE: TableDefinition<u64, &[u8]> = TableDefinition::new("probe");

const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";
const META_LAST_LEASE: &str = "last_lease";
/// Room that the medium must have before commits are taken again.
const PROBE_BYTES: usize = 64 << 10;

/// What a database says of itself when it is opened.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) revision: Revision,
    pub(super) keys: u64,
    pub(super) leases: Vec<(LeaseId, u64)>,
}

/// Makes the tables of a new database; reads the state of any.
pub(super) fn prepare(database: &Database) -> Result<State, OpenError> {
    let fresh = match database.begin_read()?.open_table(META) {
        Ok(_) => false,
        Err(redb::TableError::TableDoesNotExist(_)) => true,
        Err(cause) => return Err(cause.into()),
    };
    if fresh {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_FORMAT, FORMAT)?;
            meta.insert(META_REVISION, 0)?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(LEASES)?;
            transaction.open_table(LEASE_KEYS)?;
        }
        transaction.commit()?;
    }
    read_state(database)
}

/// Reads the state of a database that has its tables.
pub(super) fn read_state(database: &Database) -> Result<State, OpenError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let found = number(&meta, META_FORMAT)?;
    if found > FORMAT {
        return Err(OpenError::TooNew { found });
    }
    let mut leases = Vec::new();
    for row in transaction.open_table(LEASES)?.iter()? {
        let (id, ttl) = row?;
        leases.push((LeaseId(id.value()), ttl.value()));
    }
    Ok(State {
        revision: number(&meta, META_REVISION)?,
        keys: transaction.open_table(ENTRIES)?.len()?,
        leases,
    })
}

/// Reads the revision within a reading transaction.
pub(super) fn read_revision(transaction: &redb::ReadTransaction) -> Result<Revision, redb::Error> {
    Ok(number(&transaction.open_table(META)?, META_REVISION)?)
}

fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, redb::StorageError> {
    Ok(meta.get(name)?.map_or(0, |number| number.value()))
}

/// Makes a row an entry, with a copy of its value: the page is not pinned.
pub(super) fn entry(key: &str, row: (u64, u64, &[u8])) -> Entry {
    Entry { key: key.to_owned(), value: Bytes::copy_from_slice(row.2), revision: row.0 }
}

/// Writes the room that the medium must have.
pub(super) fn write_probe(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PROBE)?.insert(0, [0x5a; PROBE_BYTES].as_slice())?;
    Ok(())
}

/// Gives that room back.
pub(super) fn remove_probe(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PROBE)?.remove(0)?;
    Ok(())
}

/// What was done to the tables by one group.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event>,
    pub(super) puts: u64,
    pub(super) deletes: u64,
    /// How many keys there are then; none if nothing was changed and nothing needs to be written.
    pub(super) keys: Option<u64>,
}

/// The tables, open for writing, and what has been done to them so far.
pub(super) struct Writing<'t> {
    entries: Table<'t, &'static str, Row>,
    meta: Table<'t, &'static str, u64>,
    leases: Table<'t, u64, u64>,
    lease_keys: Table<'t, (u64, &'static str), ()>,
    first: Revision,
    done: Done,
    dirty: bool,
}

impl<'t> Writing<'t> {
    pub(super) fn begin(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(META)?;
        let revision = number(&meta, META_REVISION)?;
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            meta,
            leases: transaction.open_table(LEASES)?,
            lease_keys: transaction.open_table(LEASE_KEYS)?,
            first: revision,
            done: Done { revision, ..Done::default() },
            dirty: false,
        })
    }

    /// The revision so far.
    pub(super) fn revision(&self) -> Revision {
        self.done.revision
    }

    /// Writes down the revision, closes the tables, and answers what was done.
    pub(super) fn finish(mut self) -> Result<Done, redb::Error> {
        if self.done.revision > self.first {
            self.meta.insert(META_REVISION, self.done.revision)?;
        }
        if self.dirty {
            self.done.keys = Some(self.entries.len()?);
        }
        Ok(self.done)
    }

    /// Applies one commit if its conditions hold; the inner error is its refusal.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
    ) -> Result<Result<Revision, crate::error::Error>, redb::Error> {
        // Everything is looked at before anything is changed: a refused commit leaves no trace.
        for compare in &commit.compares {
            if let Err(refusal) = self.compare(compare)? {
                return Ok(Err(refusal));
            }
        }
        for change in &commit.changes {
            if let Change::Put { lease: Some(lease), .. } = change
                && self.leases.get(lease.0)?.is_none()
            {
                return Ok(Err(problem::lease_gone(lease.0)));
            }
        }
        let revision = self.revision() + 1;
        for change in &commit.changes {
            match change {
                Change::Put { key, value, lease } => self.put(key, value, *lease, revision)?,
                Change::Delete { key } => self.delete(key, revision)?,
            }
        }
        Ok(Ok(self.revision()))
    }

    /// Makes a lease.
    pub(super) fn grant(&mut self, ttl_millis: u64) -> Result<LeaseId, redb::Error> {
        let id = number(&self.meta, META_LAST_LEASE)? + 1;
        self.meta.insert(META_LAST_LEASE, id)?;
        self.leases.insert(id, ttl_millis)?;
        self.dirty = true;
        Ok(LeaseId(id))
    }

    /// Ends a lease and deletes its keys, all at one revision.
    pub(super) fn end_lease(&mut self, lease: LeaseId) -> Result<(), redb::Error> {
        if self.leases.remove(lease.0)?.is_none() {
            return Ok(());
        }
        self.dirty = true;
        let mut keys = Vec::new();
        for row in self.lease_keys.range((lease.0, "")..(lease.0 + 1, ""))? {
            keys.push(row?.0.value().1.to_owned());
        }
        let revision = self.revision() + 1;
        for key in keys {
            self.delete(&key, revision)?;
        }
        Ok(())
    }

    fn compare(&self, compare: &Compare) -> Result<Result<(), crate::error::Error>, redb::Error> {
        let found = self.entries.get(compare.key())?.map(|row| row.value().0);
        Ok(match (compare, found) {
            (Compare::Absent(_), None) => Ok(()),
            (Compare::Unchanged { revision, .. }, Some(found)) if found == *revision => Ok(()),
            (Compare::Absent(key), Some(_)) => Err(problem::conflict(key, "exists already")),
            (Compare::Unchanged { key, .. }, None) => Err(problem::conflict(key, "does not exist")),
            (Compare::Unchanged { key, revision }, Some(found)) => Err(problem::conflict(
                key,
                &format!("was last changed at revision {found}, not at {revision}"),
            )),
        })
    }

    fn put(
        &mut self,
        key: &str,
        value: &Bytes,
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Result<(), redb::Error> {
        let lease = lease.map_or(0, |lease| lease.0);
        let before = self.entries.insert(key, (revision, lease, value.as_ref()))?.map(|row| row.value().1);
        if let Some(before) = before.filter(|before| *before != 0 && *before != lease) {
            self.lease_keys.remove((before, key))?;
        }
        if lease != 0 && before != Some(lease) {
            self.lease_keys.insert((lease, key), ())?;
        }
        self.done.puts += 1;
        self.changed(Event::Put(Entry { key: key.to_owned(), value: value.clone(), revision }));
        Ok(())
    }

    fn delete(&mut self, key: &str, revision: Revision) -> Result<(), redb::Error> {
        let Some(lease) = self.entries.remove(key)?.map(|row| row.value().1) else { return Ok(()) };
        if lease != 0 {
            self.lease_keys.remove((lease, key))?;
        }
        self.done.deletes += 1;
        self.changed(Event::Delete { key: key.to_owned(), revision });
        Ok(())
    }

    fn changed(&mut self, event: Event) {
        self.dirty = true;
        self.done.revision = event.revision();
        self.done.events.push(event);
    }
}
