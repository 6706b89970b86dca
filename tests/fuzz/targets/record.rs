//! Records of the store: whatever lies there is refused by a reason, or read and written alike.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use seaworthy::{error::Reason, fleet::fuzzing::rewritten, store::Entry};

fuzz_target!(|bytes: &[u8]| {
    // The key is the first line, so that both are searched.
    let Some((key, value)) = split_line(bytes) else { return };
    let entry = |value: Bytes| Entry { key: key.to_owned(), value, revision: 1 };
    match rewritten(&entry(Bytes::copy_from_slice(value))) {
        None => {}
        Some(Ok(written)) => {
            let again =
                rewritten(&entry(written.clone())).expect("the same key").expect("what was written is right");
            assert_eq!(again, written);
        }
        Some(Err(wrong)) => {
            let known = [Reason::RecordDamaged, Reason::RecordTooNew];
            assert!(known.contains(&wrong.reason()), "{wrong:?}");
        }
    }
});

fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..at]).ok()?, &bytes[at + 1..]))
}
