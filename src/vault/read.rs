//! Reading components back: from the list of chunks to records, from records to ranges of packs, a few windows ahead of who
//! reads. Every record is authenticated and every chunk's id is compared before a byte of it is given out.

mod fetch;
mod walk;

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tracing::warn;

use self::{
    fetch::{Fetcher, Wanted},
    walk::Walk,
};
use super::{
    chunk::{ChunkId, Entry},
    condemned, damage,
    index::Index,
    keyring::DomainKeys,
    manifest::{Component, Status},
    names::{self, Domain, Id, PackName},
    open::Vault,
    problem::{Problem, Result},
    segment::{self, Hidden, Loaded},
    session::{Purpose, Session},
};
use crate::task::{self, OnEnd, Task};

/// Bytes of a component that are fetched as one.
const WINDOW: usize = 4 << 20;
/// How many windows are fetched at a time, or wait to be read.
const AHEAD: usize = 4;

/// Somebody who reads: while it is open nothing that it leans on is pruned, unless the bucket takes no session.
pub struct Reader {
    shared: Arc<Shared>,
    session: Mutex<Option<Session>>,
    unseen: Option<Problem>,
    problems: Vec<Problem>,
}

/// What all readings of a reader share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) vault: Vault,
    pub(super) keys: Arc<DomainKeys>,
    index: RwLock<Arc<Index>>,
    fetcher: Fetcher,
    /// Whether what is condemned is taken for gone.
    strictly: bool,
    /// Packs that were found to be damaged while they were read: any other copy is taken before theirs.
    avoided: Mutex<HashSet<PackName>>,
    /// Held by whoever reads the index again: others wait and take what came of it.
    looking: tokio::sync::Mutex<()>,
}

impl Shared {
    /// The index as it was read last.
    pub(super) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read())
    }

    /// Reads the index again: somebody may have moved chunks, or another copy may serve.
    pub(super) async fn look_again(&self) -> Result<()> {
        let avoided = self.avoided();
        let loaded = load(&self.vault, &self.keys, self.strictly, avoided).await?;
        *self.index.write() = Arc::new(loaded.index);
        Ok(())
    }

    /// Packs that were found to be damaged while they were read.
    pub(super) fn avoided(&self) -> HashSet<PackName> {
        self.avoided.lock().clone()
    }

    /// The bytes of chunks, in order; looked for again where a pack has gone meanwhile, or is found to be damaged: somebody else
    /// may have stored the same.
    async fn fetch(self: Arc<Self>, entries: Vec<Entry>) -> Result<Vec<Bytes>> {
        let (mut index, mut missed) = (self.index(), false);
        loop {
            let problem = match self.fetch_by(&index, &entries).await {
                Err(problem @ (Problem::Missing { .. } | Problem::Damaged { .. })) => problem,
                fetched => return fetched,
            };
            let bad = match &problem {
                Problem::Damaged { object, .. } => names::parse_pack(self.keys.domain(), object),
                _ => None,
            };
            let is_new = bad.is_some_and(|name| self.avoided.lock().insert(name));
            let looking = self.looking.lock().await;
            // Whoever looked meanwhile may have looked for the same.
            if Arc::ptr_eq(&index, &self.index()) {
                if !is_new && (bad.is_some() || missed) {
                    return Err(problem);
                }
                if bad.is_some() {
                    warn!(component = "vault", operation = "read", %problem, "another copy is looked for");
                }
                missed |= bad.is_none();
                self.look_again().await?;
            }
            drop(looking);
            index = self.index();
        }
    }

    async fn fetch_by(&self, index: &Index, entries: &[Entry]) -> Result<Vec<Bytes>> {
        let wanted = entries.iter().map(|entry| find(index, entry)).collect::<Result<Vec<_>>>()?;
        self.fetcher.fetch(&self.vault, &self.keys, index, wanted).await
    }
}

fn find(index: &Index, entry: &Entry) -> Result<Wanted> {
    let Entry { id, length } = *entry;
    let at = index.get(&id).ok_or_else(|| missing_chunk(&id))?;
    let location = index.location(at.record).ok_or_else(|| missing_chunk(&id))?;
    Ok(Wanted { id, length, position: at.position, location })
}

fn missing_chunk(id: &ChunkId) -> Problem {
    Problem::missing(format!("chunk {id}"))
}

/// Reads the index: the condemned lists first. `strictly`, what is condemned is not there, and a list that cannot be read is an
/// error; otherwise it is one of the problems.
async fn load(
    vault: &Vault,
    keys: &Arc<DomainKeys>,
    strictly: bool,
    avoided: HashSet<PackName>,
) -> Result<Loaded> {
    let (place, vault_keys) = (vault.place(), vault.vault_keys());
    let (doomed, mut problems) = match strictly {
        true => (condemned::all(place, vault_keys).await?, Vec::new()),
        false => condemned::known(place, vault_keys).await?,
    };
    let (damaged, unreadable) = damage::known(place, keys).await?;
    problems.extend(unreadable);
    // Most of what is damaged can be read; so it comes last, after what is only going to go.
    let hidden = match strictly {
        true => Hidden { absent: doomed.packs, last: vec![damaged, avoided] },
        false => Hidden { absent: HashSet::new(), last: vec![doomed.packs, damaged, avoided] },
    };
    let mut loaded = segment::load(place, keys, hidden).await?;
    loaded.problems.extend(problems);
    Ok(loaded)
}

impl Reader {
    /// Opens the session of an operation that reads backups of a service, then reads the index. Where the session cannot be
    /// written it reads without one: a full disk, or a key that may only read, must not come between anybody and a restore,
    /// and what is pruned meanwhile is missed, never taken for something else.
    ///
    /// # Errors
    /// The vault cannot be read, or there is nothing of the service.
    pub async fn open(vault: &Vault, service: &Domain, operation: Id, purpose: Purpose) -> Result<Self> {
        Self::open_as(vault, service, operation, purpose, false).await
    }

    /// The same for who decides whether something may be relied on: what is condemned is taken for gone.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub(super) async fn open_strictly(
        vault: &Vault,
        service: &Domain,
        operation: Id,
        purpose: Purpose,
    ) -> Result<Self> {
        Self::open_as(vault, service, operation, purpose, true).await
    }

    async fn open_as(
        vault: &Vault,
        service: &Domain,
        operation: Id,
        purpose: Purpose,
        strictly: bool,
    ) -> Result<Self> {
        let opened = Session::open(vault.place(), vault.vault_keys(), operation, purpose, vault.random());
        let (session, unseen) = match opened.await {
            Ok(session) => (Some(session), None),
            // What it decides others rely on.
            Err(problem) if strictly => return Err(problem),
            Err(problem) => {
                warn!(component = "vault", operation = "session", %problem, "the vault takes no session: it is read without one, and whoever prunes does not know");
                (None, Some(problem))
            }
        };
        let loaded = async {
            let keys = vault.keys(service).await?;
            let loaded = load(vault, &keys, strictly, HashSet::new()).await?;
            Ok::<_, Problem>((keys, loaded))
        };
        let (keys, Loaded { index, problems }) = match loaded.await {
            Ok(loaded) => loaded,
            Err(problem) => {
                // Nobody should wait for who reads nothing.
                if let Some(session) = session {
                    session.end().await;
                }
                return Err(problem);
            }
        };
        let shared = Shared {
            vault: vault.clone(),
            keys,
            index: RwLock::new(Arc::new(index)),
            fetcher: Fetcher::default(),
            strictly,
            avoided: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), session: Mutex::new(session), unseen, problems })
    }

    /// The bytes of a component from an offset on.
    ///
    /// # Errors
    /// The component is not there, or has not as many bytes.
    pub fn read(&self, component: &Component, offset: u64) -> Result<Reading> {
        if component.status != Status::Complete {
            let what = component.cause.clone().unwrap_or_else(|| "it was not captured".to_owned());
            return Err(Problem::damaged(format!("component {}", component.name), what));
        }
        if offset > component.bytes {
            let (name, bytes) = (&component.name, component.bytes);
            return Err(Problem::Internal(format!(
                "{name} has {bytes} bytes, and was to be read from {offset} on"
            )));
        }
        Ok(Reading {
            shared: Arc::clone(&self.shared),
            walk: Walk::new(component),
            hasher: blake3::Hasher::new_keyed(self.shared.keys.chunk_id()),
            window: Window::default(),
            root: component.root,
            length: component.bytes,
            skip: offset,
            cut: 0,
            listed: 0,
            ahead: VecDeque::new(),
            ready: VecDeque::new(),
            held: None,
            ended: false,
        })
    }

    /// The first chunk of a component that is nowhere by the index as it was read last. None: all are somewhere.
    pub(super) async fn lacks(&self, component: &Component) -> Result<Option<ChunkId>> {
        let (shared, mut walk) = (self.shared(), self.walk(component));
        let index = shared.index();
        while let Some(entry) = walk.next(shared).await? {
            if find(&index, &entry).is_err() {
                return Ok(Some(entry.id));
            }
        }
        Ok(None)
    }

    /// The list of a component.
    pub(super) fn walk(&self, component: &Component) -> Walk {
        Walk::new(component)
    }

    /// What could not be read of the index, of the lists of pruning, and of packs beside them.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Why it has no session: whoever prunes does not know that somebody reads. None: it has one.
    pub fn unseen(&self) -> Option<&Problem> {
        self.unseen.as_ref()
    }

    /// What its readings share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Nothing is read any more.
    pub async fn close(&self) {
        let session = self.session.lock().take();
        if let Some(session) = session {
            session.end().await;
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("service", self.shared.keys.domain()).finish_non_exhaustive()
    }
}

/// What is fetched as one.
#[derive(Default)]
struct Window {
    entries: Vec<Entry>,
    bytes: usize,
    /// The record that its last entry is in.
    record: Option<u32>,
}

/// A component that is being read. Dropped, it is read no further.
pub struct Reading {
    shared: Arc<Shared>,
    walk: Walk,
    /// Over the list, as it is walked.
    hasher: blake3::Hasher,
    root: [u8; 32],
    length: u64,
    /// Bytes that are left out yet.
    skip: u64,
    /// Bytes that are left out of the first entry of the window.
    cut: usize,
    /// Bytes of the entries that were listed.
    listed: u64,
    ahead: VecDeque<Task<Result<Vec<Bytes>>>>,
    ready: VecDeque<Bytes>,
    /// What the next window has so far. Kept here, so that whoever gives up waiting loses nothing.
    window: Window,
    /// An entry that begins the next window.
    held: Option<Entry>,
    ended: bool,
}

impl Reading {
    /// The next bytes; None after the last. The list of chunks is held against the component's digest before the last bytes
    /// are given out. Cancel safe.
    ///
    /// # Errors
    /// Something is damaged, missing, or the bucket cannot be read. Nothing that was given out before was wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            while !self.ended && self.ahead.len() < AHEAD {
                self.look_ahead().await?;
            }
            let Some(next) = self.ahead.front_mut() else { return Ok(None) };
            let fetched = next.await.map_err(|ended| Problem::Internal(ended.to_string()));
            self.ahead.pop_front();
            self.ready.extend(fetched??);
        }
    }

    /// How many bytes were looked up so far, read or not.
    #[cfg(test)]
    pub(super) fn listed(&self) -> u64 {
        self.listed
    }

    /// Begins to fetch the next window.
    async fn look_ahead(&mut self) -> Result<()> {
        let index = self.shared.index();
        while let Some(entry) = self.next_entry().await? {
            let at = index.get(&entry.id).map(|at| at.record);
            let Window { entries, bytes, record } = &mut self.window;
            // A window ends where a record does, so that no record is opened twice; but what repeats itself for ever is in
            // one record for ever.
            if *bytes >= WINDOW && (at != *record || *bytes >= 2 * WINDOW) {
                self.held = Some(entry);
                break;
            }
            *record = at;
            *bytes += entry.length as usize;
            entries.push(entry);
        }
        let window = std::mem::take(&mut self.window).entries;
        let cut = std::mem::take(&mut self.cut);
        if self.held.is_none() {
            self.ended = true;
            self.check()?;
        }
        if window.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        self.ahead.push_back(task::spawn("vault read", OnEnd::Fine, async move {
            let mut fetched = shared.fetch(window).await?;
            if let Some(first) = fetched.first_mut() {
                drop(first.split_to(cut.min(first.len())));
            }
            fetched.retain(|bytes| !bytes.is_empty());
            Ok(fetched)
        }));
        Ok(())
    }

    /// The next entry that is not wholly before the offset.
    async fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        while let Some(entry) = self.walk.next(&self.shared).await? {
            let mut bytes = Vec::with_capacity(super::chunk::ENTRY);
            entry.write(&mut bytes);
            self.hasher.update(&bytes);
            let length = u64::from(entry.length);
            self.listed += length;
            let before = std::mem::take(&mut self.skip);
            if before < length {
                // What it has before the offset is cut off; of those that follow nothing is.
                self.cut += usize::try_from(before).unwrap_or(usize::MAX);
                return Ok(Some(entry));
            }
            self.skip = before - length;
        }
        Ok(None)
    }

    /// Holds the list against what the manifest says of it.
    fn check(&self) -> Result<()> {
        if self.listed != self.length || self.hasher.finalize().as_bytes() != &self.root {
            return Err(Problem::damaged("the list of a component", "is not what its manifest says"));
        }
        Ok(())
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("length", &self.length).finish_non_exhaustive()
    }
}
