//! Bounds the bytes of messages that have begun to come: what a peer sends of a message and does not finish, the
//! server holds.
//!
//! A message may be as large as `grpc.max_message_bytes`, and a connection may have many streams. So each message is
//! counted whole from its first byte on, until the next has come or nobody reads any more (whoever reads a stream keeps
//! the last message of it, `pieces`): what a refused one has touched of
//! its buffer an allocator seldom gives back, so that counting what has come would bound less than it says. One that
//! does not fit is not taken, and its RPC ends with RESOURCE_EXHAUSTED. What is announced and does not come at all is not
//! counted: for it tonic reserves addresses, and no page of them is touched.
//!
//! How long a message may take is bounded here for streams, however their signs of life come; that of a unary RPC, and
//! the first of a stream, have the deadline as well.

mod messages;
mod pieces;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::{BoxError, Layer, Service};

use self::{
    messages::Messages,
    pieces::{Pieces, Unpacker},
};
use super::{
    bounds::{COUNTED_QUESTION, MODEST_QUESTION},
    rpc::{RpcId, Shape},
    shares::{Room, Share, Source},
    status::status,
};
use crate::error::{Error, Kind, Reason};

/// Where a request says how its messages are packed, if they are.
const ENCODING: &str = "grpc-encoding";
const GZIP: &str = "gzip";
/// When it is worth to call again.
const COME_BACK: Duration = Duration::from_secs(5);

/// What callers are told whose message does not fit, or does not end.
fn refusal(message: impl Into<String>) -> Status {
    let refusal = Error::new(Kind::ResourceExhausted, Reason::MessagesUnfinished, message);
    status(&refusal.retry_after(COME_BACK))
}

/// The same, where it does not fit.
fn full() -> Status {
    refusal("too many bytes of messages have begun and not ended; finish them, then call again")
}

/// What callers are told whose stream ends in the midst of a message.
fn cut_off() -> Status {
    status(&Error::field("message", "could not be read: the stream ends in the midst of it"))
}

/// Room for a message of this length; None if there is none.
fn room_for(share: &Share, length: usize) -> Option<Room> {
    share.take(length, if length <= MODEST_QUESTION { Source::Reserve } else { Source::Shared })
}

/// Makes [`CountQuestions`]s for one connection.
#[derive(Clone, Debug)]
pub struct QuestionsLayer {
    share: Share,
    largest: usize,
    patience: Duration,
}

impl QuestionsLayer {
    /// Counts the messages of this connection, and lets each of a stream take this long at the most. Longer ones than
    /// `largest` are not counted: whoever reads them refuses them as soon as their length is known.
    pub fn new(share: Share, largest: usize, patience: Duration) -> Self {
        Self { share, largest, patience }
    }
}

impl<S> Layer<S> for QuestionsLayer {
    type Service = CountQuestions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountQuestions { inner, layer: self.clone() }
    }
}

/// Counts the bytes of messages that are coming.
#[derive(Clone, Debug)]
pub struct CountQuestions<S> {
    inner: S,
    layer: QuestionsLayer,
}

impl<S, A> Service<Request<A>> for CountQuestions<S>
where
    S: Service<Request<Coming<A>>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let stream = request.extensions().get::<RpcId>().is_some_and(|id| id.rpc().shape == Shape::Stream);
        let QuestionsLayer { share, largest, patience } = self.layer.clone();
        let pieces = if !stream {
            Pieces::AsTheyCome
        } else if request.headers().get(ENCODING).is_some_and(|encoding| encoding == GZIP) {
            // Nothing that is handed on is packed.
            request.headers_mut().remove(ENCODING);
            Pieces::Unpacked(Box::new(Unpacker::new(share.clone(), largest)))
        } else {
            Pieces::Apart(Messages::default())
        };
        let patience = stream.then_some(patience);
        self.inner.call(request.map(|inner| Coming::new(inner, share, largest, pieces, patience)))
    }
}

/// A body whose messages are counted while they come.
#[derive(Debug)]
pub struct Coming<A> {
    inner: A,
    share: Share,
    largest: usize,
    messages: Messages,
    // What has come and was not handed on.
    come: Bytes,
    pieces: Pieces,
    // Of the message that has begun.
    room: Option<Room>,
    // Of the last one that has ended.
    kept: Option<Room>,
    // How long each may take; None leaves that to the deadline.
    patience: Option<Duration>,
    // Of the message that has begun; made only when it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<A> Coming<A> {
    fn new(inner: A, share: Share, largest: usize, pieces: Pieces, patience: Option<Duration>) -> Self {
        Self {
            inner,
            share,
            largest,
            messages: Messages::default(),
            come: Bytes::new(),
            pieces,
            room: None,
            kept: None,
            patience,
            timer: None,
        }
    }

    /// Counts the message that has begun; false if it does not fit.
    fn count(&mut self, data: &[u8]) -> bool {
        if self.messages.pass(data) {
            (self.kept, self.timer) = (self.room.take(), None);
        }
        let Some((come, length)) = self.messages.in_part() else { return true };
        let counts = come > 0 && (COUNTED_QUESTION..=self.largest).contains(&length);
        if counts && self.room.is_none() {
            self.room = room_for(&self.share, length);
            return self.room.is_some();
        }
        true
    }

    /// Waits for the end of a message, if one has begun.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let Some(patience) = self.patience.filter(|_| self.messages.has_begun()) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(cx).map(|()| {
            let patience = patience.as_millis();
            refusal(format!("a message has begun and not ended within {patience}ms; send it whole"))
        })
    }
}

impl<A> Body for Coming<A>
where
    A: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.pieces.has_worked_long() {
            // Others have their turn between one that takes long and the next.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match this.pieces.next(&mut this.come) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Some(Err(refused.into()))),
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                // What was not handed on whoever reads cannot miss.
                Poll::Ready(None) if this.pieces.unpacks() && this.messages.has_begun() => {
                    return Poll::Ready(Some(Err(cut_off().into())));
                }
                Poll::Ready(over) => return Poll::Ready(over.map(|over| over.map_err(Into::into))),
                Poll::Pending => return this.poll_patience(cx).map(|refusal| Some(Err(refusal.into()))),
            };
            match frame.into_data() {
                Ok(data) if this.count(&data) => this.come = data,
                Ok(_) => return Poll::Ready(Some(Err(full().into()))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.pieces.has_more(&self.come) && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio_test::{assert_pending, assert_ready, task};

    use super::{pieces::tests::packed, *};
    use crate::guard::{
        bounds::{BULK_CONNECTIONS_OF_PEER, BULK_QUESTIONS, QUESTIONS, UPLOAD_MESSAGE},
        shares::Shares,
    };

    const LARGEST: usize = QUESTIONS.connection / 4;

    fn coming(share: &Share) -> Coming<()> {
        Coming::new((), share.clone(), LARGEST, Pieces::Apart(Messages::default()), None)
    }

    /// A message of this length begins, with as many of its bytes. None if it does not fit.
    fn begun(share: &Share, length: usize, bytes: usize) -> Option<Coming<()>> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        let mut coming = coming(share);
        coming.count(&[&[0], length.as_slice(), &vec![0; bytes]].concat()).then_some(coming)
    }

    #[test]
    fn a_message_is_counted_whole_from_its_first_byte_to_the_end_of_the_next() {
        let share = Shares::new(QUESTIONS).connection([10, 0, 0, 1].into());
        let mut full: Vec<_> = (0..4).map(|_| begun(&share, LARGEST, 1).expect("room")).collect();
        assert!(begun(&share, LARGEST, 1).is_none());
        assert!(begun(&share, LARGEST, 0).is_some(), "nothing of it has come");
        assert!(begun(&share, COUNTED_QUESTION - 1, 1).is_some(), "short ones are not counted");
        assert!(full[0].count(&vec![0; LARGEST - 2]), "it goes on");
        assert!(begun(&share, LARGEST, 1).is_none());
        assert!(full[0].count(&[0]), "it ends");
        assert!(begun(&share, LARGEST, 1).is_none(), "who reads keeps it");
        let next = [0, 0, 0, 0, 1, 7];
        assert!(full[0].count(&next[..5]));
        assert!(begun(&share, LARGEST, 1).is_none());
        assert!(full[0].count(&next[5..]), "the next ends");
        assert!(begun(&share, LARGEST, 1).is_some());
    }

    #[test]
    fn a_message_that_is_longer_than_any_is_left_to_whoever_reads_it() {
        let share = Shares::new(QUESTIONS).connection([10, 0, 0, 1].into());
        let _full: Vec<_> = (0..4).map(|_| begun(&share, LARGEST, 1).expect("room")).collect();
        for length in [LARGEST + 1, QUESTIONS.peer + 1, usize::try_from(u32::MAX).unwrap()] {
            assert!(begun(&share, length, 100).is_some(), "{length}");
        }
    }

    #[test]
    fn messages_of_a_modest_length_have_a_reserve() {
        let share = Shares::new(QUESTIONS).connection([10, 0, 0, 1].into());
        let _full: Vec<_> = (0..4).map(|_| begun(&share, LARGEST, 1).expect("room")).collect();
        let beats: Vec<_> = (0..100).map_while(|_| begun(&share, MODEST_QUESTION, 1)).collect();
        assert_eq!(beats.len(), QUESTIONS.reserve / MODEST_QUESTION);
    }

    /// Of each upload the message that is read and the one that comes.
    #[test]
    fn a_connection_for_much_data_has_room_for_four_uploads_and_no_more() {
        let shares = Shares::new(BULK_QUESTIONS);
        let begins = |coming: &mut Coming<()>| {
            let length = u32::try_from(UPLOAD_MESSAGE).unwrap().to_be_bytes();
            coming.count(&[&[0], length.as_slice(), &[7]].concat())
        };
        let two = |share: &Share| {
            let mut coming = Coming::new((), share.clone(), LARGEST, Pieces::AsTheyCome, None);
            let fits =
                begins(&mut coming) && coming.count(&vec![0; UPLOAD_MESSAGE - 1]) && begins(&mut coming);
            fits.then_some(coming)
        };
        // However many come one after another.
        let one = shares.connection([10, 0, 0, 1].into());
        let mut long = two(&one).expect("room");
        for _ in 0..10 {
            assert!(long.count(&vec![0; UPLOAD_MESSAGE - 1]) && begins(&mut long));
        }
        let others: Vec<_> = (0..10).map_while(|_| two(&one)).collect();
        assert_eq!(others.len(), 3);
        // Two on each connection that a peer may have.
        let of_peer: Vec<_> =
            (1..BULK_CONNECTIONS_OF_PEER).map(|_| shares.connection([10, 0, 0, 1].into())).collect();
        let held: Vec<_> = of_peer.iter().cycle().map_while(two).collect();
        assert_eq!(4 + held.len(), 2 * BULK_CONNECTIONS_OF_PEER);
        assert!(two(&shares.connection([10, 0, 0, 2].into())).is_some(), "others have theirs");
    }

    /// What comes, piece by piece.
    struct Come(VecDeque<Vec<u8>>);

    impl Body for Come {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece.into()))))
        }
    }

    fn unpacked(come: &[&[u8]]) -> task::Spawn<Coming<Come>> {
        let share = Shares::new(QUESTIONS).connection([10, 0, 0, 1].into());
        let pieces = Pieces::Unpacked(Box::new(Unpacker::new(share.clone(), LARGEST)));
        let come = Come(come.iter().map(|piece| piece.to_vec()).collect());
        task::spawn(Coming::new(come, share, LARGEST, pieces, None))
    }

    fn next(coming: &mut task::Spawn<Coming<Come>>) -> Poll<Option<Result<usize, BoxError>>> {
        coming
            .enter(|cx, coming| coming.poll_frame(cx))
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().map_or(0, |data| data.len()))))
    }

    #[test]
    fn a_packed_message_that_is_cut_off_is_no_end() {
        let whole = packed(&[7; 100]);
        for cut in 1..whole.len() {
            let mut coming = unpacked(&[&whole, &whole[..cut]]);
            assert!(assert_ready!(next(&mut coming)).is_some_and(|first| first.is_ok()));
            let wrong = assert_ready!(next(&mut coming)).expect("no end").unwrap_err();
            let wrong = wrong.downcast_ref::<Status>().expect("a status");
            assert_eq!(wrong.code(), tonic::Code::InvalidArgument, "{wrong}");
        }
        let mut coming = unpacked(&[&whole]);
        assert!(assert_ready!(next(&mut coming)).is_some_and(|first| first.is_ok()));
        assert!(assert_ready!(next(&mut coming)).is_none());
    }

    #[test]
    fn others_have_their_turn_between_long_messages() {
        let long = packed(&[7; COUNTED_QUESTION]);
        let mut coming = unpacked(&[&long.repeat(2)]);
        for _ in 0..2 {
            for length in [5, COUNTED_QUESTION] {
                assert_eq!(assert_ready!(next(&mut coming)).expect("a piece").unwrap(), length);
            }
            assert_pending!(next(&mut coming));
            assert!(coming.is_woken());
        }
        assert!(assert_ready!(next(&mut coming)).is_none());
    }
}
