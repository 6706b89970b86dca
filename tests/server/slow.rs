//! HTTP connections that hurt: clients that say nothing, say it slowly, do not read, or never go.

use std::time::Duration;

use seaworthy::config::Http;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::harness::{PATIENCE, TestServer};

/// What a test does not ask for must not be what helps.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(300);

/// A server whose HTTP side has no bound but the ones of this test.
async fn server(change: impl FnOnce(&mut Http)) -> TestServer {
    TestServer::start_with(|config| {
        let http = &mut config.http;
        (http.idle_timeout, http.write_timeout, http.max_connection_age, http.request_timeout) =
            (NEVER, NEVER, NEVER, NEVER);
        change(http);
    })
    .await
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("in time")
}

/// Reads until the other end closes.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // Reset or ended: it is over either way.
    drop(in_time(stream.read_to_end(&mut read)).await);
    read
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let server = server(|http| http.idle_timeout = SOON).await;
    let mut silent = TcpStream::connect(server.addresses.http).await.unwrap();
    assert_eq!(closed(&mut silent).await, b"");
    // The same after a request: a connection may be kept, but not for ever.
    let mut idle = TcpStream::connect(server.addresses.http).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    assert!(closed(&mut idle).await.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let server = server(|http| http.idle_timeout = SOON).await;
    let mut slow = TcpStream::connect(server.addresses.http).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nx-endless: ").await.unwrap();
    let (mut read, mut write) = slow.split();
    let drips = async {
        while write.write_all(b"x").await.is_ok() {
            sleep(SOON / 10).await;
        }
    };
    let mut rest = Vec::new();
    in_time(async {
        tokio::select! {
            _ = read.read_to_end(&mut rest) => {}
            () = drips => {}
        }
    })
    .await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.get("/health/live").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let server = server(|http| http.write_timeout = SOON).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(server.addresses.http).await.unwrap();
    // Asks and asks, until the other end has gone: writing fails then.
    let asks =
        async { while deaf.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n").await.is_ok() {} };
    in_time(asks).await;
    assert_eq!(server.get("/health/live").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_ends_at_its_age_after_a_whole_answer() {
    let server = server(|http| http.max_connection_age = SOON).await;
    let mut kept = TcpStream::connect(server.addresses.http).await.unwrap();
    let (mut read, mut write) = kept.split();
    let asks = async {
        while write.write_all(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n").await.is_ok() {
            sleep(SOON / 20).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answers = Vec::new();
    in_time(async {
        tokio::select! {
            ended = read.read_to_end(&mut answers) => drop(ended),
            () = asks => {}
        }
    })
    .await;
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.matches("HTTP/1.1 200").count() > 1, "{answers}");
    assert!(answers.ends_with('}') || answers.ends_with('\n'), "cut within an answer: {answers}");
    server.stop().await;
}

#[tokio::test]
async fn one_peer_does_not_get_every_place() {
    let server = server(|http| {
        http.max_connections = 8.try_into().unwrap();
        http.max_connections_per_peer = 2.try_into().unwrap();
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut kept = TcpStream::connect(server.addresses.http).await.unwrap();
        kept.write_all(b"GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        in_time(kept.read_u8()).await.unwrap();
        held.push(kept);
    }
    let mut third = TcpStream::connect(server.addresses.http).await.unwrap();
    assert_eq!(closed(&mut third).await, b"");
    // Others have their places: another address of this machine stands for them.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(server.addresses.http).await.unwrap();
    let ask = b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    other.write_all(ask).await.unwrap();
    let metrics = String::from_utf8(closed(&mut other).await).unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    // And what was refused leaves a trace.
    for (by, count) in [("http", 1), ("grpc", 0)] {
        let name = "seaworthy_connections_refused_total";
        let line = format!("{name}{{why=\"too_many\",listener=\"{by}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    server.stop().await;
}
