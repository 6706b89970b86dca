//! Ids that sort by the time at which they were made: of operations, and of backups.
//!
//! 48 bits of milliseconds and 80 random ones, as 26 characters. One id has one spelling, so that texts compare and sort
//! as the ids do.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{ALPHABET, Entropy};
use crate::error::Result;

/// Characters of one.
const LENGTH: usize = 26;
/// Bits of a character.
const BITS: u32 = 5;
/// Random bits, below those of the time.
const RANDOM: u32 = 80;
/// The last moment that one can carry: in the year 10889.
const MOST_MILLIS: u64 = (1 << 48) - 1;

/// An id that sorts by time.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ordered(u128);

/// A text that is no id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no id: one has {LENGTH} characters, digits and small letters without i, l, o and u")]
pub struct NoId;

impl Ordered {
    /// An id of this moment. What lies outside of what it can carry is its first or its last moment.
    pub fn new(time: SystemTime, random: [u8; 10]) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(MOST_MILLIS);
        let random = random.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Self(u128::from(millis) << RANDOM | random)
    }

    /// From its bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// When it was made, to the millisecond.
    pub fn time(self) -> SystemTime {
        let millis = u64::try_from(self.0 >> RANDOM).unwrap_or(MOST_MILLIS);
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is not spelt as one is.
    pub fn parse(text: &str) -> Result<Self, NoId> {
        if text.len() != LENGTH {
            return Err(NoId);
        }
        let mut bits: u128 = 0;
        for byte in text.bytes() {
            let value = ALPHABET.iter().position(|letter| *letter == byte).ok_or(NoId)?;
            // 26 characters have two bits more than there are.
            if bits >> (u128::BITS - BITS) != 0 {
                return Err(NoId);
            }
            bits = bits << BITS | u128::try_from(value).map_err(|_| NoId)?;
        }
        Ok(Self(bits))
    }
}

impl Entropy {
    /// A new id of this moment.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn ordered(&self, now: SystemTime) -> Result<Ordered> {
        Ok(Ordered::new(now, self.bytes()?))
    }
}

impl fmt::Display for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; LENGTH];
        let mut bits = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(bits & 31) as usize];
            bits >>= BITS;
        }
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ordered({self})")
    }
}

impl FromStr for Ordered {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        Self::parse(text)
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_that_of_a_ulid_in_small_letters() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_469_918_176_385);
        let id = Ordered::new(at, [0xff; 10]);
        assert_eq!(id.to_string(), "01aryz6s41zzzzzzzzzzzzzzzz");
        assert_eq!(id.time(), at);
        assert_eq!(Ordered::from_bits(u128::MAX).to_string(), "7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(Ordered::from_bits(0).to_string(), "0".repeat(26));
    }

    #[test]
    fn one_id_has_one_spelling() {
        let good = "01kc2x7m9q4t8v0000000000ab";
        assert_eq!(Ordered::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "01kc2x7m9q4t8v0000000000a",
            "01kc2x7m9q4t8v0000000000abc",
            "01KC2X7M9Q4T8V0000000000AB",
            "01kc2x7m9q4t8v0000000000al",
            "01kc2x7m9q4t8v0000000000ä",
            "81kc2x7m9q4t8v0000000000ab",
            "zzzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(Ordered::parse(bad), Err(NoId), "{bad:?}");
        }
    }

    #[test]
    fn a_moment_outside_of_what_fits_is_the_nearest() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Ordered::new(before, [0; 10]).to_bits(), 0);
        let far = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::MAX / 4);
        assert_eq!(Ordered::new(far, [0xff; 10]).to_bits(), u128::MAX);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(bits: u128) {
            let id = Ordered::from_bits(bits);
            prop_assert_eq!(Ordered::parse(&id.to_string()), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ordered>(&json).unwrap(), id);
        }

        #[test]
        fn texts_sort_as_ids_and_ids_as_time(a: u128, b: u128) {
            let (a, b) = (Ordered::from_bits(a), Ordered::from_bits(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            if a.time() < b.time() {
                prop_assert!(a < b);
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,30}") {
            if let Ok(id) = Ordered::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn it_keeps_its_millisecond(millis in 0..=MOST_MILLIS, random: [u8; 10]) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            prop_assert_eq!(Ordered::new(at, random).time(), at);
        }
    }
}
