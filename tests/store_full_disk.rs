//! A full disk turns the store read-only and nothing worse; with room again it goes on by itself.
//!
//! The kernel plays the full disk: this test binary starts itself again under a limit on the size of
//! files (`ulimit -f`, with the signal ignored so that writes fail instead), fills the store until it
//! refuses, and then lifts its own limit.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // helpers of tests stop a test like tests do

use std::{num::NonZeroUsize, path::Path, process::Command, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use seaworthy::{
    error::{Kind, Reason, Result},
    store::{
        Commit, Store, Trouble,
        embedded::{self, Options},
    },
    time::Clock,
};
use seaworthy_client::proto::seaworthy::v1::{
    GetReadinessRequest, GetStatusRequest, RegisterRequest, Registration,
    fleet_service_client::FleetServiceClient, system_service_client::SystemServiceClient,
};
use tokio::time::{sleep, timeout};

const DIR: &str = "SEAWORTHY_TEST_STORE_FULL_DIR";
/// In units of 512 or 1024 bytes, as the shell has it.
const LIMIT: &str = "4096";

async fn put(store: &Store, n: u32) -> Result<u64> {
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
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), recovered).await.expect("it recovers by itself");
    for n in 0..20 {
        put(&store, acknowledged + n).await.unwrap();
    }
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
    let (store, engine) = embedded::open(options()).unwrap();
    assert_readable(&store, acknowledged + 20).await;
    engine.close().await.unwrap();
}

/// The server under the same limit: its callers are told why, and so is whoever asks how it is.
#[tokio::test]
async fn a_full_disk_is_named_to_callers_and_in_the_status() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready.json");
    let script = r#"trap "" XFSZ; ulimit -S -f 2048; exec "$0" serve --data-dir "$1/data" --ready-file "$1/ready.json" --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0"#;
    let mut server = tokio::process::Command::new("sh")
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
            sleep(Duration::from_millis(20)).await;
        }
    };
    let address = timeout(Duration::from_secs(60), address).await.expect("it serves");
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut fleet = FleetServiceClient::new(channel.clone());
    let mut n = 0;
    let refused = loop {
        let labels = (0..16).map(|l| (format!("label-{l}"), "x".repeat(200))).collect();
        let instance_id = format!("i-{n}");
        let registration =
            Registration { service: "orders".into(), instance_id, labels, ..Registration::default() };
        let request = RegisterRequest { registration: Some(registration), ..RegisterRequest::default() };
        match fleet.register(request).await {
            Ok(_) => n += 1,
            Err(status) => break status,
        }
        assert!(n < 10_000, "the limit does not hold");
    };
    assert!(n > 50, "{n}");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    let said = refused.message();
    assert!(
        said.contains("has written nothing of this: the file may grow no further; raise the limit"),
        "{said}"
    );
    let mut system = SystemServiceClient::new(channel);
    let store = system.get_status(GetStatusRequest {}).await.unwrap().into_inner().store.unwrap();
    assert!(!store.writable && store.trouble.starts_with("the file may grow no further: raise"), "{store:?}");
    let checks = system.get_readiness(GetReadinessRequest {}).await.unwrap().into_inner().checks;
    let check = checks.into_iter().find(|check| check.id == "store.writable").unwrap();
    assert!(check.message.contains("the file may grow no further"), "{check:?}");
    assert!(check.hint.contains("ulimit -f"), "{check:?}");
    server.start_kill().unwrap();
    server.wait().await.unwrap();
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
