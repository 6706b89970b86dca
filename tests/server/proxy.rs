//! A proxy that keeps a client from hearing that its connection is to end: it swallows GOAWAY and the
//! PING behind it. So a test can ask a server that stops for as long as it likes, with any client.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    task::JoinHandle,
};
use tonic::transport::{Channel, Endpoint};

/// Length of the head of a frame (RFC 9113, 4.1), and where its type and flags stand.
const HEAD: usize = 9;
const TYPE: usize = 3;
const FLAGS: usize = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// One connection through the proxy. It breaks when this is dropped.
#[derive(Debug)]
pub(crate) struct Deaf {
    pub(crate) channel: Channel,
    carries: JoinHandle<()>,
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.carries.abort();
    }
}

/// Connects to a server.
pub(crate) async fn deaf(to: SocketAddr) -> Deaf {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let carries = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(to).await.unwrap();
        let ((mut said, heard), (answers, mut asked)) = (client.into_split(), server.into_split());
        tokio::select! {
            _ = tokio::io::copy(&mut said, &mut asked) => {}
            _ = filter(answers, heard) => {}
        }
    });
    Deaf { channel: Endpoint::from_shared(url).unwrap().connect().await.unwrap(), carries }
}

/// Carries frames of the server to the client, except those that announce the end.
async fn filter(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        let mut frame = vec![0; HEAD];
        from.read_exact(&mut frame).await?;
        let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
        frame.resize(HEAD + length, 0);
        from.read_exact(&mut frame[HEAD..]).await?;
        let ends = match frame[TYPE] {
            GOAWAY => true,
            PING => frame[FLAGS] & ACK == 0,
            _ => false,
        };
        if !ends {
            to.write_all(&frame).await?;
        }
    }
}
