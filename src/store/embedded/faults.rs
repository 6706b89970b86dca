//! A folder in memory that fails on demand, for the tests of the engine.
//!
//! It keeps apart what a disk keeps apart: what the cache shows, and what a power cut leaves. Written
//! bytes become durable by a sync of their file, names by a sync of the folder. A failed sync loses the
//! writes before it for good although the cache still shows them, and the next sync succeeds: that is how
//! Linux behaves.

use std::{collections::BTreeMap, io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use super::{
    DEAD_BYTES, Engine, Store,
    disk::{Folder, Medium},
    frame::HEADER,
    frames::{Frames, Tail},
    log, mark, open_on,
};
use crate::{store::lock::DataDir, task::OnEnd, time::Clock};

/// Unit in which a power cut tears writes apart.
const SECTOR: usize = 512;

/// What shall fail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Writes fail, as on a full disk.
    Writes,
    /// No file can grow.
    NoSpace,
    /// Syncs fail.
    Syncs,
    /// Everything fails but opening.
    Everything,
    /// Writes panic, which no medium does: a bug stands for it.
    Panic,
    /// Everything fails from the n-th change or sync on.
    From(usize),
    /// The n-th change or sync from now fails, once.
    Once(usize),
    /// The n-th change or sync from now is the last: the power is cut.
    PowerCut(usize),
    /// The next sync does its work and says that it failed, once.
    SyncedAndFailed,
    /// Syncs hang until another fault is set, and then do their work.
    Hang,
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Op {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Op::Write(offset, data) => {
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Op::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

#[derive(Clone, Debug)]
enum NameOp {
    Link(String, usize),
    Rename(String, String),
    Remove(String),
}

type Names = BTreeMap<String, usize>;

impl NameOp {
    fn apply(&self, names: &mut Names) {
        match self {
            NameOp::Link(name, file) => drop(names.insert(name.clone(), *file)),
            NameOp::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            NameOp::Remove(name) => drop(names.remove(name)),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// What reads see.
    cached: Vec<u8>,
    /// What a sync will make durable.
    dirty: Vec<Op>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    dirty_names: Vec<NameOp>,
    fault: Fault,
    cut: bool,
    hanging: bool,
}

/// The folder. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty(Arc<(Mutex<State>, Condvar)>);

/// A file in it.
#[derive(Debug)]
struct File {
    folder: Faulty,
    number: usize,
}

impl Faulty {
    /// Opens an engine on it, in a data folder of its own.
    pub(crate) fn open(&self) -> (Store, Engine, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let held = DataDir::hold(dir.path(), &clock).unwrap();
        let (store, engine) = open_on(Arc::new(self.clone()), held, clock, OnEnd::Fine, DEAD_BYTES).unwrap();
        (store, engine, dir)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.0.0.lock().fault = fault;
        self.0.1.notify_all();
    }

    /// Whether a sync hangs.
    pub(crate) fn hangs(&self) -> bool {
        self.0.0.lock().hanging
    }

    /// Whether the fault that was set once has come to pass.
    pub(super) fn is_spent(&self) -> bool {
        let state = self.0.0.lock();
        state.cut || state.fault == Fault::None
    }

    /// What is there after a power cut: each sector written since the last sync arrived or did not; of the
    /// names that changed, those up to some moment.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.0.0.lock();
        let mut coins = Coins::new(seed);
        let mut names = state.durable_names.clone();
        for op in state.dirty_names.iter().take_while(|_| coins.toss()) {
            op.apply(&mut names);
        }
        let files = state.files.iter().map(|file| survivor(file, &mut coins)).collect();
        let durable_names = names.clone();
        let state = State { files, names, durable_names, ..State::default() };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Whether its log ends in a part of a frame.
    pub(super) fn has_torn_end(&self) -> bool {
        let Some(file) = Folder::open(self, log::FILE).unwrap() else { return false };
        let mut frames = Frames::new(file.as_ref(), HEADER as u64, file.len().unwrap(), Some(1));
        while frames.next().unwrap().is_some() {}
        frames.tail().unwrap() == Tail::Torn
    }

    /// How often its log was written anew, and whether that was going on.
    pub(super) fn renewals(&self) -> (u64, bool) {
        let generation = mark::read(self).unwrap().flatten().map_or(1, |mark| mark.generation);
        (generation - 1, Folder::open(self, log::NEW_FILE).unwrap().is_some())
    }

    fn rename_op(&self, op: NameOp) -> io::Result<()> {
        let mut state = self.0.0.lock();
        count(&mut state)?;
        if matches!(op, NameOp::Link(..)) && matches!(state.fault, Fault::Writes | Fault::Everything) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        op.apply(&mut state.names);
        state.dirty_names.push(op);
        Ok(())
    }
}

fn survivor(file: &Content, coins: &mut Coins) -> Content {
    let mut durable = file.durable.clone();
    for op in &file.dirty {
        match op {
            Op::Write(offset, data) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if coins.toss() {
                        Op::Write(offset + n * SECTOR, sector.to_vec()).apply(&mut durable);
                    }
                }
            }
            // A length that was not synced may be the old one, but not below what was written.
            Op::SetLen(_) if coins.toss() => op.apply(&mut durable),
            Op::SetLen(_) => {}
        }
    }
    Content { cached: durable.clone(), durable, dirty: Vec::new() }
}

/// Fails if syncs do, or if it is the one operation that fails.
fn may_sync(state: &mut State) -> io::Result<()> {
    count(state)?;
    match state.fault {
        Fault::Syncs | Fault::Everything => Err(io::Error::other("the sync failed on purpose")),
        _ => Ok(()),
    }
}

/// Counts one operation down; fails if it is the one, or if the power is off.
fn count(state: &mut State) -> io::Result<()> {
    match &mut state.fault {
        Fault::Once(0) => {
            state.fault = Fault::None;
            return Err(io::Error::other("failed once on purpose"));
        }
        Fault::Panic => panic!("a bug on purpose"),
        Fault::PowerCut(0) => state.cut = true,
        Fault::From(0) => return Err(io::Error::other("failed on purpose")),
        Fault::Once(left) | Fault::From(left) | Fault::PowerCut(left) => *left -= 1,
        _ => {}
    }
    if state.cut { Err(io::Error::other("the power is off")) } else { Ok(()) }
}

impl Folder for Faulty {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn Medium>>> {
        let number = self.0.0.lock().names.get(name).copied();
        Ok(number.map(|number| Arc::new(File { folder: self.clone(), number }) as Arc<dyn Medium>))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Medium>> {
        let number = {
            let mut state = self.0.0.lock();
            state.files.push(Content::default());
            state.files.len() - 1
        };
        self.rename_op(NameOp::Link(name.to_owned(), number))?;
        Ok(Arc::new(File { folder: self.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_op(NameOp::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.rename_op(NameOp::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        may_sync(&mut state)?;
        state.dirty_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl File {
    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.folder.0.0.lock();
        count(&mut state)?;
        if matches!(state.fault, Fault::Writes | Fault::Everything) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let fault = state.fault;
        let file = &mut state.files[self.number];
        let length = match &op {
            Op::Write(offset, data) => offset + data.len(),
            Op::SetLen(length) => *length,
        };
        if fault == Fault::NoSpace && length > file.cached.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        op.apply(&mut file.cached);
        file.dirty.push(op);
        Ok(())
    }
}

impl Medium for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.folder.0.0.lock().files[self.number].cached.len() as u64)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.folder.0.0.lock();
        if state.cut || state.fault == Fault::Everything {
            return Err(io::Error::other("the read failed on purpose"));
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let cached = &state.files[self.number].cached;
        out.copy_from_slice(cached.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(Op::Write(usize::try_from(offset).map_err(io::Error::other)?, data.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn sync(&self) -> io::Result<()> {
        let (state, changed) = &*self.folder.0;
        let mut state = state.lock();
        while state.fault == Fault::Hang {
            state.hanging = true;
            changed.wait(&mut state);
        }
        state.hanging = false;
        let allowed = may_sync(&mut state);
        let cut = state.cut;
        let file = &mut state.files[self.number];
        if allowed.is_err() && cut {
            // A power cut alone loses nothing for certain.
            return allowed;
        }
        let dirty = std::mem::take(&mut file.dirty);
        // After a failed one they are gone for good, though the cache still shows them.
        allowed?;
        for op in dirty {
            op.apply(&mut file.durable);
        }
        if state.fault == Fault::SyncedAndFailed {
            state.fault = Fault::None;
            return Err(io::Error::other("the sync failed on purpose after its work"));
        }
        Ok(())
    }

    fn settle(&self, _: u64) -> io::Result<()> {
        self.sync()?;
        let file = &mut self.folder.0.0.lock().files[self.number];
        file.cached = file.durable.clone();
        Ok(())
    }
}

/// Repeatable coin tosses (xorshift64*).
struct Coins(u64);

impl Coins {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn toss(&mut self) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
    }
}
