//! The digest of a whole component, as whoever sends or takes it makes it too. It finds what went wrong between the two; what is
//! in the vault is held to ids and tags of its own.

use std::fmt;

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use sha2::{Digest as _, Sha256};

/// How a digest is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DigestKind {
    /// BLAKE3.
    Blake3,
    /// SHA-256.
    Sha256,
    /// CRC-64/NVME, the highest byte first.
    Crc64Nvme,
}

/// A digest in the making.
#[derive(Clone)]
pub enum Digest {
    /// BLAKE3.
    Blake3(Box<blake3::Hasher>),
    /// SHA-256.
    Sha256(Box<Sha256>),
    /// CRC-64/NVME.
    Crc64Nvme(Box<crc_fast::Digest>),
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").finish_non_exhaustive()
    }
}

impl Digest {
    /// Of nothing yet.
    pub fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Blake3 => Self::Blake3(Box::default()),
            DigestKind::Sha256 => Self::Sha256(Box::default()),
            DigestKind::Crc64Nvme => Self::Crc64Nvme(Box::new(crc_fast::Digest::new(Crc64Nvme))),
        }
    }

    /// Adds what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all of it.
    pub fn finish(self) -> Bytes {
        match self {
            Self::Blake3(hasher) => Bytes::copy_from_slice(hasher.finalize().as_bytes()),
            Self::Sha256(hasher) => Bytes::copy_from_slice(&hasher.finalize()),
            Self::Crc64Nvme(hasher) => Bytes::copy_from_slice(&hasher.finalize().to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of "abc" by the specification of BLAKE3 and by FIPS 180-2, B.1; and the check value of CRC-64/NVME by the
    /// NVM Express specification.
    #[test]
    fn digests_are_those_that_others_make() {
        for (kind, text, begins) in [
            (DigestKind::Blake3, "abc", [0x64, 0x37, 0xb3, 0xac]),
            (DigestKind::Sha256, "abc", [0xba, 0x78, 0x16, 0xbf]),
            (DigestKind::Crc64Nvme, "123456789", [0xae, 0x8b, 0x14, 0x86]),
        ] {
            let mut digest = Digest::new(kind);
            let (first, rest) = text.as_bytes().split_at(1);
            digest.update(first);
            digest.update(rest);
            assert_eq!(digest.finish()[..4], begins, "{kind:?}");
        }
    }
}
