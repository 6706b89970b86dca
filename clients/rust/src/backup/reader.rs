//! The end of a download that a restore reads from.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

use super::{Moved, TransferError};

/// Pieces between the connection and a restore, each of 2 MiB at the most. More would only lie there.
const QUEUE: usize = 2;

/// What comes to a reader.
#[derive(Debug)]
pub(super) enum Arrived {
    Piece(Bytes),
    /// All of it has come, and is what was sent.
    End,
    Failed(TransferError),
}

/// Gives the state of a component while it comes. It is a [`tokio::io::AsyncRead`].
///
/// It ends only when all of it has come, in its place and as long as it should be, and the digest of what the last connection brought was
/// confirmed. In every other case the read is an error, whose inner error is a [`TransferError`]: whoever reads to the end has all
/// of it, or knows that it has not. What came by a connection that was lost is in no digest: who has a sum of its own, in the
/// [`Evidence`](super::Evidence) for example, compares it.
#[derive(Debug)]
pub struct RestoreReader {
    pieces: mpsc::Receiver<Arrived>,
    piece: Bytes,
    /// What it ended with.
    end: Option<Result<(), TransferError>>,
    read: Arc<AtomicBool>,
    moved: Moved,
}

/// Where the pieces of a reader come from.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(super) pieces: mpsc::Sender<Arrived>,
    read: Arc<AtomicBool>,
    moved: Moved,
}

/// Says whether a reader was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct WasRead(Arc<AtomicBool>);

/// A reader, and where its pieces come from.
pub(crate) fn incoming() -> (Incoming, RestoreReader) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    let read = Arc::new(AtomicBool::new(false));
    let moved = Moved::new();
    let incoming = Incoming { pieces: sender, read: Arc::clone(&read), moved: moved.clone() };
    (incoming, RestoreReader { pieces, piece: Bytes::new(), end: None, read, moved })
}

impl Incoming {
    /// Tells whether the reader was read to its end.
    pub(crate) fn was_read(&self) -> WasRead {
        WasRead(Arc::clone(&self.read))
    }

    /// When something was read.
    pub(crate) fn moved(&self) -> Moved {
        self.moved.clone()
    }
}

impl WasRead {
    pub(crate) fn to_the_end(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl RestoreReader {
    /// The next bytes, as they came, without a copy; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// It did not come whole.
    pub async fn read_bytes(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await?;
        let piece = std::mem::take(&mut self.piece);
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    /// Waits until there is something to read, or it is the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() && self.end.is_none() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Arrived::Piece(piece)) => self.piece = piece,
                Some(Arrived::End) => {
                    self.read.store(true, Ordering::Release);
                    self.end = Some(Ok(()));
                }
                Some(Arrived::Failed(error)) => self.end = Some(Err(error)),
                None => self.end = Some(Err(TransferError::Stopped)),
            }
        }
        self.moved.now();
        match &self.end {
            Some(Err(error)) if self.piece.is_empty() => Poll::Ready(Err(error.clone().into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for RestoreReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        ready!(own.poll_piece(cx))?;
        let taken = own.piece.len().min(buffer.remaining());
        buffer.put_slice(&own.piece[..taken]);
        own.piece.advance(taken);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn it_ends_only_where_all_came() {
        for (last, right) in [
            (Some(Arrived::End), true),
            (Some(Arrived::Failed(TransferError::Stopped)), false),
            (None, false),
        ] {
            let (incoming, mut reader) = incoming();
            let was_read = incoming.was_read();
            let _sending = crate::rt::spawn(async move {
                let pieces =
                    ["ab", "", "cde"].map(|piece| Arrived::Piece(Bytes::from_static(piece.as_bytes())));
                for arrived in pieces.into_iter().chain(last) {
                    incoming.pieces.send(arrived).await.expect("somebody reads");
                }
            });
            let mut head = [0; 3];
            reader.read_exact(&mut head).await.expect("it is there");
            assert!(!was_read.to_the_end());
            let mut rest = Vec::new();
            assert_eq!(reader.read_to_end(&mut rest).await.is_ok(), right);
            assert_eq!((&head[..], &rest[..], was_read.to_the_end()), (&b"abc"[..], &b"de"[..], right));
            assert_eq!(reader.read_bytes().await.is_ok(), right, "it stays as it is");
        }
    }
}
