//! A connection of HTTP/2, frame by frame (RFC 9113).

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::victim::in_time;

pub use crate::spelled::*;

/// A frame that the server sent.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What the server said, counted.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Answers to PINGs.
    pub pongs: usize,
    /// Acknowledged SETTINGS.
    pub acks: usize,
    /// Codes of the streams that it reset.
    pub resets: Vec<u32>,
    /// Heads of answers, and trailers.
    pub heads: usize,
    /// Code and text of its goodbye. hyper's graceful one (code 0) is overwritten by a later one.
    pub goodbye: Option<(u32, String)>,
}

impl Said {
    pub fn count(&mut self, frame: &Frame) {
        let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().expect("four bytes"));
        match frame.kind {
            PING if frame.flags & ACK != 0 => self.pongs += 1,
            SETTINGS if frame.flags & ACK != 0 => self.acks += 1,
            RST_STREAM => self.resets.push(code(0)),
            HEADERS => self.heads += 1,
            GOAWAY => {
                self.goodbye = Some((code(4), String::from_utf8_lossy(&frame.payload[8..]).into_owned()));
            }
            _ => {}
        }
    }

    /// It said goodbye because of an error.
    #[track_caller]
    pub fn ended_for(&self, codes: &[u32]) {
        assert!(self.goodbye.as_ref().is_some_and(|(code, _)| codes.contains(code)), "{self:?}");
    }

    /// The goodbye, which must be this.
    #[track_caller]
    pub fn ended_with(&self, code: u32, text: &str) {
        assert_eq!(self.goodbye, Some((code, text.to_owned())), "{self:?}");
    }
}

/// A connection that says what it is told.
#[derive(Debug)]
pub struct Raw {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Raw {
    /// Connects, and says what a client says first.
    pub async fn open(to: SocketAddr) -> Self {
        let mut raw = Self::silent(to).await;
        raw.begin().await;
        raw
    }

    /// The same, and agrees to the server's settings: only then do they hold.
    pub async fn settled(to: SocketAddr) -> Self {
        let mut raw = Self::open(to).await;
        while raw.next().await.expect("settings").kind != SETTINGS {}
        raw.send(&frame(SETTINGS, ACK, 0, &[])).await.expect("taken");
        raw
    }

    /// The same, by a client that takes frames of this size.
    pub async fn settled_with(to: SocketAddr, frame_bytes: u32) -> Self {
        let mut raw = Self::silent(to).await;
        let setting = [[0, 5].as_slice(), &frame_bytes.to_be_bytes()].concat();
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()).await.expect("taken");
        while raw.next().await.expect("settings").kind != SETTINGS {}
        raw.send(&frame(SETTINGS, ACK, 0, &[])).await.expect("taken");
        raw
    }

    /// Connects, and says nothing yet.
    pub async fn silent(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).await.expect("the port is open"))
    }

    /// Says what a client says first.
    async fn begin(&mut self) {
        self.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("taken");
    }

    fn over(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: BufReader::new(read), write }
    }

    /// Sends without reading.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await
    }

    /// Sends piece after piece until there are no more or the server takes none, reading all the while.
    pub async fn flood(&mut self, pieces: impl Iterator<Item = Vec<u8>>, said: &mut Said) -> bool {
        let (read, write) = (&mut self.read, &mut self.write);
        let writes = async {
            for piece in pieces {
                if write.write_all(&piece).await.is_err() {
                    return false;
                }
            }
            true
        };
        let reads = async {
            while let Ok(frame) = next(read).await {
                said.count(&frame);
            }
        };
        in_time(async {
            tokio::select! {
                all = writes => all,
                () = reads => false,
            }
        })
        .await
    }

    /// The next frame.
    pub async fn next(&mut self) -> io::Result<Frame> {
        in_time(next(&mut self.read)).await
    }

    /// Reads until the server closes.
    pub async fn end(&mut self, said: &mut Said) {
        while let Ok(frame) = self.next().await {
            said.count(&frame);
        }
    }

    /// Reads until this is so, or the server closes.
    pub async fn until_or_end(&mut self, said: &mut Said, is_so: impl Fn(&Said) -> bool) {
        while !is_so(said) {
            let Ok(frame) = self.next().await else { return };
            said.count(&frame);
        }
    }

    /// Reads until this is so.
    pub async fn until(&mut self, said: &mut Said, is_so: impl Fn(&Said) -> bool) {
        while !is_so(said) {
            let frame = self.next().await.unwrap_or_else(|ended| panic!("ended before: {ended}, {said:?}"));
            said.count(&frame);
        }
    }
}

async fn next(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Frame> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("a length")];
    read.read_exact(&mut payload).await?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}
