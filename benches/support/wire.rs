//! A gRPC client as thin as it can be: messages straight on HTTP/2 streams.
//!
//! The generator shares the machine with the server. With tonic's client it costs as much as what it
//! measures, and both sides would look alike because the generator is the limit. Here a message is one
//! DATA frame and an answer wakes one task; both sides of a comparison get the same.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::Result;

/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Windows large enough that flow control never holds back small messages.
const WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// HTTP/2 connections, driven until this is dropped.
#[derive(Debug)]
pub(crate) struct Connections {
    address: SocketAddr,
    open: Vec<client::SendRequest<Bytes>>,
    /// What every call says of who makes it.
    authorization: Option<HeaderValue>,
    _driven: JoinSet<()>,
}

/// The place of one connection among its siblings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    requests: client::SendRequest<Bytes>,
    authorization: Option<HeaderValue>,
}

/// One call: messages out, answers in.
#[derive(Debug)]
pub(crate) struct Call {
    requests: SendStream<Bytes>,
    answers: RecvStream,
    received: BytesMut,
    buffer: BytesMut,
}

impl Connections {
    /// Opens as many connections as asked.
    ///
    /// # Errors
    /// One is refused.
    pub(crate) async fn open(address: SocketAddr, connections: usize) -> Result<Self> {
        Self::open_over(address, connections, async || {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .await
    }

    /// The same over what `connect` gives.
    ///
    /// # Errors
    /// One is refused.
    pub(crate) async fn open_over<S>(
        address: SocketAddr,
        connections: usize,
        connect: impl AsyncFn() -> Result<S>,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut open, mut driven) = (Vec::with_capacity(connections), JoinSet::new());
        for _ in 0..connections {
            let stream = connect().await?;
            let mut builder = client::Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            let (requests, connection) = builder.handshake::<_, Bytes>(stream).await?;
            // When it breaks, the calls on it say so.
            driven.spawn(AfterCalls { connection, yielded: false });
            open.push(requests);
        }
        Ok(Self { address, open, authorization: None, _driven: driven })
    }

    /// The same, with this token in every call.
    ///
    /// # Errors
    /// It is no header.
    pub(crate) fn proved_by(mut self, token: &str) -> Result<Self> {
        self.authorization = Some(format!("Bearer {token}").parse()?);
        Ok(self)
    }

    /// The token that is in every call.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn token(&self) -> Result<String> {
        let bearer = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.split(' ').nth(1));
        Ok(bearer.ok_or("no token")?.to_owned())
    }

    /// The n-th connection, counted round and round.
    pub(crate) fn nth(&self, n: usize) -> Connection {
        let (address, authorization) = (self.address, self.authorization.clone());
        Connection { address, requests: self.open[n % self.open.len()].clone(), authorization }
    }
}

impl Connection {
    /// Opens a stream and sends its first message. `path` is `/package.Service/Method`.
    ///
    /// # Errors
    /// The connection or the call broke, or the server refused it.
    pub(crate) async fn stream(&self, path: &str, first: &impl Message) -> Result<Call> {
        self.call(path, framed(first)?, false).await
    }

    /// Asks once for a stream of answers.
    ///
    /// # Errors
    /// The connection or the call broke, or the server refused it.
    pub(crate) async fn ask(&self, path: &str, request: &impl Message) -> Result<Call> {
        self.call(path, framed(request)?, true).await
    }

    /// Calls once, with a message that [`framed`] made, and answers the answer.
    ///
    /// # Errors
    /// The connection or the call broke, or the server refused it.
    pub(crate) async fn unary<A: Message + Default>(&self, path: &str, message: Bytes) -> Result<A> {
        let mut call = self.call(path, message, true).await?;
        let answer = call.answer().await?;
        // The status follows the answer: only with it is the call done.
        check(call.answers.trailers().await?.as_ref().ok_or("a call ended without trailers")?)?;
        Ok(answer)
    }

    async fn call(&self, path: &str, first: Bytes, last: bool) -> Result<Call> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())?;
        if let Some(token) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        let mut ready = self.requests.clone().ready().await?;
        let (answer, mut requests) = ready.send_request(request, false)?;
        requests.send_data(first, last)?;
        let answer = answer.await?;
        check(answer.headers())?;
        let (received, buffer) = (BytesMut::new(), BytesMut::new());
        Ok(Call { requests, answers: answer.into_body(), received, buffer })
    }
}

impl Call {
    /// Sends one message. What may be waiting is bounded by who waits for answers.
    ///
    /// # Errors
    /// The stream broke.
    pub(crate) fn send(&mut self, message: &impl Message) -> Result<()> {
        frame(message, &mut self.buffer)?;
        Ok(self.requests.send_data(self.buffer.split().freeze(), false)?)
    }

    /// Takes the next answer.
    ///
    /// # Errors
    /// The stream broke or ended, or what came is not this message.
    pub(crate) async fn answer<A: Message + Default>(&mut self) -> Result<A> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(A::decode(answer)?);
            }
            let Some(data) = self.answers.data().await else {
                let trailers = self.answers.trailers().await?;
                trailers.as_ref().map_or(Ok(()), check)?;
                return Err("the server ended the stream".into());
            };
            let data = data?;
            self.answers.flow_control().release_capacity(data.len())?;
            self.received.extend_from_slice(&data);
        }
    }

    fn take(&mut self) -> Result<Option<BytesMut>> {
        let Some(prefix) = self.received.get(..PREFIX) else { return Ok(None) };
        if prefix[0] != 0 {
            return Err("a compressed answer that was not asked for".into());
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if self.received.len() < PREFIX + length {
            return Ok(None);
        }
        self.received.advance(PREFIX);
        Ok(Some(self.received.split_to(length)))
    }
}

/// Drives a connection, after the calls that are ready: their messages leave by one write, not by one
/// each, so that the generator is not what is measured.
struct AfterCalls<S: AsyncRead + AsyncWrite + Unpin> {
    connection: client::Connection<S, Bytes>,
    yielded: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for AfterCalls<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.yielded = !self.yielded;
        if self.yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx).map(drop)
    }
}

/// A message with its prefix, ready to be sent any number of times.
///
/// # Errors
/// It is longer than gRPC can say.
pub(crate) fn framed(message: &impl Message) -> Result<Bytes> {
    let mut buffer = BytesMut::new();
    frame(message, &mut buffer)?;
    Ok(buffer.freeze())
}

fn frame(message: &impl Message, buffer: &mut BytesMut) -> Result<()> {
    let length = message.encoded_len();
    buffer.reserve(PREFIX + length);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length)?);
    Ok(message.encode(buffer)?)
}

/// Checks the status, where these headers carry one.
fn check(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(status) => Err(format!("status {status}: {}", text("grpc-message").unwrap_or_default()).into()),
    }
}
