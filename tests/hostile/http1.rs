//! The HTTP side: heads without end, bodies that nobody wants, and questions without pause.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::victim::{MIB, Victim, http, in_time};

/// Sends pieces until the server takes none or there are no more, and reads what it says.
async fn flood(victim: &Victim, pieces: impl Iterator<Item = Vec<u8>>) -> String {
    let (mut read, mut write) = TcpStream::connect(victim.http).await.unwrap().into_split();
    let writes = async {
        for piece in pieces {
            if write.write_all(&piece).await.is_err() {
                break;
            }
        }
        // The other half stays open: the server ends the connection.
        write
    };
    let mut said = Vec::new();
    in_time(async { tokio::join!(writes, read.read_to_end(&mut said)).1.ok() }).await;
    String::from_utf8_lossy(&said).into_owned()
}

fn then(head: &str, piece: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let (head, piece) = (head.as_bytes().to_vec(), piece.as_bytes().to_vec());
    std::iter::once(head).chain(std::iter::repeat_n(piece, count))
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let victim = Victim::start().await;
    let head = "GET /health HTTP/1.1\r\nhost: test\r\n";
    for (head, piece) in [
        (head, "x: y\r\n"),
        (head, &*"x".repeat(1024)),
        ("GET /", &*"a".repeat(1024)),
        (&*"G".repeat(1024), &*"G".repeat(1024)),
    ] {
        let harm = || async {
            let said = flood(&victim, then(head, piece, 20_000)).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        };
        victim.good.beside(harm).await;
    }
    victim.unharmed(16 * MIB).await;
}

/// Nobody reads bodies here: what is sent is not taken.
#[tokio::test]
async fn bodies_are_not_taken() {
    let victim = Victim::start().await;
    let post = |how: &str| format!("POST /health HTTP/1.1\r\nhost: test\r\n{how}\r\n\r\n");
    let piece = "a".repeat(64 * 1024);
    for (head, piece) in [
        (post("content-length: 10737418240"), piece.clone()),
        (post("transfer-encoding: chunked"), format!("10000\r\n{piece}\r\n")),
        (post("transfer-encoding: chunked"), "1\r\na\r\n".repeat(1000)),
        (post("content-length: 10737418240\r\nexpect: 100-continue"), piece.clone()),
    ] {
        let said = flood(&victim, then(&head, &piece, 1600)).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    victim.unharmed(16 * MIB).await;
}

/// Each of them is answered before the next one is looked at.
#[tokio::test]
async fn questions_without_pause_are_answered_one_by_one() {
    let victim = Victim::start().await;
    let ask = "GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n";
    let last = ask.replace("host", "connection: close\r\nhost");
    let many = ask.repeat(100);
    let asks = then(ask, &many, 30).chain([last.into_bytes()]);
    let said = flood(&victim, asks).await;
    assert_eq!(said.matches("HTTP/1.1 200").count(), 3_002);
    victim.unharmed(16 * MIB).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let victim = Victim::start().await;
    let wrong: [&[u8]; 8] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\x7f: x\r\n\r\n",
    ];
    for bytes in wrong {
        let said = http(victim.http, bytes).await;
        let what = String::from_utf8_lossy(bytes);
        // Two lengths that disagree: the chunks count, nobody reads them, and nothing is taken for a request after.
        let expected = if what.contains("chunked") { "HTTP/1.1 200" } else { "HTTP/1.1 400" };
        assert!(said.starts_with(expected) && said.matches("HTTP/1.1").count() == 1, "{what}: {said}");
    }
    victim.unharmed(8 * MIB).await;
}
