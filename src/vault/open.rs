//! Opening a vault: its description is read, or written where there is none; the key is tried; and the bucket is made to
//! show that it keeps what it takes. What is wrong shows here, before anybody relies on it.

use std::{fmt, path::Path, sync::Arc};

use object_store::PutPayload;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    kek::{Argon, Kdf, KeySource},
    keyring::{Begun, DomainKeys, Keyring},
    names::{self, Domain, Id},
    place::{PROBE_TIMEOUT, Place},
    problem::{Problem, Result},
    secret::SystemRandom,
    staging,
};
use crate::{
    task::{self, Task},
    time::Clock,
};

/// What `vault.json` says of what it is.
const MAGIC: &str = "seaworthy-vault";
/// The newest format that this build reads and writes.
const FORMAT: u32 = 1;
/// Bytes that `vault.json` may have.
const MAX_DESCRIPTION: u64 = 64 << 10;
/// Pieces of components that are in memory at a time, of all operations: of 2 MiB and a little each.
const BLOCKS: usize = 12;

#[derive(Debug, Deserialize, Serialize)]
struct Description {
    magic: String,
    format: u32,
    vault_id: String,
    #[serde(default)]
    required: Vec<String>,
    /// Id of the key that the vault is begun with. None: by a build that did not say so of a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kek_id: Option<String>,
    /// How that key is derived, if it is: of all that begin at once one says so, and the others derive the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argon2id: Option<Derived>,
}

/// Settings of Argon2id.
#[derive(Debug, Deserialize, Serialize)]
struct Derived {
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Derived {
    fn of(kdf: &Kdf) -> Option<Self> {
        match kdf {
            Kdf::AsItIs => None,
            Kdf::Argon2id { salt, cost: Argon { memory_kib, passes, lanes } } => {
                let (memory_kib, passes, lanes) = (*memory_kib, *passes, *lanes);
                Some(Self { salt: hex(salt), memory_kib, passes, lanes })
            }
        }
    }

    fn to_kdf(&self) -> Result<Kdf> {
        let Self { salt, memory_kib, passes, lanes } = self;
        let salt = sixteen(salt).ok_or_else(|| {
            Problem::damaged(names::VAULT, "has a salt that is not of 32 hexadecimal digits")
        })?;
        let cost = Argon { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
        Ok(Kdf::Argon2id { salt, cost })
    }
}

/// What a description says.
struct Described {
    id: [u8; 16],
    kek_id: Option<String>,
    kdf: Option<Kdf>,
}

/// What a vault is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it lies.
    pub place: Place,
    /// Where its key comes from.
    pub key: Arc<dyn KeySource>,
    /// The clock by which backups and operations are named.
    pub clock: Clock,
}

/// An open vault. Cheap to clone.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    place: Place,
    keyring: Keyring,
    vault_keys: Arc<DomainKeys>,
    id: [u8; 16],
    random: SystemRandom,
    clock: Clock,
    blocks: Arc<Semaphore>,
    /// What takes away what somebody left half written.
    _sweeping: Mutex<Option<Task<usize>>>,
}

impl Vault {
    /// Opens the vault of a place, and makes one where there is none.
    ///
    /// # Errors
    /// The place cannot be written and read back, what is there is no vault or of a newer build, or the key does not open it.
    pub async fn open(options: Options) -> Result<Self> {
        Self::open_as(options, true).await
    }

    /// Opens a vault that is there, to read it: nothing is written but sessions.
    ///
    /// # Errors
    /// There is none; and as of [`open`](Self::open).
    pub async fn open_existing(options: Options) -> Result<Self> {
        Self::open_as(options, false).await
    }

    /// Whether there is a vault at a place.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn is_at(place: &Place) -> Result<bool> {
        Ok(place.head(names::VAULT).await?.is_some())
    }

    async fn open_as(options: Options, may_create: bool) -> Result<Self> {
        let Options { place, key, clock } = options;
        let random = SystemRandom::new();
        let mut sweeping = None;
        if may_create {
            let probed = tokio::time::timeout(PROBE_TIMEOUT, probe(&place, clock, &random));
            let now = probed.await.map_err(|_| Problem::BadPlace {
                place: place.url().to_owned(),
                what: format!("it did not answer within {} s", PROBE_TIMEOUT.as_secs()),
            })??;
            // Beside all else: nobody waits for a walk through every folder.
            let sweep =
                |folder: Arc<Path>| task::begin_blocking("vault sweep", move || staging::sweep(&folder, now));
            sweeping = place.as_folder().map(sweep);
        }
        let described = match place.head(names::VAULT).await? {
            Some(there) if there.size > MAX_DESCRIPTION => {
                return Err(Problem::damaged(names::VAULT, format!("has {} bytes", there.size)));
            }
            Some(_) => place.get(names::VAULT).await?,
            None if may_create => create(&place, &random, &key).await?,
            None => return Err(Problem::missing(names::VAULT)),
        };
        let hash = *blake3::hash(&described).as_bytes();
        let Described { id, kek_id, kdf } = describe(&described)?;
        let keyring = Keyring::new(place.clone(), key, random.clone(), id, hash, Begun { kek_id, kdf });
        let vault_keys = match may_create {
            true => keyring.for_writing(&Domain::vault()).await?,
            false => keyring
                .for_reading(&Domain::vault())
                .await?
                .ok_or_else(|| Problem::missing(names::keys(&Domain::vault())))?,
        };
        let blocks = Arc::new(Semaphore::new(BLOCKS));
        let _sweeping = Mutex::new(sweeping);
        Ok(Self(Arc::new(Inner { place, keyring, vault_keys, id, random, clock, blocks, _sweeping })))
    }

    /// Waits until what was half written is swept.
    #[cfg(test)]
    pub(super) async fn swept(&self) {
        let sweeping = self.0._sweeping.lock().take();
        if let Some(sweeping) = sweeping {
            sweeping.await.unwrap();
        }
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Its id, which all of its objects carry.
    pub fn id(&self) -> String {
        hex(&self.0.id)
    }

    /// Id of the key that opens it.
    pub fn key_id(&self) -> String {
        self.0.keyring.kek_id()
    }

    /// A new id for an operation or a backup.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new_id(&self) -> Result<Id> {
        Ok(Id::new(self.0.clock.now().wall, self.0.random.bytes()?))
    }

    /// Milliseconds since 1970 by the control plane's clock.
    pub(super) fn now(&self) -> u64 {
        millis(self.0.clock)
    }

    pub(super) fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }

    pub(super) fn vault_keys(&self) -> &Arc<DomainKeys> {
        &self.0.vault_keys
    }

    pub(super) fn random(&self) -> &SystemRandom {
        &self.0.random
    }

    pub(super) fn blocks(&self) -> &Arc<Semaphore> {
        &self.0.blocks
    }

    /// The keys of a domain that something is read of.
    pub(super) async fn keys(&self, domain: &Domain) -> Result<Arc<DomainKeys>> {
        let keys = self.keyring().for_reading(domain).await?;
        keys.ok_or_else(|| Problem::missing(names::keys(domain)))
    }
}

fn millis(clock: Clock) -> u64 {
    let since = clock.now().wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes an object, reads it back and deletes it. Answers what time it is by the store's clock.
async fn probe(place: &Place, clock: Clock, random: &SystemRandom) -> Result<u64> {
    let id = Id::new(clock.now().wall, random.bytes()?);
    let (object, content) = (names::probe(id), random.bytes::<32>()?);
    place.create(&object, PutPayload::from(content.to_vec())).await?;
    let (there, back) = place.get_listed(&object).await?;
    place.delete(&object).await?;
    if back[..] != content[..] {
        return Err(Problem::damaged(object, "was read back as something else than was written"));
    }
    Ok(there.modified)
}

async fn create(place: &Place, random: &SystemRandom, key: &Arc<dyn KeySource>) -> Result<bytes::Bytes> {
    // A bucket that has packs and no description is a vault that somebody has hurt, not an empty place.
    for prefix in ["keys", "packs", "manifests"] {
        if !place.list(prefix).await?.is_empty() {
            let what = format!("there is something under {prefix}/ and no {}", names::VAULT);
            return Err(Problem::BadPlace { place: place.url().to_owned(), what });
        }
    }
    let (source, drawn) = (Arc::clone(key), random.clone());
    let derived = task::blocking("vault key", move || source.for_new_wrap(None, &drawn));
    let (kdf, kek) = derived.await.map_err(|error| Problem::Internal(error.to_string()))??;
    let description = Description {
        magic: MAGIC.to_owned(),
        format: FORMAT,
        vault_id: hex(&random.bytes::<16>()?),
        required: Vec::new(),
        kek_id: Some(kek.id()?),
        argon2id: Derived::of(&kdf),
    };
    let text = serde_json::to_vec(&description).map_err(|error| Problem::Internal(error.to_string()))?;
    match place.create(names::VAULT, PutPayload::from(text)).await {
        // Somebody else was first.
        Ok(()) | Err(Problem::Taken { .. }) => place.get(names::VAULT).await,
        Err(problem) => Err(problem),
    }
}

/// What a description says, as far as this build knows all that it has to.
fn describe(bytes: &[u8]) -> Result<Described> {
    let damaged = |what: String| Problem::damaged(names::VAULT, what);
    let described: Description = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if described.magic != MAGIC {
        return Err(damaged(format!("says that it is {:?}", described.magic)));
    }
    let newer = |what: String| Problem::TooNew { object: names::VAULT.to_owned(), what };
    if described.format > FORMAT {
        return Err(newer(format!(
            "format {} is not known; {FORMAT} is the newest that is",
            described.format
        )));
    }
    if let [first, ..] = &described.required[..] {
        return Err(newer(format!("the feature {first:?} is required and not known")));
    }
    let id = sixteen(&described.vault_id).ok_or_else(|| damaged("has no id of a vault".to_owned()))?;
    let kdf = described.argon2id.as_ref().map(Derived::to_kdf).transpose()?;
    Ok(Described { id, kek_id: described.kek_id, kdf })
}

/// Sixteen bytes by their hexadecimal digits.
fn sixteen(digits: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32);
    number.map(u128::to_be_bytes)
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("place", &self.0.place.url())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
