//! The keys of a vault's domains: made when a domain is first written to, wrapped by the operator's key, unwrapped when they
//! are needed. A wrap is believed only after it was read back and opened.

use std::{collections::HashMap, fmt, sync::Arc};

use minicbor::{Decode, Encode};
use object_store::PutPayload;
use parking_lot::Mutex;

use super::{
    kek::{Argon, Kdf, Kek, KeySource},
    names::{self, Domain, Id},
    place::Place,
    problem::{Problem, Result},
    seal::{Cipher, Epoch, TAG, cipher},
    secret::{Info, LENGTH, Secret, SystemRandom, length_prefixed, same},
};
use crate::task;

/// The only epoch that this build begins. Later ones are read.
const FIRST_EPOCH: u32 = 1;

/// What a wrap says in clear.
#[derive(Debug, Decode, Encode)]
#[cbor(map)]
struct Wrap {
    #[n(1)]
    kdf: WireKdf,
    #[cbor(n(2), with = "minicbor::bytes")]
    salt: [u8; LENGTH],
    #[cbor(n(3), with = "minicbor::bytes")]
    sealed: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    commitment: [u8; LENGTH],
}

#[derive(Debug, Decode, Encode)]
#[cbor(map)]
struct WireKdf {
    #[n(1)]
    kind: u8,
    #[cbor(n(2), with = "minicbor::bytes")]
    salt: Option<[u8; 16]>,
    #[n(3)]
    memory_kib: Option<u32>,
    #[n(4)]
    passes: Option<u32>,
    #[n(5)]
    lanes: Option<u32>,
}

impl WireKdf {
    fn of(kdf: &Kdf) -> Self {
        match kdf {
            Kdf::AsItIs => Self { kind: 0, salt: None, memory_kib: None, passes: None, lanes: None },
            Kdf::Argon2id { salt, cost: Argon { memory_kib, passes, lanes } } => Self {
                kind: 1,
                salt: Some(*salt),
                memory_kib: Some(*memory_kib),
                passes: Some(*passes),
                lanes: Some(*lanes),
            },
        }
    }

    fn to_kdf(&self, object: &str) -> Result<Kdf> {
        match (self.kind, self.salt, self.memory_kib, self.passes, self.lanes) {
            (0, ..) => Ok(Kdf::AsItIs),
            (1, Some(salt), Some(memory_kib), Some(passes), Some(lanes)) => {
                Ok(Kdf::Argon2id { salt, cost: Argon { memory_kib, passes, lanes } })
            }
            (1, ..) => Err(Problem::damaged(object, "has not all settings of Argon2id")),
            (kind, ..) => Err(Problem::TooNew {
                object: object.to_owned(),
                what: format!("derivation {kind} is not known"),
            }),
        }
    }
}

/// The keys of one domain, as far as writing and reading need them.
pub(super) struct DomainKeys {
    vault: [u8; 16],
    domain: Domain,
    epoch: u32,
    key: Secret,
    /// Of chunk ids: of the first epoch for as long as the domain lives.
    chunk_id: Secret,
    /// Of the chunker's table: the same.
    chunker: Secret,
    /// What notes about damaged packs of the domain are filed under.
    damage: Id,
}

impl DomainKeys {
    /// Those of a domain whose key of the first epoch is this one.
    pub(super) fn new(vault: [u8; 16], domain: &Domain, epoch: u32, key: Secret) -> Result<Self> {
        let (salt, domain) = (Some(&vault[..]), domain.clone());
        let of = |label| key.derive::<LENGTH>(salt, &Info::new(label).bytes(domain.as_str().as_bytes()));
        let (chunk_id, chunker) = (of("chunk-id")?.secret(), of("chunker")?.secret());
        let derived =
            key.derive::<16>(salt, &Info::new("damaged-packs").bytes(domain.as_str().as_bytes()))?;
        let damage = Id::from_bits(u128::from_be_bytes(derived.0));
        Ok(Self { vault, domain, epoch, key, chunk_id, chunker, damage })
    }

    /// Whose they are.
    pub(super) fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(super) fn epoch(&self) -> Epoch<'_> {
        Epoch { vault: self.vault, domain: &self.domain, number: self.epoch, key: &self.key }
    }

    pub(super) fn chunk_id(&self) -> &[u8; LENGTH] {
        self.chunk_id.expose()
    }

    /// What notes about damaged packs of the domain are filed under, as if it were a backup's id.
    pub(super) fn damage(&self) -> Id {
        self.damage
    }

    pub(super) fn chunker(&self) -> &[u8; LENGTH] {
        self.chunker.expose()
    }
}

impl fmt::Debug for DomainKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainKeys")
            .field("domain", &self.domain)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// All keys of a vault that were needed so far.
#[derive(Debug)]
pub(super) struct Keyring {
    place: Place,
    source: Arc<dyn KeySource>,
    random: SystemRandom,
    vault: [u8; 16],
    /// `H(vault.json)`.
    description: [u8; LENGTH],
    begun: Begun,
    known: Mutex<HashMap<Domain, Arc<DomainKeys>>>,
    /// A derivation that the vault has already, for new wraps.
    kdf: Mutex<Option<Kdf>>,
    /// Id of the key that the last wrap opened with.
    kek_id: Mutex<Option<String>>,
}

/// What the description of a vault says of the key that it was begun with.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Its id.
    pub(super) kek_id: Option<String>,
    /// How it is derived, if it is.
    pub(super) kdf: Option<Kdf>,
}

/// What came of a wrap.
enum Tried {
    /// It has the domain's key.
    Opened(Arc<DomainKeys>),
    /// It is sealed for another key.
    OtherKey,
    /// It is sealed for a key of another kind.
    OtherKind,
}

impl Keyring {
    pub(super) fn new(
        place: Place,
        source: Arc<dyn KeySource>,
        random: SystemRandom,
        vault: [u8; 16],
        description: [u8; LENGTH],
        begun: Begun,
    ) -> Self {
        Self {
            place,
            source,
            random,
            vault,
            description,
            begun,
            known: Mutex::default(),
            kdf: Mutex::default(),
            kek_id: Mutex::default(),
        }
    }

    /// The keys of a domain, made where it has none.
    ///
    /// # Errors
    /// The place or the source of the key fails, or no wrap of the domain opens.
    pub(super) async fn for_writing(&self, domain: &Domain) -> Result<Arc<DomainKeys>> {
        match self.for_reading(domain).await? {
            Some(keys) => Ok(keys),
            None => self.begin(domain).await,
        }
    }

    /// The keys of a domain. None: it has none, and so nothing was ever written to it.
    ///
    /// # Errors
    /// As of [`for_writing`](Self::for_writing).
    pub(super) async fn for_reading(&self, domain: &Domain) -> Result<Option<Arc<DomainKeys>>> {
        if let Some(known) = self.known.lock().get(domain) {
            return Ok(Some(Arc::clone(known)));
        }
        let wraps = self.place.list(&names::keys(domain)).await?;
        if wraps.is_empty() {
            return Ok(None);
        }
        let (mut tried, mut unreadable) = (Vec::new(), None);
        for listed in &wraps {
            let Some((epoch, kek_id)) = names::parse_wrap(listed.last()) else { continue };
            match self.try_wrap(domain, epoch, kek_id, &listed.name).await {
                Ok(Tried::Opened(keys)) => return Ok(Some(keys)),
                Ok(Tried::OtherKey) => tried.push(kek_id.to_owned()),
                Ok(Tried::OtherKind) => tried.push(format!("{kek_id} (another kind of key)")),
                // It may be another's: ours may be beside it.
                Err(
                    problem @ (Problem::Damaged { .. } | Problem::Missing { .. } | Problem::TooNew { .. }),
                ) => {
                    unreadable.get_or_insert(problem);
                }
                Err(problem) => return Err(problem),
            }
        }
        if let Some(problem) = unreadable {
            return Err(problem);
        }
        let source = self.source.place();
        let known = tried.join(", ");
        let what = format!("{domain} is sealed for {known}, and the key from {source} is none of these");
        Err(Problem::WrongKey { what })
    }

    async fn try_wrap(&self, domain: &Domain, epoch: u32, kek_id: &str, object: &str) -> Result<Tried> {
        let wrap = self.read(object).await?;
        let kdf = wrap.kdf.to_kdf(object)?;
        let Some(kek) = self.kek(kdf.clone()).await? else { return Ok(Tried::OtherKind) };
        if kek.id()? != kek_id {
            return Ok(Tried::OtherKey);
        }
        // An epoch beyond the first needs the first one's key too; nothing writes one yet.
        if epoch != FIRST_EPOCH {
            let what = format!("epoch {epoch} of keys is not known");
            return Err(Problem::TooNew { object: object.to_owned(), what });
        }
        let key = self.unwrap(domain, epoch, &kek, &wrap, object)?;
        *self.kdf.lock() = Some(kdf);
        *self.kek_id.lock() = Some(kek_id.to_owned());
        self.keep(domain, epoch, key).map(Tried::Opened)
    }

    /// Id of the key that opens the vault.
    pub(super) fn kek_id(&self) -> String {
        self.kek_id.lock().clone().unwrap_or_default()
    }

    fn keep(&self, domain: &Domain, epoch: u32, key: Secret) -> Result<Arc<DomainKeys>> {
        let keys = DomainKeys::new(self.vault, domain, epoch, key)?;
        let keys = Arc::new(keys);
        self.known.lock().insert(domain.clone(), Arc::clone(&keys));
        Ok(keys)
    }

    /// Makes the first epoch of a domain, where there is nothing yet that a key was made for.
    async fn begin(&self, domain: &Domain) -> Result<Arc<DomainKeys>> {
        for prefix in names::sealed_in(domain) {
            if self.place.list(&prefix).await?.is_empty() {
                continue;
            }
            // Somebody else may have begun it in between.
            if let Some(keys) = self.for_reading(domain).await? {
                return Ok(keys);
            }
            let keys = names::keys(domain);
            let what = format!(
                "{keys}/ has gone, and there is something under {prefix}/ that only a key from there opens; bring {keys}/ back \
                 from a copy or an older version of the bucket, or move what it opened elsewhere: a new key would open none of it"
            );
            return Err(Problem::WrongKey { what });
        }
        let known = self.kdf.lock().clone().or_else(|| self.begun.kdf.clone());
        let (source, random) = (Arc::clone(&self.source), self.random.clone());
        let derived = task::blocking("vault key", move || source.for_new_wrap(known.as_ref(), &random));
        let (kdf, kek) = derived.await.map_err(|error| Problem::Internal(error.to_string()))??;
        let (key, salt) = (self.random.secret()?, self.random.bytes::<LENGTH>()?);
        let kek_id = kek.id()?;
        // Of two that begin a vault at once with different keys one has written its description, and goes on.
        if let Some(first) = self.begun.kek_id.as_ref().filter(|first| **first != kek_id)
            && *domain == Domain::vault()
        {
            let source = self.source.place();
            let what = format!("the vault was begun with {first}, and the key from {source} is {kek_id}");
            return Err(Problem::WrongKey { what });
        }
        let wrapping = self.wrapping(domain, FIRST_EPOCH, &kek, &salt)?;
        let mut sealed = key.expose().to_vec();
        let tag = cipher(&wrapping)
            .seal(&[0; 12], &self.aad(domain, FIRST_EPOCH, &kek_id), &mut sealed)
            .ok_or_else(|| Problem::Internal("a key is too long to be sealed".to_owned()))?;
        sealed.extend_from_slice(&tag);
        let commitment = commitment(&key, domain, FIRST_EPOCH, &salt)?;
        let wrap = Wrap { kdf: WireKdf::of(&kdf), salt, sealed, commitment };
        let bytes = minicbor::to_vec(&wrap).map_err(|error| Problem::Internal(error.to_string()))?;
        let name = names::wrap(domain, FIRST_EPOCH, &kek_id);
        match self.place.create(&name, PutPayload::from(bytes)).await {
            // Another writer with the same key was first: its key is the domain's.
            Ok(()) | Err(Problem::Taken { .. }) => {}
            Err(problem) => return Err(problem),
        }
        // Believed only after it was read back, whoever's it is.
        self.for_reading(domain).await?.ok_or_else(|| Problem::missing(name))
    }

    async fn kek(&self, kdf: Kdf) -> Result<Option<Kek>> {
        let source = Arc::clone(&self.source);
        let derived = task::blocking("vault key", move || source.kek(&kdf));
        derived.await.map_err(|error| Problem::Internal(error.to_string()))?
    }

    async fn read(&self, name: &str) -> Result<Wrap> {
        let bytes = self.place.get(name).await?;
        minicbor::decode(&bytes).map_err(|error| Problem::damaged(name, error.to_string()))
    }

    fn unwrap(&self, domain: &Domain, epoch: u32, kek: &Kek, wrap: &Wrap, object: &str) -> Result<Secret> {
        let damaged = || Problem::damaged(object, "does not open with the key whose name it has");
        let wrapping = self.wrapping(domain, epoch, kek, &wrap.salt)?;
        let (mut key, tag) = match wrap.sealed.split_at_checked(LENGTH) {
            Some((key, tag)) => (key.to_vec(), <[u8; TAG]>::try_from(tag).map_err(|_| damaged())?),
            None => return Err(damaged()),
        };
        cipher(&wrapping)
            .open(&[0; 12], &self.aad(domain, epoch, &kek.id()?), &mut key, &tag)
            .ok_or_else(damaged)?;
        let key = Secret::new(key.try_into().map_err(|_| damaged())?);
        if !same(&commitment(&key, domain, epoch, &wrap.salt)?, &wrap.commitment) {
            return Err(damaged());
        }
        Ok(key)
    }

    fn wrapping(&self, domain: &Domain, epoch: u32, kek: &Kek, salt: &[u8]) -> Result<Secret> {
        let info =
            Info::new("wrap").bytes(&self.vault).bytes(domain.as_str().as_bytes()).number(epoch.into());
        Ok(kek.secret().derive::<LENGTH>(Some(salt), &info)?.secret())
    }

    fn aad(&self, domain: &Domain, epoch: u32, kek_id: &str) -> Vec<u8> {
        let mut aad = Vec::new();
        length_prefixed(&mut aad, &self.description);
        length_prefixed(&mut aad, domain.as_str().as_bytes());
        length_prefixed(&mut aad, &u64::from(epoch).to_le_bytes());
        length_prefixed(&mut aad, kek_id.as_bytes());
        aad
    }
}

fn commitment(key: &Secret, domain: &Domain, epoch: u32, salt: &[u8]) -> Result<[u8; LENGTH]> {
    let info = Info::new("epoch-commitment").bytes(domain.as_str().as_bytes()).number(epoch.into());
    Ok(key.derive::<LENGTH>(Some(salt), &info)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::kek::KeyItself;

    fn ring(place: &Place, key: u8) -> Keyring {
        let source = KeyItself::new(Kek::new(Secret::new([key; 32])), "test");
        Keyring::new(place.clone(), Arc::new(source), SystemRandom::new(), [1; 16], [2; 32], Begun::default())
    }

    #[tokio::test]
    async fn keys_are_made_once_and_read_by_whoever_has_the_key() {
        let place = Place::open("memory:///", &[]).unwrap();
        let orders = Domain::of_service("orders").unwrap();
        let first = ring(&place, 1);
        assert!(first.for_reading(&orders).await.unwrap().is_none());
        let made = first.for_writing(&orders).await.unwrap();
        let read = ring(&place, 1).for_writing(&orders).await.unwrap();
        assert_eq!(made.key.expose(), read.key.expose());
        assert_eq!(made.chunk_id(), read.chunk_id());
        assert_ne!(made.chunk_id(), made.chunker());
        let other = first.for_writing(&Domain::of_service("invoices").unwrap()).await.unwrap();
        assert_ne!(other.chunk_id(), made.chunk_id());
        assert_eq!(place.list("keys").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_wrong_key_is_told_and_makes_no_second_one() {
        let place = Place::open("memory:///", &[]).unwrap();
        let orders = Domain::of_service("orders").unwrap();
        ring(&place, 1).for_writing(&orders).await.unwrap();
        let wrong = ring(&place, 2).for_writing(&orders).await;
        assert!(matches!(wrong, Err(Problem::WrongKey { .. })), "{wrong:?}");
        assert_eq!(place.list("keys").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_wrap_that_cannot_be_read_hides_none_that_opens() {
        let place = Place::open("memory:///", &[]).unwrap();
        let orders = Domain::of_service("orders").unwrap();
        let made = ring(&place, 1).for_writing(&orders).await.unwrap();
        // Listed before it.
        let other = names::wrap(&orders, FIRST_EPOCH, "0000000000000000");
        place.create(&other, PutPayload::from_static(b"nothing")).await.unwrap();
        let read = ring(&place, 1).for_reading(&orders).await.unwrap().unwrap();
        assert_eq!(made.key.expose(), read.key.expose());
        // Whoever opens neither is told of the one that may have been theirs.
        let neither = ring(&place, 2).for_reading(&orders).await;
        assert!(matches!(neither, Err(Problem::Damaged { .. })), "{neither:?}");
    }

    #[tokio::test]
    async fn every_flipped_bit_of_a_wrap_is_seen() {
        let place = Place::open("memory:///", &[]).unwrap();
        let orders = Domain::of_service("orders").unwrap();
        ring(&place, 1).for_writing(&orders).await.unwrap();
        let name = place.list("keys").await.unwrap()[0].name.clone();
        let good = place.get(&name).await.unwrap();
        for bit in 0..good.len() * 8 {
            let mut flipped = good.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            place.delete(&name).await.unwrap();
            place.create(&name, PutPayload::from(flipped)).await.unwrap();
            let read = ring(&place, 1).for_reading(&orders).await;
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
    }
}
