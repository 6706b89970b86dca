//! `probe` against tonic's own health service.

use std::process::Stdio;

use seaworthy::task::{OnEnd, Task, spawn};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{codec::CompressionEncoding, transport::Server};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::{PATIENCE, code, nobody, run, seaworthy, stderr, stdout};

async fn health(address: &str) -> (String, HealthReporter, Task<()>) {
    let reporter = HealthReporter::new();
    let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener));
    let server = spawn("health", OnEnd::Fine, async move { serve.await.unwrap() });
    (address, reporter, server)
}

#[tokio::test]
async fn exit_codes_and_messages_are_those_of_grpc_health_probe() {
    let (address, reporter, _server) = health("127.0.0.1:0").await;
    reporter.set_service_status("orders", ServingStatus::NotServing).await;
    let (refusing, _held) = nobody();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|it| it.to_string()).unwrap();
    let table: [(&[&str], i32, &str); 9] = [
        (&["-addr", &address], 0, "status: SERVING"),
        (&["--addr", &address, "-gzip", "-rpc-header=x-team: a"], 0, "status: SERVING"),
        (&["-addr", &address, "-v"], 0, "time elapsed: connect="),
        (&[], 1, "error: -addr not specified"),
        (&["-addr", &address, "-tls"], 1, "TLS is not supported yet"),
        (&["-addr", &refusing], 2, "error: failed to connect service at"),
        (&["-addr", &silent, "-rpc-timeout=50ms"], 3, "timeout: health rpc did not complete within 50ms"),
        (&["-addr", &address, "-service=nobody"], 3, "code = NotFound"),
        (&["-addr", &address, "-service", "orders"], 4, "service unhealthy (responded with \"NOT_SERVING\")"),
    ];
    for (args, expected, message) in table {
        // A busy machine may take longer than the default of a second.
        let patient: &[&str] = if args.contains(&"-rpc-timeout=50ms") { &[] } else { &["-rpc-timeout=1m"] };
        let ended = run(&[&["probe"], args, patient].concat()).await;
        assert_eq!(code(&ended), expected, "{args:?}: {}", stderr(&ended));
        assert!(stderr(&ended).contains(message), "{args:?}: {}", stderr(&ended));
        assert_eq!(stdout(&ended), "", "{args:?}");
    }
}

#[tokio::test]
async fn waits_for_a_server_that_is_not_there_yet_and_then_for_its_status() {
    let (address, _held) = nobody();
    let mut child =
        seaworthy(&["probe", "-addr", &address, "-watch", "-wait-for=SERVING", "-wait-timeout=1m"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = async || timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(next().await.starts_with("error: failed to connect"));
    let (_, reporter, _server) = health(&address).await;
    // tonic's service begins with SERVING; it is asked for at once.
    assert_eq!(next().await, "status: SERVING");
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));

    reporter.set_service_status("", ServingStatus::NotServing).await;
    let wait = ["probe", "-addr", &address, "-wait-for=SERVING", "-wait-timeout=200ms"];
    let ended = run(&wait).await;
    assert_eq!(code(&ended), 4, "{}", stderr(&ended));
    assert!(stderr(&ended).contains("NOT_SERVING"), "{}", stderr(&ended));
}
