//! Names that the control plane makes itself: session tokens, instance ids, the boot epoch, ids that sort by time.
//!
//! All randomness of the server comes from an [`Entropy`] that is handed in, so that a simulation can
//! repeat itself. (The vault's keys are the exception: they always come from the operating system.)

mod ordered;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

pub use self::ordered::{NoId, Ordered};
use crate::error::{Error, Result};

/// Lower-case base32 without letters that look alike (Crockford's alphabet).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Where random bytes come from. Cheap to clone.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<blake3::OutputReader>>),
}

impl Entropy {
    /// The operating system's generator.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Repeatable bytes, for tests and simulations only.
    pub fn seeded(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        Self(Source::Seeded(Arc::new(Mutex::new(hasher.finalize_xof()))))
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match &self.0 {
            #[allow(clippy::disallowed_methods)] // the one place that asks the operating system
            Source::System => getrandom::fill(&mut bytes).map_err(Error::internal)?,
            Source::Seeded(reader) => reader.lock().fill(&mut bytes),
        }
        Ok(bytes)
    }

    /// A new session token: a prefix that secret scanners find, and 256 random bits.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn session_token(&self) -> Result<SessionToken> {
        Ok(SessionToken(format!("sws_{}", base32(&self.bytes::<32>()?))))
    }

    /// A new bearer token: a prefix that secret scanners find, and 256 random bits.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn bearer_token(&self) -> Result<BearerToken> {
        Ok(BearerToken(format!("{BEARER_PREFIX}{}", base32(&self.bytes::<32>()?))))
    }

    /// 256 random bits in letters and digits, for a secret of whoever gives it a prefix.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn secret(&self) -> Result<String> {
        Ok(base32(&self.bytes::<32>()?))
    }

    /// A new name with 80 random bits: `prefix-` and 16 characters.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn name(&self, prefix: &str) -> Result<String> {
        Ok(format!("{prefix}-{}", base32(&self.bytes::<10>()?)))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Entropy(system)",
            Source::Seeded(_) => "Entropy(seeded)",
        })
    }
}

/// Proves an incarnation. Never logged and never stored: [`TokenHash`] is.
#[derive(Clone, Eq, PartialEq)]
pub struct SessionToken(String);

impl SessionToken {
    /// A token as a caller sent it.
    pub fn from_wire(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is stored and compared.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token itself, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// How every bearer token begins.
const BEARER_PREFIX: &str = "swt_";
/// Length of a bearer token: its prefix, and 256 bits of which each character has five.
const BEARER_LENGTH: usize = BEARER_PREFIX.len() + 52;

/// Proves who somebody is. Never logged and never stored: [`TokenHash`] is.
#[derive(Clone, Eq, PartialEq)]
pub struct BearerToken(String);

impl BearerToken {
    /// The hash of a token as a caller sent it. None: it has not the form of one.
    pub fn hash_of(text: &str) -> Option<TokenHash> {
        let formed = text.len() == BEARER_LENGTH && text.starts_with(BEARER_PREFIX);
        formed.then(|| TokenHash::of(text))
    }

    /// What is stored and compared.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The token itself, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// BLAKE3 of a secret. Compared in constant time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenHash(blake3::Hash);

impl TokenHash {
    /// The hash of a secret as text.
    pub fn of(secret: &str) -> Self {
        Self(blake3::hash(secret.as_bytes()))
    }

    /// As it is stored: 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    /// From what was stored.
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(Self)
    }
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        let token = |entropy: Entropy| entropy.session_token().unwrap();
        assert_eq!(token(Entropy::seeded(7)), token(Entropy::seeded(7)));
        assert_ne!(token(Entropy::seeded(7)), token(Entropy::seeded(8)));
        assert_ne!(token(Entropy::system()), token(Entropy::system()));
    }

    #[test]
    fn a_token_has_256_bits_and_is_not_printed() {
        let token = Entropy::system().session_token().unwrap();
        assert_eq!(token.reveal().len(), "sws_".len() + 52);
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
    }

    #[test]
    fn only_what_has_the_form_of_a_bearer_token_is_hashed() {
        let token = Entropy::system().bearer_token().unwrap();
        assert_eq!(BearerToken::hash_of(token.reveal()), Some(token.hash()));
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
        let long = format!("{}0", token.reveal());
        for other in ["", "swt_", &token.reveal()[..40], &long, &token.reveal().replace("swt_", "sws_")] {
            assert_eq!(BearerToken::hash_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_hash_survives_storage() {
        let hash = SessionToken::from_wire("sws_x").hash();
        assert_eq!(TokenHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(TokenHash::from_hex("sws_x"), None);
    }
}
