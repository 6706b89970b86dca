//! What an instance may say of itself when it registers: words, an address, labels. Each rule answers what is
//! wrong, to be put behind the name of the field. Names of services, instances and components are not judged here.

use super::port;

/// Most labels of an instance.
pub const MAX_LABELS: usize = 32;
/// Longest version, in characters.
pub const MAX_VERSION: usize = 128;
/// Longest zone, and longest kind of a component, in characters.
pub const MAX_WORD: usize = 63;
/// Longest address, in bytes.
pub const MAX_ADDRESS: usize = 256;
/// Longest key of a label, in bytes.
pub const MAX_LABEL_KEY: usize = 63;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE: usize = 256;

/// Judges free text of up to so many characters.
///
/// # Errors
/// It is longer, or has control characters.
pub fn text(text: &str, longest: usize) -> Result<(), String> {
    if text.chars().count() > longest {
        return Err(format!("is longer than {longest} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters".to_owned());
    }
    Ok(())
}

/// Judges where others reach an instance: `host:port`, or nothing.
///
/// # Errors
/// It is something else, or too long.
pub fn address(address: &str) -> Result<(), String> {
    if address.is_empty() {
        return Ok(());
    }
    let clean = address.len() <= MAX_ADDRESS && !address.chars().any(|c| c.is_control() || c.is_whitespace());
    match port::host_and_port(address) {
        Some(_) if clean => Ok(()),
        _ => Err(format!(
            "is not host:port of up to {MAX_ADDRESS} bytes, such as 10.0.0.7:8080 or [2001:db8::7]:8080"
        )),
    }
}

/// Judges the key of a label.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn label_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > MAX_LABEL_KEY || key.chars().any(char::is_control) {
        return Err(format!("has a key that is not 1 to {MAX_LABEL_KEY} bytes without control characters"));
    }
    Ok(())
}

/// Judges the value of a label.
///
/// # Errors
/// It is too long, or has control characters.
pub fn label_value(value: &str) -> Result<(), String> {
    if value.len() > MAX_LABEL_VALUE || value.chars().any(char::is_control) {
        return Err(format!(
            "has a value that is not up to {MAX_LABEL_VALUE} bytes without control characters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_said_as_a_table() {
        let long = |length: usize| "x".repeat(length);
        for (right, found) in [
            (true, text("", 3)),
            // Characters are counted, not bytes.
            (true, text("\u{e9}\u{e9}\u{e9}", 3)),
            (false, text("abcd", 3)),
            (false, text("a\nb", 3)),
            (true, address("")),
            (true, address("10.0.0.7:8080")),
            (true, address("[::1]:1")),
            (true, address("db.internal:65535")),
            (false, address("10.0.0.7")),
            (false, address(":8080")),
            (false, address("db:0")),
            (false, address("db:65536")),
            (false, address("db:")),
            (false, address("db:+80")),
            (false, address("::1")),
            (false, address("::1:80")),
            (false, address("d b:80")),
            (false, address("db\u{0}:80")),
            (true, address(&format!("{}:80", long(253)))),
            (false, address(&format!("{}:80", long(254)))),
            // Bytes are counted, not characters.
            (false, address(&format!("{}:80", "\u{e9}".repeat(127)))),
            (true, label_key(&long(63))),
            (false, label_key(&long(64))),
            (false, label_key("")),
            (false, label_key("a\tb")),
            (true, label_value("")),
            (true, label_value(&long(256))),
            (false, label_value(&long(257))),
            (false, label_value("a\u{7f}")),
        ] {
            assert_eq!(found.is_ok(), right, "{found:?}");
        }
    }
}
