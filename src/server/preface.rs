//! The first 24 bytes of an HTTP/2 connection, read and checked before anything is spent on it.
//!
//! hyper has no bound on how long a client may take to begin. What is read here is given back in
//! front of the rest.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has begun to speak HTTP/2.
#[derive(Debug)]
pub(super) struct Begun {
    stream: TcpStream,
    given_back: usize,
}

/// Reads the preface. Bound it with a deadline.
///
/// # Errors
/// The client sent something else, or went away.
pub(super) async fn read(mut stream: TcpStream) -> io::Result<Begun> {
    let mut read = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < read.len() {
        let count = stream.read(&mut read[filled..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        // Whoever speaks another protocol need not finish its first line.
        if read[..filled] != PREFACE[..filled] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/2 preface"));
        }
    }
    Ok(Begun { stream, given_back: 0 })
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &PREFACE[self.given_back..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.given_back += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
