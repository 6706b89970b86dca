//! Whoever comes to the wrong port is told which is the right one.

use std::process::Stdio;

use tokio::{net::TcpStream, process::Command};

use crate::harness::{PATIENCE, TestServer, get};

#[tokio::test]
async fn http_on_the_grpc_port_is_told_the_http_port() {
    let server = TestServer::start().await;
    let (code, text) = get(server.addresses.grpc, "/health", "*/*").await;
    let http = server.addresses.http.port();
    assert_eq!(code, 400);
    assert_eq!(text, format!("this is the gRPC port, which speaks HTTP/2; HTTP is on port {http}\n"));
    server.stop().await;
}

#[tokio::test]
async fn grpc_on_the_http_port_is_told_the_grpc_port() {
    let server = TestServer::start().await;
    let tcp = TcpStream::connect(server.addresses.http).await.unwrap();
    let (_send, connection) = h2::client::handshake(tcp).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, connection).await.expect("in time").unwrap_err();
    assert!(ended.is_go_away() && ended.is_remote(), "{ended:?}");
    assert_eq!(ended.reason(), Some(h2::Reason::HTTP_1_1_REQUIRED));
    let grpc = server.addresses.grpc.port();
    assert!(ended.to_string().contains(&format!("gRPC is on port {grpc}")), "{ended}");
    server.stop().await;
}

#[tokio::test]
async fn the_command_line_says_so_too() {
    let server = TestServer::start().await;
    let http = format!("http://{}", server.addresses.http);
    for command in [&["status"][..], &["fleet", "list"]] {
        let ended = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(["--server", &http])
            .args(command)
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("in time").unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            said,
            format!(
                "error: {http} looks like the HTTP port, not the gRPC one: \"this is the HTTP port; gRPC is on \
                 port {}\"; name the gRPC port with --server\n",
                server.addresses.grpc.port()
            )
        );
        assert_eq!(ended.status.code(), Some(4));
    }
    server.stop().await;
}
