//! The port in an address: digits alone, 1 to 65535. The standard library takes `+80` for one, and `http` takes
//! anything, and then says that there is none: whoever went by that would ask another one than was meant.

/// Where HTTP is, unless something else is said.
const DEFAULT: u16 = 80;

/// Reads a port. None: what is given is none.
pub fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port > 0)
}

/// Reads `host:port`, with an IPv6 address in brackets: without them its last group could be a port. The host is
/// answered as it is written. None: what is given is something else.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let (name, never): (_, &[char]) = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(bracketed) => (bracketed, &['[', ']']),
        None => (host, &[':', '[', ']']),
    };
    let named = !name.is_empty() && !name.contains(never);
    number(port).filter(|_| named).map(|port| (host, port))
}

/// The port that is meant in the authority of an `http` URL, 80 where none is given. None: what is given is none.
pub fn of(authority: &str) -> Option<u16> {
    let (_, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let after = match place.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.1,
        None => place.find(':').map_or("", |at| &place[at..]),
    };
    match after {
        "" => Some(DEFAULT),
        port => number(port.strip_prefix(':')?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_urls_as_a_table() {
        for (authority, port) in [
            ("db", Some(80)),
            ("db:8080", Some(8080)),
            ("[::1]", Some(80)),
            ("[::1]:65535", Some(65535)),
            ("user:1@db:2", Some(2)),
            ("user:1@db", Some(80)),
            ("db:65536", None),
            ("db:0", None),
            ("db:", None),
            ("db:+80", None),
            ("[::1]:99999", None),
        ] {
            let parsed: http::uri::Authority = authority.parse().expect("http takes it");
            assert_eq!(of(parsed.as_str()), port, "{authority}");
        }
    }

    #[test]
    fn hosts_with_ports_as_a_table() {
        for (address, found) in [
            ("10.0.0.7:80", Some(("10.0.0.7", 80))),
            ("db:65535", Some(("db", 65535))),
            ("[::1]:1", Some(("[::1]", 1))),
            ("[fe80::1%eth0]:080", Some(("[fe80::1%eth0]", 80))),
            ("db:+80", None),
            ("db:-1", None),
            ("db: 80", None),
            ("db:0", None),
            ("db:65536", None),
            ("db:\u{661}", None),
            ("db:", None),
            ("db", None),
            (":80", None),
            ("[]:80", None),
            // Each could be an address alone.
            ("::1", None),
            ("::1:80", None),
            ("2001:db8::7:8080", None),
            ("[::1]", None),
            ("[::1:80", None),
            ("::1]:80", None),
            ("[[::1]]:80", None),
            ("", None),
        ] {
            assert_eq!(host_and_port(address), found, "{address}");
        }
    }
}
