//! Verification: whether backups could be restored, at three depths. What is damaged is told with what it breaks; one object
//! that is damaged hides nothing else.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};

use super::{
    catalog::{Listed, State, broken_chains},
    chunk::{ChunkId, chunks_of},
    damage,
    keyring::DomainKeys,
    manifest::{Component, Status},
    names::{self, Domain, Id, PackName},
    note::Decision,
    open::Vault,
    pack::{read_all, read_table},
    problem::{Problem, Result},
    read::Reader,
    segment,
    session::Purpose,
};
use crate::task;

/// Packs that are read at a time: as many as there are cores on most machines, and no more memory than that.
const PARALLEL: usize = 2;

/// How deep a verification looks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Depth {
    /// Whether every object that is needed is there, as large as it should be.
    Presence,
    /// Whether the tables of packs open, and have every chunk that is needed.
    Structure,
    /// Whether every byte decrypts and is what was put.
    Data,
}

impl Depth {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Depth::Presence => "presence",
            Depth::Structure => "structure",
            Depth::Data => "data",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        [Depth::Presence, Depth::Structure, Depth::Data].into_iter().find(|depth| depth.as_str() == name)
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// The object that it is about.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is wrong; empty: nothing.
    pub findings: Vec<Finding>,
    /// What is wrong in the vault and takes nothing from the backups that were looked at.
    pub remarks: Vec<Finding>,
    /// Backups that were looked at.
    pub backups: Vec<Id>,
    /// Components that cannot be restored, as `backup/component`, in order.
    pub broken: BTreeSet<String>,
    /// Packs that are not what was put.
    pub damaged: BTreeSet<PackName>,
    /// Packs that were looked at.
    pub packs: u64,
    /// Bytes that were read of them.
    pub bytes: u64,
}

impl Verified {
    /// Whether all is as it should be.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.broken.is_empty()
    }

    /// Why it is not, in one sentence. None: it is.
    pub fn cause(&self) -> Option<String> {
        match (self.broken.first(), self.findings.first()) {
            (None, None) => None,
            (None, Some(finding)) => Some(finding.what.clone()),
            (Some(broken), None) => Some(format!("{broken} cannot be restored")),
            (Some(broken), Some(finding)) => Some(format!("{broken} cannot be restored: {}", finding.what)),
        }
    }

    fn find(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { object: object.into(), what: what.into() });
    }
}

impl Vault {
    /// Verifies backups of a service: one, or all. `progress` is told the bytes that were read and that there are to read.
    ///
    /// # Errors
    /// The bucket cannot be read, or the key does not open it: nothing is known then.
    pub async fn verify(
        &self,
        service: &Domain,
        backup: Option<Id>,
        depth: Depth,
        operation: Id,
        progress: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<Verified> {
        // The session is open before anything is listed.
        let reader = Reader::open(self, service, operation, Purpose::Verify).await?;
        let verified = self.verify_with(&reader, service, backup, depth, &progress).await;
        reader.close().await;
        verified
    }

    /// Verifies one backup, and notes down what came of it: whoever restores relies on the last such note, and whoever backs up
    /// does not refer again to packs that were found to be damaged.
    ///
    /// # Errors
    /// As of [`verify`](Self::verify), and then nothing is noted; or the note cannot be written.
    pub async fn look(
        &self,
        service: &Domain,
        backup: Id,
        depth: Depth,
        operation: Id,
        by: &str,
        progress: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<Verified> {
        let verified = self.verify(service, Some(backup), depth, operation, progress).await?;
        if !verified.damaged.is_empty() {
            let keys = self.keys(service).await?;
            let found_by = format!("found by verification {operation} of backup {backup}");
            damage::tell(self, &keys, &verified.damaged, by, &found_by).await?;
        }
        match verified.cause() {
            // One that came late and has all that it needs is not damaged: that it is not restored says its state.
            Some(_) if verified.broken.is_empty() => {}
            None => self.decide(service, backup, Decision::Verified, by, depth.as_str()).await?,
            Some(cause) => self.decide(service, backup, Decision::Damaged, by, &cause).await?,
        }
        Ok(verified)
    }

    async fn verify_with(
        &self,
        reader: &Reader,
        service: &Domain,
        backup: Option<Id>,
        depth: Depth,
        progress: &(impl Fn(u64, u64) + Send + Sync),
    ) -> Result<Verified> {
        let mut found = Verified::default();
        if let Some(problem) = reader.unseen() {
            let what =
                format!("nobody who prunes knows of this look, as no session could be written: {problem}");
            found.remarks.push(Finding { object: names::SESSIONS.to_owned(), what });
        }
        let listed = self.to_verify(service, backup, &mut found).await?;
        for problem in reader.problems() {
            let finding = Finding { object: names::index(service), what: problem.to_string() };
            if backup.is_some() { &mut found.remarks } else { &mut found.findings }.push(finding);
        }
        let keys = Arc::clone(&reader.shared().keys);
        let there = segment::list_packs(self.place(), &keys).await?;
        let mut needs: Vec<Need> = Vec::new();
        // Each chunk once, however many backups have it.
        let mut ids: HashMap<PackName, Sought> = HashMap::new();
        for one in &listed {
            found.backups.push(one.manifest.id());
            // No byte of the backup is in a note: it takes nothing from it.
            for note in &one.unreadable {
                let finding = Finding { object: note.object.clone(), what: note.what.clone() };
                if backup.is_some() { &mut found.remarks } else { &mut found.findings }.push(finding);
            }
            if one.state == State::Late {
                let object = names::manifest(service, one.manifest.id());
                found.find(
                    object,
                    "came late, and nobody has said that what it needs was there: it is not restored",
                );
            }
            for component in one.manifest.components.iter().filter(|one| one.status == Status::Complete) {
                let name = format!("{}/{}", one.manifest.id(), component.name);
                match need(reader, component, depth, &mut ids).await {
                    Ok(packs) => needs.push(Need { name, packs }),
                    Err(
                        problem
                        @ (Problem::Damaged { .. } | Problem::Missing { .. } | Problem::TooNew { .. }),
                    ) => {
                        if let Problem::Damaged { object, .. } = &problem {
                            found.damaged.extend(names::parse_pack(service, object));
                        }
                        found.find(name.clone(), problem.to_string());
                        found.broken.insert(name);
                    }
                    Err(problem) => return Err(problem),
                }
            }
        }
        let packs: BTreeSet<PackName> = needs.iter().flat_map(|need| need.packs.iter().copied()).collect();
        let total = packs.iter().filter_map(|name| there.get(name)).sum();
        let (mut wrong, mut done): (HashSet<PackName>, u64) = (HashSet::new(), 0);
        let looks = packs.iter().map(|name| {
            let sought = ids.remove(name).unwrap_or_default();
            look(self, &keys, *name, there.get(name).copied(), sought, depth)
        });
        let mut looking = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        while let Some((name, looked)) = looking.next().await {
            found.packs += 1;
            done += there.get(&name).copied().unwrap_or(0);
            match looked {
                Ok(bytes) => found.bytes += bytes,
                Err(
                    problem @ (Problem::Damaged { .. } | Problem::Missing { .. } | Problem::TooNew { .. }),
                ) => {
                    found.find(names::pack(keys.domain(), name), problem.to_string());
                    if matches!(problem, Problem::Damaged { .. }) {
                        found.damaged.insert(name);
                    }
                    wrong.insert(name);
                }
                Err(problem) => return Err(problem),
            }
            progress(done, total);
        }
        // Lists that had another copy: nothing is lost of them, and the pack is none to lean on.
        for name in reader.shared().avoided() {
            if found.damaged.insert(name) {
                let what = "is damaged; there is another copy of what was read of it".to_owned();
                let finding = Finding { object: names::pack(service, name), what };
                if backup.is_some() { &mut found.remarks } else { &mut found.findings }.push(finding);
            }
        }
        for need in needs {
            if need.packs.iter().any(|pack| wrong.contains(pack)) {
                found.broken.insert(need.name);
            }
        }
        found.findings.sort_unstable();
        Ok(found)
    }

    /// The backups that are looked at; those that cannot even be read are findings.
    async fn to_verify(
        &self,
        service: &Domain,
        backup: Option<Id>,
        found: &mut Verified,
    ) -> Result<Vec<Listed>> {
        if let Some(backup) = backup {
            return match self.backup(service, backup).await {
                Ok(one) => Ok(vec![one]),
                Err(problem @ (Problem::Damaged { .. } | Problem::TooNew { .. })) => {
                    found.find(names::manifest(service, backup), problem.to_string());
                    found.broken.insert(backup.to_string());
                    Ok(Vec::new())
                }
                Err(problem) => Err(problem),
            };
        }
        let mut listed = Vec::new();
        for (id, one) in self.backups(service).await? {
            match one {
                Ok(one) => listed.push(one),
                Err(problem) => {
                    found.find(names::manifest(service, id), problem.to_string());
                    found.broken.insert(id.to_string());
                }
            }
        }
        // Deleted ones are links of the chain as well, as long as they are there.
        for broken in broken_chains(&listed) {
            found.find("manifests", broken);
        }
        // What was deleted may be gone by right.
        listed.retain(|one| one.state != State::Deleted);
        Ok(listed)
    }
}

/// Chunks that are sought in a pack, each once: by twelve bytes of its id, as the index knows them.
#[derive(Debug, Default)]
struct Sought {
    ids: Vec<[u8; 12]>,
    /// So many were left when they were last put in order.
    ordered: usize,
}

impl Sought {
    fn short(id: &ChunkId) -> [u8; 12] {
        let mut short = [0; 12];
        short.copy_from_slice(&id.0[..12]);
        short
    }

    fn add(&mut self, id: &ChunkId) {
        self.ids.push(Self::short(id));
        // The same come again with each backup that has them.
        if self.ids.len() >= 2 * self.ordered.max(1024) {
            self.order();
        }
    }

    fn order(&mut self) {
        self.ids.sort_unstable();
        self.ids.dedup();
        self.ids.shrink_to_fit();
        self.ordered = self.ids.len();
    }

    /// How many of them are none of these.
    fn not_in(mut self, there: impl Iterator<Item = ChunkId>) -> usize {
        self.order();
        let mut there: Vec<_> = there.map(|id| Self::short(&id)).collect();
        there.sort_unstable();
        self.ids.iter().filter(|id| there.binary_search(id).is_err()).count()
    }
}

/// What a component needs.
struct Need {
    name: String,
    packs: HashSet<PackName>,
}

/// The packs that a component needs, by the index; and which chunks of each, where the look goes so deep.
async fn need(
    reader: &Reader,
    component: &Component,
    depth: Depth,
    ids: &mut HashMap<PackName, Sought>,
) -> Result<HashSet<PackName>> {
    let shared = reader.shared();
    let index = shared.index();
    let mut packs = HashSet::new();
    let mut walk = reader.walk(component);
    let (mut length, mut hasher) = (0, blake3::Hasher::new_keyed(shared.keys.chunk_id()));
    while let Some(entry) = walk.next(shared).await? {
        let mut bytes = Vec::with_capacity(super::chunk::ENTRY);
        entry.write(&mut bytes);
        hasher.update(&bytes);
        length += u64::from(entry.length);
        let missing = || Problem::missing(format!("chunk {} of {}", entry.id, component.name));
        let at = index.get(&entry.id).and_then(|at| index.location(at.record)).ok_or_else(missing)?;
        let pack = index.pack(at.pack).ok_or_else(missing)?;
        packs.insert(pack);
        if depth >= Depth::Structure {
            ids.entry(pack).or_default().add(&entry.id);
        }
    }
    if length != component.bytes || hasher.finalize().as_bytes() != &component.root {
        return Err(Problem::damaged("the list of a component", "is not what its manifest says"));
    }
    Ok(packs)
}

/// Looks at a pack, and answers how many bytes of it were looked at.
async fn look(
    vault: &Vault,
    keys: &Arc<DomainKeys>,
    name: PackName,
    size: Option<u64>,
    sought: Sought,
    depth: Depth,
) -> (PackName, Result<u64>) {
    let object = names::pack(keys.domain(), name);
    let looked = async {
        let size = size.ok_or_else(|| Problem::missing(&object))?;
        let (table, read) = match depth {
            Depth::Presence => return Ok(0),
            Depth::Structure => {
                let table = read_table(vault.place(), keys, &object, size).await?;
                let read = table.size() as u64;
                (table, read)
            }
            Depth::Data => {
                let bytes = vault.place().get(&object).await?;
                let (keys, object) = (Arc::clone(keys), object.clone());
                let reading = task::blocking("vault verify", move || {
                    let damaged = |what: &str| Problem::damaged(&object, what);
                    read_all(&keys, name, &object, &bytes, |chunks, plain| {
                        let ranges = chunks_of(plain).ok_or_else(|| damaged("has a record that is none"))?;
                        let right = ranges.len() == chunks.len()
                            && chunks.iter().zip(ranges).all(|(entry, range)| {
                                ChunkId::of(keys.chunk_id(), &plain[range]) == entry.id
                            });
                        if right {
                            Ok(())
                        } else {
                            Err(damaged("has a chunk that is not what its table says"))
                        }
                    })
                });
                (reading.await.map_err(|ended| Problem::Internal(ended.to_string()))??, size)
            }
        };
        match sought.not_in(table.chunks.iter().map(|entry| entry.id)) {
            0 => Ok(read),
            lacking => Err(Problem::damaged(
                &object,
                format!("has not {lacking} chunks that the index says are there"),
            )),
        }
    };
    (name, looked.await)
}
