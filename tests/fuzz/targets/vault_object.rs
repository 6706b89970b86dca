//! A sealed object: what the key did not make does not open, however near it comes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use seaworthy::vault::fuzzing::{sealed, single};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| sealed(b"what was said").expect("sealed"));

fuzz_target!(|bytes: &[u8]| {
    assert!(single(bytes).is_none());
    // One that is right but for what the input says: a length, then what is put over it from somewhere on.
    let [length, at, over @ ..] = bytes else { return };
    let mut changed = GOOD.clone();
    changed.truncate(usize::from(*length));
    for (place, byte) in changed.iter_mut().skip(usize::from(*at)).zip(over) {
        *place ^= byte;
    }
    assert_eq!(single(&changed).is_some(), changed == *GOOD);
});
