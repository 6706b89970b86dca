//! The port in an address like `http://host:port`. `http` takes anything for one, and then says that there is
//! none: whoever went by that would ask another one than was meant.

use http::uri::Authority;

/// Where HTTP is, unless something else is said.
const DEFAULT: u16 = 80;

/// The port that is meant. None: what is given is none.
pub(crate) fn of(authority: &Authority) -> Option<u16> {
    let text = authority.as_str();
    let (_, after) = text.rsplit_once('@').unwrap_or(("", text));
    match after.strip_prefix(authority.host())? {
        "" => Some(DEFAULT),
        port => {
            let digits = port.strip_prefix(':')?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|port| plain && *port > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_a_table() {
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
            let authority: Authority = authority.parse().expect("http takes it");
            assert_eq!(of(&authority), port, "{authority}");
        }
    }
}
