//! Writing the log anew, without what has been overwritten or deleted, while the store goes on.
//!
//! A thread of its own copies what the index holds, piece by piece, and then what was committed since it
//! began. What it copied early may be older or newer than the moment it began; as frames say what is true
//! afterwards, following the log from there makes it right. It keeps an index of the new log on the way,
//! so that the writer only has to follow the last bit, give the new log its name, and take both over.
//! If anything fails the old log stays, and nobody notices.

use std::{
    io,
    ops::Bound,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Shared,
    disk::{Folder, Medium},
    frame::{Frame, Malformed},
    frames::Frames,
    index::{Index, Row},
    log::Log,
};

/// Bytes of values that are copied in one frame.
const PIECE: u64 = 1 << 20;
/// What a row counts besides its key and value, in bytes: a piece of many empty ones is bounded too.
const ROW: u64 = 64;
/// What is left for the writer to follow, in bytes, so that commits hardly wait.
const REST: u64 = 256 << 10;

/// A log that was written anew, with its index, up to a place in the old one.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) log: Log,
    pub(super) index: Index,
    /// Up to here it has followed the old log.
    followed: u64,
}

impl Renewed {
    /// Follows the old log to `end`.
    pub(super) fn follow(&mut self, old: &dyn Medium, end: u64) -> io::Result<()> {
        let mut frames = Frames::new(old, self.followed, end, None);
        while let Some((_, body)) = frames.next()? {
            append(&mut self.log, &mut self.index, &mut Frame::of_body(body))?;
        }
        if frames.at() != end {
            return Err(io::Error::other(format!("a commit at byte {} cannot be read back", frames.at())));
        }
        self.followed = end;
        Ok(())
    }
}

/// Whether so much of a log is dead that it is worth while to write it anew.
pub(super) fn is_due(log: &Log, index: &Index, least: u64) -> bool {
    let dead = log.end().saturating_sub(index.live_bytes());
    dead > least && dead > index.live_bytes()
}

/// Writes the log anew. None: the store closes.
pub(super) fn renew(
    shared: &Shared,
    folder: &Arc<dyn Folder>,
    old: &dyn Medium,
    generation: u64,
    began: u64,
) -> io::Result<Option<Renewed>> {
    let log = Log::create(folder, generation + 1)?;
    let mut renewed = Renewed { log, index: Index::default(), followed: began };
    let mut after = None;
    copy_counters(shared, &mut renewed)?;
    while let Some(last) = copy_piece(shared, old, after.as_deref(), &mut renewed)? {
        after = Some(last);
        if shared.closing.load(Ordering::Acquire) {
            return Ok(None);
        }
    }
    loop {
        let end = shared.log_end.load(Ordering::Acquire);
        let rest = end - renewed.followed;
        renewed.follow(old, end)?;
        if rest <= REST {
            break;
        }
    }
    // The bulk of it reaches the disk here, not while commits wait.
    renewed.log.file().sync()?;
    Ok(Some(renewed))
}

fn copy_counters(shared: &Shared, renewed: &mut Renewed) -> io::Result<()> {
    let mut frame = Frame::new();
    if let Some(table) = shared.table.read().as_ref() {
        frame.counters(table.index.revision, table.index.last_lease);
        for (id, lease) in &table.index.leases {
            frame.grant(*id, lease.ttl_millis);
        }
    }
    append(&mut renewed.log, &mut renewed.index, &mut frame)
}

/// Copies the keys after `after`, as many as make a piece; answers the last. None: there are no more.
fn copy_piece(
    shared: &Shared,
    old: &dyn Medium,
    after: Option<&str>,
    renewed: &mut Renewed,
) -> io::Result<Option<Box<str>>> {
    let rows: Vec<(Box<str>, Row)> = match shared.table.read().as_ref() {
        Some(table) => piece(&table.index, after),
        None => Vec::new(),
    };
    let mut frame = Frame::new();
    for (key, row) in &rows {
        let value = read_value(old, row)?;
        frame.put(key, row.revision, row.lease, &value);
    }
    append(&mut renewed.log, &mut renewed.index, &mut frame)?;
    Ok(rows.into_iter().last().map(|(key, _)| key))
}

fn piece(index: &Index, after: Option<&str>) -> Vec<(Box<str>, Row)> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for (key, row) in index.rows.range::<str, _>((start, Bound::Unbounded)) {
        if bytes >= PIECE {
            break;
        }
        bytes += key.len() as u64 + u64::from(row.value.len) + ROW;
        rows.push((key.clone(), *row));
    }
    rows
}

/// Reads a value, and proves that it is the one that was written.
pub(super) fn read_value(file: &dyn Medium, row: &Row) -> io::Result<Vec<u8>> {
    let mut value = vec![0; usize::try_from(row.value.len).unwrap_or_default()];
    file.read_at(&mut value, row.value.at)?;
    if crc32fast::hash(&value) == row.value.crc {
        return Ok(value);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the value at byte {} is damaged", row.value.at)))
}

fn append(log: &mut Log, index: &mut Index, frame: &mut Frame) -> io::Result<()> {
    if frame.is_empty() {
        return Ok(());
    }
    let offset = log.draft(frame)?;
    index.apply(frame.body(), offset).map_err(|malformed: Malformed| io::Error::other(malformed))
}
