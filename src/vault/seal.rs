//! Sealed objects: the header that each begins with, and records under a key of the object's own. Suite 1 is HKDF-SHA256 and
//! AES-256-GCM; another one takes the place of [`Cipher`]. What is in a record is not its business.

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};

use super::{
    names::{Domain, Id},
    problem::{Problem, Result},
    secret::{Info, Secret, SystemRandom, same},
};

/// Bytes of a header.
pub(super) const HEADER: usize = 112;
/// Bytes that a record has more than what is in it.
pub(super) const TAG: usize = 16;
/// The number of what is sealed last: the trailer of a pack.
pub(super) const LAST: u32 = u32::MAX;
/// How many records one key seals besides the last.
pub(super) const MAX_RECORDS: u32 = 65_535;
const MAGIC: &[u8; 4] = b"SWV1";
const SUITE: u8 = 1;

/// What a sealed object is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Chunks.
    Pack = 1,
    /// What packs hold.
    Index = 2,
    /// A backup.
    Manifest = 3,
    /// A decision about a backup.
    Note = 4,
    /// Somebody reads or writes.
    Session = 5,
    /// A cycle of pruning begins.
    Begin = 6,
    /// What a cycle means to delete.
    Condemned = 7,
    /// A cycle is done.
    Swept = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Pack,
            Self::Index,
            Self::Manifest,
            Self::Note,
            Self::Session,
            Self::Begin,
            Self::Condemned,
            Self::Swept,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// What is bound to the key of an object, beside the domain that its name has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) vault: [u8; 16],
    pub(super) epoch: u32,
    pub(super) sequence: u32,
    pub(super) operation: Id,
    pub(super) salt: [u8; 32],
    pub(super) commitment: [u8; 32],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = SUITE;
        // Bytes 6 and 7 are the flags, of which this build sets none.
        bytes[8..24].copy_from_slice(&self.vault);
        bytes[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.operation.to_bits().to_be_bytes());
        bytes[48..80].copy_from_slice(&self.salt);
        bytes[80..].copy_from_slice(&self.commitment);
        bytes
    }

    /// Reads the header of an object of this name.
    pub(super) fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Problem::damaged(object, what);
        let bytes: &[u8; HEADER] = bytes
            .get(..HEADER)
            .and_then(|head| head.try_into().ok())
            .ok_or_else(|| damaged("is cut short"))?;
        if bytes[..4] != *MAGIC {
            return Err(damaged("is no object of a vault"));
        }
        let newer = |what: String| Problem::TooNew { object: object.to_owned(), what };
        if bytes[5] != SUITE {
            return Err(newer(format!("suite {} of cryptography is not known", bytes[5])));
        }
        if bytes[6..8] != [0, 0] {
            return Err(newer(format!(
                "flags {:#06x} are not known",
                u16::from_le_bytes([bytes[6], bytes[7]])
            )));
        }
        let kind = Kind::of(bytes[4]).ok_or_else(|| newer(format!("type {} is not known", bytes[4])))?;
        Ok(Self {
            kind,
            vault: piece(bytes, 8),
            epoch: u32::from_le_bytes(piece(bytes, 24)),
            sequence: u32::from_le_bytes(piece(bytes, 28)),
            operation: Id::from_bits(u128::from_be_bytes(piece(bytes, 32))),
            salt: piece(bytes, 48),
            commitment: piece(bytes, 80),
        })
    }

    fn info(&self, domain: &Domain) -> Info {
        Info::new("object")
            .number(self.kind as u64)
            .bytes(&self.vault)
            .bytes(domain.as_str().as_bytes())
            .number(self.epoch.into())
            .bytes(&self.operation.to_bits().to_be_bytes())
            .number(self.sequence.into())
    }
}

/// `N` bytes from a place that is known to be there.
fn piece<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// What seals records under a key: a suite. Both ways in place, with a tag of 16 bytes beside.
pub(super) trait Cipher: Send + Sync {
    /// Encrypts, and answers the tag.
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &mut [u8]) -> Option<[u8; TAG]>;
    /// Decrypts. None: these are not the bytes that were sealed, and what is in the buffer is of no use.
    fn open(&self, nonce: &[u8; 12], aad: &[u8], sealed: &mut [u8], tag: &[u8; TAG]) -> Option<()>;
}

/// AES-256-GCM by RustCrypto.
struct AesGcm(Aes256Gcm);

impl Cipher for AesGcm {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = self.0.encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(plain)).ok()?;
        Some(tag.into())
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], sealed: &mut [u8], tag: &[u8; TAG]) -> Option<()> {
        self.0.decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(sealed), tag.into()).ok()
    }
}

/// AES-256-GCM under a key.
pub(super) fn cipher(key: &Secret) -> impl Cipher + use<> {
    AesGcm(Aes256Gcm::new(key.expose().into()))
}

/// Nonce of a record: its number, which no other record of this key has.
fn nonce(number: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// The key of one object, ready to seal or to open its records.
pub(super) struct ObjectKey {
    header: [u8; HEADER],
    /// `H(header)`: what all additional data begin with.
    digest: [u8; 32],
    cipher: Box<dyn Cipher>,
}

/// The key of an epoch of a domain, as far as objects need it.
#[derive(Clone, Copy)]
pub(super) struct Epoch<'a> {
    pub(super) vault: [u8; 16],
    pub(super) domain: &'a Domain,
    pub(super) number: u32,
    pub(super) key: &'a Secret,
}

impl ObjectKey {
    /// The key of a new object.
    pub(super) fn fresh(
        epoch: Epoch<'_>,
        kind: Kind,
        operation: Id,
        sequence: u32,
        random: &SystemRandom,
    ) -> Result<Self> {
        let mut header = Header {
            kind,
            vault: epoch.vault,
            epoch: epoch.number,
            sequence,
            operation,
            salt: random.bytes()?,
            commitment: [0; 32],
        };
        let derived = epoch.key.derive::<64>(Some(&header.salt), &header.info(epoch.domain))?;
        let (key, commitment) = derived.key_and_commitment();
        header.commitment = commitment;
        Ok(Self::new(&header, &key))
    }

    /// The key of an object that was read: refused where the header is not of this place, or was not made with this key.
    pub(super) fn of(epoch: Epoch<'_>, kind: Kind, object: &str, header: &Header) -> Result<Self> {
        let damaged = |what: &str| Problem::damaged(object, what);
        if header.vault != epoch.vault {
            return Err(damaged("is of another vault"));
        }
        if header.kind != kind {
            return Err(damaged("is of another type than its place"));
        }
        if header.epoch != epoch.number {
            return Err(damaged("is of another epoch than its key"));
        }
        let derived = epoch.key.derive::<64>(Some(&header.salt), &header.info(epoch.domain))?;
        let (key, commitment) = derived.key_and_commitment();
        if !same(&commitment, &header.commitment) {
            return Err(damaged("was not sealed with the key of its place"));
        }
        Ok(Self::new(header, &key))
    }

    fn new(header: &Header, key: &Secret) -> Self {
        let header = header.encode();
        Self { header, digest: *blake3::hash(&header).as_bytes(), cipher: Box::new(cipher(key)) }
    }

    /// The header, as it stands at the beginning of the object.
    pub(super) fn header(&self) -> &[u8; HEADER] {
        &self.header
    }

    fn aad(&self, more: &[u8]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(self.digest.len() + more.len());
        aad.extend_from_slice(&self.digest);
        aad.extend_from_slice(more);
        aad
    }

    /// Seals what is in the buffer from `from` on, and puts the tag behind it. A number is used once: the caller sees to it.
    pub(super) fn seal(
        &self,
        number: u32,
        more: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<[u8; TAG]> {
        let sealed = self.cipher.seal(&nonce(number), &self.aad(more), &mut buffer[from..]);
        let tag = sealed.ok_or_else(|| Problem::Internal("a record is too long to be sealed".to_owned()))?;
        buffer.extend_from_slice(&tag);
        Ok(tag)
    }

    /// Opens a record in place, and answers how long it is without its tag. None: it is not what was sealed.
    pub(super) fn open(&self, number: u32, more: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let length = sealed.len().checked_sub(TAG)?;
        let (text, tag) = sealed.split_at_mut(length);
        let tag: &[u8; TAG] = (&*tag).try_into().ok()?;
        self.cipher.open(&nonce(number), &self.aad(more), text, tag)?;
        Some(length)
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectKey(…)")
    }
}

/// Seals an object that is one record.
pub(super) fn seal_single(key: &ObjectKey, plain: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + plain.len() + TAG);
    bytes.extend_from_slice(key.header());
    bytes.extend_from_slice(plain);
    key.seal(0, &[], &mut bytes, HEADER)?;
    Ok(bytes)
}

/// Opens an object that is one record.
pub(super) fn open_single(key: &ObjectKey, object: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut record = bytes.get(HEADER..).unwrap_or_default().to_vec();
    let length = key
        .open(0, &[], &mut record)
        .ok_or_else(|| Problem::damaged(object, "does not decrypt: some of it is not what was written"))?;
    record.truncate(length);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Secret, Domain, Vec<u8>) {
        let (secret, domain) = (Secret::new([3; 32]), Domain::of_service("orders").unwrap());
        let epoch = Epoch { vault: [9; 16], domain: &domain, number: 2, key: &secret };
        let random = SystemRandom::seeded(1);
        let key = ObjectKey::fresh(epoch, Kind::Note, Id::from_bits(5), 4, &random).unwrap();
        let bytes = seal_single(&key, b"what was said").unwrap();
        (secret, domain, bytes)
    }

    fn open(secret: &Secret, domain: &Domain, vault: [u8; 16], kind: Kind, bytes: &[u8]) -> Result<Vec<u8>> {
        let header = Header::decode("it", bytes)?;
        let epoch = Epoch { vault, domain, number: 2, key: secret };
        open_single(&ObjectKey::of(epoch, kind, "it", &header)?, "it", bytes)
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let (secret, domain, bytes) = sealed();
        assert_eq!(open(&secret, &domain, [9; 16], Kind::Note, &bytes).unwrap(), b"what was said");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&secret, &domain, [9; 16], Kind::Note, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(open(&secret, &domain, [9; 16], Kind::Note, &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_was_moved_does_not_open() {
        let (secret, domain, bytes) = sealed();
        let elsewhere = Domain::of_service("invoices").unwrap();
        assert!(open(&secret, &elsewhere, [9; 16], Kind::Note, &bytes).is_err());
        assert!(open(&secret, &domain, [8; 16], Kind::Note, &bytes).is_err());
        assert!(open(&secret, &domain, [9; 16], Kind::Manifest, &bytes).is_err());
        assert!(open(&Secret::new([4; 32]), &domain, [9; 16], Kind::Note, &bytes).is_err());
    }

    /// Test case 14 of the GCM specification (McGrew and Viega): what any other implementation of suite 1 must give as well.
    #[test]
    fn the_cipher_is_that_of_the_specification() {
        let mut block = [0; 16];
        let tag = cipher(&Secret::new([0; 32])).seal(&[0; 12], &[], &mut block).unwrap();
        assert_eq!(block[..4], [0xce, 0xa7, 0x40, 0x3d]);
        assert_eq!(tag[..4], [0xd0, 0xd1, 0xc8, 0xa7]);
    }
}
