//! The service's own health endpoints, over HTTP and gRPC, on real ports and without a control plane.
// Helpers of tests may do what tests may.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use std::{net::SocketAddr, time::Duration};

use seaworthy_client::{
    Agent, Check, Component, HealthState, Lifecycle, Report, checks,
    proto::grpc::health::v1::{
        HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus,
        health_client::HealthClient,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;

/// Nobody listens there: local health must not need a control plane.
const NOWHERE: &str = "http://127.0.0.1:1";

fn agent() -> Agent {
    Agent::builder(NOWHERE, "orders")
        .instance_id("orders-1")
        .version("1.2.3")
        .starting()
        .component(Component::new("database").kind("sqlite").essential())
        .component(Component::new("cache"))
        .attach()
        .expect("attach")
}

async fn serve_http(agent: &Agent) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = agent.health_router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn serve_grpc(agent: &Agent) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder().add_service(agent.health_service());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[tokio::test]
async fn http_follows_health_and_lifecycle() {
    let agent = agent();
    let address = serve_http(&agent).await;
    for path in ["/health", "/health/ready"] {
        assert_eq!(get(address, path).await.0, 503, "{path} before anything is known");
    }
    assert_eq!(get(address, "/health/live").await.0, 200);

    agent.push("database", Report::healthy().detail("orders", 3)).expect("a component");
    agent
        .push("cache", Report::degraded("cold").response_time(Duration::from_millis(2)))
        .expect("a component");
    let (status, body) = get(address, "/health").await;
    assert_eq!((status, &body["status"]), (200, &Value::from("degraded")));
    assert_eq!(body["cause"], "component cache: cold");
    assert_eq!(body["service"], "orders");
    assert_eq!(body["instance_id"], "orders-1");
    assert_eq!(body["version"], "1.2.3");
    assert_eq!(body["attached"], false);
    assert_eq!(body["components"]["database"]["details"]["orders"], "3");
    assert_eq!(body["components"]["database"]["essential"], true);
    assert_eq!(body["components"]["cache"]["message"], "cold");
    assert_eq!(body["components"]["cache"]["response_time_ms"], 2.0);
    assert_eq!(body["components"]["cache"]["consecutive_failures"], 1);

    let (status, body) = get(address, "/health/ready").await;
    assert_eq!((status, &body["lifecycle"]), (503, &Value::from("starting")));
    agent.set_lifecycle(Lifecycle::Ready).expect("it may follow");
    assert_eq!(get(address, "/health/ready").await.0, 200);

    agent.push("database", Report::unhealthy("file is gone")).expect("a component");
    let (status, body) = get(address, "/health").await;
    assert_eq!((status, &body["cause"]), (503, &Value::from("component database: file is gone")));
    assert_eq!(get(address, "/health/ready").await.0, 503);
    assert_eq!(get(address, "/health/live").await.0, 200);

    agent.push("database", Report::healthy()).expect("a component");
    agent.set_lifecycle(Lifecycle::LameDuck).expect("it may follow");
    assert_eq!(get(address, "/health").await.0, 200);
    assert_eq!(get(address, "/health/ready").await.0, 503);
    agent.set_lifecycle(Lifecycle::Failed).expect("it may follow");
    assert_eq!(get(address, "/health/live").await.0, 503);
}

#[tokio::test]
async fn grpc_answers_check_and_list() {
    let agent = agent();
    let mut client = Client::connect(&serve_grpc(&agent).await).await;
    agent.push("database", Report::healthy()).expect("a component");
    assert_eq!(client.ask("").await, Ok(ServingStatus::NotServing), "starting");
    agent.set_lifecycle(Lifecycle::Ready).expect("it may follow");
    for (name, status) in [
        ("", Ok(ServingStatus::Serving)),
        ("database", Ok(ServingStatus::Serving)),
        ("cache", Ok(ServingStatus::Unknown)),
        ("nothing", Err(Code::NotFound)),
    ] {
        assert_eq!(client.ask(name).await, status, "{name:?}");
    }
    agent.push("database", Report::unhealthy("gone")).expect("a component");
    let list = client.0.list(HealthListRequest {}).await.expect("a list").into_inner().statuses;
    let mut names: Vec<_> = list.iter().map(|(name, answer)| (name.as_str(), answer.status())).collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(
        names,
        [
            ("", ServingStatus::NotServing),
            ("cache", ServingStatus::Unknown),
            ("database", ServingStatus::NotServing)
        ]
    );
}

#[tokio::test]
async fn grpc_watch_follows_changes_and_ends_when_the_agent_left() {
    let agent = agent();
    let mut client = Client::connect(&serve_grpc(&agent).await).await;
    let mut database = client.watch("database").await;
    let mut unknown = client.watch("nothing").await;
    assert_eq!(next(&mut unknown).await, Some(ServingStatus::ServiceUnknown));
    assert_eq!(next(&mut database).await, Some(ServingStatus::Unknown));
    agent.push("database", Report::healthy()).expect("a component");
    assert_eq!(next(&mut database).await, Some(ServingStatus::Serving));
    // A report that changes nothing is not sent.
    agent.push("database", Report::healthy()).expect("a component");
    agent.push("database", Report::unhealthy("gone")).expect("a component");
    assert_eq!(next(&mut database).await, Some(ServingStatus::NotServing));
    agent.set_lifecycle(Lifecycle::Ready).expect("it may follow");
    agent.push("database", Report::healthy()).expect("a component");
    let mut all = client.watch("").await;
    assert_eq!(next(&mut all).await, Some(ServingStatus::Serving));
    agent.leave("deploy").await;
    assert_eq!(next(&mut all).await, Some(ServingStatus::NotServing));
    for watch in [&mut all, &mut unknown] {
        assert_eq!(next(watch).await, None);
    }
}

#[tokio::test]
async fn the_ready_made_grpc_check_understands_it() {
    let agent = agent();
    let url = serve_grpc(&agent).await;
    let checker = Agent::builder(NOWHERE, "gateway")
        .component(
            Component::new("orders")
                .interval(Duration::from_secs(1))
                .fail_threshold(1)
                .check(checks::grpc(url.clone(), "")),
        )
        .component(Component::new("nobody").fail_threshold(1).check(checks::grpc(url, "nobody")))
        .component(Component::new("broken").fail_threshold(1).check(Check::blocking(|| Err::<(), _>("no"))))
        .attach()
        .expect("attach");
    let mut health = checker.watch_health();
    let reported = |health: &seaworthy_client::Health| {
        health.components().iter().all(|component| component.last_report().is_some())
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), health.wait_for(reported)).await;
    let seen = seen.expect("in time").expect("open").clone();
    let cause = |name: &str| seen.component(name).expect("a component").cause().to_owned();
    assert_eq!(cause("orders"), "it says NOT_SERVING");
    assert_eq!(cause("nobody"), "NotFound: no component `nobody` here");
    assert_eq!(cause("broken"), "no");

    agent.push("database", Report::healthy()).expect("a component");
    agent.set_lifecycle(Lifecycle::Ready).expect("it may follow");
    let healthy = |health: &seaworthy_client::Health| {
        health.component("orders").is_some_and(|orders| orders.state() == HealthState::Healthy)
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), health.wait_for(healthy)).await;
    let orders = seen.expect("in time").expect("open").component("orders").cloned().expect("a component");
    assert_eq!(orders.details().expect("details")["status"], "SERVING");
    assert!(orders.response_time().is_some());
}

/// The generated client with the words of these tests.
struct Client(HealthClient<tonic::transport::Channel>);

type Watch = tonic::Streaming<seaworthy_client::proto::grpc::health::v1::HealthCheckResponse>;

impl Client {
    async fn connect(url: &str) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned()).expect("a URL");
        Self(HealthClient::new(endpoint.connect().await.expect("it listens")))
    }

    async fn ask(&mut self, name: &str) -> Result<ServingStatus, Code> {
        let request = HealthCheckRequest { service: name.to_owned() };
        self.0.check(request).await.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    }

    async fn watch(&mut self, name: &str) -> Watch {
        let request = HealthCheckRequest { service: name.to_owned() };
        self.0.watch(request).await.expect("a watch stays open").into_inner()
    }
}

async fn next(watch: &mut Watch) -> Option<ServingStatus> {
    let next = tokio::time::timeout(Duration::from_secs(20), watch.message()).await.expect("in time");
    next.expect("no error").map(|answer| answer.status())
}
