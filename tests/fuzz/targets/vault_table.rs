//! The table of a pack, and where it is found: whatever is sealed in a trailer, what was read is what is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::fuzzing::{table, trailer};

fuzz_target!(|bytes: &[u8]| {
    if let Some(written) = table(bytes) {
        assert_eq!(written, bytes);
    }
    // As if they were the end of a pack, of this size and of a larger one.
    let size = bytes.len() as u64;
    trailer(bytes, size);
    trailer(bytes, size + 112);
});
