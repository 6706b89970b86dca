//! A dependency that answers HTTP. The request is written by hand over one connection, and only the
//! status line is read: that is all a check needs, and it asks for no HTTP client.

use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{Check, Report, rules::port};

/// Longest status line that is read, in bytes.
const MAX_STATUS_LINE: usize = 1024;

/// Checks that a plain `http://` URL answers a GET. A 2xx is healthy, 429 is degraded (it lives, but
/// has too much to do), anything else is unhealthy; redirects are not followed. How long to wait is the
/// component's timeout.
///
/// Details: `status`.
pub fn http(url: impl Into<String>) -> Check {
    let url = url.into();
    match Target::parse(&url) {
        Some(target) => Check::new(move || {
            let target = target.clone();
            async move { ask(&target, &[]).await }
        }),
        None => Check::invalid(format!("is for `{url}`; it must be like http://host:port/path")),
    }
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `host:port`, to connect to.
    pub(super) address: String,
    /// For the Host header.
    pub(super) authority: String,
    path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let named = uri.scheme_str() == Some("http") && !authority.host().is_empty();
        // A user and password would only be left in logs.
        let plain = !authority.as_str().contains('@');
        let port = port::of(authority.as_str())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        (named && plain).then(|| Self {
            address: format!("{}:{}", authority.host(), port),
            authority: authority.to_string(),
            path,
        })
    }
}

/// Asks once. `expected`: the statuses that are healthy; none for 200 to 299.
async fn ask(target: &Target, expected: &[u16]) -> Report {
    let Target { address, authority, path } = target;
    match TcpStream::connect(address).await {
        Ok(connection) => ask_over(connection, authority, path, expected).await,
        Err(error) => broken(authority, path, &error),
    }
}

/// Asks once over a connection, and closes it.
pub(super) async fn ask_over(connection: TcpStream, authority: &str, path: &str, expected: &[u16]) -> Report {
    match status(connection, authority, path).await {
        Ok(status) => judge(authority, path, status, expected),
        Err(error) => broken(authority, path, &error),
    }
}

fn broken(authority: &str, path: &str, error: &std::io::Error) -> Report {
    Report::unhealthy(format!("cannot ask http://{authority}{path}: {error}"))
}

fn judge(authority: &str, path: &str, status: u16, expected: &[u16]) -> Report {
    let says = || format!("http://{authority}{path} answered {status}");
    let report = match status {
        200..=299 if expected.is_empty() => Report::healthy(),
        _ if expected.contains(&status) => Report::healthy(),
        429 => Report::degraded(says()),
        _ => Report::unhealthy(says()),
    };
    report.detail("status", status)
}

async fn status(mut connection: TcpStream, authority: &str, path: &str) -> std::io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: seaworthy-client\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(64);
    let mut chunk = [0; 256];
    while !line.contains(&b'\n') && line.len() < MAX_STATUS_LINE {
        match connection.read(&mut chunk).await? {
            0 => break,
            read => line.extend_from_slice(&chunk[..read]),
        }
    }
    parse_status(&line).ok_or_else(|| std::io::Error::other("the answer is not HTTP/1"))
}

/// `HTTP/1.1 200 OK` is 200.
fn parse_status(line: &[u8]) -> Option<u16> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.trim_end().splitn(3, ' ');
    let (version, status) = (words.next()?, words.next()?);
    let three_digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    (version.starts_with("HTTP/1.") && three_digits).then(|| status.parse().ok())?
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{HealthState, rt};

    #[test]
    fn urls_as_a_table() {
        for (url, address) in [
            ("http://127.0.0.1:8080/health", Some("127.0.0.1:8080")),
            ("http://payments", Some("payments:80")),
            ("http://[::1]:9000/", Some("[::1]:9000")),
            ("http://[::1]/", Some("[::1]:80")),
            ("http://db:65535/", Some("db:65535")),
            ("http://db:99999/", None),
            ("http://db:65536", None),
            ("http://[::1]:65536/", None),
            ("http://db:0/", None),
            ("http://db:+80/", None),
            ("http://db:/", None),
            ("https://payments/", None),
            ("payments:80/health", None),
            ("http://user:secret@payments/", None),
            ("http://", None),
            ("", None),
        ] {
            let parsed = Target::parse(url).map(|target| target.address);
            assert_eq!(parsed.as_deref(), address, "{url}");
        }
    }

    #[test]
    fn status_lines_as_a_table() {
        for (line, status) in [
            ("HTTP/1.1 200 OK\r\nServer: x", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/1.1 200 OK", Some(200)),
            ("HTTP/2 200 OK\r\n", None),
            ("HTTP/1.1 +20 OK\r\n", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("SSH-2.0-OpenSSH_9.6\r\n", None),
            ("", None),
        ] {
            assert_eq!(parse_status(line.as_bytes()), status, "{line:?}");
        }
    }

    /// A server that answers every connection with these bytes.
    async fn server(answer: Vec<u8>) -> (String, rt::Task<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/health?full", listener.local_addr().expect("an address"));
        let task = rt::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let read = peer.read(&mut request).await.expect("a request");
                assert!(request[..read].starts_with(b"GET /health?full HTTP/1.1\r\nHost: 127.0.0.1:"));
                // The checker may have gone before all is written.
                peer.write_all(&answer).await.ok();
            }
        });
        (url, task)
    }

    #[tokio::test]
    async fn answers_are_judged() {
        for (answer, state) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", HealthState::Healthy),
            ("HTTP/1.1 429 Too Many Requests\r\n\r\n", HealthState::Degraded),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", HealthState::Unhealthy),
            ("HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", HealthState::Unhealthy),
            ("hello\n", HealthState::Unhealthy),
        ] {
            let (url, _task) = server(answer.into()).await;
            let report = http(url).run().await;
            assert_eq!(report.state(), state, "{answer:?}: {}", report.message());
        }
    }

    #[tokio::test]
    async fn an_endless_status_line_is_not_read_to_its_end() {
        let (url, _task) = server(vec![b'x'; 1 << 20]).await;
        assert_eq!(http(url).run().await.state(), HealthState::Unhealthy);
    }
}
