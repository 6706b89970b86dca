//! The end is bounded, whatever the other ends do.

use std::time::Duration;

use seaworthy::system::Phase;
use seaworthy_client::proto::seaworthy::v1 as pb;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{PATIENCE, TestServer, register, registration};

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
        config.shutdown.finish_requests = Duration::from_secs(2);
        config.shutdown.total = Duration::from_secs(8);
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
    let mut mute = TcpStream::connect(server.addresses.grpc).await.unwrap();
    mute.write_all(b"PRI * HT").await.unwrap();
    let (total, stopper) = (server.config.shutdown.total, server.stopper());
    stopper.ask("test");
    let report = tokio::time::timeout(PATIENCE, server.ended()).await.expect("the exit is bounded");
    assert!(report.total <= total + Duration::from_secs(1), "{report:?}");
    assert!(report.state_saved, "{report:?}");
    // The streams ended themselves; only who never answers had to be cut.
    assert!(report.connections_cut <= 2, "{report:?}");
    assert_eq!(report.requests_cut, 0, "{report:?}");
    drop((held, silent, mute));
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
    let report = tokio::time::timeout(PATIENCE, server.ended()).await.expect("at once");
    assert!(report.aborted && report.state_saved, "{report:?}");
    assert!(report.total < Duration::from_secs(10), "{report:?}");
}

#[tokio::test]
async fn new_work_is_refused_while_it_stops_and_signs_of_life_are_not() {
    let server = TestServer::start_with(|config| {
        config.shutdown.finish_requests = Duration::from_secs(5);
    })
    .await;
    let mut fleet = server.fleet().await;
    let who = register(&mut fleet, registration("orders", "i-1")).await;
    server.stopper().ask("test");
    let refused = loop {
        match fleet.list_services(pb::ListServicesRequest::default()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(status) => break status,
        }
    };
    // The connection may be gone between two calls: then there is no answer to look at.
    if std::error::Error::source(&refused).is_none() {
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    }
    drop((fleet, who));
    server.ended().await;
}
