//! A connection, plain or encrypted, that remembers why it broke: between it and a call that fails are layers that
//! forget.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    tls::Shown,
    trouble::{Said, Trouble},
    words::{About, is_hangup},
};

/// A connection.
pub(super) enum Io {
    Plain(TcpStream),
    Encrypted(Box<Encrypted>),
}

/// An encrypted connection, and what is needed to say why it broke.
pub(super) struct Encrypted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) about: About,
    pub(super) shown: Arc<Shown>,
    pub(super) trouble: Trouble,
    /// Whether the other end has said anything. In TLS 1.3 it may judge the client's certificate only after that
    /// thinks that all is well.
    pub(super) heard: bool,
}

impl Encrypted {
    /// Says in words why it broke, and keeps them.
    fn told(&self, error: io::Error) -> io::Error {
        let words = match self.about.broken(&error) {
            Some(words) => words,
            None if !self.heard && is_hangup(error.kind()) => self.about.hangup(self.shown.was_asked()),
            None => return error,
        };
        self.trouble.note(&words, self.heard);
        io::Error::new(error.kind(), Said(words))
    }

    fn ended(&self) {
        if !self.heard {
            self.trouble.note(&self.about.hangup(self.shown.was_asked()), false);
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Encrypted(own) => {
                let (before, room) = (buffer.filled().len(), buffer.remaining());
                let read = Pin::new(&mut own.stream).poll_read(cx, buffer);
                match read {
                    Poll::Ready(Ok(())) if buffer.filled().len() > before => own.heard = true,
                    Poll::Ready(Ok(())) if room > 0 => own.ended(),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(own.told(error))),
                }
                read
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Encrypted(own) => {
                Pin::new(&mut own.stream).poll_write(cx, bytes).map_err(|error| own.told(error))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Encrypted(own) => Pin::new(&mut own.stream).poll_flush(cx).map_err(|error| own.told(error)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Encrypted(own) => Pin::new(&mut own.stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Io::Encrypted(own) => {
                Pin::new(&mut own.stream).poll_write_vectored(cx, pieces).map_err(|error| own.told(error))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Encrypted(own) => own.stream.is_write_vectored(),
        }
    }
}
