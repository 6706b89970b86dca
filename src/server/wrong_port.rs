//! What somebody is told who speaks HTTP/1 to the gRPC port, gRPC to the HTTP port, TLS where there is none, or
//! none where there is.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    preface::{self, Begun, Speaks},
    transport::Transport,
};

/// Bytes that are read of somebody who came to the wrong port.
const MOST: usize = 64 * 1024;
/// First byte of TLS: a record of a handshake (RFC 8446, 5.1).
pub(super) const HANDSHAKE: u8 = 0x16;
/// A fatal alert of TLS, `protocol_version`: no version of TLS is spoken here (RFC 8446, 6).
const NO_VERSION: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
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
/// The error code that asks for encryption (RFC 9113, 7).
const INADEQUATE_SECURITY: u8 = 0xc;

/// Waits for HTTP/2. HTTP/1 is answered with a text that names `http_port`, TLS within this connection by an alert.
/// Bound it with a deadline.
///
/// # Errors
/// The client went away, or speaks something else.
pub(super) async fn expect_http2(stream: Transport, http_port: u16) -> io::Result<Begun> {
    let begun = match preface::read(stream).await? {
        Speaks::Http2(begun) => return Ok(begun),
        Speaks::Other(begun) => begun,
    };
    Err(wrong(match begun.said().first() {
        Some(&HANDSHAKE) => return Err(with_tls(begun).await),
        Some(byte) if byte.is_ascii_uppercase() => {
            let text = format!("this is the gRPC port, which speaks HTTP/2; HTTP is on port {http_port}\n");
            bad_request(begun, &text).await?;
            "HTTP/1 was spoken to the gRPC port"
        }
        _ => "not an HTTP/2 preface",
    }))
}

/// Waits for anything but HTTP/2, which is answered by a GOAWAY that names `grpc_port`, and TLS within this connection,
/// which is answered by an alert. Bound it with a deadline.
///
/// # Errors
/// The client went away, or speaks HTTP/2 or TLS.
pub(super) async fn expect_http1(stream: Transport, grpc_port: u16) -> io::Result<Begun> {
    match preface::read(stream).await? {
        Speaks::Other(begun) if begun.said().first() == Some(&HANDSHAKE) => Err(with_tls(begun).await),
        Speaks::Other(begun) => Ok(begun),
        Speaks::Http2(mut begun) => {
            begun.write_all(&send_to_grpc(grpc_port)).await?;
            let_go(begun).await?;
            Err(wrong("HTTP/2 was spoken to the HTTP port"))
        }
    }
}

/// Tells somebody who speaks TLS that there is none here. What went wrong is told, in any case.
pub(super) async fn with_tls(mut begun: Begun) -> io::Error {
    let told = async {
        begun.write_all(NO_VERSION).await?;
        let_go(begun).await
    };
    told.await.err().unwrap_or_else(|| wrong("TLS was spoken, and this port has none"))
}

/// Tells somebody who does not speak TLS that this port, which it is called by, wants it. What went wrong is told, in any
/// case. Bound it with a deadline.
pub(super) async fn without_tls(stream: Transport, port: &str) -> io::Error {
    let told = async {
        match preface::read(stream).await? {
            Speaks::Http2(mut begun) => {
                let text = format!("{port} speaks TLS; call https:// instead of http://");
                begun.write_all(&goaway(INADEQUATE_SECURITY, &text)).await?;
                let_go(begun).await
            }
            Speaks::Other(begun) if begun.said().first().is_some_and(u8::is_ascii_uppercase) => {
                bad_request(begun, &format!("{port} speaks TLS; call https:// instead of http://\n")).await
            }
            Speaks::Other(_) => Ok(()),
        }
    };
    told.await.err().unwrap_or_else(|| wrong("no TLS was spoken, and this port wants it"))
}

/// Answers HTTP/1 with a text.
async fn bad_request(mut begun: Begun, text: &str) -> io::Result<()> {
    // Somebody who still sends may not look at the answer.
    let (mut end, mut read, mut bytes) = (EndOfHead::default(), 0, [0; AT_ONCE]);
    while read < MOST {
        let count = begun.read(&mut bytes).await?;
        if count == 0 || end.comes_in(&bytes[..count]) {
            break;
        }
        read += count;
    }
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
    goaway(HTTP_1_1_REQUIRED, &format!("this is the HTTP port; gRPC is on port {grpc_port}"))
}

/// What a server of HTTP/2 says to let somebody go at once. The text is short: one byte holds its length.
fn goaway(error: u8, text: &str) -> Vec<u8> {
    // Last stream (none) and error code come before the text.
    let payload = [&[0, 0, 0, 0, 0, 0, 0, error], text.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    [SETTINGS, &[0, 0, length, GOAWAY, 0, 0, 0, 0, 0], &payload[..length.into()]].concat()
}

/// Closes so that what was sent is still read: bytes that nobody reads would reset the connection.
pub(super) async fn let_go(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = Vec::new();
    while rest.len() < MOST && stream.read_buf(&mut rest).await? > 0 {}
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
