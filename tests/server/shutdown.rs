//! The end is bounded, whatever the other ends do.

use std::time::Duration;

use seaworthy::system::Phase;
use seaworthy_client::proto::{
    grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    seaworthy::v1::{
        self as pb, fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    harness::{PATIENCE, TestServer, heartbeat, reason, register, registration, report},
    proxy::deaf,
};

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

#[tokio::test]
async fn the_phases_come_in_order_and_are_reported() {
    let server = TestServer::start().await;
    register(&mut server.fleet().await, registration("orders", "i-1")).await;
    let report = server.stop().await;
    let phases: Vec<_> = report.phases.iter().map(|phase| phase.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::InitiateShutdown,
            Phase::StopAcceptingRequests,
            Phase::FinishActiveRequests,
            Phase::SaveState,
            Phase::CleanupResources,
        ]
    );
    assert!(report.phases.iter().all(|phase| !phase.timed_out), "{report:?}");
    assert!(report.state_saved && !report.aborted, "{report:?}");
    assert_eq!(report.cause, "test");
}

/// A thousand streams whose callers do not let go, and a peer that speaks half a connection and then
/// never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_open_streams_and_a_silent_peer_do_not_hold_it() {
    let server = TestServer::start_with(|config| {
        config.shutdown.finish_requests = PATIENCE;
        config.shutdown.total = 2 * PATIENCE;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut fleet = server.fleet().await;
        for _ in 0..100 {
            let stream = fleet.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap().into_inner();
            held.push(stream);
        }
    }
    // The preface and empty settings, and then nothing: no acknowledgement, no answer to a ping.
    let mut silent = TcpStream::connect(server.addresses.grpc).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // The server's settings are there, so it waits for ours by now.
    silent.read_exact(&mut [0; 9]).await.unwrap();
    let mut mute = TcpStream::connect(server.addresses.grpc).await.unwrap();
    mute.write_all(b"PRI * HT").await.unwrap();
    let report = in_time(server.stop()).await;
    assert!(report.state_saved, "{report:?}");
    // The streams ended themselves, and who had not begun was let go; only who never answers was cut.
    assert_eq!((report.connections_cut, report.requests_cut), (1, 0), "{report:?}");
    // And not waited for to the deadline, since it had asked for nothing.
    assert!(report.phases.iter().all(|phase| !phase.timed_out), "{report:?}");
    // Cut is cut: nothing of them is left open behind the end.
    for mut gone in [silent, mute] {
        let mut rest = Vec::new();
        drop(in_time(gone.read_to_end(&mut rest)).await);
    }
    for mut stream in held {
        let last = loop {
            match in_time(stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a reason is given"),
                Err(status) => break status,
            }
        };
        assert_eq!(reason(&last), "SERVER_DRAINING", "{last:?}");
    }
}

#[tokio::test]
async fn a_second_request_to_stop_skips_the_waits() {
    let server = TestServer::start_with(|config| {
        config.shutdown.lame_duck = Duration::from_secs(39);
    })
    .await;
    let mut held =
        server.fleet().await.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap().into_inner();
    held.message().await.unwrap();
    let stopper = server.stopper();
    stopper.ask("first");
    stopper.ask("second");
    // The lame-duck time is longer than anybody's patience here.
    let report = in_time(server.ended()).await;
    assert!(report.aborted && report.state_saved, "{report:?}");
}

/// Asked over a connection whose client does not hear that it is to end, so that every answer is one of
/// the guard's and none of the connection's.
#[tokio::test]
async fn new_work_is_refused_while_it_stops_and_signs_of_life_are_not() {
    let server = TestServer::start_with(|config| {
        config.shutdown.finish_requests = PATIENCE;
        config.shutdown.total = 2 * PATIENCE;
    })
    .await;
    let asking = deaf(server.addresses.grpc).await;
    let (mut fleet, mut health) =
        (FleetServiceClient::new(asking.channel.clone()), HealthServiceClient::new(asking.channel.clone()));
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    // A call that never ends keeps the server from letting go of everybody.
    let held = tokio::spawn(never_ending(asking.channel.clone()));
    server.until_active(1).await;
    server.stopper().ask("test");
    let first = in_time(async {
        loop {
            match fleet.list_services(pb::ListServicesRequest::default()).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => break status,
            }
        }
    })
    .await;
    // From here on the gate is shut, for as long as this connection asks.
    let again = pb::RegisterRequest {
        registration: Some(registration("orders", "i-2")),
        ..pb::RegisterRequest::default()
    };
    let second = fleet.register(again).await.unwrap_err();
    let third = fleet.watch_fleet(pb::WatchFleetRequest::default()).await.map(|_| ()).unwrap_err();
    for refused in [first, second, third] {
        let said = (refused.code(), reason(&refused));
        assert_eq!(said, (Code::Unavailable, "SERVER_DRAINING".to_owned()), "{refused:?}");
        assert!(refused.get_error_details().retry_info().is_some(), "{refused:?}");
    }
    assert_eq!(heartbeat(&mut fleet, &who).await.outcome(), pb::HeartbeatOutcome::Renewed);
    report(&mut health, &who, pb::HealthState::Healthy, "").await.unwrap();
    let own = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(asking.channel.clone()).check(own).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
    let leave = pb::DeregisterRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        ..Default::default()
    };
    fleet.deregister(leave).await.unwrap();
    held.abort();
    drop(asking);
    let report = in_time(server.ended()).await;
    assert!(report.state_saved && report.phases.iter().all(|phase| !phase.timed_out), "{report:?}");
}

/// A heartbeat whose message never comes.
async fn never_ending(channel: Channel) {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::HeartbeatRequest, pb::HeartbeatResponse>::default();
    let path = "/seaworthy.v1.FleetService/Heartbeat".parse().unwrap();
    drop(client.streaming(tonic::Request::new(tokio_stream::pending()), path, codec).await);
}
