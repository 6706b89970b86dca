//! The key that the operator keeps (KEK), and where it comes from: a file, the environment, a passphrase. It wraps the keys
//! of epochs and nothing else. Who keeps it where is not its business.

use std::{fmt, path::Path};

use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{
    problem::{Problem, Result},
    secret::{Info, LENGTH, Secret, SystemRandom},
};

/// How a key is written: a word that scanners for secrets find, 52 characters of base 32, and 4 that tell a slip of the pen.
const PREFIX: &str = "swk1_";
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const KEY_LETTERS: usize = 52;
const CHECK_LETTERS: usize = 4;
/// What a reader takes of Argon2id at the most: a vault that an enemy wrote must not take all memory.
const MOST: Argon = Argon { memory_kib: 4 << 20, passes: 64, lanes: 64 };
/// What a new passphrase is stretched with (RFC 9106, 4: the second recommended option).
const USUAL: Argon = Argon { memory_kib: 64 << 10, passes: 3, lanes: 4 };

/// What Argon2id spends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Argon {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// How the KEK comes from what the operator keeps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kdf {
    /// It is kept as it is.
    AsItIs,
    /// By Argon2id (RFC 9106), of a passphrase.
    Argon2id {
        /// Makes the same passphrase give another key elsewhere.
        salt: [u8; 16],
        /// What is spent.
        cost: Argon,
    },
}

/// A key-encryption key.
#[derive(Clone, Debug)]
pub struct Kek(Secret);

impl Kek {
    /// This key.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The key itself.
    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }

    /// What it is called in names: 16 hexadecimal digits, from which nobody gets it back.
    ///
    /// # Errors
    /// None that can be seen: HKDF gives eight bytes.
    pub fn id(&self) -> Result<String> {
        let derived = self.0.derive::<8>(None, &Info::new("kek-id"))?;
        Ok(derived.0.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As it is written down. Erased when it is dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = String::with_capacity(PREFIX.len() + KEY_LETTERS + CHECK_LETTERS);
        text.push_str(PREFIX);
        let letters = letters(self.0.expose());
        text.push_str(&letters);
        text.push_str(&check(&letters));
        Zeroizing::new(text)
    }

    /// What a file with it says: its id, and the key on a line of its own. Erased when it is dropped.
    ///
    /// # Errors
    /// As of [`id`](Self::id).
    pub fn to_file(&self) -> Result<Zeroizing<String>> {
        let (id, key) = (self.id()?, self.to_text());
        Ok(Zeroizing::new(format!(
            "# Key {id} of a Seaworthy vault. Without it nobody reads what it encrypts: keep it elsewhere too, and secret.\n\
             {}\n",
            *key
        )))
    }

    /// As somebody wrote it down.
    ///
    /// # Errors
    /// It has not the form of a key, or one of its characters is not what it was; where it came from is for the caller to say.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| format!("a key begins with {PREFIX:?}; make one with `seaworthy keygen`"))?;
        let expected = KEY_LETTERS + CHECK_LETTERS;
        if rest.len() != expected || !rest.is_ascii() {
            let found = rest.len();
            return Err(format!("a key has {expected} characters after {PREFIX:?}, and this has {found}"));
        }
        let (body, check_letters) = rest.split_at(KEY_LETTERS);
        let mut bytes = Zeroizing::new([0_u8; LENGTH]);
        let (mut buffer, mut bits, mut at) = (0_u32, 0_u32, 0);
        for letter in body.bytes() {
            let digit = ALPHABET.iter().position(|known| *known == letter);
            let digit = digit.ok_or("a key has no such character as one of these")?;
            buffer = (buffer << 5 | u32::try_from(digit).unwrap_or(0)) & 0xffff;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(buffer >> bits & 0xff).unwrap_or(0);
                }
                at += 1;
            }
        }
        if check(body) != check_letters || letters(&bytes) != body {
            return Err(
                "one of its characters is not what it was: its last four do not fit the others".to_owned()
            );
        }
        Ok(Self(Secret::new(*bytes)))
    }
}

fn letters(bytes: &[u8; LENGTH]) -> String {
    let mut text = String::with_capacity(KEY_LETTERS);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
    }
    text.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    text
}

/// Four characters that follow from the others.
fn check(letters: &str) -> String {
    let hash = blake3::hash(letters.as_bytes());
    hash.as_bytes()[..CHECK_LETTERS].iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

/// Where a KEK comes from. What it does may take a second and hundreds of MiB: never on a thread of the runtime.
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The key that a wrap with this derivation was made with, as far as this source has one of the kind. None: it has not.
    ///
    /// # Errors
    /// It cannot be read, or the derivation asks for more than a reader gives.
    fn kek(&self, kdf: &Kdf) -> Result<Option<Kek>>;

    /// The key for a new wrap, and how it is derived. `known` is a derivation that the vault has already: one of the same kind
    /// is used again, so that one derivation opens all domains.
    ///
    /// # Errors
    /// It cannot be read, or there is no randomness.
    fn for_new_wrap(&self, known: Option<&Kdf>, random: &SystemRandom) -> Result<(Kdf, Kek)>;

    /// Where it comes from, for people; never the key.
    fn place(&self) -> String;
}

/// A key that is kept as it is.
#[derive(Clone, Debug)]
pub struct KeyItself {
    kek: Kek,
    place: String,
}

impl KeyItself {
    /// This key, from where it says.
    pub fn new(kek: Kek, place: impl Into<String>) -> Self {
        Self { kek, place: place.into() }
    }

    /// The key in a file, as [`from_text`](Self::from_text) finds it.
    ///
    /// # Errors
    /// It cannot be read, or has no key.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_text(&read(path)?, &path.display().to_string())
    }

    /// The key in a text, from where it says: its first line that is neither empty nor a comment.
    ///
    /// # Errors
    /// There is no such line, or it is no key.
    pub fn from_text(text: &str, place: &str) -> Result<Self> {
        let no_key = |what: String| Problem::NoKey { place: place.to_owned(), what };
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or_else(|| no_key("it is empty".to_owned()))?;
        Ok(Self::new(Kek::parse(line).map_err(no_key)?, place))
    }
}

/// A file with a secret, whole. Erased when it is dropped.
fn read(path: &Path) -> Result<Zeroizing<String>> {
    let no_key =
        |error: std::io::Error| Problem::NoKey { place: path.display().to_string(), what: error.to_string() };
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(no_key)
}

impl KeySource for KeyItself {
    fn kek(&self, kdf: &Kdf) -> Result<Option<Kek>> {
        Ok((*kdf == Kdf::AsItIs).then(|| self.kek.clone()))
    }

    fn for_new_wrap(&self, _known: Option<&Kdf>, _random: &SystemRandom) -> Result<(Kdf, Kek)> {
        Ok((Kdf::AsItIs, self.kek.clone()))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// A passphrase, stretched by Argon2id.
pub struct Passphrase {
    phrase: Zeroizing<Vec<u8>>,
    place: String,
    /// What was derived last: all domains of a vault have the same derivation.
    last: Mutex<Option<(Kdf, Kek)>>,
}

impl Passphrase {
    /// This passphrase, from where it says.
    ///
    /// # Errors
    /// It is empty.
    pub fn new(phrase: &str, place: impl Into<String>) -> Result<Self> {
        let place = place.into();
        if phrase.is_empty() {
            return Err(Problem::NoKey { place, what: "the passphrase is empty".to_owned() });
        }
        Ok(Self { phrase: Zeroizing::new(phrase.as_bytes().to_vec()), place, last: Mutex::new(None) })
    }

    /// The passphrase in a file: all of it but the end of its last line.
    ///
    /// # Errors
    /// It cannot be read, or is empty.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::new(read(path)?.trim_end_matches(['\r', '\n']), path.display().to_string())
    }

    fn derive(&self, kdf: &Kdf) -> Result<Option<Kek>> {
        let Kdf::Argon2id { salt, cost } = kdf else { return Ok(None) };
        // Held while it derives: whoever comes meanwhile needs the same.
        let mut last = self.last.lock();
        if let Some((of, kek)) = &*last
            && of == kdf
        {
            return Ok(Some(kek.clone()));
        }
        let too_much = |what: String| Problem::NoKey { place: self.place.clone(), what };
        let Argon { memory_kib, passes, lanes } = *cost;
        if memory_kib > MOST.memory_kib || passes > MOST.passes || lanes > MOST.lanes {
            return Err(too_much(format!(
                "the vault asks for {memory_kib} KiB, {passes} passes and {lanes} lanes of Argon2id, which is more than is \
                 given: somebody may have changed it"
            )));
        }
        let params = Params::new(memory_kib, passes, lanes, Some(LENGTH))
            .map_err(|error| too_much(format!("the vault's settings of Argon2id are wrong: {error}")))?;
        let mut out = Zeroizing::new([0_u8; LENGTH]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&self.phrase, salt, &mut *out)
            .map_err(|error| too_much(format!("Argon2id failed: {error}")))?;
        let kek = Kek(Secret::new(*out));
        *last = Some((kdf.clone(), kek.clone()));
        Ok(Some(kek))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").field("place", &self.place).finish_non_exhaustive()
    }
}

impl KeySource for Passphrase {
    fn kek(&self, kdf: &Kdf) -> Result<Option<Kek>> {
        self.derive(kdf)
    }

    fn for_new_wrap(&self, known: Option<&Kdf>, random: &SystemRandom) -> Result<(Kdf, Kek)> {
        let kdf = match known {
            Some(kdf @ Kdf::Argon2id { .. }) => kdf.clone(),
            Some(Kdf::AsItIs) | None => Kdf::Argon2id { salt: random.bytes()?, cost: USUAL },
        };
        let kek = self.derive(&kdf)?;
        kek.map(|kek| (kdf, kek)).ok_or_else(|| Problem::Internal("a passphrase gave no key".to_owned()))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_what_it_is_written_as(bytes: [u8; 32]) {
            let text = Kek::new(Secret::new(bytes)).to_text();
            let kek = Kek::parse(&text).unwrap();
            prop_assert_eq!(kek.secret().expose(), &bytes);
        }

        #[test]
        fn one_wrong_character_is_told(bytes: [u8; 32], at in 0_usize..52, to in 0_usize..32) {
            let text = Kek::new(Secret::new(bytes)).to_text();
            let mut wrong = text.as_bytes().to_vec();
            wrong[PREFIX.len() + at] = ALPHABET[to];
            let wrong = String::from_utf8(wrong).unwrap();
            // One in a million slips of the pen fits by chance.
            prop_assume!(wrong != *text && check(&wrong[PREFIX.len()..][..KEY_LETTERS]) != wrong[wrong.len() - 4..]);
            prop_assert!(Kek::parse(&wrong).is_err());
        }
    }

    #[test]
    fn whatever_is_no_key_says_how_one_is_made() {
        assert!(Kek::parse("hunter2").unwrap_err().contains("keygen"));
        assert!(Kek::parse("swk1_short").unwrap_err().contains("56 characters"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(KeyItself::from_file(&path).unwrap_err().to_string().contains("key"));
        std::fs::write(&path, "# only a comment\n").unwrap();
        assert!(KeyItself::from_file(&path).unwrap_err().to_string().contains("empty"));
        let kek = Kek::new(Secret::new([5; 32]));
        std::fs::write(&path, format!("# of the vault\n\n{}\n", *kek.to_text())).unwrap();
        let source = KeyItself::from_file(&path).unwrap();
        assert_eq!(source.kek.id().unwrap(), kek.id().unwrap());
        assert!(!format!("{source:?}").contains(&kek.to_text()[5..20]));
        // Wherever the text of a file stands.
        let file = kek.to_file().unwrap();
        assert!(file.starts_with(&format!("# Key {} ", kek.id().unwrap())), "{}", *file);
        assert_eq!(KeyItself::from_text(&file, "x").unwrap().kek.id().unwrap(), kek.id().unwrap());
        assert!(KeyItself::from_text(" # a comment\n\n", "x").unwrap_err().to_string().contains("empty"));
        std::fs::write(&path, "correct horse\r\n").unwrap();
        assert_eq!(*Passphrase::from_file(&path).unwrap().phrase, b"correct horse");
        std::fs::write(&path, "\n").unwrap();
        assert!(Passphrase::from_file(&path).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_passphrase_gives_the_same_key_by_the_same_derivation_alone() {
        let random = SystemRandom::seeded(1);
        let small = Argon { memory_kib: 64, passes: 1, lanes: 1 };
        let of = |phrase: &str, salt: u8, cost| {
            let source = Passphrase::new(phrase, "test").unwrap();
            source.kek(&Kdf::Argon2id { salt: [salt; 16], cost }).map(|kek| kek.unwrap().id().unwrap())
        };
        assert_eq!(of("correct horse", 1, small).unwrap(), of("correct horse", 1, small).unwrap());
        assert_ne!(of("correct horse", 1, small).unwrap(), of("correct horse", 2, small).unwrap());
        assert_ne!(of("correct horse", 1, small).unwrap(), of("Correct horse", 1, small).unwrap());
        let greedy = Argon { memory_kib: u32::MAX, ..small };
        assert!(of("correct horse", 1, greedy).unwrap_err().to_string().contains("changed"));
        assert!(Passphrase::new("", "test").is_err());

        let source = Passphrase::new("x", "test").unwrap();
        let known = Kdf::Argon2id { salt: [4; 16], cost: small };
        assert_eq!(source.for_new_wrap(Some(&known), &random).unwrap().0, known);
        assert!(source.kek(&Kdf::AsItIs).unwrap().is_none());
    }
}
