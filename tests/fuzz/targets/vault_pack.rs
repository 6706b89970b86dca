//! A whole pack by somebody who has the key: whatever its trailer says and its records hold, it is read or refused, the same
//! both ways, in bounds and without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::fuzzing::whole_pack;

fuzz_target!(|bytes: &[u8]| {
    // How long the trailer is, then it, then what the records hold.
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let (trailer, records) = rest.split_at(length.min(rest.len()));
    whole_pack(trailer, records).expect("randomness");
});
