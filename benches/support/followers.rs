//! Many watchers for next to nothing: frames straight off the socket, of which only messages are counted.
//!
//! A thousand watchers in the generator cost as much as in the server, if each is a task with a decoder, and both
//! sides of a comparison would look alike. Here one task reads a connection and counts the messages that ended on
//! it, by what gRPC puts before each. Both sides get the same.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use super::Result;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Never given back: more than any stream is sent while it is measured.
const WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;
/// Nothing came for so long: what a watch begins with is over.
const QUIET: Duration = Duration::from_millis(300);

/// Connections with watchers on them, read until this is dropped.
#[derive(Debug)]
pub(crate) struct Followers {
    writers: Vec<(OwnedWriteHalf, u32)>,
    address: SocketAddr,
    counted: Arc<Counted>,
    _read: JoinSet<()>,
}

/// The messages that ended on all connections.
#[derive(Debug, Default)]
struct Counted {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    awaited: AtomicUsize,
    reached: Notify,
    broken: OnceLock<String>,
}

impl Followers {
    /// Opens connections.
    ///
    /// # Errors
    /// One is refused.
    pub(crate) async fn open(address: SocketAddr, connections: usize) -> Result<Self> {
        let (mut writers, mut read) = (Vec::with_capacity(connections), JoinSet::new());
        let counted = Arc::new(Counted { awaited: usize::MAX.into(), ..Counted::default() });
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (reader, mut writer) = stream.into_split();
            let mut begin = BytesMut::from(PREFACE);
            let mut settings = BytesMut::new();
            settings.put_u16(INITIAL_WINDOW_SIZE);
            settings.put_u32(WINDOW);
            frame(&mut begin, SETTINGS, 0, 0, &settings);
            // Whatever the server's settings are, they do not bind us.
            frame(&mut begin, SETTINGS, ACK, 0, &[]);
            frame(&mut begin, WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes());
            writer.write_all(&begin).await?;
            writers.push((writer, 1));
            let counted = Arc::clone(&counted);
            read.spawn(async move {
                let Err(why) = follow(reader, &counted).await;
                // The first to break says why.
                drop(counted.broken.set(why.to_string()));
                counted.reached.notify_one();
            });
        }
        Ok(Self { writers, address, counted, _read: read })
    }

    /// Opens a watch on the n-th connection, counted round and round, with a message that
    /// [`framed`](super::wire::framed) made.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn watch(&mut self, n: usize, path: &str, first: &Bytes, last: bool) -> Result<()> {
        let at = n % self.writers.len();
        let (writer, stream) = &mut self.writers[at];
        let authority = self.address.to_string();
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", &authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let (mut block, mut out) = (BytesMut::new(), BytesMut::new());
        for (name, value) in headers {
            // Literal, never indexed by anybody, not Huffman coded; all are shorter than 127 bytes.
            block.put_u8(0);
            for text in [name, value] {
                block.put_u8(u8::try_from(text.len())?);
                block.put_slice(text.as_bytes());
            }
        }
        frame(&mut out, HEADERS, END_HEADERS, *stream, &block);
        frame(&mut out, DATA, if last { END_STREAM } else { 0 }, *stream, first);
        *stream += 2;
        Ok(writer.write_all(&out).await?)
    }

    /// Waits until every watcher has had a message and nothing more comes.
    ///
    /// # Errors
    /// A connection or a stream broke.
    pub(crate) async fn settled(&self, watchers: usize) -> Result<()> {
        loop {
            let before = self.messages();
            sleep(QUIET).await;
            self.check()?;
            if self.messages() == before && before >= watchers {
                return Ok(());
            }
        }
    }

    /// Messages so far.
    pub(crate) fn messages(&self) -> usize {
        self.counted.messages.load(Relaxed)
    }

    /// Bytes of messages so far, with what gRPC puts before each.
    pub(crate) fn bytes(&self) -> usize {
        self.counted.bytes.load(Relaxed)
    }

    /// From now on [`Self::reached`] waits for so many messages more.
    pub(crate) fn await_more(&self, messages: usize) {
        self.counted.awaited.store(self.messages() + messages, Relaxed);
    }

    /// Waits for the messages that are awaited.
    ///
    /// # Errors
    /// A connection or a stream broke.
    pub(crate) async fn reached(&self) -> Result<()> {
        self.counted.reached.notified().await;
        self.check()
    }

    /// Messages that have come beyond those that were awaited.
    pub(crate) fn beyond(&self) -> usize {
        self.messages().saturating_sub(self.counted.awaited.load(Relaxed))
    }

    fn check(&self) -> Result<()> {
        self.counted.broken.get().map_or(Ok(()), |why| Err(why.clone().into()))
    }
}

fn frame(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// Counts what comes, until the connection breaks.
async fn follow(mut reader: OwnedReadHalf, counted: &Counted) -> Result<Infallible> {
    let mut received = BytesMut::with_capacity(1 << 18);
    let mut streams: HashMap<u32, Messages> = HashMap::new();
    loop {
        received.reserve(1 << 16);
        if reader.read_buf(&mut received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut ended = 0;
        while let Some(head) = received.get(..FRAME_HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Some(payload) = received.get(FRAME_HEAD..FRAME_HEAD + length) else { break };
            match kind {
                DATA => {
                    ended += streams.entry(stream).or_default().pass(payload);
                    counted.bytes.fetch_add(length, Relaxed);
                }
                HEADERS if flags & END_STREAM == 0 => {}
                // The bench is shorter than the server's patience with who does not answer a PING.
                SETTINGS | WINDOW_UPDATE | PING => {}
                HEADERS | RST_STREAM | GOAWAY => {
                    return Err(format!("frame {kind} on stream {stream}: the server ended it").into());
                }
                other => return Err(format!("frame {other} on stream {stream}").into()),
            }
            received.advance(FRAME_HEAD + length);
        }
        if ended > 0 {
            let before = counted.messages.fetch_add(ended, Relaxed);
            let awaited = counted.awaited.load(Relaxed);
            if before < awaited && before + ended >= awaited {
                counted.reached.notify_one();
            }
        }
    }
}

/// Where in a row of messages a stream is.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX],
    begun: usize,
    left: usize,
}

impl Messages {
    /// Goes on by these bytes, and answers how many messages ended with them.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.begun < PREFIX {
                let taken = bytes.len().min(PREFIX - self.begun);
                self.prefix[self.begun..self.begun + taken].copy_from_slice(&bytes[..taken]);
                (self.begun, bytes) = (self.begun + taken, &bytes[taken..]);
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            let taken = bytes.len().min(self.left);
            (self.left, bytes) = (self.left - taken, &bytes[taken..]);
            if self.begun == PREFIX && self.left == 0 {
                (self.begun, ended) = (0, ended + 1);
            }
        }
        ended
    }
}
