//! A full disk turns the store read-only and nothing worse; with room again it goes on by itself.
//!
//! The kernel plays the full disk: this test binary starts itself again under a limit on the size of
//! files (`ulimit -f`, with the signal ignored so that writes fail instead), fills the store until it
//! refuses, and then lifts its own limit.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used)] // helpers of tests stop a test like tests do

use std::{num::NonZeroUsize, path::Path, process::Command, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use seaworthy::{
    error::{self, Kind, Reason},
    store::{
        Commit, Store, Trouble,
        embedded::{self, Options},
    },
    time::Clock,
};
use seaworthy_client::proto::seaworthy::v1::{
    Breaker, BreakerState, GetBreakersRequest, GetReadinessRequest, GetStatusRequest, HeartbeatOutcome,
    HeartbeatRequest, InstanceHeartbeat, InstanceRef, RegisterRequest, RegisterResponse, Registration,
    fleet_service_client::FleetServiceClient, policy_service_client::PolicyServiceClient,
    system_service_client::SystemServiceClient,
};
use tempfile::TempDir;
use tokio::{
    process::Child,
    time::{sleep, timeout},
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

const DIR: &str = "SEAWORTHY_TEST_STORE_FULL_DIR";
/// In units of 512 or 1024 bytes, as the shell has it.
const LIMIT: &str = "4096";
/// A test ends after so long, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

async fn put(store: &Store, n: u32) -> error::Result<u64> {
    store.commit(Commit::new().put(format!("fill/{n:06}"), vec![b'x'; 50_000])).await
}

async fn assert_readable(store: &Store, acknowledged: u32) {
    let all = NonZeroUsize::MAX;
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.list("fill/", after.as_deref(), all).await.unwrap();
        found += u32::try_from(page.entries.len()).unwrap();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(found >= acknowledged, "{found} of {acknowledged}");
    assert!(store.get(&format!("fill/{:06}", acknowledged - 1)).await.unwrap().is_some());
}

/// The child's part; nothing when the test runs as an ordinary test.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let options = || Options::new(Path::new(&dir), Clock::start());
    let (store, engine) = embedded::open(options()).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match put(&store, acknowledged).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit does not hold");
    };
    assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable));
    assert!(error.message().contains("has written nothing of this: the file may grow no further"), "{error}");
    assert!(acknowledged > 10, "{acknowledged}");
    assert_readable(&store, acknowledged).await;
    // The failed one may have been the only one too large; a full disk refuses all of them.
    while store.status().writable {
        drop(put(&store, 999_999).await);
    }
    assert_readable(&store, acknowledged).await;
    assert_eq!(store.status().trouble, Some(Trouble::FileTooLarge));

    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    let recovered = async {
        while !store.status().writable {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, recovered).await.expect("it recovers by itself");
    for n in 0..20 {
        put(&store, acknowledged + n).await.unwrap();
    }
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
    let (store, engine) = embedded::open(options()).unwrap();
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
}

/// The server under the same limit, filled until it refuses.
struct FullServer {
    process: Child,
    channel: Channel,
    /// How many it has taken.
    registered: u32,
    /// What it said to the last of them.
    last: RegisterResponse,
    /// What it said to the one after.
    refused: Status,
    _dir: TempDir,
}

impl FullServer {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let script = r#"trap "" XFSZ; ulimit -S -f 2048; exec "$0" serve --data-dir "$1/data" --ready-file "$1/ready.json" --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0"#;
        let process = tokio::process::Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_seaworthy")])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let address = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&ready)
                    && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
                {
                    break format!("http://{}", json["grpc"].as_str().unwrap());
                }
                sleep(LOOK).await;
            }
        };
        let address = timeout(PATIENCE, address).await.expect("it serves");
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let (mut registered, mut last) = (0, RegisterResponse::default());
        let refused = loop {
            match register(&channel, registered).await {
                Ok(answer) => (registered, last) = (registered + 1, answer),
                Err(status) => break status,
            }
            assert!(registered < 10_000, "the limit does not hold");
        };
        assert!(registered > 50, "{registered}");
        Self { process, channel, registered, last, refused, _dir: dir }
    }

    /// There is room again.
    fn lift_the_limit(&self) {
        let pid = Pid::from_raw(self.process.id().unwrap().try_into().unwrap());
        // Its parent's, of which it was to have less.
        let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
        let had = prlimit(pid, Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
        assert!(had.current.is_some(), "it had a limit");
    }

    async fn end(mut self) {
        self.process.start_kill().unwrap();
        self.process.wait().await.unwrap();
    }
}

/// An instance with some 3 KiB of labels.
async fn register(channel: &Channel, n: u32) -> Result<RegisterResponse, Status> {
    let labels = (0..16).map(|l| (format!("label-{l}"), "x".repeat(200))).collect();
    let instance_id = format!("i-{n}");
    let registration =
        Registration { service: "orders".into(), instance_id, labels, ..Registration::default() };
    let request = RegisterRequest { registration: Some(registration), ..RegisterRequest::default() };
    FleetServiceClient::new(channel.clone()).register(request).await.map(tonic::Response::into_inner)
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().expect("every error has a reason").reason.clone()
}

/// Callers are told why, and so is whoever asks how it is.
#[tokio::test]
async fn a_full_disk_is_named_to_callers_and_in_the_status() {
    let server = FullServer::start().await;
    let refused = &server.refused;
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let said = refused.message();
    assert!(
        said.contains("has written nothing of this: the file may grow no further; raise the limit"),
        "{said}"
    );
    let mut system = SystemServiceClient::new(server.channel.clone());
    let store = system.get_status(GetStatusRequest {}).await.unwrap().into_inner().store.unwrap();
    assert!(!store.writable && store.trouble.starts_with("the file may grow no further: raise"), "{store:?}");
    let checks = system.get_readiness(GetReadinessRequest {}).await.unwrap().into_inner().checks;
    let check = checks.into_iter().find(|check| check.id == "store.writable").unwrap();
    assert!(check.message.contains("the file may grow no further"), "{check:?}");
    assert!(check.hint.contains("ulimit -f"), "{check:?}");
    server.end().await;
}

async fn breaker_of_the_store(channel: &Channel) -> Breaker {
    let request = GetBreakersRequest { operation: "store".into(), ..GetBreakersRequest::default() };
    let answer = PolicyServiceClient::new(channel.clone()).get_breakers(request).await.unwrap();
    answer.into_inner().breakers.pop().expect("the store has a breaker")
}

/// Who asks for a write is refused at once while the store fails, as its breaker says; what needs no store goes on; with
/// room again a probe finds out.
#[tokio::test]
async fn the_breaker_of_a_full_store_opens_and_closes_with_room() {
    let server = FullServer::start().await;
    let channel = &server.channel;
    assert_eq!(reason(&server.refused), Reason::StoreUnavailable.as_str());
    let mut next = server.registered;
    let opened = async {
        loop {
            next += 1;
            match register(channel, next).await {
                Err(status) if reason(&status) == Reason::CircuitOpen.as_str() => break status,
                Err(status) => assert_eq!(reason(&status), Reason::StoreUnavailable.as_str()),
                // A smaller one may still have found room.
                Ok(_) => {}
            }
        }
    };
    let open = timeout(PATIENCE, opened).await.expect("it opens");
    assert_eq!(open.code(), Code::Unavailable);
    let details = open.get_error_details();
    let named = &details.error_info().unwrap().metadata;
    assert_eq!((named["depends_on"].as_str(), named["state"].as_str()), ("store", "OPEN"), "{named:?}");
    assert!(details.retry_info().unwrap().retry_delay.is_some_and(|pause| !pause.is_zero()));
    let seen = breaker_of_the_store(channel).await;
    assert_eq!((seen.state(), seen.opened), (BreakerState::Open, 1));
    let of = server.last.instance.clone().expect("what was registered");
    let beat = InstanceHeartbeat {
        instance: Some(InstanceRef {
            service: "orders".into(),
            instance_id: format!("i-{}", server.registered - 1),
            incarnation: of.incarnation,
        }),
        session_token: server.last.session_token.clone(),
    };
    let mut fleet = FleetServiceClient::new(channel.clone());
    let answer = fleet.heartbeat(HeartbeatRequest { heartbeats: vec![beat] }).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome(), HeartbeatOutcome::Renewed, "heartbeats need no store");

    server.lift_the_limit();
    let closed = async {
        while breaker_of_the_store(channel).await.state() != BreakerState::Closed {
            next += 1;
            // Refused until the breaker lets a probe through.
            drop(register(channel, next).await);
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("it closes");
    register(channel, next + 1).await.expect("it writes again");
    server.end().await;
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(r#"trap "" XFSZ; ulimit -S -f {LIMIT}; exec "$0" --exact child --nocapture"#);
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    assert!(said[0].contains("1 passed"), "the child ran its part: {}", said[0]);
}
