//! Mutual TLS through the whole server against bare tonic with the same configuration of rustls: `Health/Check` on
//! connections that are open, and connections that are opened.
//!
//! Seaworthy wants proof of who calls, and gets a token with each call beside the certificate of the connection; the bare
//! server wants the certificate as well, and asks nobody who it is.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use seaworthy_client::proto::seaworthy::v1::{
    GetStatusRequest, GetStatusResponse, HealthState, ReportHealthRequest, ReportHealthResponse,
    RevokeTokenRequest, RevokeTokenResponse, Role, WatchFleetRequest, WatchFleetResponse,
};
use support::{
    Result,
    checking::{CONNECTIONS, checks},
    encrypted::{self, Pki},
    fleet::{self, Registered},
    load::{Meter, Sample, measure},
    pair::Pair,
    process::Server,
    report::{self, Goal},
    settings::Settings,
    wire::{Connections, framed},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time,
};

/// Instances that report, each one report at a time.
const REPORTERS: usize = 64;
/// Their service.
const SERVICE: &str = "orders";
/// Connections that are opened at once.
const OPENING: usize = 16;

/// What an HTTP/2 client says first, with settings that ask for nothing.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Head of a frame, and the type of one with settings, which a server says first.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

fn main() -> Result<()> {
    if encrypted::serve_if_asked()? {
        return Ok(());
    }
    support::run(async {
        let (settings, pki) = (Settings::read()?, Arc::new(Pki::new()?));
        report::head("Health/Check over mutual TLS, 4 connections x 64 in flight", "bare tonic-health");
        for &threads in &settings.threads {
            let mut pair = Pair::default();
            for _ in 0..settings.rounds {
                let ours = pki.start(threads).await?;
                let connections = pki.proved(&ours, CONNECTIONS, Role::Viewer, "").await?;
                pair.ours.push(checks(&ours, connections, &settings).await?);
                drop(ours);
                let bare = pki.start_bare(threads).await?;
                let connections = pki.connections(&bare, CONNECTIONS).await?;
                pair.theirs.push(checks(&bare, connections, &settings).await?);
            }
            let with = format!("{threads} server thread(s)");
            pair.rate(&format!("requests, {with}"), Goal::AtLeast(0.85, 0.95));
            pair.cpu(&format!("server CPU per request, {with}"), Goal::AtMost(1.2, 1.05));
            pair.latencies(&format!("latency, {with}"));
        }
        report::head(
            "ReportHealth over mutual TLS, three components each, 4 connections x 16 in flight",
            "bare tonic that decodes and answers",
        );
        for &threads in &settings.threads {
            let mut pair = Pair::default();
            for _ in 0..settings.rounds {
                let ours = pki.start(threads).await?;
                let connections = pki.proved(&ours, CONNECTIONS, Role::Service, SERVICE).await?;
                let members = register(&connections).await?;
                pair.ours.push(reports(&ours, connections, &members, &settings).await?);
                drop(ours);
                let bare = pki.start_bare(threads).await?;
                let connections = pki.connections(&bare, CONNECTIONS).await?;
                pair.theirs.push(reports(&bare, connections, &members, &settings).await?);
            }
            let with = format!("{threads} server thread(s)");
            pair.rate(&format!("reports, {with}"), Goal::AtLeast(0.85, 0.95));
            pair.cpu(&format!("server CPU per report, {with}"), Goal::AtMost(1.2, 1.05));
            pair.latencies(&format!("latency, {with}"));
        }
        report::head("new connections with a full handshake of mutual TLS, 16 at once", "bare tonic-health");
        for &threads in &settings.threads {
            let mut pair = Pair::default();
            for _ in 0..settings.rounds {
                pair.ours.push(openings(&pki, &pki.start(threads).await?, &settings).await?);
                pair.theirs.push(openings(&pki, &pki.start_bare(threads).await?, &settings).await?);
            }
            let with = format!("{threads} server thread(s)");
            pair.rate(&format!("connections, {with}"), Goal::AtLeast(0.9, 1.0));
            pair.cpu(&format!("server CPU per connection, {with}"), Goal::AtMost(1.2, 1.05));
            pair.latencies(&format!("until the server's settings came, {with}"));
        }
        report::head("What is revoked, until it is refused", "none");
        let threads = settings.threads.last().copied().unwrap_or(2);
        let mut revoked: [Vec<f64>; 4] = Default::default();
        for _ in 0..settings.rounds {
            // Of one that is revoked nothing is left for the next round.
            let pki = Pki::new()?;
            let server = pki.start(threads).await?;
            let [calls, streams, certificates, connections] = &mut revoked;
            let (call, stream) = revoked_token(&pki, &server).await?;
            calls.push(call);
            streams.push(stream);
            let (certificate, connection) = revoked_certificate(&pki, &server).await?;
            certificates.push(certificate);
            connections.push(connection);
        }
        let whats = [
            "a token: a call, after RevokeToken has answered",
            "a token: a stream that was opened with it ends",
            "a certificate: a call on a connection that is open, after the list was put in place",
            "a certificate: a new connection",
        ];
        for (what, seconds) in whats.iter().zip(&revoked) {
            report::figure(what, " s", seconds, &[], Goal::AtMost(5.0, 1.0));
        }
        Ok(())
    })
}

/// Seconds until a call with a revoked token is refused, and until a stream that was opened with it ends.
async fn revoked_token(pki: &Pki, server: &Server) -> Result<(f64, f64)> {
    let proved = pki.proved(server, 1, Role::Viewer, "").await?;
    let fresh = pki.connections(server, 1).await?.proved_by(&proved.token()?)?;
    let mut watch =
        proved.nth(0).ask("/seaworthy.v1.FleetService/WatchFleet", &WatchFleetRequest::default()).await?;
    watch.answer::<WatchFleetResponse>().await?;
    let admin = pki.admin(server).await?;
    let revoke = RevokeTokenRequest { token_id: "bench".to_owned(), allow_missing: false };
    let path = "/seaworthy.v1.SystemService/RevokeToken";
    let _revoked: RevokeTokenResponse = admin.nth(0).unary(path, framed(&revoke)?).await?;
    let since = Instant::now();
    while status(&fresh).await.is_ok() {}
    let call = since.elapsed().as_secs_f64();
    while watch.answer::<WatchFleetResponse>().await.is_ok() {}
    Ok((call, since.elapsed().as_secs_f64()))
}

/// Seconds until a call on a connection of a revoked certificate is refused, and until a new one is.
async fn revoked_certificate(pki: &Pki, server: &Server) -> Result<(f64, f64)> {
    let open = pki.connections(server, 1).await?;
    status(&open).await?;
    pki.revoke();
    let since = Instant::now();
    let (mut call, mut connection) = (None, None);
    while call.is_none() || connection.is_none() {
        if call.is_none() && status(&open).await.is_err() {
            call = Some(since.elapsed().as_secs_f64());
        }
        let anew = async { status(&pki.connections(server, 1).await?).await };
        if connection.is_none() && anew.await.is_err() {
            connection = Some(since.elapsed().as_secs_f64());
        }
        time::sleep(Duration::from_millis(5)).await;
    }
    Ok((call.unwrap_or_default(), connection.unwrap_or_default()))
}

async fn status(connections: &Connections) -> Result<()> {
    let asked = framed(&GetStatusRequest {})?;
    let _answer: GetStatusResponse =
        connections.nth(0).unary("/seaworthy.v1.SystemService/GetStatus", asked).await?;
    Ok(())
}

/// Registers the instances that report.
async fn register(connections: &Connections) -> Result<Vec<Registered>> {
    let mut members = Vec::with_capacity(REPORTERS);
    for n in 0..REPORTERS {
        let mut request = fleet::ordinary(n);
        if let Some(registration) = &mut request.registration {
            SERVICE.clone_into(&mut registration.service);
        }
        members.push(fleet::register_as(&connections.nth(n), request).await?);
    }
    Ok(members)
}

async fn reports(
    server: &Server,
    connections: Connections,
    members: &[Registered],
    settings: &Settings,
) -> Result<Sample> {
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for (n, (instance, session_token)) in members.iter().enumerate() {
        let (connection, meter) = (connections.nth(n), meter.clone());
        let request = framed(&ReportHealthRequest {
            instance: Some(instance.clone()),
            session_token: session_token.clone(),
            reports: fleet::reports(HealthState::Healthy),
            ..ReportHealthRequest::default()
        })?;
        workers.spawn(async move {
            while meter.running() {
                let start = Instant::now();
                let path = "/seaworthy.v1.HealthService/ReportHealth";
                let answer: ReportHealthResponse = connection.unary(path, request.clone()).await?;
                answer.instance.ok_or("answered without an instance")?;
                meter.answered_since(start);
            }
            Ok(())
        });
    }
    measure(server, settings, &meter, workers).await
}

async fn openings(pki: &Arc<Pki>, server: &Server, settings: &Settings) -> Result<Sample> {
    let (meter, mut workers) = (Meter::default(), JoinSet::new());
    for _ in 0..OPENING {
        let (pki, meter, address) = (Arc::clone(pki), meter.clone(), server.address());
        workers.spawn(async move {
            while meter.running() {
                let start = Instant::now();
                let mut stream = pki.connect(address).await?;
                // A client of TLS 1.3 is done before the server has looked at its certificate: it is when that speaks.
                stream.write_all(HELLO).await?;
                let mut head = [0; FRAME_HEAD];
                stream.read_exact(&mut head).await?;
                if head[3] != SETTINGS {
                    return Err("the server does not begin with its settings".into());
                }
                meter.answered_since(start);
                stream.shutdown().await?;
            }
            Ok(())
        });
    }
    measure(server, settings, &meter, workers).await
}
