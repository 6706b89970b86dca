//! Writing a backup, in the order that `FORMAT.md` prescribes: each step is durable before the next, and a crash anywhere
//! leaves garbage alone. The manifest is the commit; nobody is told before it was looked at.

mod lists;
mod packer;
mod storer;
mod stream;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use object_store::PutPayload;
use tokio::sync::{Semaphore, mpsc, watch};

pub use self::stream::{Captured, How, Stream};
use self::{
    packer::Packer,
    storer::{Durable, Stored, Storer},
};
use super::{
    condemned, damage,
    keyring::DomainKeys,
    manifest::{Component, Manifest, cut_text, cut_word},
    names::{self, Domain, Id, PackName},
    note::{self, Decision, Note},
    open::Vault,
    pack::read_table,
    place::MAX_OBJECT,
    problem::{Problem, Result},
    seal::{Kind, ObjectKey, seal_single},
    segment::{self, Hidden},
    session::{Purpose, Session, TTL_MILLIS},
    step::{Step, reached},
};
use crate::task::{self, OnEnd, Task};

/// Packs that are finished and wait to be sent.
const QUEUE: usize = 1;
/// Manifests before this one that are looked at: a component that is in none of these has no chain to go on with.
const CHAIN: usize = 16;
/// New packs that are opened again before the commit; each of them is looked at.
const SAMPLE: usize = 4;

/// What a backup is to say of itself, beside what was captured.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its id.
    pub backup: Id,
    /// What it has.
    pub components: Vec<Component>,
    /// Whether its components are of one moment.
    pub consistent: bool,
    /// Why it is not all that was asked for.
    pub cause: Option<String>,
    /// Request id of the call that asked for it.
    pub request_id: Option<String>,
}

/// A backup that is in the vault, and may be relied on.
#[derive(Clone, Debug)]
pub struct Committed {
    /// As it was written.
    pub manifest: Manifest,
    /// How many bytes its packs and its index added to the vault.
    pub stored_bytes: u64,
}

/// A backup that is being written.
pub struct Writing {
    vault: Vault,
    keys: Arc<DomainKeys>,
    operation: Id,
    session: Session,
    packer: Arc<Packer>,
    storing: Task<Result<Stored>>,
    durable: watch::Receiver<Durable>,
    start: u64,
}

/// Where components come in, until the backup commits. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    packer: Arc<Packer>,
    blocks: Arc<Semaphore>,
    durable: watch::Receiver<Durable>,
}

impl Intake {
    /// A component on its way in. What comes after the backup has begun to commit is refused.
    pub fn stream(&self, mut how: How) -> Stream {
        how.cut = how.cut.within_bounds();
        Stream::new(Arc::clone(&self.packer), Arc::clone(&self.blocks), self.durable.clone(), how)
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Writing {
    /// Begins: the session first, then the lists of what is condemned, and only then the index.
    ///
    /// # Errors
    /// The vault cannot be read or written.
    pub async fn begin(vault: &Vault, domain: &Domain, operation: Id) -> Result<Self> {
        let start = vault.now();
        let place = vault.place();
        let session =
            Session::open(place, vault.vault_keys(), operation, Purpose::Backup, vault.random()).await?;
        reached(Step::SessionOpened);
        let read = async {
            let keys = vault.keyring().for_writing(domain).await?;
            let mut absent = condemned::all(place, vault.vault_keys()).await?.packs;
            absent.extend(damage::known(place, &keys).await?.0);
            let loaded = segment::load(place, &keys, Hidden { absent, last: Vec::new() }).await?;
            Ok::<_, Problem>((keys, loaded))
        };
        let (keys, loaded) = match read.await {
            Ok(read) => read,
            Err(problem) => {
                // Nobody should wait for who writes nothing.
                session.end().await;
                return Err(problem);
            }
        };
        reached(Step::IndexRead);
        let before = loaded.index.packs();
        let (outgoing, incoming) = mpsc::channel(QUEUE);
        let packer =
            Packer::new(Arc::clone(&keys), operation, vault.random().clone(), loaded.index, before, outgoing);
        let (sender, durable) = watch::channel(Durable::default());
        let storer = Storer {
            place: place.clone(),
            keys: Arc::clone(&keys),
            operation,
            random: vault.random().clone(),
            durable: sender,
        };
        let storing = task::spawn("vault store", OnEnd::Fine, storer.run(incoming));
        let (vault, packer) = (vault.clone(), Arc::new(packer));
        Ok(Self { vault, keys, operation, session, packer, storing, durable, start })
    }

    /// Where components come in.
    pub fn intake(&self) -> Intake {
        let (packer, blocks) = (Arc::clone(&self.packer), Arc::clone(self.vault.blocks()));
        Intake { packer, blocks, durable: self.durable.clone() }
    }

    /// Bytes of packs that are in the bucket so far.
    pub fn stored_bytes(&self) -> u64 {
        self.durable.borrow().stored_bytes
    }

    /// Gives it up: what was stored is garbage that pruning takes.
    pub async fn abandon(self) {
        drop(self.storing);
        self.session.end().await;
    }

    /// Commits; streams that have not been finished are given up. `still_ours` says, after the manifest was written, whether the run
    /// that writes it is still the one that may: where it is not, the backup is looked at as a late one is. Not cancel safe:
    /// the caller sees to it that it runs to its end.
    ///
    /// # Errors
    /// Something could not be written or is not there; no backup can be relied on then.
    pub async fn commit<F>(self, draft: Draft, still_ours: impl FnOnce() -> F) -> Result<Committed>
    where
        F: Future<Output = bool>,
    {
        let Self { vault, keys, operation, session, packer, storing, durable, start } = self;
        let committing = Committing { vault, keys, operation, start, sent: AtomicBool::new(false) };
        let committed = committing.run(&session, packer, storing, &durable, draft, still_ours).await;
        // A manifest whose fate is not known may still arrive: until it would be late, what it refers to has to stay. So the
        // session runs out by itself.
        if committed.is_ok() || !committing.sent.load(Ordering::Acquire) {
            session.end().await;
        }
        reached(Step::SessionEnded);
        committed
    }
}

struct Committing {
    vault: Vault,
    keys: Arc<DomainKeys>,
    operation: Id,
    start: u64,
    /// Whether the manifest was sent: then nobody but the bucket knows whether it is there.
    sent: AtomicBool,
}

impl Committing {
    async fn run<F: Future<Output = bool>>(
        &self,
        session: &Session,
        packer: Arc<Packer>,
        storing: Task<Result<Stored>>,
        durable: &watch::Receiver<Durable>,
        draft: Draft,
        still_ours: impl FnOnce() -> F,
    ) -> Result<Committed> {
        let place = self.vault.place();
        let flushed = {
            let packer = Arc::clone(&packer);
            task::blocking("vault flush", move || packer.close()).await
        };
        flushed
            .map_err(|ended| Problem::Internal(ended.to_string()))?
            .map_err(|problem| durable.borrow().failed.as_ref().map_or(problem, Problem::again))?;
        let leaned_on = packer.leaned_on();
        let stored = storing.await.map_err(|ended| Problem::Internal(ended.to_string()))??;
        self.look_at(&stored).await?;
        reached(Step::PacksChecked);

        let Some(last_renewal) = session.renew().await? else {
            return Err(Problem::Condemned { what: "its session had run out in between".to_owned() });
        };
        let own = stored.packs.iter().map(|(name, _)| *name);
        let needed: HashSet<PackName> = leaned_on.into_iter().chain(own).collect();
        self.all_there(&needed, &stored).await?;
        reached(Step::Renewed);

        let manifest = self.manifest(draft, &needed, last_renewal).await?;
        let backup = manifest.id();
        let key =
            ObjectKey::fresh(self.keys.epoch(), Kind::Manifest, self.operation, 0, self.vault.random())?;
        let object = names::manifest(self.keys.domain(), backup);
        let sealed = seal_single(&key, &manifest.encode()?)?;
        if sealed.len() as u64 > MAX_OBJECT {
            return Err(Problem::Internal(format!("a manifest of {} bytes is too large", sealed.len())));
        }
        self.sent.store(true, Ordering::Release);
        place.create(&object, PutPayload::from(sealed)).await?;
        reached(Step::ManifestWritten);

        let written = place.head(&object).await?.ok_or_else(|| Problem::missing(&object))?.modified;
        let is_late = written > last_renewal.saturating_add(TTL_MILLIS) || !still_ours().await;
        self.vouch(backup, is_late, &needed, &stored).await?;
        reached(Step::ManifestChecked);
        Ok(Committed { manifest, stored_bytes: durable.borrow().stored_bytes })
    }

    /// Opens a few of the new packs.
    async fn look_at(&self, stored: &Stored) -> Result<()> {
        let (place, domain) = (self.vault.place(), self.keys.domain());
        let step = stored.packs.len().div_ceil(SAMPLE).max(1);
        for (name, size) in stored.packs.iter().step_by(step) {
            read_table(place, &self.keys, &names::pack(domain, *name), u64::from(*size)).await?;
        }
        Ok(())
    }

    /// Looks that every pack is there, condemned by nobody and not found to be damaged meanwhile, and each new one as large as it was: the lists first, then the
    /// packs.
    async fn all_there(&self, needed: &HashSet<PackName>, stored: &Stored) -> Result<()> {
        let place = self.vault.place();
        let mut not_there = condemned::all(place, self.vault.vault_keys()).await?.packs;
        not_there.extend(damage::known(place, &self.keys).await?.0);
        let there: HashMap<PackName, u64> = segment::list_packs(place, &self.keys).await?;
        for (name, size) in &stored.packs {
            if let Some(found) = there.get(name)
                && *found != u64::from(*size)
            {
                let object = names::pack(self.keys.domain(), *name);
                return Err(Problem::damaged(object, format!("has {found} bytes of {size}")));
            }
        }
        let lacking: Vec<String> = needed
            .iter()
            .filter(|name| not_there.contains(name) || !there.contains_key(name))
            .map(ToString::to_string)
            .collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Problem::Condemned { what: format!("{} packs, {} among them", lacking.len(), lacking[0]) })
    }

    async fn manifest(
        &self,
        draft: Draft,
        needed: &HashSet<PackName>,
        last_renewal: u64,
    ) -> Result<Manifest> {
        let Draft { backup, mut components, consistent, cause, request_id } = draft;
        let previous = self.previous(&components).await?;
        for component in &mut components {
            component.cause = component.cause.as_deref().map(cut_text);
            for text in component.evidence.values_mut() {
                *text = cut_text(text);
            }
            component.previous = previous.get(&(component.name.clone(), component.instance.clone())).copied();
        }
        let mut packs: Vec<PackName> = needed.iter().copied().collect();
        packs.sort_unstable();
        Ok(Manifest {
            backup: backup.to_bits().to_be_bytes(),
            service: self.keys.domain().as_str().to_owned(),
            components,
            packs: packs.iter().flat_map(|name| name.0).collect(),
            retention: None,
            start: self.start,
            end: self.vault.now(),
            writer: env!("CARGO_PKG_VERSION").to_owned(),
            last_renewal,
            request_id: request_id.as_deref().map(cut_word),
            consistent,
            cause: cause.as_deref().map(cut_text),
        })
    }

    /// The hash of the newest manifest before that has each component.
    async fn previous(&self, components: &[Component]) -> Result<BTreeMap<(String, String), [u8; 32]>> {
        let mut wanted: HashSet<(String, String)> =
            components.iter().map(|one| (one.name.clone(), one.instance.clone())).collect();
        let mut found = BTreeMap::new();
        let mut listed = self.vault.place().list(&names::manifests(Some(self.keys.domain()))).await?;
        listed.drain(..listed.len().saturating_sub(CHAIN));
        while let Some(one) = listed.pop()
            && !wanted.is_empty()
        {
            let bytes = self.vault.place().get(&one.name).await?;
            // One that cannot be read is for verification to tell; the chain goes on from the one before.
            let Ok(manifest) = super::catalog::open_manifest(&self.keys, &one.name, &bytes) else { continue };
            let hash = *blake3::hash(&bytes).as_bytes();
            for component in manifest.components {
                let key = (component.name, component.instance);
                if wanted.remove(&key) {
                    found.insert(key, hash);
                }
            }
        }
        Ok(found)
    }

    /// Says whether a backup may be relied on, by a note: a copy of the bucket keeps it, and has other times than those that
    /// lateness goes by.
    async fn vouch(
        &self,
        backup: Id,
        is_late: bool,
        needed: &HashSet<PackName>,
        stored: &Stored,
    ) -> Result<()> {
        let judged = if is_late { self.all_there(needed, stored).await } else { Ok(()) };
        let (decision, evidence) = match &judged {
            Ok(()) if is_late => {
                (Decision::Checked, "it came late, and all that it needs was there".to_owned())
            }
            Ok(()) => (Decision::Checked, "it came in time".to_owned()),
            Err(problem @ Problem::Condemned { .. }) => (Decision::Delete, problem.to_string()),
            Err(problem) => return Err(problem.again()),
        };
        let note = Note {
            decision: Some(decision),
            time: self.vault.now(),
            by: "the writer of the backup".to_owned(),
            evidence,
            packs: None,
        };
        note::write(self.vault.place(), &self.keys, backup, &note, self.vault.random()).await?;
        judged
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("operation", &self.operation).finish_non_exhaustive()
    }
}
