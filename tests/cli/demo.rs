//! `demo`: it shows what it says, ends when it is told to, and leaves nothing behind.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_client::proto::seaworthy::v1::{
    GetInstanceRequest, HealthState, Lifecycle, ListInstancesRequest, ListServicesRequest,
    fleet_service_client::FleetServiceClient,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout},
    time::{sleep, timeout},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{PATIENCE, seaworthy};

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has for temporary files, and where it runs.
    dir: tempfile::TempDir,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        let mut command = seaworthy(&["demo", "--free-ports", "--ready-file", ready.to_str().unwrap()]);
        command.args(args).current_dir(dir.path()).env("TMPDIR", dir.path().join("tmp"));
        // Somebody's real folder, which it must not find.
        command.env("SEAWORTHY_DATA_DIR", dir.path().join("real"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, dir }
    }

    async fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                let line =
                    self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("ended before {what}"));
                if wanted(&line) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never {what}"))
    }

    fn temporary(&self) -> Vec<String> {
        files(&self.dir.path().join("tmp"))
    }

    async fn fleet(&mut self) -> FleetServiceClient<Channel> {
        self.line("the addresses", |line| line.contains("Ctrl-C ends it")).await;
        let file = self.dir.path().join("ready.json");
        let ready = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&file) {
                    return serde_json::from_str::<Value>(&text).unwrap();
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let ready = timeout(PATIENCE, ready).await.unwrap();
        let url = format!("http://{}", ready["grpc"].as_str().unwrap());
        FleetServiceClient::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap())
    }

    async fn end(mut self, signal: Signal) -> (i32, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await.unwrap();
        assert_eq!(self.temporary(), Vec::<String>::new(), "nothing temporary stays");
        assert_eq!(files(self.dir.path()), ["tmp"], "and nothing else");
        (status.code().unwrap(), said)
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Waits until the API has shown an instance well, then ill, then well again: who is not yet heard is not well
/// either.
async fn until_recovered(fleet: &mut FleetServiceClient<Channel>, instances: usize) {
    const SEEN: [bool; 3] = [true, false, true];
    let reached = async {
        let mut steps = BTreeMap::<String, usize>::new();
        while steps.len() < instances || !steps.values().any(|step| *step == SEEN.len()) {
            let found = fleet.list_instances(ListInstancesRequest::default()).await.unwrap().into_inner();
            for it in found.instances {
                let is_well = it.health() == HealthState::Healthy;
                let step = steps.entry(it.registration.unwrap_or_default().instance_id).or_default();
                if SEEN.get(*step) == Some(&is_well) {
                    *step += 1;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("nobody has failed and recovered"));
}

#[tokio::test]
async fn parts_fail_and_recover_and_nothing_stays() {
    let mut demo = Demo::start(&["--speed", "20", "--instances", "6", "--seed", "2"]);
    let mut fleet = demo.fleet().await;
    let services = fleet.list_services(ListServicesRequest::default()).await.unwrap().into_inner().services;
    assert!(services.len() <= 4, "{services:?}");
    assert_eq!(demo.temporary().len(), 1, "{:?}", demo.temporary());
    let failed = demo.line("a failure", |line| line.contains("  happens  ")).await;
    assert!([" fails: ", " is slow: ", " dies "].iter().any(|word| failed.contains(word)), "{failed}");
    until_recovered(&mut fleet, 6).await;
    demo.line("a verdict", |line| line.contains("  seen     ") && line.contains(": ")).await;
    demo.line("a recovery", |line| line.contains(" recovers") || line.contains(" is started again")).await;
    assert_eq!(demo.end(Signal::INT).await, (0, String::new()));
}

/// Also where everything happens faster than leases end.
#[tokio::test]
async fn who_dies_is_lost_before_it_is_started_again() {
    let mut demo = Demo::start(&["--speed", "50", "--instances", "8", "--seed", "4"]);
    let mut fleet = demo.fleet().await;
    let (name, of) = loop {
        let died = demo.line("a death", |line| line.contains(" dies without a word")).await;
        let name = died.split("happens  ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let (service, id) = name.split_once('/').unwrap();
        let of = GetInstanceRequest { service: service.to_owned(), instance_id: id.to_owned() };
        match fleet.get_instance(of.clone()).await {
            Ok(_) => break (name, of),
            // It died before it was registered.
            Err(unknown) => assert_eq!(unknown.code(), Code::NotFound, "{unknown}"),
        }
    };
    let mut is = async |wanted: Lifecycle| {
        let reached = async {
            loop {
                let found = fleet.get_instance(of.clone()).await.unwrap().into_inner().instance.unwrap();
                if found.lifecycle() == wanted {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{name} is never {wanted:?}"));
    };
    let again = |line: &str| line.contains(&format!("{name} is started again"));
    tokio::select! {
        line = demo.line("its return", again) => panic!("not lost before: {line}"),
        () = is(Lifecycle::Lost) => {}
    }
    demo.line("its return", again).await;
    is(Lifecycle::Ready).await;
    assert_eq!(demo.end(Signal::INT).await, (0, String::new()));
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_it_and_nothing_stays() {
    for signal in [Signal::HUP, Signal::QUIT, Signal::TERM] {
        let mut demo = Demo::start(&["--instances", "4"]);
        demo.fleet().await;
        assert_eq!(demo.end(signal).await, (0, String::new()), "{signal:?}");
    }
}

#[tokio::test]
async fn it_ends_by_itself_when_its_time_is_up() {
    let mut demo = Demo::start(&["--duration", "100ms"]);
    assert!(timeout(PATIENCE, demo.child.wait()).await.unwrap().unwrap().success());
    assert_eq!(files(demo.dir.path()), ["tmp"]);
    assert_eq!(demo.temporary(), Vec::<String>::new());
}

#[tokio::test]
async fn where_the_usual_ports_are_taken_it_takes_others_and_says_so() {
    // Held by this test, or by whoever else has it: taken in either case.
    let _taken = TcpListener::bind("127.0.0.1:50051").await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = seaworthy(&["demo", "--duration", "100ms"]);
    let ended = timeout(PATIENCE, command.env("TMPDIR", dir.path()).output()).await.unwrap().unwrap();
    assert!(ended.status.success());
    let (said, shown) = (String::from_utf8_lossy(&ended.stderr), String::from_utf8_lossy(&ended.stdout));
    assert!(said.contains("127.0.0.1:50051") && said.contains("taking free ports instead"), "{said}");
    assert!(shown.contains("seaworthy fleet watch --server http://127.0.0.1:"), "{shown}");
    assert_eq!(files(dir.path()), Vec::<String>::new());
}
