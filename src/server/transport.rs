//! A connection as the server reads and writes it: plain TCP, or TLS over it.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{paced::Paced, wrong_port};
use crate::{
    guard::proof::{Lapse, Proof},
    time::Clock,
    tls::{self, Credentials, Verified, peer::PeerCertificate},
};

/// A connection, encrypted or not. What is plain has no more between itself and the socket than this.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    /// What waits to be written is in rustls's hands, so that its own writes are paced.
    Tls(Box<TlsStream<Paced<TcpStream>>>),
}

/// A connection that has begun.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Transport,
    /// What the client has shown in the handshake. None: nothing, or there was none.
    pub(super) shown: Option<Shown>,
}

/// The certificate of a client.
pub(super) struct Shown {
    pub(super) certificate: Arc<PeerCertificate>,
    /// Ready when it counts no more.
    lapses: Pin<Box<dyn Future<Output = tls::Lapse> + Send>>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// How the connections of a port are encrypted. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Encryption {
    pub(super) tls: tls::Handle,
    /// Which of the credentials.
    pub(super) side: fn(&Credentials) -> &Arc<ServerConfig>,
    pub(super) clock: Clock,
}

/// Begins a connection: by a handshake where there is encryption. Bound it with a deadline. `patience`: how long
/// the other end may take nothing of what is written; `port` names the port to who does not speak TLS to it.
///
/// # Errors
/// The client went away, speaks no TLS where that is wanted, or the handshake failed; the client was told so.
pub(super) async fn open(
    stream: TcpStream,
    encryption: Option<&Encryption>,
    patience: Duration,
    port: &str,
) -> io::Result<Opened> {
    match encryption {
        None => Ok(Opened { stream: Transport::Plain(stream), shown: None }),
        // In a box, so that a connection without it has no room for it.
        Some(encryption) => Box::pin(encryption.shake_hands(stream, patience, port)).await,
    }
}

impl Encryption {
    async fn shake_hands(&self, stream: TcpStream, patience: Duration, port: &str) -> io::Result<Opened> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [wrong_port::HANDSHAKE] {
            return Err(wrong_port::without_tls(Transport::Plain(stream), port).await);
        }
        let credentials = self.tls.credentials();
        let acceptor = TlsAcceptor::from(Arc::clone((self.side)(&credentials)));
        let stream = match acceptor.accept(Paced::new(stream, patience)).into_fallible().await {
            Ok(stream) => stream,
            Err((cause, stream)) => {
                // The alert says why, if it is read; whether it was changes nothing.
                drop(wrong_port::let_go(stream).await);
                return Err(cause);
            }
        };
        let verified = Verified::of(stream.get_ref().1, &credentials)
            .map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
        let shown = verified.map(|verified| Shown {
            certificate: Arc::clone(&verified.certificate),
            lapses: Box::pin(verified.lapses(self.tls.follow(), self.clock)),
        });
        Ok(Opened { stream: Transport::Tls(Box::new(stream)), shown })
    }
}

/// Waits until what the client of a connection has proved counts no more, and tells `proof` where its certificate
/// does not. Cancel safe.
pub(super) async fn lapsed(proof: &Proof, shown: Option<&mut Shown>) -> Lapse {
    let certificate = async {
        match shown {
            Some(shown) => shown.lapses.as_mut().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        why = proof.lapsed() => why,
        why = certificate => {
            let why = Lapse::Certificate(why);
            proof.lapse(why.clone());
            why
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
