//! `doctor` against the real server, and against what may listen in its place.

use std::process::Stdio;

use seaworthy_client::proto::seaworthy::v1::{
    Budget, Dependency, GetStatusRequest, GetStatusResponse, HealthState, Instance, InstanceCounts,
    Protection, PutServiceRequest, Quantity, Role, Service, ServiceSpec, budget, quantity,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    PATIENCE, code,
    encrypted::{Authority, For, server},
    harness::TestServer,
    instance,
    login::identity,
    nobody,
    peer::Peer,
    run, seaworthy, stderr, stdout,
};

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
        "fleet.protection",
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

/// A web server that answers every path so.
async fn web(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> String {
    listener(move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            stream.write_all(answer(path).as_bytes()).await.ok();
        }
    })
    .await
}

/// Nobody is blamed for what is at the address that the control plane has behind a published port.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_side_that_is_published_elsewhere_is_no_failure_and_can_be_named() {
    let (own, other) = (TestServer::start().await, TestServer::start().await);
    let status = own.system().await.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    let (nobody, _held) = nobody();
    let not_found = web(|_| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let ssh = listener(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await.ok();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    for (elsewhere, expected) in [
        (format!("http://{}", other.addresses.http), "another control plane"),
        (format!("http://{nobody}"), "connection refused"),
        (not_found, "404 Not Found"),
        (ssh.await, "SSH-2.0-OpenSSH_9.2p1"),
    ] {
        let http_address = elsewhere.trim_start_matches("http://").to_owned();
        let status = GetStatusResponse { http_address, ..status.clone() };
        let peer = Peer::telling(status, Vec::new(), Vec::new()).await;
        let (code, report) = doctor(&peer.url, &[]).await;
        let (outcome, found, remedy) = check(&report, "http.reachable");
        assert_eq!((code, outcome.as_str()), (0, "warn"), "{expected}: {report:#}");
        assert!(found.contains(expected) && found.contains(&elsewhere), "{expected}: {found}");
        assert!(remedy.contains("--http http://HOST:PORT"), "{remedy}");
        // Where somebody says that it is there, it has to be.
        let (code, report) = doctor(&peer.url, &["--http", &elsewhere]).await;
        let (outcome, found, _) = check(&report, "http.reachable");
        assert_eq!((code, outcome.as_str()), (1, "fail"), "{expected}: {report:#}");
        assert!(found.contains(expected), "{expected}: {found}");
        let there = format!("http://{}", own.addresses.http);
        let (code, report) = doctor(&peer.url, &["--http", &there]).await;
        let (outcome, found, _) = check(&report, "http.reachable");
        assert_eq!((code, outcome.as_str(), found), (0, "pass", format!("{there}/")));
    }
    // Encrypted it is not there.
    let encrypted = format!("https://{}", own.addresses.http);
    let (code, report) = doctor(&own.url(), &["--http", &encrypted]).await;
    assert_eq!((code, check(&report, "http.reachable").0.as_str()), (1, "fail"), "{report:#}");
    own.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_http_side_that_is_its_own_and_not_alive_is_a_failure() {
    let boot_epoch = "of-this-run".to_owned();
    let site = web(|path| match path {
        "/status" => {
            let body = r#"{"boot_epoch": "of-this-run"}"#;
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        }
        _ => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned(),
    })
    .await;
    let http_address = site.trim_start_matches("http://").to_owned();
    let status = GetStatusResponse { http_address, boot_epoch, ..GetStatusResponse::default() };
    let peer = Peer::telling(status, Vec::new(), Vec::new()).await;
    let (code, report) = doctor(&peer.url, &[]).await;
    let (outcome, found, _) = check(&report, "http.reachable");
    assert_eq!((code, outcome.as_str()), (1, "fail"), "{report:#}");
    assert_eq!(found, format!("{site}/health/live: 500 Internal Server Error"));
}

/// Who listens there is not known before it has told; and what is closed is closed.
#[tokio::test]
async fn an_http_side_is_shown_no_token() {
    let (heard, mut all) = tokio::sync::mpsc::unbounded_channel();
    let site = listener(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let code = if asked.starts_with("GET /status ") { "401 Unauthorized" } else { "200 OK" };
            heard.send(asked).unwrap();
            let answer = format!("HTTP/1.1 {code}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let peer = Peer::knowing(vec![("swt_hidden", identity("alice", Role::Admin))], Vec::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "swt_hidden").unwrap();
    let more = ["--token-file", token.to_str().unwrap(), "--http", &site];
    let (_, report) = doctor(&peer.url, &more).await;
    let (outcome, found, _) = check(&report, "http.reachable");
    assert_eq!(outcome, "pass", "{report:#}");
    assert!(found.contains("401 Unauthorized for /status"), "{found}");
    for page in ["GET /status ", "GET /health/live "] {
        let asked = all.try_recv().unwrap();
        assert!(asked.starts_with(page) && !asked.contains("swt_hidden"), "{asked}");
    }
}

fn orders(counts: InstanceCounts) -> Service {
    let (name, health) = ("orders".to_owned(), HealthState::Healthy.into());
    Service { name, health, counts: Some(counts), ..Service::default() }
}

/// More than fit on a page are silent for another reason before the first who was not heard since the start.
#[tokio::test]
async fn who_was_not_heard_since_the_start_is_found_behind_others() {
    let unknown = InstanceCounts { total: 2001, unknown: 1201, available: 800, ..InstanceCounts::default() };
    let mut instances: Vec<Instance> =
        (0..1201).map(|number| instance(&format!("i-{number:04}"), HealthState::Unknown, "silent")).collect();
    instances[1200].confirmed = false;
    let peer = Peer::telling(GetStatusResponse::default(), vec![orders(unknown)], instances).await;
    let (outcome, found, _) = check(&doctor(&peer.url, &[]).await.1, "fleet.confirmed");
    assert_eq!(outcome, "warn", "{found}");
    assert!(found.starts_with("1 instance not yet heard"), "{found}");
}

#[tokio::test]
async fn what_was_lost_at_once_is_named() {
    let protection = Protection {
        protected_instances: 3,
        end_time: Some(prost_types::Timestamp::default()),
        ..Protection::default()
    };
    let lost = Service { protection: Some(protection), ..orders(InstanceCounts::default()) };
    let peer = Peer::telling(GetStatusResponse::default(), vec![lost], Vec::new()).await;
    let (code, report) = doctor(&peer.url, &[]).await;
    let (outcome, found, remedy) = check(&report, "fleet.protection");
    assert_eq!((code, outcome.as_str()), (0, "warn"));
    assert!(found.contains("orders (3 instances, to 1970-01-01T00:00:00Z)"), "{found}");
    assert!(remedy.contains("`seaworthy explain orders`"), "{remedy}");
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let peer = Peer::without_end().await;
    let ended = run(&["--server", &peer.url, "service", "list"]).await;
    assert_eq!(code(&ended), 70);
    assert!(stderr(&ended).contains("same page again"), "{}", stderr(&ended));
    let (code, report) = doctor(&peer.url, &[]).await;
    let (outcome, found, _) = check(&report, "fleet.answer");
    assert_eq!((code, outcome.as_str()), (1, "fail"));
    assert!(found.contains("same page again"), "{found}");
}

#[tokio::test]
async fn an_encrypted_control_plane_is_looked_at_closely() {
    let authority = Authority::new("a test's");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = write("ca.pem", &authority.pem);
    let token = write("token", "swt_alice");
    let pair = authority.issue(For::Server, &["127.0.0.1"]);
    let callers = vec![("swt_alice", identity("alice", Role::Admin))];
    let peer = Peer::knowing_over(server(&pair.certificate, &pair.key, None), callers).await;

    let (_, report) = doctor(&peer.url, &["--ca-cert", &ca, "--token-file", &token]).await;
    let (outcome, found, _) = check(&report, "reach.tls");
    assert_eq!((outcome.as_str(), found.as_str()), ("pass", "TLS 1.3, a certificate for 127.0.0.1"));
    assert_eq!(check(&report, "reach.certificate").0, "pass");
    let (outcome, found, _) = check(&report, "identity.caller");
    assert_eq!((outcome.as_str(), found.as_str()), ("pass", "token:alice (admin)"));
    assert_eq!(report["reached"], true);

    // Whom it does not know it tells nothing; it is there all the same.
    let (code, report) = doctor(&peer.url, &["--ca-cert", &ca]).await;
    let (outcome, found, remedy) = check(&report, "identity.caller");
    assert_eq!((code, outcome.as_str(), &report["reached"]), (1, "fail", &Value::Bool(true)), "{report:#}");
    assert!(found.contains("Unauthenticated") && remedy.contains("`seaworthy login`"), "{found}; {remedy}");

    // Who is not trusted is looked at, and nothing is said to it.
    let stranger = write("stranger.pem", &Authority::new("a stranger's").pem);
    let (code, report) = doctor(&peer.url, &["--ca-cert", &stranger, "--token-file", &token]).await;
    let (outcome, found, remedy) = check(&report, "reach.tls");
    assert_eq!((code, outcome.as_str()), (4, "fail"));
    assert!(found.contains("is not issued by the given authority"), "{found}");
    assert!(found.contains("a certificate for 127.0.0.1, issued by CN=a test's"), "{found}");
    assert!(remedy.contains("--ca-cert") && remedy.contains("clocks"), "{remedy}");

    // TLS where plain text was meant, with what to write.
    let plain = peer.url.replace("https://", "http://");
    let (code, report) = doctor(&plain, &["--timeout", "5s"]).await;
    let remedy = check(&report, "reach.grpc").2;
    assert_eq!((code, remedy), (4, format!("write it so: --server {}", peer.url)), "{report:#}");
}
