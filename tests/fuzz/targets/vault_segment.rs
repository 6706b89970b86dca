//! A segment of the index: whatever it seals, all that was read of it is found again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::fuzzing::segment;

fuzz_target!(|bytes: &[u8]| {
    if let Some(packs) = segment(bytes) {
        // Each takes its name, its size and two counts.
        assert!(packs * 44 <= bytes.len());
    }
});
