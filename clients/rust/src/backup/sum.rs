//! The digest that goes with a transfer: CRC-64/NVME, which runs at the speed of memory. It finds what went wrong on the way, and
//! proves nothing to anybody; who may alter a stream is for TLS to say.

use std::fmt;

use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;

use crate::proto::seaworthy::v1::DigestAlgorithm;

/// A digest in the making.
pub(crate) struct Sum(crc_fast::Digest);

impl Sum {
    /// How it is made, as the wire has it.
    pub(crate) const ALGORITHM: DigestAlgorithm = DigestAlgorithm::Crc64Nvme;

    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        Self(crc_fast::Digest::new(Crc64Nvme))
    }

    /// Adds what comes next.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that came so far.
    pub(crate) fn digest(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.finalize().to_be_bytes())
    }

    /// That of some bytes.
    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Bytes {
        let mut sum = Self::new();
        sum.update(bytes);
        sum.digest()
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sum").finish_non_exhaustive()
    }
}
