//! The first bytes of a connection, read before anything is spent on it: is it HTTP/2, or not?
//!
//! hyper has no bound on how long a client may take to begin. What is read here is given back in
//! front of the rest. What is said to whoever came to the wrong port is `wrong_port`'s.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::transport::Transport;

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has begun to speak.
#[derive(Debug)]
pub(super) struct Begun {
    stream: Transport,
    read: [u8; PREFACE.len()],
    filled: usize,
    given_back: usize,
}

/// What it speaks.
#[derive(Debug)]
pub(super) enum Speaks {
    /// HTTP/2.
    Http2(Begun),
    /// Something else.
    Other(Begun),
}

/// Reads until it is known. Bound it with a deadline.
///
/// # Errors
/// The client went away.
pub(super) async fn read(stream: Transport) -> io::Result<Speaks> {
    let mut begun = Begun { stream, read: [0; PREFACE.len()], filled: 0, given_back: 0 };
    while begun.filled < PREFACE.len() {
        let count = begun.stream.read(&mut begun.read[begun.filled..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        begun.filled += count;
        // Whoever speaks another protocol need not say that much.
        if begun.said() != &PREFACE[..begun.filled] {
            return Ok(Speaks::Other(begun));
        }
    }
    Ok(Speaks::Http2(begun))
}

impl Begun {
    /// What was read to know what it speaks.
    pub(super) fn said(&self) -> &[u8] {
        &self.read[..self.filled]
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.read[this.given_back..this.filled];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        this.given_back += count;
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
