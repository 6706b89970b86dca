//! Names: what is a well-formed one, and the instance id of a process that was not given any.

use crate::rt;

/// Longest DNS label.
const LABEL_LENGTH: usize = 63;
/// Longest instance id.
const INSTANCE_ID_LENGTH: usize = 128;
/// Most of a host name that goes into an instance id.
const HOST_LENGTH: usize = 80;

/// Whether it is a DNS label: lower-case letters, digits and inner hyphens, 1 to 63 characters.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_LENGTH
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether it can be an instance id: letters, digits, `.`, `_` and `-`, beginning with a letter or
/// digit, 1 to 128 characters.
pub(super) fn is_instance_id(text: &str) -> bool {
    text.len() <= INSTANCE_ID_LENGTH
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// An id that no other process has: `web-3-4711-9f2c61`.
pub(super) fn instance_id() -> String {
    let host = gethostname::gethostname();
    let random = rt::random_hex::<3>();
    from_parts(&host.to_string_lossy(), std::process::id(), random.as_deref())
}

fn from_parts(host: &str, pid: u32, random: Option<&str>) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let host: String = host.chars().take(HOST_LENGTH).map(allowed).collect();
    let host = match host.trim_start_matches(['.', '_', '-']) {
        "" => "instance",
        host => host,
    };
    match random {
        Some(random) => format!("{host}-{pid}-{random}"),
        None => format!("{host}-{pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn ids_of_one_process_differ() {
        assert_ne!(instance_id(), instance_id());
    }

    proptest! {
        #[test]
        fn whatever_the_host_is_called_the_id_is_well_formed(host in ".{0,300}", pid: u32) {
            let id = from_parts(&host, pid, Some("0a1b2c"));
            prop_assert!(is_instance_id(&id), "{id}");
        }
    }
}
