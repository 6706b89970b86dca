//! Breakers and what is used, as an instance reports them, and forcing breakers by hand, against the real server.

use std::time::Duration;

use rustix::process::Signal;
use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, Breaker, BreakerState, GetBreakersRequest, OpenSession, OperationReport,
    OperationStats, PoolUsage, RegisterRequest, attach_request::Message as Say,
    attach_response::Message as Hear, open_session::How, policy_service_client::PolicyServiceClient,
};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    PATIENCE,
    harness::{TestServer, registration},
    live::Terminal,
    policy::{Scene, interrupt, row, start, until},
};

/// An attached instance of `orders` that says what it likes.
struct Instance {
    say: mpsc::Sender<AttachRequest>,
    _hear: Streaming<AttachResponse>,
}

impl Instance {
    async fn attach(server: &TestServer, id: &str) -> Self {
        let (say, said) = mpsc::channel(16);
        let registration = Some(registration("orders", id));
        let how = Some(How::Register(RegisterRequest { registration, ..RegisterRequest::default() }));
        let open = Say::Open(OpenSession { how, takes_policies: true, takes_directives: false });
        say.send(AttachRequest { message: Some(open) }).await.unwrap();
        let mut hear = server.fleet().await.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
        let first = timeout(PATIENCE, hear.message()).await.unwrap().unwrap().unwrap();
        assert!(matches!(first.message, Some(Hear::Opened(_))), "{first:?}");
        Self { say, _hear: hear }
    }

    /// Reports its breaker in this state, and waits until that is known.
    async fn report(&self, server: &TestServer, id: &str, state: BreakerState) {
        let breaker = Breaker {
            operation: "charge-card".into(),
            state: state.into(),
            state_age: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            cause: "FAILURE_RATE".into(),
            calls: 40,
            failure_rate: 0.625,
            refused: 17,
            ..Breaker::default()
        };
        let operation = OperationStats {
            operation: "charge-card".into(),
            calls: 200,
            successes: 150,
            limited: 12,
            latency_buckets: [&[150, 50][..], &[0; 13]].concat(),
            ..OperationStats::default()
        };
        let pool =
            PoolUsage { name: "database".into(), size: 10, in_use: 9, peak: 10, ..PoolUsage::default() };
        let report = OperationReport {
            operations: vec![operation],
            breakers: vec![breaker],
            pools: vec![pool],
            limits: Vec::new(),
        };
        self.say.send(AttachRequest { message: Some(Say::Operations(report)) }).await.unwrap();
        let mut client = PolicyServiceClient::new(server.channel().await);
        let known = async {
            loop {
                let request = GetBreakersRequest {
                    service: "orders".into(),
                    instance_id: id.into(),
                    ..GetBreakersRequest::default()
                };
                let found = client.get_breakers(request).await.unwrap().into_inner().breakers;
                if found.iter().any(|breaker| breaker.state() == state) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, known).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn breakers_are_shown_as_instances_report_them() {
    let scene = Scene::start().await;
    let instance = Instance::attach(&scene.server, "i-1").await;
    instance.report(&scene.server, "i-1", BreakerState::Open).await;

    let table = scene.done(&["breakers", "orders"]).await;
    let cells: Vec<_> =
        row(&table, "orders/i-1").split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
    assert_eq!(
        (&cells[..3], &cells[4..7]),
        (&["orders/i-1", "charge-card", "open"][..], &["62.5%", "0%", "17"][..])
    );
    assert!(table.trim_end().ends_with("FAILURE_RATE") && table.lines().count() == 2, "{table}");
    let all = scene.done(&["breakers"]).await;
    let of_store = all.lines().any(|line| line.starts_with("control plane  ") && line.contains("  store "));
    assert!(of_store && row(&all, "orders/i-1").contains("  open "), "{all}");
    let json = scene.json(&["breakers", "orders/i-1", "--operation", "charge-card"]).await;
    assert_eq!(json["breakers"][0]["state"], "BREAKER_STATE_OPEN");
    let none = scene.json(&["breakers", "orders", "--operation", "list-orders"]).await;
    assert_eq!(none["breakers"], json!([]));

    let (child, mut lines) = start(&scene, &["breakers", "orders", "--watch"]);
    until(&mut lines, &["charge-card of orders/i-1", "  open ", "FAILURE_RATE"]).await;
    let mut terminal = Terminal::start(120, 10, &scene.args(&["breakers", "--watch"]));
    let picture = terminal.until("open", |it| it.contains("orders/i-1"));
    assert!(row(&picture, "orders/i-1").contains("charge-card  open "), "{picture}");
    instance.report(&scene.server, "i-1", BreakerState::HalfOpen).await;
    until(&mut lines, &["charge-card of orders/i-1", "  half_open "]).await;
    terminal.until("half open", |it| row(it, "orders/i-1").contains("charge-card  half_open "));
    terminal.signal(Signal::INT);
    assert_eq!((terminal.ended(), interrupt(child).await), (130, 130));
    scene.server.stop().await;
}

#[tokio::test]
async fn a_breaker_is_forced_open_only_by_the_name_of_its_operation() {
    let scene = Scene::start().await;
    let _instances =
        [Instance::attach(&scene.server, "i-1").await, Instance::attach(&scene.server, "i-2").await];
    let force = [
        "breakers",
        "force",
        "orders",
        "charge-card",
        "open",
        "--ttl",
        "10m",
        "--message",
        "the bank is down",
    ];
    let silent = scene.refused(1, &force).await;
    assert!(
        silent.contains("2 attached instances, and those that come later, refuse every call"),
        "{silent}"
    );
    assert!(silent.contains("for 600s") && silent.contains("--yes charge-card"), "{silent}");
    scene.refused(1, &[&force[..], &["--yes", "orders"]].concat()).await;

    let forced = scene.done(&[&force[..], &["--yes", "charge-card"]].concat()).await;
    assert!(forced.starts_with("forced the breaker of charge-card of orders open until 2"), "{forced}");
    assert!(forced.ends_with(", on 2 instances\n"), "{forced}");
    let one = scene.json(&["breakers", "force", "orders/i-1", "charge-card", "closed"]).await;
    assert_eq!(
        (&one["override"]["state"], &one["instances"]),
        (&json!("BREAKER_STATE_FORCED_CLOSED"), &json!(1))
    );
    let released = scene.done(&["breakers", "release", "orders", "charge-card"]).await;
    assert_eq!(released, "released the breaker of charge-card of orders, on 2 instances\n");

    scene.refused(2, &["breakers", "force", "orders", "charge-card", "ajar"]).await;
    let mixed = scene.refused(2, &["breakers", "orders", "release", "orders", "charge-card"]).await;
    assert!(mixed.contains("of the list alone"), "{mixed}");
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_shown_of_the_control_plane_and_of_instances() {
    let scene = Scene::start().await;
    let instance = Instance::attach(&scene.server, "i-1").await;
    instance.report(&scene.server, "i-1", BreakerState::Closed).await;
    let lists = "seaworthy.v1.FleetService/ListInstances";
    scene.done(&["policy", "put", "lists", "--rpc", lists, "--limit", "1000/min"]).await;
    scene.done(&["fleet", "list"]).await;

    let used = scene.done(&["limits"]).await;
    let limit = row(&used, "lists ");
    assert!(limit.contains("  operation  1000 in 60s, token bucket, burst "), "{used}");
    let operations: Vec<_> = used.lines().filter(|line| line.starts_with("orders/i-1")).collect();
    let [operation, pool] = operations.as_slice() else { panic!("{used}") };
    assert!(operation.contains("charge-card  200    75%") && operation.ends_with("12 limited"), "{used}");
    assert!(operation.contains("  ≤5ms  ≤10ms  "), "{used}");
    assert!(pool.contains("database  10    9 (peak 10)"), "{used}");
    let of_service = scene.json(&["limits", "orders/i-1"]).await;
    assert_eq!(of_service["limits"], json!([]));
    assert_eq!(of_service["instances"][0]["operations"][0]["calls"], 200);

    let (child, mut lines) = start(&scene, &["limits", "--watch", "--lines"]);
    until(&mut lines, &["operation  orders/i-1  charge-card  200"]).await;
    scene.done(&["fleet", "list"]).await;
    until(&mut lines, &["limit  lists  operation  1000 in 60s"]).await;
    let mut terminal = Terminal::start(160, 20, &scene.args(&["limits", "orders", "--watch"]));
    let picture = terminal.until("the operation", |it| it.contains("charge-card") && it.contains("database"));
    assert!(!picture.contains("lists"), "{picture}");
    terminal.signal(Signal::INT);
    assert_eq!((terminal.ended(), interrupt(child).await), (130, 130));
    scene.server.stop().await;
}
