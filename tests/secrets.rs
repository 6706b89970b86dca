//! No secret leaves by another way than the one answer that hands it out: the real binary at its most talkative, with
//! everything that it emits read again.

#![cfg(unix)]
#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod process;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use seaworthy_client::proto::seaworthy::v1::{
    self as pb, fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
    system_service_client::SystemServiceClient,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use process::{Serving, until};

/// Everything that anything in it could say.
const LEVEL: &str = "trace,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace";

impl Serving {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = |name: &str| Stdio::from(fs::File::create(dir.path().join(name)).expect("a file"));
        let started = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(["serve", "--auth", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--log-level", LEVEL, "--ready-file"])
            .arg(dir.path().join("ready"))
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .env_clear()
            .env("SEAWORTHY_ACCESS_LOG_SAMPLE", "1")
            .env("SEAWORTHY_AUDIT_ENROLMENTS", "true")
            .env("SEAWORTHY_AUDIT_FILE", dir.path().join("audit.jsonl"))
            .env("SEAWORTHY_SHUTDOWN_LAME_DUCK", "0s")
            .stdout(out("stdout"))
            .stderr(out("stderr"))
            .spawn();
        let child = started.expect("it starts");
        Self::ready(dir, child)
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    async fn get(&self, path: &str, token: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(&self.http).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Ends it in order, and answers all that it has written, but for the file that hands out the first token.
    fn written(mut self) -> Vec<(String, String)> {
        self.signal(Signal::TERM);
        until("its end", || self.child.try_wait().expect("our own child"));
        let mut written = Vec::new();
        read_all(self.dir.path(), &mut written);
        written.retain(|(name, _)| !name.ends_with("bootstrap-token"));
        written
    }
}

fn read_all(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            into.push((path.display().to_string(), text));
        }
    }
}

fn proved<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn create(name: &str, role: pb::Role, service: &str) -> pb::CreateTokenRequest {
    pb::CreateTokenRequest {
        name: name.into(),
        role: role.into(),
        service: service.into(),
        ..pb::CreateTokenRequest::default()
    }
}

#[tokio::test]
async fn no_secret_is_in_anything_that_it_emits() {
    let serving = Serving::start();
    let bootstrap = fs::read_to_string(serving.dir.path().join("data/bootstrap-token")).unwrap();
    let admin = bootstrap.trim().to_owned();
    let mut system = SystemServiceClient::new(serving.channel().await);
    let mut fleet = FleetServiceClient::new(serving.channel().await);
    let mut health = HealthServiceClient::new(serving.channel().await);

    let made = create("orders", pb::Role::Service, "orders");
    let orders = system.create_token(proved(made, &admin)).await.unwrap().into_inner().secret;
    let made = create("gone", pb::Role::Viewer, "");
    let gone = system.create_token(proved(made, &admin)).await.unwrap().into_inner().secret;
    let revoke = pb::RevokeTokenRequest { token_id: "gone".into(), allow_missing: false };
    system.revoke_token(proved(revoke, &admin)).await.unwrap();
    let registration = pb::Registration {
        service: "orders".into(),
        instance_id: "i-1".into(),
        ..pb::Registration::default()
    };
    let register = pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() };
    let session = fleet.register(proved(register.clone(), &orders)).await.unwrap().into_inner().session_token;
    let foreign = format!("swt_{}", "7".repeat(52));
    let secrets = [&admin, &orders, &gone, &session, &foreign];

    // Whatever is told to whoever does it right, and to whoever does it wrong.
    let mut told = Vec::new();
    let named = pb::InstanceRef { service: "orders".into(), instance_id: "i-1".into(), incarnation: 1 };
    let beat = |token: &str| pb::HeartbeatRequest {
        heartbeats: vec![pb::InstanceHeartbeat {
            instance: Some(named.clone()),
            session_token: token.into(),
        }],
    };
    told.push(format!("{:?}", fleet.heartbeat(proved(beat(&session), &orders)).await.unwrap().into_inner()));
    told.push(format!("{:?}", fleet.heartbeat(proved(beat(&foreign), &orders)).await.unwrap().into_inner()));
    told.push(format!("{:?}", fleet.register(proved(register, &orders)).await.unwrap_err()));
    let report = pb::ReportHealthRequest {
        instance: Some(named.clone()),
        session_token: foreign.clone(),
        ..pb::ReportHealthRequest::default()
    };
    told.push(format!("{:?}", health.report_health(proved(report, &orders)).await.unwrap_err()));
    for token in [&gone, &foreign, &session] {
        let refused = fleet.list_services(proved(pb::ListServicesRequest::default(), token)).await;
        told.push(format!("{:?}", refused.unwrap_err()));
        let revoke = pb::RevokeTokenRequest { token_id: (*token).clone(), allow_missing: false };
        for who in [&orders, &admin] {
            let refused = system.revoke_token(proved(revoke.clone(), who)).await;
            told.push(format!("{:?}", refused.unwrap_err()));
        }
    }
    told.push(format!("{:?}", system.get_config(proved(pb::GetConfigRequest {}, &admin)).await.unwrap()));
    let all = pb::ListTokensRequest { show_ended: true, ..pb::ListTokensRequest::default() };
    told.push(format!("{:?}", system.list_tokens(proved(all, &admin)).await.unwrap()));
    told.push(format!(
        "{:?}",
        fleet.list_instances(proved(pb::ListInstancesRequest::default(), &admin)).await.unwrap()
    ));
    let audit = pb::ListAuditEntriesRequest::default();
    told.push(format!("{:?}", system.list_audit_entries(proved(audit, &admin)).await));
    for path in
        ["/", "/metrics", "/status", "/production-readiness", "/sd/prometheus", "/health/services/orders"]
    {
        told.push(serving.get(path, &admin).await);
        told.push(serving.get(&format!("{path}?token={foreign}"), &foreign).await);
    }
    let arguments = fs::read(format!("/proc/{}/cmdline", serving.child.id()));
    told.extend(arguments.ok().map(|arguments| String::from_utf8_lossy(&arguments).into_owned()));

    let mut places: Vec<(String, String)> =
        told.into_iter().enumerate().map(|(at, text)| (format!("answer {at}"), text)).collect();
    let written = serving.written();
    let log = &written.iter().find(|(name, _)| name.ends_with("stderr")).expect("a log").1;
    assert!(log.lines().count() > 50, "it was talkative");
    places.extend(written);
    for (place, text) in &places {
        for secret in secrets {
            // Without what it begins with: a part of it would be too much as well.
            let part = &secret[4..];
            assert!(!text.contains(part), "{place} has a secret: {}", text.replace(part, "[SECRET]"));
        }
    }
}
