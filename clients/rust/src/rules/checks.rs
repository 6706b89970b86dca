//! What an active check may be: how often it asks, whom and what. Each rule answers what is wrong, to be put
//! behind the name of the field. Whom the control plane may ask is up to its operator, and not judged here.

use std::{fmt, net::IpAddr, time::Duration};

/// How often it asks where nothing else was said.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// How often it may ask: at the least, and at the most.
pub const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long an answer may take: the least and the most. A run holds one of few places for as long.
pub const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
/// How long an answer may take where nothing else was said, and the interval is no shorter than twice that.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest name that a gRPC server is asked for, in bytes.
const MAX_SERVICE: usize = 256;
/// Longest path.
const MAX_PATH: usize = 1024;
/// Most statuses that are expected.
const MAX_STATUSES: usize = 16;
/// Longest name of a host.
const MAX_HOST: usize = 253;
/// Longest label of a name.
const MAX_LABEL: usize = 63;

/// How long an answer may take where nothing else was said: 1 s, or half of a shorter interval.
pub fn default_timeout(interval: Duration) -> Duration {
    DEFAULT_TIMEOUT.min(interval / 2)
}

/// Judges how often it asks.
///
/// # Errors
/// It is too often or too seldom.
pub fn interval(interval: Duration) -> Result<(), String> {
    between(interval, INTERVALS)
}

/// Judges how long an answer may take.
///
/// # Errors
/// It is too short, too long, or not shorter than the interval.
pub fn timeout(timeout: Duration, interval: Duration) -> Result<(), String> {
    between(timeout, TIMEOUTS)?;
    if timeout >= interval {
        return Err(format!("is {timeout:?}; it must be shorter than the interval, {interval:?}"));
    }
    Ok(())
}

fn between(time: Duration, (least, most): (Duration, Duration)) -> Result<(), String> {
    if time < least || time > most {
        return Err(format!("is {time:?}; use {least:?} to {most:?}"));
    }
    Ok(())
}

/// Judges the name that a gRPC server is asked for; empty for the server as a whole.
///
/// # Errors
/// It is too long, or cannot be printed.
pub fn grpc_service(name: &str) -> Result<(), String> {
    if name.len() > MAX_SERVICE || name.chars().any(char::is_control) {
        return Err(format!("has up to {MAX_SERVICE} bytes, none of them a control character"));
    }
    Ok(())
}

/// Judges the path of an HTTP request; empty for `/`. It is sent as it is, so nothing in it may end a line.
///
/// # Errors
/// It is no path, or too long.
pub fn http_path(path: &str) -> Result<(), String> {
    let plain = path.is_empty() || path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || path.len() > MAX_PATH {
        return Err(format!(
            "is not a path of up to {MAX_PATH} printable ASCII characters that begins with a slash; \
             encode others with %"
        ));
    }
    Ok(())
}

/// Judges how many HTTP statuses are expected.
///
/// # Errors
/// They are too many.
pub fn http_statuses(count: usize) -> Result<(), String> {
    if count > MAX_STATUSES {
        return Err(format!("has {count} entries; {MAX_STATUSES} are the most"));
    }
    Ok(())
}

/// Reads one HTTP status that is expected.
///
/// # Errors
/// It is none that could end a request.
pub fn http_status(status: u32) -> Result<u16, String> {
    let found = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
    found.ok_or_else(|| format!("is {status}; use 200 to 599"))
}

/// Whom to ask.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// The address that the registration came from.
    Peer,
    /// This address.
    Ip(IpAddr),
    /// Whatever this name means when it is asked: a DNS name in lower case.
    Name(String),
}

impl Host {
    /// Reads an address or a name; empty for the peer.
    ///
    /// # Errors
    /// It is neither; the words say what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Host::Peer);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip.to_canonical()));
        }
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let edge = |end: &str| !end.starts_with('-') && !end.ends_with('-');
            (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(inner) && edge(label)
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() <= MAX_HOST && name.split('.').all(label) {
            return Ok(Host::Name(name.to_ascii_lowercase()));
        }
        Err("is neither an IP address nor a DNS name; write it without a port, like 10.0.0.7 or db.internal"
            .to_owned())
    }
}

impl fmt::Display for Host {
    /// As [`Host::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Peer => Ok(()),
            Host::Ip(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn hosts_as_a_table() {
        for (text, host) in [
            ("", Some(Host::Peer)),
            ("10.0.0.7", Some(Host::Ip([10, 0, 0, 7].into()))),
            ("::ffff:10.0.0.7", Some(Host::Ip([10, 0, 0, 7].into()))),
            ("::1", Some(Host::Ip(Ipv6Addr::LOCALHOST.into()))),
            ("DB.Internal.", Some(Host::Name("db.internal".into()))),
            ("db_1", Some(Host::Name("db_1".into()))),
            ("db:5432", None),
            ("[::1]", None),
            ("a b", None),
            ("a..b", None),
            ("-a", None),
            ("a\r\nX: y", None),
            (".", None),
        ] {
            assert_eq!(Host::parse(text).ok(), host, "{text:?}");
        }
        assert!(Host::parse(&"a.".repeat(127)).is_ok() && Host::parse(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn what_is_asked_and_how_often_as_a_table() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let millis = Duration::from_millis;
        for (right, found) in [
            (true, interval(second)),
            (true, interval(minute * 60)),
            (false, interval(millis(999))),
            (false, interval(minute * 60 + millis(1))),
            (true, timeout(millis(10), second)),
            (true, timeout(minute / 2, minute)),
            (false, timeout(millis(9), second)),
            (false, timeout(minute / 2 + millis(1), minute)),
            (false, timeout(second, second)),
            (true, timeout(default_timeout(second), second)),
            (true, grpc_service("")),
            (true, grpc_service(&"s".repeat(256))),
            (false, grpc_service(&"s".repeat(257))),
            // Bytes are counted, not characters.
            (false, grpc_service(&"\u{e9}".repeat(129))),
            (false, grpc_service("a\nb")),
            (true, http_path("")),
            (true, http_path("/health?full=1")),
            (true, http_path(&format!("/{}", "x".repeat(1023)))),
            (false, http_path(&format!("/{}", "x".repeat(1024)))),
            (false, http_path("health")),
            (false, http_path("/a b")),
            (false, http_path("/\r\nhost: other")),
            (true, http_statuses(16)),
            (false, http_statuses(17)),
            (true, http_status(200).map(drop)),
            (true, http_status(599).map(drop)),
            (false, http_status(199).map(drop)),
            (false, http_status(600).map(drop)),
            (false, http_status(65_736).map(drop)),
        ] {
            assert_eq!(found.is_ok(), right, "{found:?}");
        }
    }
}
