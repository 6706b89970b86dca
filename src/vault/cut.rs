//! How a component is cut into chunks: by content (FastCDC, Xia et al. 2020), so that what was inserted shifts nothing, or into
//! pages of one size, for what is written in place. The table of the content's cutter is made from a key, so that the sizes
//! of chunks tell less of contents that somebody knows: it hides them from who has the sizes alone, and promises no more
//! (eprint 2025/558). Ids and deduplication are not its business.

use std::fmt;

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

/// Sizes of chunks that are cut by content, in bytes. Even, since the cutter takes two bytes at a time.
pub(super) const LEAST: usize = 8 << 10;
/// Most are about as large as this.
pub(super) const USUAL: usize = 32 << 10;
/// None is larger.
pub(super) const MOST: usize = 128 << 10;
/// The largest page.
pub(super) const MAX_PAGE: u32 = 1 << 20;
/// The smallest.
pub(super) const MIN_PAGE: u32 = 4 << 10;

/// How a component is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// By content.
    Content,
    /// Into pages of this size, the last one shorter.
    Pages(u32),
}

impl Cut {
    /// The same, with pages that a manifest may have.
    pub(super) fn within_bounds(self) -> Self {
        match self {
            Cut::Content => self,
            Cut::Pages(size) => Cut::Pages(size.clamp(MIN_PAGE, MAX_PAGE)),
        }
    }

    /// The largest chunk that it makes.
    pub(super) fn most(self) -> usize {
        match self {
            Cut::Content => MOST,
            Cut::Pages(size) => size as usize,
        }
    }
}

/// Cuts the bytes of one component, in order.
pub(super) struct Cutter {
    cut: Cut,
    masks: (u64, u64),
    gear: Box<[u64]>,
    /// The same, shifted by one.
    gear_ls: Box<[u64]>,
}

impl Cutter {
    /// By the domain's key for it.
    pub(super) fn new(cut: Cut, key: &[u8; 32]) -> Self {
        let mut bytes = [0; 256 * 8];
        blake3::Hasher::new_keyed(key).finalize_xof().fill(&mut bytes);
        let gear: Box<[u64]> = bytes
            .chunks_exact(8)
            .map(|eight| eight.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            .collect();
        let gear_ls = gear.iter().map(|word| word << 1).collect();
        Self { cut, masks: select_masks(USUAL, Normalization::Level1), gear, gear_ls }
    }

    /// Cuts what is there into chunks, and answers their lengths. What is left over is shorter than the largest chunk, and
    /// begins the next call, unless this was the last: then nothing is left.
    pub(super) fn cut(&self, bytes: &[u8], is_last: bool, lengths: &mut Vec<u32>) -> usize {
        let mut at = 0;
        let most = self.cut.most();
        while at < bytes.len() && (is_last || bytes.len() - at >= most) {
            let length = self.next(&bytes[at..]);
            // A chunk has at most 1 MiB.
            lengths.push(u32::try_from(length).unwrap_or(u32::MAX));
            at += length;
        }
        at
    }

    fn next(&self, rest: &[u8]) -> usize {
        match self.cut {
            Cut::Pages(size) => rest.len().min(size as usize),
            Cut::Content => {
                let (small, large) = self.masks;
                let (_, length) = cut_gear(
                    rest,
                    LEAST,
                    USUAL,
                    MOST,
                    small,
                    large,
                    small << 1,
                    large << 1,
                    &self.gear,
                    &self.gear_ls,
                );
                length
            }
        }
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter").field("cut", &self.cut).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn all(cutter: &Cutter, bytes: &[u8]) -> Vec<u32> {
        let mut lengths = Vec::new();
        assert_eq!(cutter.cut(bytes, true, &mut lengths), bytes.len());
        lengths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_that_come_one_by_one_are_cut_alike(
            seed: u64,
            length in 0_usize..1 << 20,
            pages in any::<bool>(),
            piece in 1_usize..400_000,
        ) {
            let bytes = noise(seed, length);
            let cut = if pages { Cut::Pages(8192) } else { Cut::Content };
            let cutter = Cutter::new(cut, &[7; 32]);
            let whole = all(&cutter, &bytes);
            prop_assert_eq!(whole.iter().map(|one| *one as usize).sum::<usize>(), length);
            let (mut lengths, mut buffer) = (Vec::new(), Vec::new());
            for part in bytes.chunks(piece) {
                buffer.extend_from_slice(part);
                let done = cutter.cut(&buffer, false, &mut lengths);
                buffer.drain(..done);
                prop_assert!(buffer.len() < cut.most());
            }
            prop_assert_eq!(cutter.cut(&buffer, true, &mut lengths), buffer.len());
            prop_assert_eq!(lengths, whole);
        }
    }

    #[test]
    fn an_insertion_shifts_no_cut_for_long() {
        let bytes = noise(1, 4 << 20);
        let mut changed = bytes.clone();
        changed.splice(1000..1000, [1, 2, 3]);
        let cutter = Cutter::new(Cut::Content, &[7; 32]);
        let ends = |bytes: &[u8]| -> std::collections::HashSet<usize> {
            let mut at = 0;
            all(&cutter, bytes)
                .iter()
                .map(|one| {
                    at += *one as usize;
                    bytes.len() - at
                })
                .collect()
        };
        let (before, after) = (ends(&bytes), ends(&changed));
        assert!(before.intersection(&after).count() + 4 >= before.len());
    }

    #[test]
    fn another_key_cuts_elsewhere_and_sizes_are_within_bounds() {
        let bytes = noise(2, 4 << 20);
        let lengths = all(&Cutter::new(Cut::Content, &[7; 32]), &bytes);
        assert_ne!(lengths, all(&Cutter::new(Cut::Content, &[8; 32]), &bytes));
        let inner = &lengths[..lengths.len() - 1];
        assert!(inner.iter().all(|one| (LEAST..=MOST).contains(&(*one as usize))));
        let mean = bytes.len() / lengths.len();
        assert!((USUAL * 3 / 4..USUAL * 2).contains(&mean), "{mean}");
        // What repeats itself for ever has no cut of its own.
        assert!(
            all(&Cutter::new(Cut::Content, &[7; 32]), &vec![0; 1 << 20])
                .iter()
                .all(|one| *one as usize == MOST)
        );
    }
}
