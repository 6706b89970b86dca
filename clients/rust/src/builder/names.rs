//! The instance id of a process that was not given any.

use crate::rt;

/// Most of a host name that goes into an instance id.
const HOST_LENGTH: usize = 80;

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
    use proptest::prelude::*;

    use super::*;
    use crate::rules::names::is_instance_id;

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
