//! How old a connection may become.

use std::time::Duration;

use crate::id::Entropy;

/// Connections of one age end spread over this share of it, either way.
const JITTER_PERCENT: u64 = 10;

/// When a connection has to end: its age, and a little more or less, so that a fleet that came together
/// does not leave together.
pub(super) fn jittered(age: Duration, entropy: &Entropy) -> Duration {
    let spread = 2 * JITTER_PERCENT + 1;
    // Without randomness all end at the same age, which is no reason to refuse a connection.
    let random = entropy.bytes().map_or(JITTER_PERCENT, |bytes| u64::from_le_bytes(bytes) % spread);
    let percent = 100 - JITTER_PERCENT + random;
    age.mul_f64(f64::from(u32::try_from(percent).unwrap_or(100)) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_tenth_either_way() {
        let age = Duration::from_secs(1000);
        let entropy = Entropy::system();
        let ages: Vec<_> = (0..200).map(|_| jittered(age, &entropy).as_secs()).collect();
        assert!(ages.iter().all(|age| (900..=1100).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age != ages[0]), "{ages:?}");
    }
}
