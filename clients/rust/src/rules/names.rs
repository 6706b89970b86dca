//! Names: what is a well-formed one.

/// Longest DNS label: the name of a service, a component, a policy.
pub const LABEL_LENGTH: usize = 63;
/// Longest instance id.
pub const INSTANCE_ID_LENGTH: usize = 128;

/// Whether it is a DNS label: lower-case letters, digits and inner hyphens, 1 to 63 characters.
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_LENGTH
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether it can be an instance id: letters, digits, `.`, `_` and `-`, beginning with a letter or
/// digit, 1 to 128 characters.
pub fn is_instance_id(text: &str) -> bool {
    text.len() <= INSTANCE_ID_LENGTH
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_ids_as_a_table() {
        for (text, label, id) in [
            ("orders", true, true),
            ("orders-2", true, true),
            ("", false, false),
            ("-orders", false, false),
            ("orders-", false, true),
            ("Orders", false, true),
            ("a.b_c", false, true),
            ("a b", false, false),
            ("ördners", false, false),
        ] {
            assert_eq!((is_label(text), is_instance_id(text)), (label, id), "{text:?}");
        }
        assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)));
        assert!(is_instance_id(&"a".repeat(128)) && !is_instance_id(&"a".repeat(129)));
    }
}
