//! Readers of single values, with their bounds. An error says what would be right; which value, and
//! who wrote it, is added by the draft.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{parse_duration, parse_size, show_duration, show_size};

pub(super) type Read<T> = Result<T, String>;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const TENTH: Duration = Duration::from_millis(100);
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// Puts what was read in its place.
pub(super) fn put<T>(place: &mut T, read: Read<T>) -> Read<()> {
    *place = read?;
    Ok(())
}

pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Read<Duration> {
    let duration = parse_duration(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be between {} and {}", show_duration(least), show_duration(most)))
}

pub(super) fn size<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Read<T> {
    let bytes = parse_size(text)?;
    let fits = (least..=most).contains(&bytes).then(|| T::try_from(bytes).ok()).flatten();
    fits.ok_or_else(|| format!("must be between {} and {}", show_size(least), show_size(most)))
}

pub(super) fn count(text: &str, most: usize) -> Read<NonZeroUsize> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= most);
    count.ok_or_else(|| format!("must be a whole number between 1 and {most}"))
}

pub(super) fn small_count(text: &str, most: u32) -> Read<NonZeroU32> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= most);
    count.ok_or_else(|| format!("must be a whole number between 1 and {most}"))
}

pub(super) fn address(text: &str) -> Read<SocketAddr> {
    text.parse().map_err(|_| {
        "is not an address to listen on; write an IP address and a port, like 127.0.0.1:50051 or \
         [::1]:50051 (port 0 takes a free one)"
            .to_owned()
    })
}

/// Most networks of a list.
const MAX_NETWORKS: usize = 256;

/// Networks in a row, with commas between them.
pub(super) fn networks(text: &str) -> Read<Vec<IpNet>> {
    let written = text.split(',').map(str::trim).filter(|network| !network.is_empty());
    let mut found = Vec::new();
    for network in written {
        let parsed: IpNet = network.parse().map_err(|_| {
            format!(
                "has {network:?}, which is not a network; write an address and a length, like 10.1.0.0/16"
            )
        })?;
        if parsed.trunc() != parsed {
            return Err(format!(
                "has {network}, which begins in the middle of a network; write {}",
                parsed.trunc()
            ));
        }
        if let IpNet::V6(v6) = parsed
            && v6.prefix_len() >= 96
            && let Some(v4) = v6.addr().to_ipv4_mapped()
        {
            return Err(format!(
                "has {network}, which are IPv4 addresses as IPv6 writes them, and would never match; write \
                 {v4}/{}",
                v6.prefix_len() - 96
            ));
        }
        if found.contains(&parsed) {
            return Err(format!("has {network} twice"));
        }
        found.push(parsed);
    }
    if found.len() > MAX_NETWORKS {
        return Err(format!("has {} networks; {MAX_NETWORKS} are the most", found.len()));
    }
    Ok(found)
}

/// As [`networks`] reads them.
pub(super) fn show_networks(networks: &[IpNet]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn truth(text: &str) -> Read<bool> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

pub(super) fn path(text: &str) -> Read<PathBuf> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.into()) }
}

/// Takes empty text for none.
pub(super) fn optional<T>(text: &str, read: fn(&str) -> Read<T>) -> Read<Option<T>> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_as_a_table() {
        for (text, count, wrong) in [
            ("", 0, ""),
            ("10.1.0.0/16, fd00::/8", 2, ""),
            ("10.1.2.0/16", 0, "write 10.1.0.0/16"),
            ("10.1.0.0/16, 10.1.0.0/16", 0, "twice"),
            ("10.1.0.0", 0, "not a network"),
            // It would never match: addresses are compared as IPv4.
            ("::ffff:10.1.0.0/112", 0, "write 10.1.0.0/16"),
        ] {
            match networks(text) {
                Ok(found) => assert!(found.len() == count && wrong.is_empty(), "{text:?}: {found:?}"),
                Err(error) => assert!(!wrong.is_empty() && error.contains(wrong), "{text:?}: {error}"),
            }
        }
    }
}
