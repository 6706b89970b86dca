//! Names in a flag: what is a well-formed one. Each rule answers what is wrong, to be put behind the name of the field.

use crate::rules::names::{INSTANCE_ID_LENGTH, LABEL_LENGTH, is_instance_id, is_label};

/// Longest name of a flag.
pub const MAX_FLAG: usize = 128;
/// Longest name of a variant.
pub const MAX_VARIANT: usize = 64;
/// How names of the control plane's own flags begin.
pub const CONTROL_PLANE: &str = "control-plane.";

/// Judges the name of a flag.
///
/// # Errors
/// It is empty, too long, or has something else than `a-z`, `0-9`, `.`, `_` and `-`.
pub fn flag(name: &str) -> Result<(), String> {
    word(name, MAX_FLAG)
}

/// Judges the name of a variant.
///
/// # Errors
/// It is empty, too long, or has something else than `a-z`, `0-9`, `.`, `_` and `-`.
pub fn variant(name: &str) -> Result<(), String> {
    word(name, MAX_VARIANT)
}

/// Judges the name of a service, as a rule names it.
pub(super) fn service(name: &str) -> Result<(), String> {
    if is_label(name) {
        return Ok(());
    }
    Err(format!(
        "is no name of a service: use 1 to {LABEL_LENGTH} of a-z, 0-9 and `-`, with a letter or digit first and last"
    ))
}

/// Judges the id of an instance, as a rule names it.
pub(super) fn instance(id: &str) -> Result<(), String> {
    if is_instance_id(id) {
        return Ok(());
    }
    Err(format!(
        "is no id of an instance: use 1 to {INSTANCE_ID_LENGTH} letters, digits, `.`, `_` and `-`, with a letter or digit first"
    ))
}

fn word(name: &str, longest: usize) -> Result<(), String> {
    if name.is_empty() {
        return Err("is missing".to_owned());
    }
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if name.len() > longest || !name.bytes().all(inner) {
        return Err(format!("is not 1 to {longest} of a-z, 0-9, `.`, `_` and `-`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_a_table() {
        for (text, is_word, is_service, is_instance) in [
            ("orders", true, true, true),
            ("orders-2", true, true, true),
            ("0", true, true, true),
            ("a.b_c", true, false, true),
            (".a", true, false, false),
            ("-a", true, false, false),
            ("a-", true, false, true),
            ("_", true, false, false),
            ("Orders", false, false, true),
            ("a/b", false, false, false),
            ("a b", false, false, false),
            ("a\n", false, false, false),
            ("\u{f6}rders", false, false, false),
            ("", false, false, false),
        ] {
            let found = (flag(text).is_ok(), service(text).is_ok(), instance(text).is_ok());
            assert_eq!(found, (is_word, is_service, is_instance), "{text:?}");
            assert_eq!(variant(text).is_ok(), is_word, "{text:?}");
        }
    }

    #[test]
    fn no_name_is_longer_than_it_may_be() {
        for (judge, longest) in
            [(flag as fn(&str) -> Result<(), String>, 128), (variant, 64), (service, 63), (instance, 128)]
        {
            assert!(judge(&"a".repeat(longest)).is_ok());
            let wrong = judge(&"a".repeat(longest + 1)).unwrap_err();
            assert!(wrong.contains(&longest.to_string()), "{wrong}");
        }
    }
}
