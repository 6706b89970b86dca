//! The story of one fleet, told against the real binary. Read it with
//! `cargo test --test production_readiness -- --nocapture`.

#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![allow(clippy::print_stdout)]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_client::{
    Agent, Component, LeaveOutcome, Lifecycle, Status,
    proto::{
        grpc::health::v1::{
            HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
        },
        seaworthy::v1::{
            self as pb, fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
        },
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// No wait of the story is longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Leases of the story: short, so that it can be told in a minute.
const LEASE: Duration = Duration::from_secs(3);
/// Tells a copy of this program to be an instance.
const INSTANCE: &str = "STORY_INSTANCE_OF";

fn tell(step: &str) {
    println!("\n  * {step}");
}

// === the control plane ===

/// The real binary, on one folder and, after the first start, on the same ports.
struct ControlPlane {
    process: Child,
    dir: TempDir,
    grpc: String,
    http: String,
}

impl ControlPlane {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let process = Self::spawn(dir.path(), "127.0.0.1:0", "127.0.0.1:0");
        let mut plane = Self { process, dir, grpc: String::new(), http: String::new() };
        plane.wait_until_ready();
        plane
    }

    fn spawn(dir: &Path, grpc: &str, http: &str) -> Child {
        let ready = dir.join("ready.json");
        drop(fs::remove_file(&ready));
        Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(["serve", "--log-level", "warn", "--grpc-listen", grpc, "--http-listen", http])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .arg("--ready-file")
            .arg(ready)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    fn wait_until_ready(&mut self) {
        let (file, began) = (self.dir.path().join("ready.json"), Instant::now());
        loop {
            if let Some(ready) =
                fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            {
                self.grpc = ready["grpc"].as_str().expect("an address").to_owned();
                self.http = ready["http"].as_str().expect("an address").to_owned();
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the control plane never became ready");
            assert!(self.process.try_wait().expect("waited").is_none(), "the control plane ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("our own child");
    }

    /// Dies without a word, and comes back on the same folder and the same ports.
    fn crash_and_restart(&mut self) {
        self.signal(Signal::KILL);
        self.process.wait().expect("it is dead");
        self.process = Self::spawn(self.dir.path(), &self.grpc, &self.http);
        self.wait_until_ready();
    }

    fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).expect("a url").connect_lazy()
    }

    /// Runs a command of the binary against this control plane, as an operator would.
    fn cli(&self, words: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(words)
            .args(["--server", &self.url()])
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("      $ seaworthy {}", words.join(" "));
        for line in text.lines() {
            println!("      {line}");
        }
        (output.status.code().unwrap_or(-1), text)
    }

    async fn instance(&self, service: &str, id: &str) -> Result<pb::Instance, tonic::Status> {
        let request = pb::GetInstanceRequest { service: service.into(), instance_id: id.into() };
        let answer = FleetServiceClient::new(self.channel()).get_instance(request).await?;
        Ok(answer.into_inner().instance.expect("an instance"))
    }

    async fn service(&self, name: &str) -> pb::Health {
        let request = pb::GetHealthRequest { service: name.into(), ..pb::GetHealthRequest::default() };
        let answer = HealthServiceClient::new(self.channel()).get_health(request).await.expect("known");
        answer.into_inner().health.expect("health")
    }

    /// Waits until an instance is heard after that time.
    async fn until_heard(&self, service: &str, id: &str, time: SystemTime) {
        let heard = async {
            let heard = |instance: pb::Instance| SystemTime::try_from(instance.last_heard_time?).ok();
            while self.instance(service, id).await.ok().and_then(heard) <= Some(time) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{service}/{id} was not heard"));
    }

    /// What has changed since then, newest first.
    async fn changes(&self, since: SystemTime) -> Vec<pb::HealthTransition> {
        let start_time = Some(since.into());
        let list = pb::ListTransitionsRequest {
            page_size: 1000,
            start_time,
            ..pb::ListTransitionsRequest::default()
        };
        let listed = HealthServiceClient::new(self.channel()).list_transitions(list).await.expect("listed");
        listed.into_inner().transitions
    }

    /// Follows `grpc.health.v1` of a name until it is answered so.
    async fn until(&self, name: &str, wanted: ServingStatus) {
        let request = HealthCheckRequest { service: name.to_owned() };
        let mut watch = HealthClient::new(self.channel()).watch(request).await.expect("watched").into_inner();
        let reached = async {
            while let Some(answer) = watch.message().await.expect("the watch goes on") {
                if answer.status() == wanted {
                    return;
                }
            }
            panic!("the watch of {name} ended");
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{name} never became {wanted:?}"));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

// === its services ===

/// A service whose database is a file: it works while the file can be read.
fn orders(plane: &ControlPlane, file: PathBuf) -> Agent {
    let database = Component::new("database").kind("file").essential().fail_threshold(1).interval(LEASE / 3);
    let read = move || {
        let file = file.clone();
        async move {
            fs::read(&file)
                .map(drop)
                .map_err(|cause| io::Error::other(format!("{}: {cause}", file.display())))
        }
    };
    Agent::builder(plane.url(), "orders")
        .instance_id("orders-1")
        .version("1.4.0")
        .address("127.0.0.1:7001")
        .depends_on("payments")
        .lease_ttl(LEASE)
        .component(database.check(read))
        .attach()
        .expect("a good description")
}

fn payments(plane_url: &str, id: &str) -> Agent {
    Agent::builder(plane_url, "payments")
        .instance_id(id)
        .version("2.0.1")
        .address("127.0.0.1:7002")
        .lease_ttl(LEASE)
        .component(Component::new("ledger").essential().interval(LEASE / 3).check(|| async {}))
        .attach()
        .expect("a good description")
}

async fn attached(agent: &Agent) -> u64 {
    timeout(PATIENCE, agent.handle().attached()).await.expect("in time").expect("attached")
}

/// Not a test: what a copy of this program does when the story needs a process that can be killed.
#[tokio::test]
async fn an_instance_of_its_own_process() {
    let Ok(url) = std::env::var(INSTANCE) else { return };
    let _agent = payments(&url, "payments-2");
    // It is killed; should the story end first, its end of this pipe goes with it.
    let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    ended.await.expect("no panic").expect("the end");
}

fn instance_process(plane: &ControlPlane) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "an_instance_of_its_own_process"])
        .env(INSTANCE, plane.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a copy of this program")
}

// === the story ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_of_a_fleet() {
    let mut plane = ControlPlane::start();
    let files = tempfile::tempdir().expect("a temporary folder");
    let database = files.path().join("orders.db");
    fs::write(&database, "orders").expect("written");

    tell("a control plane starts on an empty folder; nobody is registered");
    let (code, _) = plane.cli(&["readiness"]);
    assert_eq!(code, 1, "the key of backups is on this machine alone");
    let key = plane.dir.path().join("data").join("vault.key").display().to_string();
    assert_eq!(plane.cli(&["key", "confirm", "--key-file", &key]).0, 0, "said of a copy elsewhere");
    let (code, _) = plane.cli(&["readiness"]);
    assert_eq!(code, 0, "nothing fails");

    tell("two services attach: orders, which needs payments");
    let orders = orders(&plane, database.clone());
    let payments_1 = payments(&plane.url(), "payments-1");
    assert_eq!((attached(&orders).await, attached(&payments_1).await), (1, 1));
    plane.until("orders", ServingStatus::Serving).await;
    plane.until("payments", ServingStatus::Serving).await;
    let (code, fleet) = plane.cli(&["fleet", "list"]);
    assert_eq!(code, 0);
    assert!(fleet.contains("orders-1") && fleet.contains("payments-1"), "{fleet}");

    tell("its database is pulled away: the component, the instance and the service say why");
    let away = files.path().join("orders.db.away");
    fs::rename(&database, &away).expect("renamed");
    plane.until("orders", ServingStatus::NotServing).await;
    plane.until("orders/orders-1/database", ServingStatus::NotServing).await;
    let health = plane.service("orders").await;
    assert_eq!(health.state(), pb::HealthState::Unhealthy);
    assert!(
        health.cause.contains("orders-1: component database: ") && health.cause.contains("orders.db"),
        "{}",
        health.cause
    );
    let (code, shown) = plane.cli(&["health", "orders"]);
    assert_eq!(code, 1, "the answer is no");
    assert!(shown.contains("database"), "{shown}");

    tell("the database comes back, and with it the service");
    fs::rename(&away, &database).expect("renamed back");
    plane.until("orders", ServingStatus::Serving).await;

    tell("a process is killed: it is lost within its lease, and nobody else is");
    let mut process = instance_process(&plane);
    plane.until("payments/payments-2", ServingStatus::Serving).await;
    let late = plane.instance("payments", "payments-2").await.expect("registered");
    process.kill().expect("our own child");
    process.wait().expect("it is dead");
    plane.until("payments/payments-2", ServingStatus::NotServing).await;
    let lost = plane.instance("payments", "payments-2").await.expect("lost, not gone");
    assert_eq!(
        (lost.lifecycle(), lost.cause.as_str()),
        (pb::Lifecycle::Lost, "lost: not heard within its lease of 3s")
    );
    let past = plane.changes(SystemTime::UNIX_EPOCH).await;
    assert!(past.iter().any(|change| change.cause == lost.cause), "it is told in the past: {past:?}");
    assert_eq!(plane.instance("orders", "orders-1").await.unwrap().lifecycle(), pb::Lifecycle::Ready);

    tell("its replacement is a new incarnation, and late messages of the old one are refused");
    let payments_2 = payments(&plane.url(), "payments-2");
    assert_eq!(attached(&payments_2).await, late.incarnation + 1);
    let beat = pb::InstanceHeartbeat {
        instance: Some(pb::InstanceRef {
            service: "payments".into(),
            instance_id: "payments-2".into(),
            incarnation: late.incarnation,
        }),
        session_token: "sws_of_the_dead".into(),
    };
    let answer = FleetServiceClient::new(plane.channel())
        .heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat] })
        .await
        .expect("answered")
        .into_inner();
    assert_eq!(answer.results[0].outcome(), pb::HeartbeatOutcome::StaleIncarnation);

    tell("the control plane is killed and comes back: no service is touched, no outage is shown");
    let before = attached(&orders).await;
    plane.crash_and_restart();
    let health = plane.service("orders").await;
    assert_ne!(health.state(), pb::HealthState::Unhealthy, "{}", health.cause);
    plane.until("orders", ServingStatus::Serving).await;
    plane.until("payments", ServingStatus::Serving).await;
    assert_eq!(attached(&orders).await, before, "the same incarnation goes on");
    let past = plane.changes(SystemTime::UNIX_EPOCH).await;
    let newest = past.iter().find(|change| change.service == "orders").expect("a past");
    assert_eq!(newest.to(), pb::HealthState::Healthy);
    assert!(past.iter().any(|change| change.cause.contains("orders.db")), "the past is still known");

    tell("the control plane is stopped for two leases and goes on: it declares nobody dead");
    let stopped = SystemTime::now();
    plane.signal(Signal::STOP);
    // Nothing tells how long a process has stood still but the time.
    sleep(LEASE * 2).await;
    plane.signal(Signal::CONT);
    let goes_on = SystemTime::now();
    for (service, id) in [("orders", "orders-1"), ("payments", "payments-1"), ("payments", "payments-2")] {
        plane.until_heard(service, id, goes_on).await;
    }
    for change in plane.changes(stopped).await {
        assert!(!change.cause.starts_with("lost: "), "declared dead for nothing: {change:?}");
    }
    plane.until("orders", ServingStatus::Serving).await;

    tell("a service leaves: it is gone at once, with a tombstone that says why");
    payments_2.handle().set_lifecycle(Lifecycle::Draining).expect("it may follow");
    assert_eq!(payments_2.leave("deploy").await, LeaveOutcome::Deregistered);
    assert!(plane.instance("payments", "payments-2").await.is_err());
    let (code, _) = plane.cli(&["fleet", "list", "--removed"]);
    assert_eq!(code, 0);

    tell("the control plane is told to stop: it says so, saves, and ends with 0; the services live on");
    plane.signal(Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || {
        let status = plane.process.wait().expect("it ends");
        (plane, status)
    });
    let (_plane, status) = timeout(PATIENCE, ended).await.expect("bounded").expect("no panic");
    assert_eq!(status.code(), Some(0));
    let handle = orders.handle();
    let mut watch = handle.status();
    let waiting = watch.wait_for(|status| !matches!(status, Status::Attached { .. }));
    timeout(PATIENCE, waiting).await.expect("it notices").expect("it watches");
    assert_eq!(
        handle.health().verdict().state.as_str(),
        "healthy",
        "its own health goes on without the control plane"
    );
}
