//! What listens at an address, judged by what it answers to a question that is none of its own: for a port
//! at which no control plane was found.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Bytes of an answer that are looked at.
const LOOKED_AT: usize = 512;
/// The first byte of an alert and of a handshake of TLS.
const TLS: [u8; 2] = [0x15, 0x16];

/// A whole ClientHello of TLS 1.2 with one cipher suite that everybody knows. Whoever speaks TLS answers it, by
/// a refusal at the least. Its random bytes are none, for nothing is ever encrypted.
const CLIENT_HELLO: &[u8] = &[
    0x16, 3, 1, 0, 45, // a handshake record of 45 bytes
    1, 0, 0, 41, 3, 3, // a ClientHello of 41 bytes, for TLS 1.2
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, // random
    0, // no session
    0, 2, 0xc0, 0x2f, // ECDHE-RSA-AES128-GCM-SHA256
    1, 0, // no compression
];

/// What was heard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Speaks {
    /// HTTP/1: its first line.
    Http(String),
    /// TLS.
    Tls,
    /// Something else, the beginning of which is shown.
    Other(String),
    /// It takes connections and says nothing.
    Nothing,
    /// It ends connections without a word.
    Hangup,
}

/// Asks in HTTP/1 and, where that is not understood, in TLS; each for `wait` at the most.
pub(super) async fn sniff(host: &str, port: u16, wait: Duration) -> Speaks {
    let get = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let plain = ask(host, port, get.as_bytes(), wait).await;
    match plain.as_deref().map(understand) {
        Some(Speaks::Nothing | Speaks::Hangup) | None => {}
        Some(heard) => return heard,
    }
    match ask(host, port, CLIENT_HELLO, wait).await.as_deref().map(understand) {
        Some(Speaks::Tls) => Speaks::Tls,
        _ if plain.is_some() => Speaks::Hangup,
        _ => Speaks::Nothing,
    }
}

impl Speaks {
    /// What it is, for people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Speaks::Http(line) => format!("an HTTP/1 server, which says {line:?}"),
            Speaks::Tls => "TLS is spoken there".to_owned(),
            Speaks::Other(said) => format!("another program, which says {said:?}"),
            Speaks::Nothing => "something that takes connections and says nothing".to_owned(),
            Speaks::Hangup => "something that ends connections without a word".to_owned(),
        }
    }
}

/// The beginning of what is answered; empty where the connection ends first, None where nothing comes in time.
async fn ask(host: &str, port: u16, question: &[u8], wait: Duration) -> Option<Vec<u8>> {
    let heard = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        // Somebody who speaks first may have closed already, and still be heard.
        drop(stream.write_all(question).await);
        let mut answer = vec![0; LOOKED_AT];
        let read = stream.read(&mut answer).await.unwrap_or(0);
        answer.truncate(read);
        Some(answer)
    };
    timeout(wait, heard).await.ok().flatten()
}

fn understand(answer: &[u8]) -> Speaks {
    match answer {
        [] => Speaks::Hangup,
        [first, 3, ..] if TLS.contains(first) => Speaks::Tls,
        _ if answer.starts_with(b"HTTP/1") => Speaks::Http(first_line(answer)),
        _ => Speaks::Other(first_line(answer)),
    }
}

fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

/// A cause in the operating system's words, short.
pub(super) fn why(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "not found".to_owned(),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let table: [(&[u8], Speaks); 6] = [
            (b"", Speaks::Hangup),
            (&[0x15, 3, 1, 0, 2, 2, 70], Speaks::Tls),
            (&[0x16, 3, 3, 0, 1], Speaks::Tls),
            (b"HTTP/1.1 200 OK\r\nserver: x\r\n", Speaks::Http("HTTP/1.1 200 OK".into())),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Speaks::Other("SSH-2.0-OpenSSH_9.2".into())),
            (b"\x15no TLS", Speaks::Other("\x15no TLS".into())),
        ];
        for (answer, expected) in table {
            assert_eq!(understand(answer), expected);
        }
    }

    #[test]
    fn the_lengths_within_the_hello_are_right() {
        assert_eq!(CLIENT_HELLO.len(), 5 + 45);
        assert_eq!(usize::from(CLIENT_HELLO[8]), CLIENT_HELLO.len() - 9);
    }
}
