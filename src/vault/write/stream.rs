//! One component on its way into the vault: bytes come in pieces of any size, in order, and are cut, hashed, compressed and
//! sealed on other threads meanwhile. Whoever pushes waits where that is slower: so much is in memory, and no more.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{
    lists::{Full, Lists},
    packer::{Packed, Packer},
    storer::Durable,
};
use crate::{
    task::{self, Task},
    vault::{
        chunk::{ENTRY, Entry},
        cut::{Cut, Cutter, MAX_PAGE, MOST},
        digest::{Digest, DigestKind},
        manifest::Component,
        problem::{Problem, Result},
    },
};

/// Bytes of a piece that is worked on as a whole.
const BLOCK: usize = 2 << 20;
/// Room before a piece for what the one before has left over: less than the largest chunk.
const HEAD: usize = if MAX_PAGE as usize > MOST { MAX_PAGE as usize } else { MOST };
/// Pieces of one component that are being packed at a time.
const PARALLEL: usize = 4;

/// What cuts: it goes from piece to piece.
struct Edge {
    cutter: Cutter,
    digest: Digest,
}

/// What a piece left over, and what cuts the next one.
struct Cutting {
    rest: Vec<u8>,
    edge: Edge,
}

/// How a component is captured.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// How it is cut.
    pub cut: Cut,
    /// Whether nobody need try to compress it.
    pub incompressible: bool,
    /// How its digest is made.
    pub digest: DigestKind,
}

/// What was captured of a component.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Digest of all bytes, as it was asked for.
    pub digest: Bytes,
    /// How many bytes there were.
    pub bytes: u64,
    /// How many of them were new to the vault.
    pub new_bytes: u64,
    /// How many bytes these take in packs.
    pub stored_bytes: u64,
    root: [u8; 32],
    list: Vec<u8>,
    levels: u8,
    chunks: u64,
    pages: Option<u32>,
}

impl Captured {
    /// Puts it into a component of a manifest.
    pub fn fill(self, component: &mut Component) {
        let Self { digest: _, bytes, new_bytes, stored_bytes, root, list, levels, chunks, pages } = self;
        component.root = root;
        component.list = list;
        component.levels = levels;
        component.bytes = bytes;
        component.new_bytes = new_bytes;
        component.stored_bytes = stored_bytes;
        component.chunks = chunks;
        component.pages = pages;
    }
}

/// A component on its way. Dropped, what has become of it is garbage that pruning takes.
pub struct Stream {
    packer: Arc<Packer>,
    budget: Arc<Semaphore>,
    durable: watch::Receiver<Durable>,
    how: How,
    /// What comes in now.
    filling: Option<(Vec<u8>, OwnedSemaphorePermit)>,
    /// None while a piece is being cut.
    edge: Option<Edge>,
    cutting: Option<oneshot::Receiver<Cutting>>,
    /// Pieces that are cut and packed without anybody's help: who waits for room holds none of it, or streams would wait
    /// for each other.
    packing: VecDeque<Task<Result<Packed>>>,
    lists: Lists,
    /// Lists that are to be stored.
    full: VecDeque<Full>,
    /// What the piece before has left over.
    rest: Vec<u8>,
    root: blake3::Hasher,
    received: u64,
    packed: u64,
    /// Where pieces end, and in which pack all before that is.
    ends: VecDeque<(u64, u32)>,
    durable_to: u64,
    chunks: u64,
    new_bytes: u64,
    stored_bytes: u64,
}

impl Stream {
    pub(super) fn new(
        packer: Arc<Packer>,
        budget: Arc<Semaphore>,
        durable: watch::Receiver<Durable>,
        how: How,
    ) -> Self {
        let edge =
            Edge { cutter: Cutter::new(how.cut, packer.keys().chunker()), digest: Digest::new(how.digest) };
        let root = blake3::Hasher::new_keyed(packer.keys().chunk_id());
        Self {
            packer,
            budget,
            durable,
            how,
            filling: None,
            edge: Some(edge),
            cutting: None,
            packing: VecDeque::new(),
            lists: Lists::default(),
            full: VecDeque::new(),
            rest: Vec::new(),
            root,
            received: 0,
            packed: 0,
            ends: VecDeque::new(),
            durable_to: 0,
            chunks: 0,
            new_bytes: 0,
            stored_bytes: 0,
        }
    }

    /// How many bytes have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// All before this is in the vault's packs, in the bucket.
    pub fn durable(&mut self) -> u64 {
        let stored = self.durable.borrow_and_update().all_up_to;
        while let Some((end, pack)) = self.ends.front()
            && *pack <= stored
        {
            self.durable_to = *end;
            self.ends.pop_front();
        }
        self.durable_to
    }

    /// Takes the next bytes. Cancel safe: what [`received`](Self::received) counts is kept, and the rest was not taken.
    ///
    /// # Errors
    /// What came before could not be stored.
    pub async fn push(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            if self.filling.as_ref().is_some_and(|(buffer, _)| buffer.len() == HEAD + BLOCK) {
                self.cut(false).await?;
            }
            let (buffer, _) = match &mut self.filling {
                Some(filling) => filling,
                None => {
                    let permit = self.permit().await?;
                    self.filling.insert((empty_block(), permit))
                }
            };
            let room = HEAD + BLOCK - buffer.len();
            let taken = data.split_to(room.min(data.len()));
            buffer.extend_from_slice(&taken);
            self.received += taken.len() as u64;
        }
        Ok(())
    }

    /// Waits for the right to hold one more piece.
    async fn permit(&mut self) -> Result<OwnedSemaphorePermit> {
        self.check()?;
        while self.packing.len() >= PARALLEL || self.packing.front().is_some_and(Task::is_finished) {
            self.gather().await?;
        }
        let permit = Arc::clone(&self.budget).acquire_owned();
        permit.await.map_err(|_| Problem::GivenUp)
    }

    fn check(&self) -> Result<()> {
        self.durable.borrow().failed.as_ref().map_or(Ok(()), |problem| Err(problem.again()))
    }

    /// Hands what has come on to be cut, after what was cut before it, and then packed.
    async fn cut(&mut self, is_last: bool) -> Result<()> {
        self.cut_done().await?;
        if self.filling.is_none() {
            // Only the last piece can have nothing new.
            let permit = self.permit().await?;
            self.filling = Some((empty_block(), permit));
        }
        let (Some((mut buffer, permit)), Some(mut edge)) = (self.filling.take(), self.edge.take()) else {
            return Err(Problem::Internal("a piece was cut twice".to_owned()));
        };
        let rest = std::mem::take(&mut self.rest);
        let start = HEAD - rest.len();
        buffer[start..HEAD].copy_from_slice(&rest);
        let (packer, compressible) = (Arc::clone(&self.packer), !self.how.incompressible);
        let (cut, cutting) = oneshot::channel();
        self.cutting = Some(cutting);
        self.packing.push_back(task::begin_blocking("vault pack", move || {
            edge.digest.update(&buffer[HEAD..]);
            let mut lengths = Vec::with_capacity(BLOCK / (16 << 10));
            let done = edge.cutter.cut(&buffer[start..], is_last, &mut lengths);
            // The next piece is cut while this one is packed. A stream that was dropped has no next one.
            let _dropped = cut.send(Cutting { rest: buffer[start + done..].to_vec(), edge });
            let packed = packer.pack(&mut buffer, start, &lengths, compressible);
            drop((buffer, permit));
            packed
        }));
        Ok(())
    }

    /// Waits until the piece before is cut, and keeps what it left over.
    async fn cut_done(&mut self) -> Result<()> {
        let Some(cutting) = &mut self.cutting else { return Ok(()) };
        let cut = cutting.await;
        self.cutting = None;
        let ended = |_| Problem::Internal("a piece was not cut to its end".to_owned());
        let Cutting { rest, edge } = cut.map_err(ended)?;
        (self.edge, self.rest) = (Some(edge), rest);
        Ok(())
    }

    /// Waits for the oldest piece that is being packed, and lists its chunks.
    async fn gather(&mut self) -> Result<()> {
        self.store_lists().await?;
        let Some(packing) = self.packing.front_mut() else { return Ok(()) };
        let packed = packing.await.map_err(|early| ended(&early));
        self.packing.pop_front();
        let packed = match packed? {
            Ok(packed) => packed,
            Err(problem) => {
                // Where packs cannot be stored, that is why nothing can be packed.
                self.check()?;
                return Err(problem);
            }
        };
        let Packed { entries, new_bytes, stored_bytes, last_pack } = packed;
        self.new_bytes += new_bytes;
        self.stored_bytes += stored_bytes;
        self.chunks += entries.len() as u64;
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
        for entry in &entries {
            self.packed += u64::from(entry.length);
            entry.write(&mut bytes);
            self.full.extend(self.lists.add(0, entry));
        }
        self.root.update(&bytes);
        self.ends.push_back((self.packed, last_pack));
        Ok(())
    }

    /// Stores lists that are full as chunks, and those that become full by that.
    async fn store_lists(&mut self) -> Result<()> {
        while let Some(Full { bytes, level }) = self.full.front() {
            let (packer, mut bytes, level) = (Arc::clone(&self.packer), bytes.to_vec(), *level);
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            // Digests do not become smaller.
            let packed = task::blocking("vault list", move || packer.pack(&mut bytes, 0, &[length], false));
            let Packed { entries, stored_bytes, .. } = packed.await.map_err(|early| ended(&early))??;
            self.stored_bytes += stored_bytes;
            self.full.pop_front();
            self.full.extend(entries.first().and_then(|entry: &Entry| self.lists.add(level, entry)));
        }
        Ok(())
    }

    /// All bytes have come. What was captured is in the vault once the backup is committed.
    ///
    /// # Errors
    /// Something of it could not be stored.
    pub async fn finish(mut self) -> Result<Captured> {
        if self.filling.as_ref().is_some_and(|(buffer, _)| buffer.len() == HEAD + BLOCK) {
            self.cut(false).await?;
        }
        self.cut(true).await?;
        self.cut_done().await?;
        if !self.rest.is_empty() {
            return Err(Problem::Internal("something was left over of the last piece".to_owned()));
        }
        while !self.packing.is_empty() {
            self.gather().await?;
        }
        self.store_lists().await?;
        while let Some(full) = self.lists.next_to_store() {
            self.full.push_back(full);
            self.store_lists().await?;
        }
        let edge =
            self.edge.take().ok_or_else(|| Problem::Internal("a piece is still being cut".to_owned()))?;
        let (list, levels) = self.lists.finish()?;
        Ok(Captured {
            digest: edge.digest.finish(),
            bytes: self.received,
            new_bytes: self.new_bytes,
            stored_bytes: self.stored_bytes,
            root: *self.root.finalize().as_bytes(),
            list,
            levels,
            chunks: self.chunks,
            pages: match self.how.cut {
                Cut::Content => None,
                Cut::Pages(size) => Some(size),
            },
        })
    }
}

/// A piece that nothing has come of yet, with room before it for what is left over of the one before.
fn empty_block() -> Vec<u8> {
    let mut buffer = Vec::with_capacity(HEAD + BLOCK);
    buffer.resize(HEAD, 0);
    buffer
}

fn ended(early: &task::EndedEarly) -> Problem {
    Problem::Internal(early.to_string())
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("received", &self.received).finish_non_exhaustive()
    }
}
