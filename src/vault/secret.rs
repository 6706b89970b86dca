//! Secrets of 32 bytes, where they come from, and how one follows from another (HKDF, RFC 5869). They are erased when they
//! are dropped, and never printed.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::problem::{Problem, Result};
use crate::id::Entropy;

/// Bytes of a key, a salt, a commitment.
pub(super) const LENGTH: usize = 32;
/// What every derivation begins with, so that no other use of a key gives the same.
const CONTEXT: &[u8] = b"seaworthy-vault-1";

/// A secret of 32 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; LENGTH]);

impl Secret {
    /// These bytes.
    pub fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// What follows from it by a salt and what it is for.
    pub(super) fn derive<const N: usize>(&self, salt: Option<&[u8]>, info: &Info) -> Result<Derived<N>> {
        let mut out = Derived([0; N]);
        Hkdf::<Sha256>::new(salt, &self.0)
            .expand(&info.0, &mut out.0)
            .map_err(|_| Problem::Internal(format!("{N} bytes are more than HKDF gives")))?;
        Ok(out)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Bytes that follow from a secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Derived<const N: usize>(pub(super) [u8; N]);

impl Derived<LENGTH> {
    /// As a secret.
    pub(super) fn secret(&self) -> Secret {
        Secret(self.0)
    }
}

impl Derived<64> {
    /// A key, and the commitment to it.
    pub(super) fn key_and_commitment(&self) -> (Secret, [u8; LENGTH]) {
        let (mut key, mut commitment) = ([0; LENGTH], [0; LENGTH]);
        key.copy_from_slice(&self.0[..LENGTH]);
        commitment.copy_from_slice(&self.0[LENGTH..]);
        let secret = Secret(key);
        key.zeroize();
        (secret, commitment)
    }
}

/// What something is derived for: parts, each after its length, so that no two lists of parts are alike.
#[derive(Debug)]
pub(super) struct Info(Vec<u8>);

impl Info {
    /// For what this names.
    pub(super) fn new(label: &str) -> Self {
        Self(Vec::with_capacity(160)).bytes(CONTEXT).bytes(label.as_bytes())
    }

    /// And these bytes.
    pub(super) fn bytes(mut self, part: &[u8]) -> Self {
        length_prefixed(&mut self.0, part);
        self
    }

    /// And this number.
    pub(super) fn number(self, part: u64) -> Self {
        self.bytes(&part.to_le_bytes())
    }
}

/// Writes bytes after their length.
pub(super) fn length_prefixed(out: &mut Vec<u8>, part: &[u8]) {
    // No part of a name or of a header comes near to 4 GiB.
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(part);
}

/// Where salts and keys come from: the operating system, always. A salt that came twice would repeat nonces, so there is no
/// way to give it a seed outside of tests.
#[derive(Clone, Debug)]
pub struct SystemRandom(Entropy);

impl SystemRandom {
    /// The operating system's generator.
    pub fn new() -> Self {
        Self(Entropy::system())
    }

    /// The same bytes again, for tests of what follows from them.
    #[cfg(test)]
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    /// Random bytes.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        self.0.bytes().map_err(|error| Problem::Internal(format!("no randomness: {error}")))
    }

    /// A new secret.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn secret(&self) -> Result<Secret> {
        self.bytes().map(Secret)
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether two are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &[u8; LENGTH], other: &[u8; LENGTH]) -> bool {
    // `blake3::Hash` compares in constant time.
    blake3::Hash::from_bytes(*one) == blake3::Hash::from_bytes(*other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 1 of RFC 5869, A.1, with its own info.
    #[test]
    fn derives_as_the_rfc_does() {
        let secret = [0x0b; 22];
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let mut out = [0; 42];
        Hkdf::<Sha256>::new(Some(&salt), &secret).expand(&info, &mut out).unwrap();
        assert_eq!(out[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let secret = Secret::new([7; 32]);
        let of = |info: Info| secret.derive::<32>(None, &info).unwrap().0;
        assert_ne!(of(Info::new("x").bytes(b"ab").bytes(b"c")), of(Info::new("x").bytes(b"a").bytes(b"bc")));
        assert_ne!(of(Info::new("x")), of(Info::new("y")));
        assert_eq!(of(Info::new("x").number(1)), of(Info::new("x").bytes(&1_u64.to_le_bytes())));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(…)");
    }
}
