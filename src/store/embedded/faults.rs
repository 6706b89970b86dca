//! A medium in memory that fails on demand, for the tests of the engine.
//!
//! It keeps apart what a disk keeps apart: what the cache shows, and what a power cut leaves. Written
//! bytes become durable by a sync. A failed sync loses the writes before it for good although the cache
//! still shows them, and the next sync succeeds: that is how Linux behaves.

use std::{io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;
use tempfile::TempDir;

use super::{
    CACHE_BYTES, Engine, Store,
    disk::{Access, Medium, Opener},
    open_on,
};
use crate::{store::lock::DataDir, time::Clock};

/// Unit in which a power cut tears writes apart.
const SECTOR: usize = 512;

/// What shall fail.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Writes fail, as on a full disk.
    Writes,
    /// Syncs fail.
    Syncs,
    /// Everything fails but opening and reading what was read already.
    Everything,
    /// The n-th write, sync or change of length from now fails, once.
    Once(usize),
    /// The n-th write, sync or change of length from now is the last: the power is cut.
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

#[derive(Debug, Default)]
struct State {
    durable: Vec<u8>,
    /// What reads see.
    cached: Vec<u8>,
    /// What a sync will make durable.
    dirty: Vec<Op>,
    fault: Fault,
    cut: bool,
    hanging: bool,
}

/// The medium. Clones are the same medium.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty(Arc<(Mutex<State>, Condvar)>);

impl Faulty {
    /// Opens an engine on it, in a data folder of its own.
    pub(crate) fn open(&self) -> (Store, Engine, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let held = DataDir::hold(dir.path(), &clock).unwrap();
        let (store, engine) = open_on(Medium::new(self.opener(), CACHE_BYTES), held, clock).unwrap();
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

    pub(super) fn opener(&self) -> Opener {
        let medium = self.clone();
        Box::new(move |access| {
            let mut state = medium.0.0.lock();
            if access == Access::Write && !state.cut {
                // As `disk::open_file`: sync, then drop the cache.
                sync(&mut state)?;
                state.cached = state.durable.clone();
            }
            drop(state);
            Ok(Arc::new(medium.clone()))
        })
    }

    /// What is there after a power cut: each sector written since the last sync arrived or did not.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.0.0.lock();
        let mut coins = Coins::new(seed);
        let mut durable = state.durable.clone();
        for op in &state.dirty {
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
        let state = State { cached: durable.clone(), durable, ..State::default() };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.0.lock();
        count(&mut state)?;
        if matches!(state.fault, Fault::Writes | Fault::Everything) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        op.apply(&mut state.cached);
        state.dirty.push(op);
        Ok(())
    }
}

fn sync(state: &mut State) -> io::Result<()> {
    count(state)
        .and_then(|()| match state.fault {
            Fault::Syncs | Fault::Everything => Err(io::Error::other("the sync failed on purpose")),
            _ => Ok(()),
        })
        .inspect_err(|_| {
            // Gone for good, though the cache still shows it. A power cut alone loses nothing for certain.
            if !state.cut {
                state.dirty.clear();
            }
        })?;
    for op in std::mem::take(&mut state.dirty) {
        op.apply(&mut state.durable);
    }
    if state.fault == Fault::SyncedAndFailed {
        state.fault = Fault::None;
        return Err(io::Error::other("the sync failed on purpose after its work"));
    }
    Ok(())
}

/// Counts one operation down; fails if it is the one, or if the power is off.
fn count(state: &mut State) -> io::Result<()> {
    match &mut state.fault {
        Fault::Once(0) => {
            state.fault = Fault::None;
            return Err(io::Error::other("failed once on purpose"));
        }
        Fault::PowerCut(0) => state.cut = true,
        Fault::Once(left) | Fault::PowerCut(left) => *left -= 1,
        _ => {}
    }
    if state.cut { Err(io::Error::other("the power is off")) } else { Ok(()) }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.0.lock();
        if state.cut || state.fault == Fault::Everything {
            return Err(io::Error::other("the read failed on purpose"));
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.cached.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        while state.fault == Fault::Hang {
            state.hanging = true;
            changed.wait(&mut state);
        }
        state.hanging = false;
        sync(&mut state)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(usize::try_from(offset).map_err(io::Error::other)?, data.to_vec()))
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
