//! `probe` against tonic's own health service.

use std::process::Stdio;

use seaworthy::task::{OnEnd, Task, spawn};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    sync::watch,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{codec::CompressionEncoding, transport::Server};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::{
    PATIENCE, code,
    encrypted::{self, Authority, For, server},
    nobody, run, seaworthy, stderr, stdout,
};

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
        (&["-addr", &address, "-tls-no-verify"], 1, "specified -tls-no-verify without specifying -tls"),
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
async fn over_tls_exit_codes_are_those_of_grpc_health_probe() {
    let authority = Authority::new("a test's");
    let pair = authority.issue(For::Server, &["seaworthy.internal"]);
    let own = authority.issue(For::Client, &["probe"]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("={}", path.to_str().unwrap())
    };
    let (ca, certificate, key) =
        (write("ca.pem", &authority.pem), write("own.pem", &own.certificate), write("own.key", &own.key));
    let start = async |clients: Option<&str>| {
        let reporter = HealthReporter::new();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (held, newest) = watch::channel(server(&pair.certificate, &pair.key, clients));
        let serve = Server::builder().serve_with_incoming(service, encrypted::over(newest)(listener));
        let serving = spawn("health", OnEnd::Fine, async move {
            let _held = held;
            serve.await.unwrap();
        });
        (address, serving)
    };
    let (address, _open) = start(None).await;
    let (demanding, _demanding) = start(Some(&authority.pem)).await;
    let [ca, certificate, key] =
        [("-tls-ca-cert", ca), ("-tls-client-cert", certificate), ("-tls-client-key", key)]
            .map(|(flag, file)| format!("{flag}{file}"));
    let name = "-tls-server-name=seaworthy.internal";
    let table: [(&[&str], i32, &str); 8] = [
        (&["-addr", &address, "-tls", &ca, name], 0, "status: SERVING"),
        (&["-addr", &address, "-tls", "-tls-no-verify"], 0, "warning: -tls-no-verify"),
        (&["-addr", &address, "-tls", &ca], 2, "is for seaworthy.internal"),
        (&["-addr", &address, "-tls", "-tls-ca-cert=/nowhere", name], 2, "cannot read the authorities"),
        (&["-addr", &address, "-connect-timeout=30s"], 3, "error: health rpc failed"),
        (&["-addr", &demanding, "-tls", &ca, name], 2, "client certificate"),
        (&["-addr", &demanding, "-tls", &ca, name, &certificate, &key], 0, "status: SERVING"),
        (&["-addr", &demanding, "-tls", &ca, name, &certificate], 1, "without specifying -tls-client-key"),
    ];
    for (args, expected, message) in table {
        let ended = run(&[&["probe"], args, &["-rpc-timeout=1m"]].concat()).await;
        assert_eq!(code(&ended), expected, "{args:?}: {}", stderr(&ended));
        assert!(stderr(&ended).contains(message), "{args:?}: {}", stderr(&ended));
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
