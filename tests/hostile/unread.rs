//! Answers that are asked for and not taken, small ones too.

use std::net::{IpAddr, SocketAddr};

use seaworthy_client::proto::seaworthy::v1::{self as pb, fleet_service_client::FleetServiceClient};
use tonic::transport::{Channel, Endpoint};

use crate::{
    bodies::many_signs_of_life_are_heard,
    hpack,
    raw::{self, Raw, Said, call, frame, message, stream},
    victim::{MIB, Victim, in_time},
};

/// A window of nothing: no stream may send a byte.
fn no_window() -> Vec<u8> {
    frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])
}

/// As many calls as may be open, whose answers may not be sent; then others, and so on.
#[tokio::test]
async fn small_answers_that_are_not_read_are_as_many_as_there_are_streams() {
    let victim = Victim::start().await;
    let harm = || async {
        let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
        raw.send(&no_window()).await.unwrap();
        for n in 0..128 {
            let ask = [call(stream(n), "/seaworthy.v1.SystemService/GetConfig"), message(stream(n), &[])];
            raw.send(&ask.concat()).await.unwrap();
        }
        raw.until(&mut said, |said| said.heads == 128).await;
        // They wait for a window; one more has no place.
        raw.send(&call(stream(128), "/seaworthy.v1.SystemService/GetConfig")).await.unwrap();
        raw.until(&mut said, |said| said.resets == [raw::REFUSED_STREAM]).await;
    };
    victim.good.beside(harm).await;
    victim.unharmed(24 * MIB).await;
}

/// A client of the fleet, from this address.
async fn fleet(at: SocketAddr, from: [u8; 4]) -> FleetServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{at}")).unwrap();
    let channel = endpoint.local_address(Some(IpAddr::from(from))).connect().await.unwrap();
    FleetServiceClient::new(channel)
}

/// Registers an instance of tens of KiB: every component depends on all before it.
async fn with_an_instance_of_some_size(victim: &Victim) {
    let names: Vec<_> = (0..40).map(|at| format!("{at:0>60}")).collect();
    let components = names.iter().enumerate().map(|(at, name)| pb::Component {
        name: name.clone(),
        depends_on: names[..at].to_vec(),
        ..pb::Component::default()
    });
    let registration = pb::Registration {
        service: "orders".into(),
        instance_id: "i-1".into(),
        components: components.collect(),
        ..pb::Registration::default()
    };
    let request = pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() };
    in_time(fleet(victim.grpc, [127, 0, 0, 1]).await.register(request)).await.expect("registered");
}

/// A call whose answer may be packed: what is under way is what the server holds of it.
fn takes_gzip(stream: u32, path: &str) -> Vec<u8> {
    let head = [hpack::call(path), hpack::literal("grpc-accept-encoding", "gzip")].concat();
    frame(raw::HEADERS, raw::END_HEADERS, stream, &head)
}

/// A connection with as many calls as may be open, whose answers of tens of KiB it does not read, and its heads and
/// trailers: of each answer one, and one more where it was refused.
async fn unread(victim: &Victim, heads: usize) -> Raw {
    let (mut raw, mut said) = (Raw::open(victim.grpc).await, Said::default());
    raw.send(&no_window()).await.unwrap();
    let question = pb::GetInstanceRequest { service: "orders".into(), instance_id: "i-1".into() };
    let question = prost::Message::encode_to_vec(&question);
    for n in 0..128 {
        let path = "/seaworthy.v1.FleetService/GetInstance";
        raw.send(&[takes_gzip(stream(n), path), message(stream(n), &question)].concat()).await.unwrap();
    }
    raw.until(&mut said, |said| said.heads == heads).await;
    raw
}

/// One peer, with more connections than fill its share: no more is held for it, and what is left is everybody else's.
#[tokio::test]
async fn answers_of_some_size_that_are_not_read_are_bounded_for_their_peer() {
    let victim = Victim::with("[grpc]\nrequest_timeout = '10m'\n").await;
    with_an_instance_of_some_size(&victim).await;
    let mut held = Vec::new();
    for _ in 0..11 {
        held.push(unread(&victim, 128).await);
    }
    // 64 MiB are held for this peer by now: not one more answer is.
    held.push(unread(&victim, 256).await);
    // Its signs of life are answered all the same, and so is whatever another peer asks.
    many_signs_of_life_are_heard(&victim, 5).await;
    let mut other = fleet(victim.grpc, [127, 0, 0, 2]).await;
    let page = in_time(other.list_instances(pb::ListInstancesRequest::default())).await.expect("answered");
    assert_eq!(page.into_inner().instances.len(), 1);
    victim.unharmed(128 * MIB).await;
}
