//! The engine against everybody at once, by seed: two writers, deletions and their undoing, a pruner that condemns, waits and
//! sweeps by the rules of `FORMAT.md`, sleeps between any two of its steps and dies in the middle, and processes that die at any
//! operation. After every step each backup that was acknowledged and not deleted restores byte for byte, and so does whatever
//! else is shown as complete.
//!
//! `SEAWORTHY_VAULT_STEPS` says how many steps a seed has, `SEAWORTHY_VAULT_SEED` which one is run.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::vault::{chunk::Entry, names, pack::read_table};

/// What a backup has, by the name of its component.
type Content = BTreeMap<String, Vec<u8>>;

struct World {
    random: fastrand::Rng,
    bucket: Arc<InMemory>,
    faulty: Arc<Faulty>,
    vault: Vault,
    /// What the services' components are now: backups take it as it is.
    now: Content,
    /// Every backup that was ever tried.
    tried: BTreeMap<Id, Content>,
    acknowledged: BTreeSet<Id>,
    deleted: BTreeSet<Id>,
    /// Begun, and not committed yet.
    writing: Vec<Writing>,
    /// Cycles that have not swept: who had a session when they condemned.
    cycles: BTreeMap<u32, BTreeSet<String>>,
    cycle: u32,
    commits: usize,
    swept: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let bucket = Arc::new(InMemory::new());
        let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
        let vault = Vault::open(options(Arc::clone(&faulty) as _, 1)).await.unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let now = ["database", "files", "log"]
            .into_iter()
            .map(|name| (name.to_owned(), noise(random.u64(..), random.usize(1..60_000))))
            .collect();
        Self {
            random,
            bucket,
            faulty,
            vault,
            now,
            tried: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            deleted: BTreeSet::new(),
            writing: Vec::new(),
            cycles: BTreeMap::new(),
            cycle: 0,
            commits: 0,
            swept: 0,
        }
    }

    async fn step(&mut self) {
        match self.random.u32(..100) {
            0..12 => self.change(),
            12..34 => self.begin().await,
            34..58 => self.commit().await,
            58..68 => self.delete().await,
            68..72 => self.undelete().await,
            72..80 => self.condemn().await,
            80..92 => self.sweep().await,
            _ => self.expire().await,
        }
    }

    fn change(&mut self) {
        let seed = self.random.u64(..);
        for bytes in self.now.values_mut() {
            let at = self.random.usize(..=bytes.len());
            bytes.splice(at..at, noise(seed, 5000));
            bytes.truncate(80_000);
        }
    }

    async fn begin(&mut self) {
        if self.writing.len() < 2 {
            let id = self.vault.new_id().unwrap();
            self.writing.extend(Writing::begin(&self.vault, &orders(), id).await.ok());
        }
    }

    /// Commits what was begun, maybe both at once, and maybe not to its end.
    async fn commit(&mut self) {
        let fault = [Fault::Fails, Fault::FailsAfter, Fault::Dies, Fault::DiesAfter][self.random.usize(..4)];
        let fails = self.random.u32(..3) == 0;
        let at = self.random.usize(..25);
        self.faulty.set(fails.then_some((at, fault)));
        let both = if self.random.bool() { self.writing.len() } else { self.writing.len().min(1) };
        let each = self.writing.drain(..both).collect::<Vec<_>>();
        let mut running = Vec::new();
        for writing in each {
            let backup = self.vault.new_id().unwrap();
            self.tried.insert(backup, self.now.clone());
            running.push(committed(writing, backup, self.now.clone(), self.random.bool()));
        }
        for backup in futures_util::future::join_all(running).await.into_iter().flatten() {
            self.acknowledged.insert(backup);
            self.commits += 1;
        }
        self.faulty.set(None);
    }

    async fn delete(&mut self) {
        let Some(backup) = pick(&mut self.random, &self.acknowledged) else { return };
        self.vault.decide(&orders(), backup, Decision::Delete, "test", "").await.unwrap();
        self.acknowledged.remove(&backup);
        self.deleted.insert(backup);
    }

    async fn undelete(&mut self) {
        let Some(backup) = pick(&mut self.random, &self.deleted) else { return };
        match self.vault.undelete(&orders(), backup, "test").await {
            Ok(()) => {
                self.deleted.remove(&backup);
                self.acknowledged.insert(backup);
            }
            Err(Problem::Condemned { .. } | Problem::Missing { .. }) => {}
            Err(problem) => panic!("{problem}"),
        }
    }

    /// Those who died are as good as ended once their time is over. Whoever writes still renews in time.
    async fn expire(&mut self) {
        if self.writing.is_empty() {
            for name in objects(&self.bucket).await.into_keys().filter(|name| name.starts_with("sessions/")) {
                self.bucket.delete(&Path::from(name)).await.unwrap();
            }
        }
    }

    /// Chunks of every backup that is not deleted, and who is deleted.
    async fn reachable(&self) -> (HashSet<[u8; 32]>, BTreeSet<Id>) {
        let (mut chunks, mut dead) = (HashSet::new(), BTreeSet::new());
        for (id, listed) in self.vault.backups(&orders()).await.unwrap() {
            let listed = listed.unwrap();
            if listed.state == State::Deleted {
                dead.insert(id);
                continue;
            }
            for component in &listed.manifest.components {
                assert_eq!(component.levels, 0, "lists of lists are for other tests");
                chunks.extend(Entry::read_all(&component.list).unwrap().iter().map(|entry| entry.id.0));
            }
        }
        (chunks, dead)
    }

    /// Every pack that is there, by name, with its chunks.
    async fn packs(&self) -> BTreeMap<PackName, HashSet<[u8; 32]>> {
        let Ok(keys) = self.vault.keys(&orders()).await else { return BTreeMap::new() };
        let mut found = BTreeMap::new();
        for (name, size) in segment::list_packs(self.vault.place(), &keys).await.unwrap() {
            let object = names::pack(&orders(), name);
            let table = read_table(self.vault.place(), &keys, &object, size).await.unwrap();
            found.insert(name, table.chunks.iter().map(|entry| entry.id.0).collect());
        }
        found
    }

    async fn lists(&self) -> HashSet<PackName> {
        condemned::all(self.vault.place(), self.vault.vault_keys()).await.unwrap().packs
    }

    async fn condemn(&mut self) {
        if self.cycles.len() == 3 {
            return;
        }
        let (reachable, dead) = self.reachable().await;
        let (packs, lists) = (self.packs().await, self.lists().await);
        let (mut chosen, mut live) = (HashSet::new(), HashSet::new());
        for (name, chunks) in packs.iter().filter(|(name, _)| !lists.contains(name)) {
            for chunk in chunks.iter().filter(|chunk| reachable.contains(*chunk)) {
                if chosen.insert(*chunk) {
                    live.insert(*name);
                }
            }
        }
        let condemned: Vec<PackName> = packs.into_keys().filter(|name| !live.contains(name)).collect();
        self.cycle += 1;
        let dead: Vec<Id> = dead.into_iter().collect();
        strict::condemn(&self.vault, &self.bucket, self.cycle, &condemned, &dead).await;
        let sessions = operations(&self.bucket).await;
        self.cycles.insert(self.cycle, sessions);
    }

    /// Sweeps a cycle for which nobody has to be waited any more; maybe not to its end.
    async fn sweep(&mut self) {
        let there = operations(&self.bucket).await;
        let Some(number) =
            self.cycles.iter().find(|(_, waits)| waits.is_disjoint(&there)).map(|(number, _)| *number)
        else {
            return;
        };
        let object = names_of_list(number);
        let bytes = self.vault.place().get(&object).await.unwrap();
        let header = seal::Header::decode(&object, &bytes).unwrap();
        let keys = self.vault.vault_keys().epoch();
        let key = seal::ObjectKey::of(keys, seal::Kind::Condemned, &object, &header).unwrap();
        let plain = seal::open_single(&key, &object, &bytes).unwrap();
        let list: condemned::Condemned = minicbor::decode(&plain).unwrap();

        let (reachable, still_dead) = self.reachable().await;
        let lists = self.lists().await;
        let packs = self.packs().await;
        let safe: HashSet<_> = packs
            .iter()
            .filter(|(name, _)| !lists.contains(name))
            .flat_map(|(_, chunks)| chunks.iter().copied())
            .collect();
        let mut left = if self.random.bool() { usize::MAX } else { self.random.usize(..6) };
        for id in list.backups.as_chunks::<16>().0 {
            let id = Id::from_bits(u128::from_be_bytes(*id));
            if still_dead.contains(&id) {
                let mut gone = vec![names::manifest(&orders(), id)];
                gone.extend(
                    self.vault.place().list(&names::notes(id)).await.unwrap().into_iter().map(|one| one.name),
                );
                for object in gone {
                    left = match left.checked_sub(1) {
                        Some(left) => left,
                        None => return,
                    };
                    self.vault.place().delete(&object).await.unwrap();
                }
                self.deleted.remove(&id);
            }
        }
        let mut stays = false;
        for name in list.packs.as_chunks::<32>().0 {
            let name = PackName(*name);
            let Some(chunks) = packs.get(&name) else { continue };
            if chunks.iter().any(|chunk| reachable.contains(chunk) && !safe.contains(chunk)) {
                stays = true;
                continue;
            }
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return,
            };
            self.vault.place().delete(&names::pack(&orders(), name)).await.unwrap();
            self.swept += 1;
        }
        self.cycles.remove(&number);
        // A list stays until none of its packs is there.
        if !stays {
            self.vault.place().delete(&object).await.unwrap();
        }
    }

    async fn check(&self, what: &str) {
        for backup in &self.acknowledged {
            for (name, bytes) in &self.tried[backup] {
                let restored = restore(&self.vault, *backup, name, 0).await;
                let restored =
                    restored.unwrap_or_else(|problem| panic!("{what}: {name} of {backup}: {problem}"));
                assert!(&restored == bytes, "{what}: {name} of {backup} is another one");
            }
        }
        for (id, listed) in self.vault.backups(&orders()).await.unwrap() {
            let shown = listed.unwrap_or_else(|problem| panic!("{what}: {id}: {problem}")).state;
            if shown == State::Complete && !self.acknowledged.contains(&id) && !self.deleted.contains(&id) {
                for (name, bytes) in &self.tried[&id] {
                    let restored = restore(&self.vault, id, name, 0).await;
                    assert!(restored.is_ok_and(|restored| &restored == bytes), "{what}: {name} of {id}");
                }
            }
        }
    }
}

async fn committed(writing: Writing, backup: Id, content: Content, ours: bool) -> Result<Id> {
    let mut components = Vec::new();
    for (name, bytes) in &content {
        let mut stream = writing.intake().stream(HOW);
        stream.push(Bytes::copy_from_slice(bytes)).await?;
        let mut component = named(name);
        stream.finish().await?.fill(&mut component);
        components.push(component);
    }
    let draft = Draft { backup, components, consistent: true, cause: None, request_id: None };
    writing.commit(draft, || async { ours }).await.map(|_| backup)
}

fn pick(random: &mut fastrand::Rng, of: &BTreeSet<Id>) -> Option<Id> {
    if of.is_empty() { None } else { of.iter().nth(random.usize(..of.len())).copied() }
}

fn names_of_list(number: u32) -> String {
    format!("gc/{number:010}/condemned")
}

/// Who has a session.
async fn operations(bucket: &InMemory) -> BTreeSet<String> {
    let all = objects(bucket).await;
    let sessions = all.keys().filter_map(|name| name.strip_prefix("sessions/")?.split('.').next());
    sessions.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a seed, and how long
async fn nothing_that_was_acknowledged_is_lost_to_anybody() {
    let from = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let steps = from("SEAWORTHY_VAULT_STEPS").unwrap_or(100);
    let seed = from("SEAWORTHY_VAULT_SEED");
    let seeds = seed.map_or(0..2, |seed| seed..seed + 1);
    let (mut commits, mut swept) = (0, 0);
    for seed in seeds {
        let mut world = World::new(seed).await;
        for step in 0..steps {
            world.step().await;
            world.check(&format!("seed {seed}, step {step}")).await;
        }
        (commits, swept) = (commits + world.commits, swept + world.swept);
    }
    // One seed alone may have little luck.
    assert!(
        seed.is_some() || (commits > 5 && swept > 2),
        "{commits} commits, {swept} packs swept: nothing was tested"
    );
}
