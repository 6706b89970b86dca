//! The digest of a whole component, as whoever sends or takes it makes it too.

use sha2::{Digest as _, Sha256};

/// How a digest is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DigestKind {
    /// BLAKE3.
    Blake3,
    /// SHA-256.
    Sha256,
}

/// A digest in the making.
#[derive(Clone, Debug)]
pub enum Digest {
    /// BLAKE3.
    Blake3(Box<blake3::Hasher>),
    /// SHA-256.
    Sha256(Box<Sha256>),
}

impl Digest {
    /// Of nothing yet.
    pub fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Blake3 => Self::Blake3(Box::default()),
            DigestKind::Sha256 => Self::Sha256(Box::default()),
        }
    }

    /// Adds what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all of it.
    pub fn finish(self) -> [u8; 32] {
        match self {
            Self::Blake3(hasher) => *hasher.finalize().as_bytes(),
            Self::Sha256(hasher) => hasher.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of "abc" by the specification of BLAKE3 and by FIPS 180-2, B.1.
    #[test]
    fn digests_are_those_that_others_make() {
        for (kind, begins) in
            [(DigestKind::Blake3, [0x64, 0x37, 0xb3, 0xac]), (DigestKind::Sha256, [0xba, 0x78, 0x16, 0xbf])]
        {
            let mut digest = Digest::new(kind);
            digest.update(b"a");
            digest.update(b"bc");
            assert_eq!(digest.finish()[..4], begins, "{kind:?}");
        }
    }
}
