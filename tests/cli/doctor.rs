//! `doctor` against the real server, and against what may listen in its place.

use std::process::Stdio;

use seaworthy_client::proto::seaworthy::v1::{
    Budget, Dependency, PutServiceRequest, Quantity, ServiceSpec, budget, quantity,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{PATIENCE, code, harness::TestServer, nobody, peer::Peer, run, seaworthy, stderr, stdout};

/// What it finds, as one document.
async fn doctor(server: &str, more: &[&str]) -> (i32, Value) {
    let ended = run(&[&["--server", server, "-o", "json", "doctor"], more].concat()).await;
    let text = stdout(&ended);
    let document =
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}{}", stderr(&ended)));
    (code(&ended), document)
}

/// The outcome of a check, what was found, and what to do.
fn check(report: &Value, id: &str) -> (String, String, String) {
    let checks = report["checks"].as_array().unwrap();
    let found =
        checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id} in {report:#}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("outcome"), text("found"), text("remedy"))
}

/// A listener that treats every connection so.
async fn listener<F, R>(treat: F) -> String
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_well_ends_with_0_and_every_group_is_looked_at() {
    let server = TestServer::start().await;
    let (code, report) = doctor(&server.url(), &[]).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["reached"], &report["server"]), (&Value::Bool(true), &Value::from(server.url())));
    for id in [
        "reach.name",
        "reach.port",
        "reach.grpc",
        "reach.answer",
        "version.match",
        "clock.difference",
        "http.reachable",
        "server.running",
        "store.writable",
        "transport.private",
        "limits.connections",
        "limits.open_files",
        "fleet.services",
        "fleet.confirmed",
        "fleet.dependencies",
        "fleet.specifications",
        "fleet.circles",
    ] {
        assert_eq!(check(&report, id).0, "pass", "{id}: {report:#}");
    }
    // The bounds are those of the process and its configuration, not unknown.
    assert!(check(&report, "limits.connections").1.contains(" of at most 20000 "), "{report:#}");
    assert!(check(&report, "limits.open_files").1.contains(" of at most "), "{report:#}");
    // What its own report warns of is not lost.
    assert_eq!(check(&report, "identity.authenticated").0, "warn");
    assert_eq!(report["outcome"], "warn");
    // Of each group there is one.
    let mut groups: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["id"].as_str().unwrap().split('.').next().unwrap())
        .collect();
    groups.dedup();
    let mut sorted = groups.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(groups.len(), sorted.len(), "{groups:?}");

    let table = stdout(&run(&["--server", &server.url(), "doctor"]).await);
    assert!(table.contains("reach\n  + name resolves: 127.0.0.1 is 127.0.0.1\n"), "{table}");
    assert!(table.contains("  ! callers prove who they are: ") && table.contains("    hint: "), "{table}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_lacks_something_ends_with_1_and_is_named() {
    let server = TestServer::start().await;
    let spec = ServiceSpec {
        budget: Some(Budget {
            limit: Some(budget::Limit::MinAvailable(Quantity { value: Some(quantity::Value::Count(2)) })),
            ..Budget::default()
        }),
        depends_on: vec![Dependency { service: "payments".into(), ..Dependency::default() }],
        ..ServiceSpec::default()
    };
    let put = PutServiceRequest { name: "orders".into(), spec: Some(spec), ..PutServiceRequest::default() };
    server.fleet().await.put_service(put).await.unwrap();
    let (code, report) = doctor(&server.url(), &[]).await;
    assert_eq!(code, 1, "{report:#}");
    let (outcome, found, remedy) = check(&report, "fleet.services");
    assert_eq!((outcome.as_str(), remedy.as_str()), ("fail", "see why: `seaworthy health orders`"));
    assert!(found.contains("orders (0 of 2 needed)"), "{found}");
    let (outcome, found, _) = check(&report, "fleet.dependencies");
    assert_eq!((outcome.as_str(), found.contains("payments (needed by orders)")), ("warn", true), "{found}");
    server.stop().await;
}

#[tokio::test]
async fn nobody_there_ends_with_4_and_says_how_to_start_one() {
    let (address, _held) = nobody();
    let server = format!("http://{address}");
    let (code, report) = doctor(&server, &[]).await;
    assert_eq!((code, &report["reached"]), (4, &Value::Bool(false)));
    assert_eq!(check(&report, "reach.name").0, "pass");
    let (outcome, found, remedy) = check(&report, "reach.port");
    assert_eq!(outcome, "fail");
    assert!(
        found.ends_with("connection refused") && remedy.contains("`seaworthy serve`"),
        "{found}; {remedy}"
    );
    // What was not looked at is not said to be well.
    assert_eq!(report["checks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told() {
    let (code, report) = doctor("http://nobody.invalid:50051", &[]).await;
    assert_eq!(code, 4);
    assert_eq!(check(&report, "reach.name").0, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_is_told_with_the_right_one() {
    let server = TestServer::start().await;
    let (code, report) = doctor(&format!("http://{}", server.addresses.http), &[]).await;
    assert_eq!(code, 4);
    let (outcome, found, remedy) = check(&report, "reach.grpc");
    assert_eq!((outcome.as_str(), found.as_str()), ("fail", "this is its HTTP port, not the gRPC one"));
    assert_eq!(remedy, format!("--server {}", server.url()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_file_leads_to_where_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ready.json");
    let server = TestServer::start_with(|config| config.ready_file = Some(file.clone())).await;
    let text = timeout(PATIENCE, async {
        loop {
            match std::fs::read_to_string(&file) {
                Ok(text) => return text,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    assert!(text.await.unwrap().contains("grpc"));
    let (address, _held) = nobody();
    let elsewhere = format!("http://{address}");
    let flag = ["--ready-file", file.to_str().unwrap()];
    let (code, report) = doctor(&elsewhere, &flag).await;
    assert_eq!(code, 4);
    let remedy = check(&report, "reach.port").2;
    assert!(remedy.contains(&format!("--server {}", server.url())), "{remedy}");
    server.stop().await;
    // It is taken away at the end, and that says something too.
    let remedy = check(&doctor(&elsewhere, &flag).await.1, "reach.port").2;
    assert!(remedy.contains("there is no ready file"), "{remedy}");
}

#[tokio::test]
async fn what_listens_instead_is_told_apart() {
    let silent = listener(|mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    // It takes nothing but handshakes, and refuses those as well: it knows nobody of that name.
    let tls = listener(|mut stream| async move {
        let mut first = [0; 1];
        if stream.read_exact(&mut first).await.is_ok() && first == [0x16] {
            stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await.ok();
        }
    });
    let ssh = listener(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let web = listener(|mut stream| async move {
        stream.read_exact(&mut [0; 24]).await.ok();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n").await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    for (server, expected) in [
        (silent.await, "says nothing"),
        (tls.await, "TLS is spoken there"),
        (ssh.await, "SSH-2.0-OpenSSH_9.2p1"),
        (web.await, "HTTP/1.1 404 Not Found"),
    ] {
        let (code, report) = doctor(&server, &["--timeout", "500ms"]).await;
        let (outcome, found, remedy) = check(&report, "reach.grpc");
        assert_eq!((code, outcome.as_str()), (4, "fail"));
        assert!(found.contains(expected) && !remedy.is_empty(), "{expected}: {found}; {remedy}");
    }
}

#[tokio::test]
async fn another_grpc_server_is_no_control_plane() {
    let peer = Peer::with(Vec::new()).await;
    let (code, report) = doctor(&peer.url, &[]).await;
    assert_eq!(code, 4);
    assert!(check(&report, "reach.grpc").1.starts_with("a gRPC server, but none"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_until_nothing_fails() {
    let (address, _held) = nobody();
    let server = format!("http://{address}");
    let mut child = seaworthy(&["--server", &server, "-o", "json", "doctor", "--wait", "1m"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = timeout(PATIENCE, said.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, format!("waiting: reach.port: {address}: connection refused"));
    let started = TestServer::start_with(|config| config.grpc.listen = address.parse().unwrap()).await;
    let ended = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((code(&ended), &report["reached"]), (0, &Value::Bool(true)));
    started.stop().await;
}

#[tokio::test]
async fn waiting_has_an_end() {
    let (address, _held) = nobody();
    let server = format!("http://{address}");
    let ended = run(&["--server", &server, "doctor", "--wait", "100ms"]).await;
    assert_eq!(code(&ended), 4);
    assert!(stderr(&ended).contains("waited for 100ms"), "{}", stderr(&ended));
}
