//! A place in the chain of entries: a number, and the hash of the entry that has it.

use std::{fmt, str::FromStr};

pub use blake3::Hash;

/// How far apart numbers of one chain can be where something is missing between them. What is farther away was never
/// reached, and somebody has made it up.
pub(super) const REACH: u64 = 1 << 32;

/// The hash of a line as it was written.
pub fn hash(line: &str) -> Hash {
    blake3::hash(line.as_bytes())
}

/// A number, and the hash of the entry that has it. Shown and read as `SEQUENCE:HASH`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// The entry's number; 0 for what the first one comes after.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// What the first entry of all comes after: number 0, and a hash of zeros.
    pub const START: Link = Link { sequence: 0, hash: Hash::from_bytes([0; 32]) };
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash.to_hex())
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "write SEQUENCE:HASH, for example 42: and the 64 hexadecimal digits of its hash".to_owned();
        let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
        let sequence = sequence.parse().map_err(|_| wrong())?;
        Ok(Link { sequence, hash: Hash::from_hex(hash).map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_reads_back_and_what_is_none_does_not() {
        let link = Link { sequence: 42, hash: hash("a") };
        assert_eq!(link.to_string().parse(), Ok(link));
        for wrong in
            ["", "42", "42:", ":00", "x:00", &format!("-1:{}", hash("a")), &format!("42:{}0", hash("a"))]
        {
            assert!(wrong.parse::<Link>().is_err(), "{wrong}");
        }
    }
}
