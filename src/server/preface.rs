//! The first bytes of a connection, read before anything is spent on it: is it HTTP/2, or not, and if it is, how large are
//! the frames that its client wants?
//!
//! hyper has no bound on how long a client may take to begin, and has said its own settings before it reads those of the
//! client. What is read here is given back in front of the rest, and is judged by who reads it then. What is said to whoever
//! came to the wrong port is `wrong_port`'s, what follows from large frames `bulk`'s.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BufMut as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::transport::Transport;

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What stands before each frame (RFC 9113, 4.1).
const FRAME_HEAD: usize = 9;
/// Type of a SETTINGS frame.
const SETTINGS: u8 = 4;
/// Flag of one that answers another.
const ACK: u8 = 1;
/// Bytes of one setting: its number, and its value.
const SETTING: usize = 6;
/// Number of the setting that says how large a frame may be (RFC 9113, 6.5.2).
const MAX_FRAME_SIZE: u16 = 5;
/// What that may be: whoever says anything else is refused by who reads it then.
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16 * 1024..=(1 << 24) - 1;
/// Longest first frame that is looked into: the longest that may come.
const MOST_SETTINGS: usize = 16 * 1024;
/// How long the first frame may take after the preface. It belongs to it, and comes with it; who waits for ours first is
/// not kept waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection whose client has begun to speak.
#[derive(Debug)]
pub(super) struct Begun {
    stream: Transport,
    /// What was read, and is given back.
    read: Vec<u8>,
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
    let mut begun = Begun { stream, read: Vec::with_capacity(PREFACE.len()), given_back: 0 };
    while begun.read.len() < PREFACE.len() {
        if begun.read_up_to(PREFACE.len()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whoever speaks another protocol need not say that much.
        if begun.said() != &PREFACE[..begun.read.len()] {
            return Ok(Speaks::Other(begun));
        }
    }
    Ok(Speaks::Http2(begun))
}

/// What is seen of a first frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// So many bytes are needed to know.
    Of(usize),
    /// It says how large a frame its client takes.
    Frames(u32),
    /// It does not say, or is none that may come first.
    Nothing,
}

/// Looks at the beginning of a first frame.
fn look(said: &[u8]) -> Seen {
    let Some((head, settings)) = said.split_first_chunk::<FRAME_HEAD>() else { return Seen::Of(FRAME_HEAD) };
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    // The first bit of a stream's number means nothing.
    let of_connection = u32::from_be_bytes(stream) << 1 == 0;
    let is_first = kind == SETTINGS && flags & ACK == 0 && of_connection;
    if !is_first || length > MOST_SETTINGS || !length.is_multiple_of(SETTING) {
        return Seen::Nothing;
    }
    let Some(settings) = settings.get(..length) else { return Seen::Of(FRAME_HEAD + length) };
    let (settings, _) = settings.as_chunks::<SETTING>();
    let size = settings.iter().rev().find_map(|[n, m, value @ ..]| {
        (u16::from_be_bytes([*n, *m]) == MAX_FRAME_SIZE).then(|| u32::from_be_bytes(*value))
    });
    match size {
        Some(size) if FRAME_SIZES.contains(&size) => Seen::Frames(size),
        Some(_) | None => Seen::Nothing,
    }
}

impl Begun {
    /// What was read to know what it speaks.
    pub(super) fn said(&self) -> &[u8] {
        &self.read
    }

    /// How large the frames are that the client of a connection of HTTP/2 takes, if it says so in its first frame. Bound it
    /// with a deadline.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn announced_frames(&mut self) -> io::Result<Option<u32>> {
        let looked = timeout(PATIENCE, async {
            loop {
                match look(self.read.get(PREFACE.len()..).unwrap_or_default()) {
                    Seen::Nothing => return Ok(None),
                    Seen::Frames(size) => return Ok(Some(size)),
                    Seen::Of(bytes) => {
                        // It has closed: whoever reads finds that out.
                        if self.read_up_to(PREFACE.len() + bytes).await? == 0 {
                            return Ok(None);
                        }
                    }
                }
            }
        });
        looked.await.unwrap_or(Ok(None))
    }

    /// Reads on until there are so many bytes, or fewer, and answers how many came. Cancel safe.
    async fn read_up_to(&mut self, bytes: usize) -> io::Result<usize> {
        let more = bytes.saturating_sub(self.read.len());
        self.stream.read_buf(&mut (&mut self.read).limit(more)).await
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.read[this.given_back..];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        this.given_back += count;
        if this.given_back == this.read.len() {
            // A connection lives long.
            (this.read, this.given_back) = (Vec::new(), 0);
        }
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// A frame of this type, flags and stream.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
    }

    fn settings(all: &[(u16, u32)]) -> Vec<u8> {
        let each = all.iter().flat_map(|(n, value)| [&n.to_be_bytes()[..], &value.to_be_bytes()].concat());
        frame(SETTINGS, 0, 0, &each.collect::<Vec<_>>())
    }

    const MIB: u32 = 1 << 20;

    #[test]
    fn first_frames_as_a_table() {
        for (said, seen) in [
            (settings(&[]), Seen::Nothing),
            (settings(&[(3, 100), (4, MIB)]), Seen::Nothing),
            (settings(&[(5, MIB)]), Seen::Frames(MIB)),
            (settings(&[(2, 0), (5, 1 << 14), (4, 7)]), Seen::Frames(1 << 14)),
            // The last one counts.
            (settings(&[(5, MIB), (5, 1 << 17)]), Seen::Frames(1 << 17)),
            (settings(&[(5, (1 << 24) - 1)]), Seen::Frames((1 << 24) - 1)),
            // Not what it may be.
            (settings(&[(5, 0)]), Seen::Nothing),
            (settings(&[(5, 1 << 24)]), Seen::Nothing),
            (settings(&[(5, u32::MAX)]), Seen::Nothing),
            // What comes after it is not looked at.
            ([settings(&[]), settings(&[(5, MIB)])].concat(), Seen::Nothing),
            ([settings(&[(5, MIB)]), vec![0xff; 100]].concat(), Seen::Frames(MIB)),
            // The bit before a stream's number is ignored.
            (frame(SETTINGS, 0, 1 << 31, &settings(&[(5, MIB)])[FRAME_HEAD..]), Seen::Frames(MIB)),
            // No first frame.
            (frame(SETTINGS, 0, 1, &settings(&[(5, MIB)])[FRAME_HEAD..]), Seen::Nothing),
            (frame(SETTINGS, ACK, 0, &[]), Seen::Nothing),
            (frame(SETTINGS, 0, 0, &[0; 7]), Seen::Nothing),
            (frame(0, 0, 1, &settings(&[(5, MIB)])[FRAME_HEAD..]), Seen::Nothing),
            (vec![0xff; FRAME_HEAD], Seen::Nothing),
            // Too long to be looked into, and as long as may be.
            (vec![0, 0x40, 2, SETTINGS, 0, 0, 0, 0, 0], Seen::Nothing),
            (vec![0, 0x3f, 0xfc, SETTINGS, 0, 0, 0, 0, 0], Seen::Of(FRAME_HEAD + 0x3ffc)),
            (vec![], Seen::Of(FRAME_HEAD)),
            (settings(&[(5, MIB)])[..FRAME_HEAD - 1].to_vec(), Seen::Of(FRAME_HEAD)),
            (settings(&[(5, MIB)])[..FRAME_HEAD].to_vec(), Seen::Of(FRAME_HEAD + SETTING)),
            (settings(&[(5, MIB)])[..FRAME_HEAD + 5].to_vec(), Seen::Of(FRAME_HEAD + SETTING)),
        ] {
            assert_eq!(look(&said), seen, "{said:?}");
        }
    }

    async fn pair() -> (TcpStream, Transport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Transport::Plain(listener.accept().await.unwrap().0))
    }

    async fn begun(server: Transport) -> Begun {
        let Speaks::Http2(begun) = read(server).await.unwrap() else { panic!("HTTP/2") };
        begun
    }

    #[tokio::test]
    async fn whatever_was_read_is_given_back_however_it_comes() {
        let rest = b"and what comes after it".to_vec();
        for (first, frames) in [
            (settings(&[(5, MIB)]), Some(MIB)),
            (settings(&[]), None),
            (frame(6, 0, 0, &[1; 8]), None),
            (settings(&[(1, 4096); 2000]), None),
            (settings(&[(1, 4096); 2731]), None),
        ] {
            let said = [PREFACE.as_slice(), &first, &rest].concat();
            for piece in [1, 20, 24, 30, said.len()] {
                let (mut client, server) = pair().await;
                let (writes, said) = (said.clone(), &said);
                let writing = async move {
                    // Byte by byte where it matters, and not forever.
                    let (begin, end) = writes.split_at(writes.len().min(200));
                    for piece in begin.chunks(piece) {
                        client.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    client.write_all(end).await.unwrap();
                };
                let reading = async {
                    let mut begun = begun(server).await;
                    assert_eq!(begun.announced_frames().await.unwrap(), frames);
                    let mut read = Vec::new();
                    begun.read_to_end(&mut read).await.unwrap();
                    assert!(read == *said && begun.read.capacity() == 0);
                };
                tokio::join!(writing, reading);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_is_as_everybody() {
        for (said, closes) in [
            (vec![], false),
            (settings(&[(5, MIB)])[..12].to_vec(), false),
            (settings(&[(5, MIB)])[..12].to_vec(), true),
        ] {
            let (mut client, server) = pair().await;
            client.write_all(&[PREFACE.as_slice(), &said].concat()).await.unwrap();
            let client = if closes {
                drop(client);
                None
            } else {
                Some(client)
            };
            let mut begun = begun(server).await;
            assert_eq!(begun.announced_frames().await.unwrap(), None);
            let mut read = vec![0; PREFACE.len() + said.len()];
            begun.read_exact(&mut read).await.unwrap();
            assert_eq!(&read[PREFACE.len()..], said);
            drop(client);
        }
    }
}
