//! Names of what lies in the bucket, and what they are made of. Every path of an object is made here, and every name that
//! comes back from a listing is taken apart here: nothing else builds a path.

use std::fmt;

use super::problem::{Problem, Result};
/// Names a backup or an operation.
pub use crate::id::Ordered as Id;

/// Where all wraps lie.
pub(super) const KEYS: &str = "keys";
/// The domain of sessions and of the lists of pruning.
const VAULT_DOMAIN: &str = "_vault";
/// The domain, and the service, of the control plane's own state.
pub const OWN_STATE: &str = "_seaworthy";

/// The scope of keys and of deduplication: a service, or one of the vault's own.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Domain(String);

impl Domain {
    /// That of a service, which is a DNS label, or of the control plane's own state.
    ///
    /// # Errors
    /// It is neither.
    pub fn of_service(name: &str) -> Result<Self> {
        if name == OWN_STATE || is_label(name) {
            return Ok(Self(name.to_owned()));
        }
        Err(Problem::Internal(format!("{name:?} is no name of a service")))
    }

    /// That of sessions and of the lists of pruning.
    pub fn vault() -> Self {
        Self(VAULT_DOMAIN.to_owned())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it is a DNS label: lower-case letters, digits and hyphens, 1 to 63, no hyphen at either end.
fn is_label(name: &str) -> bool {
    let allowed = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// BLAKE3 of a pack as it is stored.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackName(pub [u8; 32]);

impl PackName {
    /// From 64 lower-case hexadecimal digits. None: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|letter| letter.is_ascii_digit() || (b'a'..=b'f').contains(&letter));
        blake3::Hash::from_hex(text).ok().filter(|_| lower).map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackName({self})")
    }
}

/// What the vault is, in clear.
pub(super) const VAULT: &str = "vault.json";

/// Where the wraps of a domain lie.
pub(super) fn keys(domain: &Domain) -> String {
    format!("{KEYS}/{domain}")
}

/// One wrap.
pub(super) fn wrap(domain: &Domain, epoch: u32, kek_id: &str) -> String {
    format!("keys/{domain}/{epoch:010}-{kek_id}")
}

/// Epoch and key id of a wrap by the last part of its name.
pub(super) fn parse_wrap(name: &str) -> Option<(u32, &str)> {
    let (epoch, kek_id) = name.split_once('-')?;
    Some((number(epoch)?, kek_id))
}

/// Where lies what only the keys of a domain open: nobody makes new ones beside it.
pub(super) fn sealed_in(domain: &Domain) -> Vec<String> {
    if *domain == Domain::vault() {
        // Nothing is written to a vault before it has keys of its own.
        return [KEYS, "packs", "manifests", GC].map(str::to_owned).to_vec();
    }
    vec![packs(domain), manifests(Some(domain))]
}

/// Where the packs of a domain lie.
pub(super) fn packs(domain: &Domain) -> String {
    format!("packs/{domain}")
}

/// One pack.
pub(super) fn pack(domain: &Domain, name: PackName) -> String {
    let hex = name.to_string();
    format!("packs/{domain}/{}/{hex}", &hex[..2])
}

/// The pack that an object of a domain is. None: it is none.
pub(super) fn parse_pack(domain: &Domain, object: &str) -> Option<PackName> {
    let name = PackName::parse(object.rsplit('/').next()?)?;
    (pack(domain, name) == object).then_some(name)
}

/// Where the index of a domain lies.
pub(super) fn index(domain: &Domain) -> String {
    format!("index/{domain}")
}

/// One segment of an index.
pub(super) fn segment(domain: &Domain, operation: Id, sequence: u32) -> String {
    format!("index/{domain}/{operation}-{sequence:010}")
}

/// Operation and number of a segment by the last part of its name.
pub(super) fn parse_segment(name: &str) -> Option<(Id, u32)> {
    let (operation, sequence) = name.split_once('-')?;
    Some((Id::parse(operation).ok()?, number(sequence)?))
}

/// Where manifests lie: of a service, or of all.
pub(super) fn manifests(service: Option<&Domain>) -> String {
    service.map_or_else(|| "manifests".to_owned(), |service| format!("manifests/{service}"))
}

/// One manifest.
pub(super) fn manifest(service: &Domain, backup: Id) -> String {
    format!("manifests/{service}/{backup}")
}

/// Where the notes of a backup lie.
pub(super) fn notes(backup: Id) -> String {
    format!("notes/{backup}")
}

/// One note.
pub(super) fn note(backup: Id, sequence: u32) -> String {
    format!("notes/{backup}/{sequence:010}")
}

/// Where sessions lie.
pub(super) const SESSIONS: &str = "sessions";

/// One session object: 0 opens it, each one more renews it.
pub(super) fn session(operation: Id, renewal: u32) -> String {
    format!("sessions/{operation}.{renewal:010}")
}

/// Where the lists of pruning lie.
pub(super) const GC: &str = "gc";

/// The last part of a list of what is condemned.
pub(super) const CONDEMNED: &str = "condemned";

/// The number of a cycle of pruning by the name of its list of what is condemned.
pub(super) fn parse_condemned(name: &str) -> Option<u32> {
    number(name.strip_prefix("gc/")?.strip_suffix("/condemned")?)
}

/// A probe object, which says that the bucket keeps what it takes.
pub(super) fn probe(id: Id) -> String {
    format!("probes/{id}")
}

/// A number as it is in names: ten digits.
pub(super) fn number(text: &str) -> Option<u32> {
    let digits = text.len() == 10 && text.bytes().all(|letter| letter.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_services_make_domains() {
        for good in ["orders", "a", "a-1", OWN_STATE] {
            assert_eq!(Domain::of_service(good).unwrap().as_str(), good);
        }
        for bad in ["", "..", "a/b", "A", "-a", "a-", "_vault", "_other", &"a".repeat(64)] {
            assert!(Domain::of_service(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_in_names_have_ten_digits() {
        assert_eq!(number("0000000012"), Some(12));
        for bad in ["12", "+000000012", "00000000012", "9999999999", ""] {
            assert_eq!(number(bad), None, "{bad}");
        }
        assert_eq!(parse_wrap("0000000001-0123456789abcdef"), Some((1, "0123456789abcdef")));
    }
}
