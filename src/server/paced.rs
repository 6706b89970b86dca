//! A connection whose other end has to take what is written to it: if nothing is accepted for too long
//! it breaks, so that whoever does not read holds nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A connection, and how long it may accept nothing that waits to be written.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    patience: Duration,
    // Runs only while something waits.
    stuck: Option<Pin<Box<Sleep>>>,
    // Whether anything was written.
    begun: bool,
}

impl<S> Paced<S> {
    /// Breaks when nothing is accepted for this long.
    pub(super) fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, stuck: None, begun: false }
    }

    /// Passes on what came of a write, unless it has waited too long.
    fn pace<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        stuck.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the other end does not take what is written to it"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.begun = true;
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.pace(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.pace(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    /// Not before the first write: h2 asks when the connection begins how small a message is that it rather copies
    /// beside others than writes by itself. So it copies up to 1 KiB, not up to 256 bytes, and the health of an
    /// instance for many watchers is one write, not one for each. Larger ones are still written as they are.
    fn is_write_vectored(&self) -> bool {
        self.begun && self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn breaks_where_nothing_is_taken() {
        let (near, _far) = tokio::io::duplex(4);
        let mut paced = Paced::new(near, PATIENCE);
        let broken = paced.write_all(b"more than four").await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn bears_with_a_slow_reader() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut paced = Paced::new(near, PATIENCE);
        let reads = async {
            let mut read = Vec::new();
            for _ in 0..14 {
                sleep(PATIENCE / 2).await;
                read.push(far.read_u8().await.unwrap());
            }
            read
        };
        let (written, read) = tokio::join!(paced.write_all(b"more than four"), reads);
        assert!(written.is_ok());
        assert_eq!(read, b"more than four");
    }
}
