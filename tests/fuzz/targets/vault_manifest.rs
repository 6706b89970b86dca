//! A manifest: whatever it seals, it is refused, or written again as it was understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::{Problem, fuzzing::manifest};

fuzz_target!(|bytes: &[u8]| {
    match manifest(bytes) {
        Ok(written) => assert_eq!(manifest(&written).expect("what was written is right"), written),
        Err(Problem::Damaged { .. }) => {}
        Err(other) => panic!("{other}"),
    }
});
