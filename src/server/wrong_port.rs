//! What somebody is told who speaks HTTP/1 to the gRPC port, or gRPC to the HTTP port.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::preface::{self, Begun, Speaks};

/// Bytes that are read of somebody who came to the wrong port.
const MOST: usize = 64 * 1024;
/// First byte of TLS: a handshake record.
const TLS: u8 = 0x16;
/// Bytes that are read of it at once.
const AT_ONCE: usize = 1024;
/// End of the head of an HTTP/1 request.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// An empty SETTINGS frame: what a server must say first (RFC 9113, 3.4).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Type of a GOAWAY frame.
const GOAWAY: u8 = 7;
/// The error code that asks to speak HTTP/1 (RFC 9113, 7).
const HTTP_1_1_REQUIRED: u8 = 0xd;

/// Waits for HTTP/2. HTTP/1 is answered with a text that names `http_port`. Bound it with a deadline.
///
/// # Errors
/// The client went away, or speaks something else.
pub(super) async fn expect_http2(stream: TcpStream, http_port: u16) -> io::Result<Begun> {
    let begun = match preface::read(stream).await? {
        Speaks::Http2(begun) => return Ok(begun),
        Speaks::Other(begun) => begun,
    };
    Err(wrong(match begun.said().first() {
        Some(&TLS) => "TLS was spoken, and this port has none",
        Some(byte) if byte.is_ascii_uppercase() => {
            send_to_http(begun, http_port).await?;
            "HTTP/1 was spoken to the gRPC port"
        }
        _ => "not an HTTP/2 preface",
    }))
}

/// Waits for anything but HTTP/2, which is answered by a GOAWAY that names `grpc_port`. Bound it with a
/// deadline.
///
/// # Errors
/// The client went away, or speaks HTTP/2.
pub(super) async fn expect_http1(stream: TcpStream, grpc_port: u16) -> io::Result<Begun> {
    match preface::read(stream).await? {
        Speaks::Other(begun) => Ok(begun),
        Speaks::Http2(mut begun) => {
            begun.write_all(&send_to_grpc(grpc_port)).await?;
            let_go(begun).await?;
            Err(wrong("HTTP/2 was spoken to the HTTP port"))
        }
    }
}

async fn send_to_http(mut begun: Begun, http_port: u16) -> io::Result<()> {
    // Somebody who still sends may not look at the answer.
    let (mut end, mut read, mut bytes) = (EndOfHead::default(), 0, [0; AT_ONCE]);
    while read < MOST {
        let count = begun.read(&mut bytes).await?;
        if count == 0 || end.comes_in(&bytes[..count]) {
            break;
        }
        read += count;
    }
    let text = format!("this is the gRPC port, which speaks HTTP/2; HTTP is on port {http_port}\n");
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    begun.write_all(answer.as_bytes()).await?;
    let_go(begun).await
}

/// How much of the end of a head has come last. Each byte is looked at once, however few of them come together.
#[derive(Debug, Default)]
struct EndOfHead(usize);

impl EndOfHead {
    /// Goes on by these bytes; true if the head ends in them.
    fn comes_in(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| {
            self.0 = match *byte {
                byte if byte == END_OF_HEAD[self.0] => self.0 + 1,
                // It may begin anew with the byte that did not go on with it.
                byte => usize::from(byte == END_OF_HEAD[0]),
            };
            self.0 == END_OF_HEAD.len()
        })
    }
}

fn send_to_grpc(grpc_port: u16) -> Vec<u8> {
    let text = format!("this is the HTTP port; gRPC is on port {grpc_port}");
    // Last stream (none) and error code come before the text. It is short: one byte holds its length.
    let payload = [&[0, 0, 0, 0, 0, 0, 0, HTTP_1_1_REQUIRED], text.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    [SETTINGS, &[0, 0, length, GOAWAY, 0, 0, 0, 0, 0], &payload[..length.into()]].concat()
}

/// Closes so that what was sent is still read: bytes that nobody reads would reset the connection.
async fn let_go(mut begun: Begun) -> io::Result<()> {
    begun.shutdown().await?;
    let mut rest = Vec::new();
    while rest.len() < MOST && begun.read_buf(&mut rest).await? > 0 {}
    Ok(())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_in_whatever_pieces_it_comes() {
        for (head, ends) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\nbody", true),
            ("GET / HTTP/1.1\r\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\r\r\n\r\n", true),
            ("GET / HTTP/1.1\n\n", false),
            ("GET / HTTP/1.1\r\n\r", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n", false),
            ("GET / HTTP/1.1\r\n \r\n", false),
        ] {
            assert_eq!(EndOfHead::default().comes_in(head.as_bytes()), ends, "{head:?}");
            for at in 0..head.len() {
                let (first, second) = head.as_bytes().split_at(at);
                let mut end = EndOfHead::default();
                assert_eq!(end.comes_in(first) || end.comes_in(second), ends, "{head:?} in two at {at}");
            }
            let mut end = EndOfHead::default();
            assert_eq!(head.bytes().any(|byte| end.comes_in(&[byte])), ends, "{head:?}, byte by byte");
        }
    }

    #[test]
    fn the_longest_port_fits_its_frame() {
        let frames = send_to_grpc(u16::MAX);
        let goaway = &frames[SETTINGS.len()..];
        assert_eq!(usize::from(goaway[2]) + 9, goaway.len());
        assert!(goaway.ends_with(b"gRPC is on port 65535"));
    }
}
