//! Which keys a percentage takes: a rule that needs no state, the same in every language.
//!
//! Each flag spreads all keys over the numbers of 64 bits: the *point* of a key is `mix(fnv1a64(name + "/" + key))`, of
//! the texts' UTF-8 bytes. A percentage takes the keys whose point is below its share of 2^64. So the same key always
//! gets the same answer, a key that a percentage takes stays taken when that is raised, and two flags take different keys.
//!
//! The comparison is exact. With `percentage / 100` rounded to a double, a point counts where it is below
//! `ceil(percentage / 100 * 2^64)`, in whole numbers; the point 0 always does. Who divides the point as a double instead
//! loses its last bits, and with them the last points at 100 %.
//!
//! Other languages check themselves by `share/points.csv` and `share/edges.csv`, which the tests here read too.
//!
//! FNV-1a: draft-eastlake-fnv-21. The finalizer is the one of splitmix64 (Steele, Lea, Flood: Fast splittable
//! pseudorandom number generators, 2014; the constants are Stafford's Mix13).

/// Of FNV-1a for 64 bits.
const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// How many points there are: 2^64.
const POINTS: f64 = 18_446_744_073_709_551_616.0;

/// A part of all keys: above none, and up to all of them. The percentage of a [`Rule`](super::Rule).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    percentage: f64,
    /// The last point that counts. There always is one.
    last: u64,
}

impl Share {
    /// So many of a hundred. What is wrong where it is not above 0 and up to 100 is to be put behind the name of the field.
    pub(super) fn new(percentage: f64) -> Result<Self, String> {
        if percentage > 0.0 && percentage <= 100.0 {
            return Ok(Self { percentage, last: last_point(percentage) });
        }
        Err(format!("is {percentage}; use more than 0, and up to 100"))
    }

    /// How many of a hundred.
    pub fn percentage(self) -> f64 {
        self.percentage
    }

    /// Whether it takes the key at a point.
    pub fn takes(self, point: u64) -> bool {
        point <= self.last
    }
}

/// How a flag spreads keys: what of their points follows from its name alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spread(u64);

impl Spread {
    /// How the flag of this name spreads them.
    pub fn of_flag(name: &str) -> Self {
        Self(fnv1a64(fnv1a64(FNV_OFFSET_BASIS, name), "/"))
    }

    /// Where a key stands, evenly spread over all numbers. It may come in parts: `["orders", "/", "orders-7"]` stands where
    /// `["orders/orders-7"]` does. Costs some nanoseconds for each byte.
    pub fn point(self, key: &[&str]) -> u64 {
        mix(key.iter().fold(self.0, |hash, part| fnv1a64(hash, part)))
    }
}

/// The last point below a percentage of all.
// Neither sign nor whole part is lost: it is no less than 0 and no more than 2^64.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn last_point(percentage: f64) -> u64 {
    let count = (percentage / 100.0 * POINTS).ceil() as u128;
    // It fits: one less than 2^64 at the most. What is so small that the share is 0 takes the first one.
    u64::try_from(count.saturating_sub(1)).unwrap_or(u64::MAX)
}

fn fnv1a64(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// Spreads what differs in a few bits over all of them: FNV leaves similar keys close to each other.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
