//! The end of an upload that a capture writes into.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{PIECE_BYTES, pipe::Pipe, sum::Sum};

/// What is shorter is copied: a few bytes must not keep a large buffer alive. And so much of a buffer may be left unused.
const COPIED_BELOW: usize = 64 << 10;

/// Takes the state of a component, and sends it to the control plane while it comes. A write waits while the control plane is
/// more than [`KEPT_BYTES`](super::KEPT_BYTES) behind, so a capture never runs ahead of the network.
///
/// It is a [`tokio::io::AsyncWrite`]; whoever has [`Bytes`] gives them away by
/// [`write_bytes`](CaptureWriter::write_bytes), without a copy. What was written leaves in whole pieces, and the rest when it is flushed or the capture
/// answers. Whoever writes less than a piece in two minutes flushes, or is taken to hang.
#[derive(Debug)]
pub struct CaptureWriter {
    pipe: Arc<Pipe>,
    /// What is no whole piece yet.
    rest: BytesMut,
    digest: Sum,
    piece_bytes: usize,
}

impl CaptureWriter {
    pub(crate) fn new(pipe: Arc<Pipe>) -> Self {
        Self::cutting(pipe, PIECE_BYTES)
    }

    pub(super) fn cutting(pipe: Arc<Pipe>, piece_bytes: usize) -> Self {
        Self { pipe, rest: BytesMut::new(), digest: Sum::new(), piece_bytes }
    }

    /// Says how many bytes there will be, before the first is written: so that people see how far it is. Nobody relies on it.
    pub fn expect_bytes(&mut self, bytes: u64) {
        self.pipe.expect(bytes);
    }

    /// Writes all of these bytes, without copying them where they are many.
    ///
    /// Not cancel safe: where it is dropped before it answered, some of them may be written.
    ///
    /// # Errors
    /// They cannot be sent any more: the inner error is a [`TransferError`](super::TransferError).
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            if bytes.len() < COPIED_BELOW {
                let taken = poll_fn(|cx| self.poll_take(cx, &bytes)).await?;
                bytes = bytes.split_off(taken);
                continue;
            }
            poll_fn(|cx| self.pipe.poll_room(cx)).await?;
            let piece = bytes.split_to(bytes.len().min(self.piece_bytes));
            self.cut();
            self.send(piece);
        }
        Ok(())
    }

    /// Copies as much as belongs into the piece that is being filled.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.pipe.poll_room(cx))?;
        // Pieces share a buffer as long as it lasts: few bytes between large ones must not keep a whole one each.
        if self.rest.is_empty() && self.rest.capacity() < COPIED_BELOW.min(self.piece_bytes) {
            self.rest.reserve(self.piece_bytes);
        }
        let room = self.piece_bytes.min(self.rest.capacity()) - self.rest.len();
        let taken = bytes.len().min(room);
        self.rest.extend_from_slice(&bytes[..taken]);
        if taken == room {
            self.cut();
        }
        Poll::Ready(Ok(taken))
    }

    /// Sends what is no whole piece.
    fn cut(&mut self) {
        if !self.rest.is_empty() {
            let piece = self.rest.split().freeze();
            self.send(piece);
        }
    }

    fn send(&mut self, piece: Bytes) {
        self.digest.update(&piece);
        self.pipe.push(piece);
    }
}

impl AsyncWrite for CaptureWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        if !own.rest.is_empty() {
            ready!(own.pipe.poll_room(cx))?;
            own.cut();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Says what was written in all. That it is complete is for the answer of the capture to say.
impl Drop for CaptureWriter {
    fn drop(&mut self) {
        self.cut();
        self.pipe.written(self.digest.digest());
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use tokio::io::AsyncWriteExt as _;

    use super::{
        super::{Evidence, TransferError, pipe::Next},
        *,
    };

    /// Polls once.
    fn now_or_pending<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn sent(pipe: &Pipe) -> Vec<Bytes> {
        let (mut pieces, mut offset) = (Vec::new(), 0);
        while let Next::Piece(piece) = pipe.next(offset) {
            offset += u64::try_from(piece.len()).expect("small");
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn what_is_written_is_cut_and_hashed() {
        let pipe = Arc::new(Pipe::new(1 << 20));
        let mut writer = CaptureWriter::cutting(Arc::clone(&pipe), 128 << 10);
        let large = Bytes::from(vec![7; 200 << 10]);
        writer.write_all(b"head").await.expect("room");
        writer.write_bytes(large.clone()).await.expect("room");
        writer.write_bytes(Bytes::from_static(b"tail")).await.expect("room");
        writer.flush().await.expect("nothing to do");
        assert!(!pipe.finish(Evidence::new()), "it may write more");
        drop(writer);
        let pieces = sent(&pipe);
        let lengths: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [4, 128 << 10, 72 << 10, 4]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr(), "without a copy");
        assert!(pipe.finish(Evidence::new().with("rows", 1)));
        // A few bytes between large pieces do not take a buffer each.
        assert_eq!(pieces[3].as_ptr().addr(), pieces[0].as_ptr().addr() + 4);
        let end = 8 + (200 << 10);
        let Next::Finish(finish) = pipe.next(end) else { panic!("it is complete") };
        let whole = pieces.concat();
        assert_eq!((finish.length, &finish.digest[..]), (end, &Sum::of(&whole)[..]));
        assert_eq!(finish.evidence["rows"], "1");
    }

    #[test]
    fn what_is_flushed_leaves_at_once() {
        let pipe = Arc::new(Pipe::new(1 << 20));
        let mut writer = CaptureWriter::cutting(Arc::clone(&pipe), 128 << 10);
        assert!(matches!(now_or_pending(writer.write_all(b"slow")), Poll::Ready(Ok(()))));
        assert!(sent(&pipe).is_empty());
        assert!(matches!(now_or_pending(writer.flush()), Poll::Ready(Ok(()))));
        assert_eq!(sent(&pipe), [Bytes::from_static(b"slow")]);
    }

    #[test]
    fn a_capture_waits_for_room_and_hears_why_it_is_over() {
        let pipe = Arc::new(Pipe::new(8));
        let mut writer = CaptureWriter::cutting(Arc::clone(&pipe), 4);
        assert!(matches!(now_or_pending(writer.write_all(b"12345678")), Poll::Ready(Ok(()))));
        assert!(now_or_pending(writer.write_all(b"9")).is_pending());
        assert!(pipe.receive(4));
        assert!(matches!(now_or_pending(writer.write_all(b"9")), Poll::Ready(Ok(()))));
        pipe.fail(TransferError::Stopped);
        let Poll::Ready(Err(error)) = now_or_pending(writer.write_all(b"0")) else { panic!("it is over") };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TransferError>());
        assert_eq!(inner, Some(&TransferError::Stopped));
    }
}
