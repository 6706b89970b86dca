//! The binary as people and scripts run it: what it prints, and how it ends.
//!
//! `probe` asks tonic's own health service, as any program may. Where the other end has to die or
//! misbehave at the right moment, a scripted peer speaks for it; what the real server answers is
//! checked elsewhere.

#![allow(clippy::unwrap_used, clippy::panic)] // every function here belongs to a test
#![allow(clippy::disallowed_methods)] // tests spawn what they own

#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/breakers.rs"]
mod breakers;
#[path = "cli/certs.rs"]
mod certs;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/completions.rs"]
mod completions;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/doctor.rs"]
mod doctor;
#[allow(clippy::expect_used, dead_code)] // the client has it for its own tests
#[path = "../clients/rust/tests/support/encrypted.rs"]
mod encrypted;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/feature_flags.rs"]
mod feature_flags;
#[path = "server/harness.rs"]
mod harness;
#[path = "cli/history.rs"]
mod history;
#[path = "server/keeper.rs"]
mod keeper;
#[path = "cli/live.rs"]
mod live;
#[path = "cli/login.rs"]
mod login;
#[path = "cli/operations.rs"]
mod operations;
#[path = "cli/peer.rs"]
mod peer;
#[path = "cli/policy.rs"]
mod policy;
#[path = "cli/probe.rs"]
mod probe;
#[path = "cli/token.rs"]
mod token;
#[path = "cli/vault.rs"]
mod vault;
#[path = "cli/watch.rs"]
mod watch;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use seaworthy_client::proto::seaworthy::v1::{HealthState, Instance, Lifecycle, Registration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{harness::Held, peer::Peer};

/// Longer than anything here takes: only a test that hangs meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with nothing from the environment of the test.
fn seaworthy(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end.
async fn run(args: &[&str]) -> Output {
    timeout(PATIENCE, seaworthy(args).output()).await.unwrap().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An address where nobody listens, unless who is given it does; nobody else is, while this is held.
fn nobody() -> (String, Held) {
    let held = Held::port();
    (held.address.to_string(), held)
}

fn instance(id: &str, health: HealthState, cause: &str) -> Instance {
    Instance {
        registration: Some(Registration {
            service: "orders".into(),
            instance_id: id.into(),
            version: "1.2.0".into(),
            ..Registration::default()
        }),
        incarnation: 1,
        lifecycle: Lifecycle::Ready.into(),
        health: health.into(),
        cause: cause.into(),
        confirmed: true,
        ..Instance::default()
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let (address, _held) = nobody();
    let server = format!("http://{address}");
    for args in [&["status"][..], &["fleet", "list"], &["service", "get", "orders"], &["health", "--watch"]] {
        let ended = run(&[&["--server", &server], args].concat()).await;
        assert_eq!(code(&ended), 4, "{args:?}");
        assert_eq!(stdout(&ended), "");
        assert_eq!(
            stderr(&ended),
            format!(
                "error: cannot reach the control plane at {server}: connection refused; is it running? start \
                 one with `seaworthy serve`, or name it with --server\n"
            )
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let ended = run(&["--server", &server, "--timeout", "50ms", "status"]).await;
    assert_eq!(code(&ended), 4);
    assert!(stderr(&ended).contains("within 50ms"), "{}", stderr(&ended));
}

/// Any HTTP/1 server answers the beginning of HTTP/2 so.
#[tokio::test]
async fn a_server_that_speaks_http_is_no_control_plane() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let web = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let ended = run(&["--server", &server, "status"]).await;
    assert_eq!(code(&ended), 4);
    assert_eq!(
        stderr(&ended),
        format!(
            "error: {server} looks like the HTTP port, not the gRPC one; name the gRPC port with --server, or write \
             https:// if TLS is spoken there\n"
        )
    );
    web.await.unwrap();
}

/// As the control plane ends a call in the clear where it is encrypted.
#[tokio::test]
async fn a_server_that_wants_tls_is_told_apart() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let encrypted = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length.try_into().unwrap()]).await.unwrap();
            if head[3] == HEADERS {
                break;
            }
        }
        let words = b"call https:// instead";
        let mut goaway = vec![0, 0, 8 + u8::try_from(words.len()).unwrap(), 7, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        goaway.extend([0, 0, 0, 12]); // INADEQUATE_SECURITY
        goaway.extend(words);
        stream.write_all(&goaway).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let ended = run(&["--server", &server, "status"]).await;
    assert_eq!(code(&ended), 4);
    let told = stderr(&ended);
    let expected = format!("error: cannot talk to the control plane at {server}: call https:// instead\n");
    assert!(told.starts_with(&expected), "{told}");
    encrypted.await.unwrap();
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let wrong = [
        &[][..],
        &["fleet"],
        &["fleet", "get", "orders"],
        &["fleet", "list", "--health", "fine"],
        &["service", "put", "orders"],
        &["service", "put", "orders", "--min-available", "1", "--max-unavailable", "1"],
        &["service", "put", "orders", "-f", "/nowhere/spec.toml"],
        &["health", "a/b/c/d"],
        &["--timeout", "0s", "status"],
        &["--server", "https://127.0.0.1:1", "status"],
        &["--server", "http://127.0.0.1:1", "--ca-cert", "ca.pem", "status"],
        &["--server", "http://10.0.0.7:1", "--token-file", "token", "status"],
        &["--client-cert", "c.pem", "status"],
        &["--context", "nobody's", "status"],
        &["--context", "nowhere", "--contexts-file", "/nowhere/contexts.toml", "status"],
        &["login"],
        &["token", "create", "orders", "--role", "service"],
        &["token", "create", "orders", "--role", "admin", "--service", "orders"],
        &["token", "create", "orders", "--role", "king"],
        &["certs", "issue", "server", "--dir", "/nowhere"],
        &["certs", "issue", "role", "service", "orders"],
        &["certs", "show", "/nowhere/ca.pem"],
        &["policy", "put"],
        &["policy", "put", "/nowhere/charges.toml"],
        &["policy", "put", "charges", "--limit", "100/s"],
        &["policy", "put", "charges", "--service", "orders", "--limit", "many"],
        &["policy", "put", "charges", "--service", "orders", "--burst", "3"],
        &["policy", "explain"],
        &["policy", "explain", "--service", "orders"],
        &["policy", "import", "/nowhere/edge.yaml", "--service", "orders"],
        &["policy", "import", "/nowhere/edge.yaml"],
        &["breakers", "force", "orders", "charge-card", "ajar"],
        &["breakers", "orders", "force", "orders", "charge-card", "open"],
        &["breakers", "--lines"],
        &["limits", "orders/i-1/database"],
        &["flags", "put", "/nowhere/flag.toml"],
        &["flags", "put", "new-checkout", "--percentage", "0"],
        &["flags", "put", "new-checkout", "--on", "--off"],
    ];
    for args in wrong {
        let ended = run(args).await;
        assert_eq!(code(&ended), 2, "{args:?}: {}", stderr(&ended));
        assert!(!stderr(&ended).is_empty(), "{args:?}");
    }
    assert_eq!(code(&run(&["--help"]).await), 0);
}

#[tokio::test]
async fn all_pages_become_one_table_and_one_document() {
    let ids: Vec<String> = (0..1200).map(|number| format!("i-{number:04}")).collect();
    let of = |id: &String| instance(id, HealthState::Unhealthy, "database: \x1b[2Jthe disk\nis gone");
    let peer = Peer::with(ids.iter().map(of).collect()).await;

    let table = run(&["--server", &peer.url, "fleet", "list"]).await;
    assert_eq!((code(&table), stderr(&table)), (0, String::new()));
    let text = stdout(&table);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + ids.len());
    assert_eq!(lines[0], "INSTANCE       LIFECYCLE  HEALTH     HEARD  VERSION  CAUSE");
    assert_eq!(
        lines[1200],
        "orders/i-1199  ready      unhealthy  -      1.2.0    database: \u{fffd}[2Jthe disk is gone"
    );

    let json = run(&["--server", &peer.url, "-o", "json", "fleet", "list"]).await;
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["instances"].as_array().unwrap().len(), ids.len());
    assert_eq!(document["instances"][7]["registration"]["instance_id"], "i-0007");
    assert_eq!(document["instances"][7]["health"], "HEALTH_STATE_UNHEALTHY");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let ids = (0..5000).map(|number| format!("i-{number:04}"));
    let peer = Peer::with(ids.map(|id| instance(&id, HealthState::Healthy, "")).collect()).await;
    let mut child = seaworthy(&["--server", &peer.url, "-o", "json", "fleet", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).await.unwrap();
    assert_eq!(first, "{\n");
    drop(reader);
    let ended = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((code(&ended), stderr(&ended)), (0, String::new()));
}

#[tokio::test]
async fn a_no_stays_a_no_where_nobody_reads_it() {
    let peer = Peer::with(Vec::new()).await;
    let asked: [&[&str]; 6] = [
        &["readiness"],
        &["readiness", "-o", "json"],
        &["health"],
        &["health", "-o", "json"],
        &["health", "orders/i-1"],
        &["health", "orders", "-o", "json"],
    ];
    for words in asked {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = seaworthy(&["--server", &peer.url]);
        command.args(words).stdout(writer).stderr(Stdio::piped());
        let ended = timeout(PATIENCE, command.spawn().unwrap().wait_with_output()).await.unwrap().unwrap();
        assert_eq!((code(&ended), stderr(&ended)), (1, String::new()), "{words:?}");
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_told_in_full() {
    let peer = Peer::with(Vec::new()).await;
    let missing = run(&["--server", &peer.url, "fleet", "get", "orders/i-1"]).await;
    assert_eq!(code(&missing), 3);
    assert_eq!(
        stderr(&missing),
        "error: cannot get instance orders/i-1: nothing is registered as orders/i-1 [INSTANCE_NOT_FOUND]\n"
    );
    let refused = run(&["--server", &peer.url, "service", "put", "orders", "--depends-on", "orders"]).await;
    assert_eq!(code(&refused), 5);
    assert_eq!(
        stderr(&refused),
        "error: cannot put service orders: spec.depends_on[0]: is the service itself [INVALID_FIELD]\n"
    );
}

#[tokio::test]
async fn nothing_is_removed_without_its_name() {
    let peer = Peer::with(vec![instance("i-1", HealthState::Healthy, "")]).await;
    let server = peer.url.clone();
    let remove = ["--server", &server, "fleet", "remove", "orders/i-1"];

    let silent = run(&remove).await;
    assert_eq!(code(&silent), 1);
    assert!(stderr(&silent).contains("confirm with --yes orders/i-1"), "{}", stderr(&silent));
    let other = run(&[&remove[..], &["--yes", "orders/i-2"]].concat()).await;
    assert_eq!(code(&other), 1);
    assert_eq!(peer.removed(), Vec::<String>::new());

    let named = run(&[&remove[..], &["--yes", "orders/i-1", "--message", "worn out"]].concat()).await;
    assert_eq!((code(&named), stdout(&named)), (0, "removed orders/i-1\n".to_owned()));
    assert_eq!(peer.removed(), ["orders/i-1 incarnation 1: worn out"]);
}

#[tokio::test]
async fn an_invalid_configuration_ends_with_64_and_names_every_mistake() {
    let wrong = ["config", "check", "--log-level", "loud", "--grpc-listen", "nowhere"];
    let ended = run(&wrong).await;
    assert_eq!((code(&ended), stdout(&ended)), (64, String::new()));
    let told = stderr(&ended);
    assert!(told.contains("flag --log-level") && told.contains("flag --grpc-listen"), "{told}");
    let fine = run(&["config", "check", "--log-level", "debug"]).await;
    assert_eq!((code(&fine), stdout(&fine)), (0, "the configuration is valid; 1 value set\n".to_owned()));
    let fine = run(&["config", "check", "-o", "json"]).await;
    let document: serde_json::Value = serde_json::from_slice(&fine.stdout).unwrap();
    assert_eq!(document["entries"][0]["key"], "data_dir");
}

#[tokio::test]
async fn the_configuration_is_shown_with_where_it_came_from() {
    let mut command = seaworthy(&["config", "show", "-o", "json", "--grpc-listen", "127.0.0.1:0"]);
    let ended =
        timeout(PATIENCE, command.env("SEAWORTHY_LOG_LEVEL", "debug").output()).await.unwrap().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    let origin = |key: &str| {
        let entries = shown["entries"].as_array().unwrap();
        let found = entries.iter().find(|entry| entry["key"] == key).unwrap();
        (found["value"].as_str().unwrap().to_owned(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(origin("grpc.listen"), ("127.0.0.1:0".into(), "flag --grpc-listen".into()));
    assert_eq!(origin("log_level"), ("debug".into(), "environment SEAWORTHY_LOG_LEVEL".into()));
    assert_eq!(origin("http.listen").1, "default");
}
