//! The audit of the real binary: over crashes, on a full disk, and as people see it; and the access log.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod process;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_client::proto::seaworthy::v1::{
    self as pb, fleet_service_client::FleetServiceClient, system_service_client::SystemServiceClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use process::{Serving, until};

impl Serving {
    /// Starts under a limit on the size of its files, in units of 512 or 1,024 bytes; with this configuration.
    fn start(dir: TempDir, limit: &str, config: &str) -> Self {
        let file = dir.path().join("config.toml");
        fs::write(&file, config.replace("DIR", dir.path().to_str().unwrap())).unwrap();
        let ready = dir.path().join("ready");
        drop(fs::remove_file(&ready));
        let script = format!(r#"trap "" XFSZ; ulimit -S -f {limit}; exec "$0" "$@""#);
        let child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_seaworthy"), "serve", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .args(["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-format", "json"])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self::ready(dir, child)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    async fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel().await)
    }

    fn cli(&self, words: &[&str]) -> Output {
        let server = format!("http://{}", self.grpc);
        Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(["--server", &server])
            .args(words)
            .env_clear()
            .output()
            .unwrap()
    }
}

fn put(name: &str) -> pb::PutServiceRequest {
    pb::PutServiceRequest { name: name.to_owned(), spec: Some(pb::ServiceSpec::default()), if_revision: None }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Verifies an exported file, where no control plane is.
fn verify_file(file: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    said(&command.args(["audit", "verify", "--file"]).arg(file).env_clear().output().unwrap())
}

const WITH_FILE: &str = "[audit]\nfile = \"DIR/audit.jsonl\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_store_and_file_leaves_neither_a_gap_nor_a_line_twice() {
    let mut dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5_usize {
        let mut serving = Serving::start(dir, "unlimited", WITH_FILE);
        let (told, mut hears) = tokio::sync::mpsc::channel(1000);
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..4 {
            let (mut fleet, told) = (serving.fleet().await, told.clone());
            callers.spawn(async move {
                for number in 0.. {
                    let name = format!("s-{round}-{caller}-{number}");
                    if fleet.put_service(put(&name)).await.is_err() || told.send(name).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let wanted = 20 + round * 7;
        let mut count = 0;
        while let Some(name) = hears.recv().await {
            acknowledged.push(name);
            count += 1;
            if count == wanted {
                serving.signal(Signal::KILL);
            }
        }
        assert!(count >= wanted, "{count}");
        callers.join_all().await;
        serving.child.wait().unwrap();
        dir = std::mem::replace(&mut serving.dir, tempfile::tempdir().unwrap());
    }
    let serving = Serving::start(dir, "unlimited", WITH_FILE);
    let newest = |words: &[&str]| -> String {
        let (code, text) = said(&serving.cli(words));
        assert_eq!(code, Some(0), "{text}");
        text.trim().rsplit(' ').next().unwrap().to_owned()
    };
    let in_store = newest(&["audit", "verify"]);
    let in_file = until("the file is up to date", || {
        let (code, text) = verify_file(&serving.file("audit.jsonl"));
        assert_eq!(code, Some(0), "{text}");
        text.contains(&in_store).then_some(text)
    });
    assert!(in_file.starts_with("entries 1 to "), "{in_file}");
    let text = fs::read_to_string(serving.file("audit.jsonl")).unwrap();
    for name in acknowledged {
        let object = format!("\"object\":\"service/{name}\"");
        let completed = |line: &&str| line.contains(&object) && line.contains("\"outcome\":\"OK\"");
        assert_eq!(text.lines().filter(completed).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_heartbeats_go_on() {
    let serving = Serving::start(tempfile::tempdir().unwrap(), "2048", "");
    let mut fleet = serving.fleet().await;
    let registration = |number: u32| pb::Registration {
        service: "orders".into(),
        instance_id: format!("i-{number}"),
        labels: (0..16).map(|label| (format!("label-{label}"), "x".repeat(200))).collect(),
        ..Default::default()
    };
    let register = |number| {
        let registration = Some(registration(number));
        pb::RegisterRequest { registration, ..Default::default() }
    };
    let first = fleet.register(register(0)).await.unwrap().into_inner();
    let mut number = 0;
    let beat = || {
        let named = first.instance.clone().unwrap();
        let registration = named.registration.unwrap();
        let instance = Some(pb::InstanceRef {
            service: registration.service,
            instance_id: registration.instance_id,
            incarnation: named.incarnation,
        });
        pb::InstanceHeartbeat { instance, session_token: first.session_token.clone() }
    };
    let refused = loop {
        number += 1;
        assert!(number < 10_000, "the limit does not hold");
        if let Err(status) = fleet.register(register(number)).await {
            break status;
        }
    };
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "STORE_UNAVAILABLE");
    // Something small may still fit.
    let refused = loop {
        number += 1;
        assert!(number < 20_000, "the limit does not hold");
        if let Err(status) = fleet.put_service(put(&format!("s-{number}"))).await {
            break status;
        }
    };
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata.is_empty()), ("AUDIT_UNAVAILABLE", true), "{refused}");
    assert!(details.retry_info().is_some(), "{refused}");
    assert!(refused.message().contains("nothing was done"), "{refused}");
    let heard =
        fleet.heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat()] }).await.unwrap().into_inner();
    assert_eq!(heard.results[0].outcome(), pb::HeartbeatOutcome::Renewed);
    let mut system = SystemServiceClient::new(serving.channel().await);
    let report = system.get_readiness(pb::GetReadinessRequest {}).await.unwrap().into_inner();
    let check = report.checks.into_iter().find(|check| check.id == "audit.writable").unwrap();
    assert_eq!(check.outcome(), pb::CheckOutcome::Fail, "{check:?}");
    // What there is can be read all the same.
    assert_eq!(said(&serving.cli(&["audit", "verify"])).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_who_did_what_and_whether_it_is_as_it_was_written() {
    let serving = Serving::start(tempfile::tempdir().unwrap(), "unlimited", WITH_FILE);
    let mut following = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args([
            "--server",
            &format!("http://{}", serving.grpc),
            "audit",
            "follow",
            "--after",
            "0",
            "-o",
            "json",
        ])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut fleet = serving.fleet().await;
    for name in ["orders", "payments"] {
        fleet.put_service(put(name)).await.unwrap();
    }
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let followed: Vec<Value> =
        lines.by_ref().take(4).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!((&followed[0]["sequence"], &followed[3]["object"]), (&1.into(), &"service/payments".into()));
    kill_process(Pid::from_child(&following), Signal::INT).unwrap();
    assert_eq!(following.wait().unwrap().code(), Some(130));

    let (code, table) = said(&serving.cli(&["audit", "list", "--object", "service/orders", "--since", "1h"]));
    assert_eq!(code, Some(0), "{table}");
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("NUMBER  TIME") && rows.len() == 3, "{table}");
    assert!(rows[2].contains("local") && rows[2].contains("PutService") && rows[2].contains("OK"), "{table}");
    let newest = serving.cli(&["-o", "json", "audit", "list", "-n", "1"]);
    let newest: Value = serde_json::from_slice(&newest.stdout).unwrap();
    assert_eq!(
        (newest["entries"].as_array().unwrap().len(), &newest["entries"][0]["sequence"]),
        (1, &4.into())
    );

    let head = format!("4:{}", newest["newest_hash"].as_str().unwrap());
    let (code, whole) = said(&serving.cli(&["audit", "verify", "--expect", &head]));
    assert_eq!(
        (code, whole.as_str()),
        (Some(0), &*format!("entries 1 to 4 are as they were written; the last one is {head}\n"))
    );
    let other = format!("4:{}", "0".repeat(64));
    let (code, told) = said(&serving.cli(&["audit", "verify", "--expect", &other]));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("entry 4 is not the one that was expected"), "{told}");
    assert_eq!(said(&serving.cli(&["audit", "verify", "--expect", "4"])).0, Some(2));

    // The file, and what can be done to it.
    let file = serving.file("audit.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let copy = serving.file("copy.jsonl");
    for (text, code, told) in [
        (text.clone(), 0, "entries 1 to 4 are as they were written"),
        (text.replacen("orders", "others", 1), 1, "entry 1 was changed"),
        ([lines[0], lines[2], lines[3], ""].join("\n"), 1, "entry 2 was removed or moved"),
        (
            [lines[1], lines[0], lines[2], ""].join("\n"),
            1,
            "entry 1 was moved: it is in the place of entry 3",
        ),
        ([lines[0], "{}", lines[2], ""].join("\n"), 1, "entry 2 was changed"),
        // A rotated file begins where the one before ends.
        ([lines[2], lines[3], ""].join("\n"), 0, "entries 3 to 4"),
        (format!("{}\n{}", lines[0], &lines[1][..50]), 0, "not whole yet"),
    ] {
        fs::write(&copy, text).unwrap();
        let (ended, said) = verify_file(&copy);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(told), "{said}");
    }
    // One break hides neither another nor what was expected.
    fs::write(&copy, [&lines[0].replace("orders", "others"), lines[1], lines[3], ""].join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.args(["audit", "verify", "--expect", &format!("9:{}", "0".repeat(64)), "--file"]);
    let (code, told) = said(&command.arg(&copy).env_clear().output().unwrap());
    assert_eq!(code, Some(1), "{told}");
    for found in ["entry 1 was changed", "entry 3 was removed or moved", "entry 9 is missing"] {
        assert!(told.contains(found), "{told}");
    }
    assert_eq!(verify_file(&serving.file("nowhere")).0, Some(2));
}

/// What the access log has said.
fn accesses(serving: &Serving) -> Vec<Value> {
    let log = fs::read_to_string(serving.file("log")).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["component"] == "access").collect()
}

/// A plain GET, whose answer does not matter.
fn get(serving: &Serving, path: &str) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(&serving.http).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
}

#[tokio::test]
async fn the_access_log_says_who_what_and_how_it_came_out_and_no_secret() {
    const ALL: &str = "[access_log]\nsample = 1\n";
    let serving = Serving::start(tempfile::tempdir().unwrap(), "unlimited", ALL);
    let mut fleet = serving.fleet().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request = Request::new(put("orders"));
    for (key, value) in [
        ("x-request-id", "r-1"),
        ("traceparent", &*format!("00-{trace}-00f067aa0ba902b7-01")),
        ("seaworthy-session-token", "sws_a_secret"),
    ] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    fleet.put_service(request).await.unwrap();
    fleet.get_service(pb::GetServiceRequest { name: "nothing".into() }).await.unwrap_err();
    get(&serving, "/health?token=a_secret");
    let logged = until("three lines", || Some(accesses(&serving)).filter(|lines| lines.len() == 3));
    let line = |operation: &str| logged.iter().find(|line| line["operation"] == operation).unwrap();
    let put_line = line("/seaworthy.v1.FleetService/PutService");
    for (field, value) in [
        ("level", "INFO"),
        ("target", "seaworthy::access"),
        ("who", "local"),
        ("code", "Ok"),
        ("request_id", "r-1"),
        ("trace_id", trace),
        ("span_id", "00f067aa0ba902b7"),
    ] {
        assert_eq!(put_line[field], value, "{put_line}");
    }
    assert!(put_line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{put_line}");
    assert!(put_line["duration"].as_f64().unwrap() > 0.0, "{put_line}");
    assert_eq!(line("/seaworthy.v1.FleetService/GetService")["code"], "NotFound");
    let page = logged.iter().find(|line| line["path"] == "/health").unwrap();
    assert_eq!((&page["method"], &page["status"]), (&"GET".into(), &200.into()), "{page}");
    let log = fs::read_to_string(serving.file("log")).unwrap();
    assert!(!log.contains("a_secret"), "{log}");

    // It follows the configuration.
    let reload = |text: &str| {
        let before =
            fs::read_to_string(serving.file("log")).unwrap().matches("configuration read again").count();
        fs::write(serving.file("config.toml"), text).unwrap();
        serving.signal(Signal::HUP);
        until("read again", || {
            let now = fs::read_to_string(serving.file("log")).unwrap();
            (now.matches("configuration read again").count() > before).then_some(())
        });
    };
    reload("[access_log]\nsample = 0\n");
    get(&serving, "/health/live");
    reload(ALL);
    get(&serving, "/ready");
    let paths = until("the next line", || {
        let paths: Vec<String> = accesses(&serving).iter().map(|line| line["path"].to_string()).collect();
        paths.contains(&"\"/ready\"".to_owned()).then_some(paths)
    });
    assert!(!paths.contains(&"\"/health/live\"".to_owned()), "{paths:?}");
}
