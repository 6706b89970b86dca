//! Headers as bytes (RFC 7541): as much as it takes to say what no client library would.

/// Position of the newest entry that a sender has put into the table.
const NEWEST: u8 = 62;

/// A header that is spelled out, and kept in no table.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A header that is spelled out, and kept for [`again`].
pub fn kept(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// The newest header that was [`kept`], once more: one byte.
pub fn again() -> u8 {
    0x80 | NEWEST
}

/// What every call begins with.
pub fn call(path: &str) -> Vec<u8> {
    // POST and http are numbers of the fixed table.
    [
        vec![0x83, 0x86],
        literal(":path", path),
        literal(":authority", "server"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
    ]
    .concat()
}

/// A string behind its length, which is as many bytes as it says.
fn string(text: &str) -> Vec<u8> {
    [length(text.len()), text.as_bytes().to_vec()].concat()
}

/// A length alone: seven bits, then seven in each byte.
fn length(of: usize) -> Vec<u8> {
    if of < 127 {
        return vec![u8::try_from(of).expect("seven bits")];
    }
    let (mut bytes, mut rest) = (vec![127], of - 127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}
