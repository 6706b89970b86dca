//! Whether a record is worth being compressed, and doing it: zstd at its quickest level, after a probe of a few pieces.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use super::{
    problem::{Problem, Result},
    table::Compression,
};

/// Level of zstd: the quickest, which halves what databases keep.
const LEVEL: i32 = 1;
/// Bytes of each piece that is tried.
const PROBE: usize = 4 << 10;
/// How many pieces are tried.
const PROBES: usize = 3;
/// What has to be saved, in hundredths, for it to pay.
const WORTH: usize = 4;

thread_local! {
    /// Its tables are larger than most records: made once for each thread.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    /// Where compressed text comes to be, before it is known how long it is.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The text of a record as it is to be sealed, with room for `room` bytes more. `may` is false where nobody need try.
pub(super) fn text(plain: &[u8], may: bool, room: usize) -> Result<(Vec<u8>, Compression)> {
    if may && probe(plain)? {
        let compressed = with(|compressor, scratch| {
            // Into room that nobody has filled with zeros before.
            scratch.clear();
            scratch.reserve(zstd::zstd_safe::compress_bound(plain.len()));
            compressor.compress_to_buffer(plain, scratch).map_err(|error| failed(&error))?;
            Ok(pays(scratch.len(), plain.len()).then(|| exact(scratch, room)))
        })?;
        if let Some(text) = compressed {
            return Ok((text, Compression::Zstd));
        }
    }
    Ok((exact(plain, room), Compression::None))
}

/// What a compressed text was, which is at most so long. None: it is no such text.
pub(super) fn plain(text: &[u8], length: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            None => decompressor.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress(text, length).ok()
    })
}

fn exact(text: &[u8], room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + room);
    out.extend_from_slice(text);
    out
}

/// Whether a few pieces of it become smaller.
fn probe(plain: &[u8]) -> Result<bool> {
    if plain.len() <= PROBE * PROBES {
        return Ok(true);
    }
    with(|compressor, scratch| {
        scratch.reserve(zstd::zstd_safe::compress_bound(PROBE));
        let step = (plain.len() - PROBE) / (PROBES - 1);
        let mut total = 0;
        for at in 0..PROBES {
            let piece = &plain[at * step..at * step + PROBE];
            scratch.clear();
            total += compressor.compress_to_buffer(piece, scratch).map_err(|error| failed(&error))?;
        }
        Ok(pays(total, PROBE * PROBES))
    })
}

fn pays(compressed: usize, plain: usize) -> bool {
    compressed < plain - plain * WORTH / 100
}

fn failed(error: &std::io::Error) -> Problem {
    Problem::Internal(format!("zstd: {error}"))
}

fn with<T>(work: impl FnOnce(&mut Compressor<'static>, &mut Vec<u8>) -> Result<T>) -> Result<T> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            None => {
                let mut made = Compressor::new(LEVEL).map_err(|error| failed(&error))?;
                // The record says how long it is, and its tag that it is whole.
                made.include_contentsize(false).map_err(|error| failed(&error))?;
                made.include_checksum(false).map_err(|error| failed(&error))?;
                compressor.insert(made)
            }
        };
        SCRATCH.with_borrow_mut(|scratch| work(compressor, scratch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_become_smaller_stays_as_it_is() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (text, compression) = text(&noise, true, 16).unwrap();
        assert_eq!((text.len(), compression), (noise.len(), Compression::None));
        let words = b"the quick brown fox ".repeat(50_000);
        let (compressed, compression) = super::text(&words, true, 16).unwrap();
        assert_eq!(compression, Compression::Zstd);
        assert!(compressed.len() < words.len() / 10 && compressed.capacity() >= compressed.len() + 16);
        assert_eq!(zstd::bulk::decompress(&compressed, words.len()).unwrap(), words);
        assert_eq!(super::text(&words, false, 0).unwrap().1, Compression::None);
    }
}
