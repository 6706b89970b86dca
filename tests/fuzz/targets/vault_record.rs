//! The text of a record: whatever it is, its chunks lie beside each other in it, or it is refused; and it is compressed and
//! comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::fuzzing::{compressed, record};

fuzz_target!(|bytes: &[u8]| {
    if let Some(chunks) = record(bytes) {
        assert!((1..=64).contains(&chunks));
    }
    compressed(bytes).expect("it comes back");
});
