//! RPCs that are refused or wait because too much is under way, what of it is in the metrics, what flags turn off, and who is
//! heard in a flood.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, attach_request::Message as Say, attach_response::Message as Hear,
    policy_service_client::PolicyServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    guard::{LIST, limit, limiting, list, put, refused, rpcs},
    harness::{PATIENCE, TestServer, reason, register, registration},
    session::{Session, anew},
};

const CHECK: &str = "seaworthy.v1.HealthService/CheckNow";
const USAGE: &str = "seaworthy.v1.PolicyService/GetUsage";

/// What an active check asks: it answers as many as it was let. So an RPC is under way for as long as a test wants.
struct Asked {
    address: SocketAddr,
    answers: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Semaphore::new(0));
        let may = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let Ok(_) = peer.read(&mut request).await else { continue };
                may.acquire().await.unwrap().forget();
                peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
            }
        });
        Self { address, answers, task }
    }

    /// A server with an instance that it asks.
    async fn by_server(&self) -> TestServer {
        let server = TestServer::start().await;
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let http = pb::HttpCheck { path: "/".into(), expected_statuses: vec![] };
        let mut wanted = registration("orders", "i-1");
        wanted.lease_ttl = seconds(600);
        wanted.components[0].check = Some(pb::ActiveCheck {
            ask: Some(pb::active_check::Ask::Http(http)),
            port: self.address.port().into(),
            interval: seconds(3600),
            timeout: seconds(30),
            ..pb::ActiveCheck::default()
        });
        register(&mut server.fleet().await, wanted).await;
        server
    }
}

type Checking = JoinHandle<Result<(), Status>>;

/// Begins a check, which ends when it is answered.
async fn begin(server: &TestServer) -> Checking {
    let mut health = server.health().await;
    tokio::spawn(async move {
        let request = pb::CheckNowRequest {
            service: "orders".into(),
            instance_id: "i-1".into(),
            component: "database".into(),
        };
        health.check_now(request).await.map(drop)
    })
}

async fn ended(checking: Checking) -> Result<(), Status> {
    tokio::time::timeout(PATIENCE, checking).await.expect("in time").expect("no panic")
}

/// Begins checks until one is not refused because too many are under way.
async fn let_in(server: &TestServer) -> Checking {
    loop {
        let mut checking = begin(server).await;
        match tokio::time::timeout(Duration::from_secs(1), &mut checking).await {
            Ok(answer) => assert_eq!(reason(&answer.unwrap().unwrap_err()), "TOO_MANY_IN_FLIGHT"),
            Err(_) => return checking,
        }
    }
}

fn permits(wait: i64, max_waiting: u32) -> pb::Policy {
    let rule = pb::PermitLimit {
        scope: pb::PolicyScope::Operation.into(),
        max_in_flight: 1,
        wait: Some(prost_types::Duration { seconds: wait, nanos: 0 }),
        max_waiting,
        adaptive: false,
    };
    pb::Policy { permits: vec![rule], ..limiting(CHECK, Vec::new()) }
}

/// Waits until a row of the usage of the policy `test` says so.
async fn until_used(server: &TestServer, says: impl Fn(&pb::LimitUsage) -> bool) {
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let reached = async {
        loop {
            let usage = policies.get_usage(pb::GetUsageRequest::default()).await.unwrap().into_inner();
            if usage.limits.iter().any(|row| row.policy == "test" && says(row)) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("in time");
}

async fn flag(server: &TestServer, name: &str, on: bool) {
    let variant = |name: &str, value| pb::FlagVariant {
        name: name.into(),
        value: Some(pb::FlagValue { kind: Some(pb::flag_value::Kind::BoolValue(value)) }),
    };
    let flag = pb::Flag {
        name: name.into(),
        variants: vec![variant("on", true), variant("off", false)],
        default_variant: if on { "on" } else { "off" }.into(),
        ..pb::Flag::default()
    };
    let request = pb::PutFlagRequest { flag: Some(flag), if_revision: None };
    PolicyServiceClient::new(server.channel().await).put_flag(request).await.expect("it is exempt");
}

/// What is said of a part of an RPC.
async fn explained(server: &TestServer, method: &str, part: &str) -> String {
    let request = pb::ExplainPolicyRequest { call: rpcs(method), caller: String::new() };
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let parts = policies.explain_policy(request).await.unwrap().into_inner().parts;
    parts.into_iter().find(|it| it.part == part).expect("the part").summary
}

#[tokio::test]
async fn as_much_as_may_be_under_way_is_and_the_next_is_told_so_or_waits() {
    let asked = Asked::start().await;
    let server = asked.by_server().await;
    put(&server, permits(0, 1)).await;
    let first = begin(&server).await;
    until_used(&server, |row| row.in_use == 1).await;
    let full = ended(begin(&server).await).await.unwrap_err();
    assert_eq!((full.code(), &*reason(&full)), (Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT"));
    let details = full.get_error_details();
    let told = |name: &str| details.error_info().unwrap().metadata[name].clone();
    assert_eq!(
        ["policy", "scope", "max_in_flight", "caller"].map(told),
        ["test", "OPERATION", "1", "127.0.0.1"]
    );
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    assert!(full.metadata().contains_key("grpc-retry-pushback-ms"));

    // What came of it is in the metrics.
    let metrics = server.get("/metrics").await.1;
    let of = r#"policy="test",part="permits",scope="operation",shadow="false""#;
    for line in [
        format!(r#"seaworthy_policy_decisions_total{{{of},outcome="allowed"}} 1"#),
        format!(r#"seaworthy_policy_decisions_total{{{of},outcome="near_limit"}} 0"#),
        format!(r#"seaworthy_policy_decisions_total{{{of},outcome="refused"}} 1"#),
        format!("seaworthy_permits_in_use{{{of}}} 1"),
        format!("seaworthy_permits_peak{{{of}}} 1"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }

    // Whoever may wait does, and whoever finds all places for that taken does not.
    put(&server, permits(20, 1)).await;
    until_used(&server, |row| row.summary.contains("wait")).await;
    let mut waiting = [begin(&server).await, begin(&server).await];
    let [one, other] = &mut waiting;
    let refused = tokio::select! { refused = one => refused, refused = other => refused };
    assert_eq!(reason(&refused.unwrap().unwrap_err()), "TOO_MANY_IN_FLIGHT");
    asked.answers.add_permits(2);
    ended(first).await.expect("it was let in before");
    let waited = waiting.into_iter().find(|it| !it.is_finished());
    if let Some(waited) = waited {
        ended(waited).await.expect("it had its turn");
    }
    until_used(&server, |row| row.in_use == 0 && row.allowed == 2 && row.refused == 2).await;
    server.stop().await;
}

#[tokio::test]
async fn a_leaky_bucket_lets_calls_wait_for_their_turn() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let rule = |queue, amount, seconds| pb::RateLimit {
        algorithm: pb::RateAlgorithm::LeakyBucket.into(),
        queue,
        amount,
        burst: 0,
        period: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..limit(pb::PolicyScope::Operation, 1)
    };
    // One turn in a minute, and nobody may wait: as soon as it holds, one is refused.
    put(&server, limiting(LIST, vec![rule(0, 1, 60)])).await;
    assert_eq!(reason(&refused(&channel).await), "RATE_LIMITED");
    // Ten turns in a second, for which ten may wait.
    put(&server, limiting(LIST, vec![rule(10, 10, 1)])).await;
    until_used(&server, |row| row.summary.contains("queue 10")).await;
    while list(&channel).await.is_err() {}
    let began = Instant::now();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { list(&channel).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().expect("it waits for its turn");
    }
    // Three turns at the least lie between the first of them and the last.
    assert!(began.elapsed() >= Duration::from_millis(300), "nobody waited");
    server.stop().await;
}

#[tokio::test]
async fn breakers_are_in_the_metrics_and_a_flag_turns_them_off_and_on() {
    let server = TestServer::start().await;
    let has = async |line: &str| server.get("/metrics").await.1.lines().any(|found| found == line);
    for line in [
        r#"seaworthy_breaker_state{depends_on="store",state="closed"} 1"#,
        r#"seaworthy_breaker_state{depends_on="store",state="forced_open"} 0"#,
        r#"seaworthy_breaker_transitions_total{depends_on="vault",to="open"} 0"#,
        r#"seaworthy_breaker_refused_total{depends_on="store"} 0"#,
    ] {
        assert!(has(line).await, "{line}");
    }
    let mode = pb::BreakerMode::ForcedOpen.into();
    let breaker = Some(pb::CircuitBreaker { mode, ..pb::CircuitBreaker::default() });
    let policy = pb::Policy { breaker, target: rpcs(""), name: "a".into(), ..pb::Policy::default() };
    put(&server, policy).await;
    let write = async || {
        let wanted = pb::PutServiceRequest {
            name: "orders".into(),
            spec: Some(pb::ServiceSpec::default()),
            if_revision: None,
        };
        server.fleet().await.put_service(wanted).await.map(drop)
    };
    let until = async |open: bool| {
        let reached =
            async { while write().await.is_err_and(|status| reason(&status) == "CIRCUIT_OPEN") != open {} };
        tokio::time::timeout(PATIENCE, reached).await.expect("in time");
    };
    until(true).await;
    assert!(has(r#"seaworthy_breaker_state{depends_on="store",state="forced_open"} 1"#).await);
    assert!(!has(r#"seaworthy_breaker_refused_total{depends_on="store"} 0"#).await);
    flag(&server, "control-plane.circuit-breakers", false).await;
    until(false).await;
    let method = "seaworthy.v1.FleetService/PutService";
    let off = "; turned off by the flag control-plane.circuit-breakers";
    assert!(explained(&server, method, "breaker").await.ends_with(off));
    flag(&server, "control-plane.circuit-breakers", true).await;
    until(true).await;
    assert_eq!(explained(&server, method, "breaker").await, "forced open");
    server.stop().await;
}

#[tokio::test]
async fn a_flag_turns_permits_off_and_on() {
    let asked = Asked::start().await;
    let server = asked.by_server().await;
    put(&server, permits(0, 1)).await;
    let first = begin(&server).await;
    until_used(&server, |row| row.in_use == 1).await;
    let refused = ended(begin(&server).await).await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_MANY_IN_FLIGHT");
    flag(&server, "control-plane.permits", false).await;
    let second = tokio::time::timeout(PATIENCE, let_in(&server)).await.expect("nothing is bounded any more");
    assert!(explained(&server, CHECK, "permits OPERATION").await.contains("turned off by the flag"));
    flag(&server, "control-plane.permits", true).await;
    asked.answers.add_permits(100);
    for let_in in [first, second] {
        ended(let_in).await.expect("it is under way");
    }
    server.stop().await;
}

/// Every limit there is is used up by somebody who calls as often as he can; signs of life, policies and slices of shared limits
/// are none of it, and who cannot be told apart takes no room.
#[tokio::test]
async fn in_a_flood_that_uses_up_every_limit_sessions_live_and_nothing_grows() {
    let server = TestServer::start().await;
    let (mut session, opened) = Session::open(&server, anew("orders", "i-1")).await.unwrap();
    let shared = pb::RateLimit { fleet_wide: true, ..limit(pb::PolicyScope::Global, 100) };
    let of = pb::OperationTarget { service: "orders".into(), operation: String::new() };
    let target = Some(pb::PolicyTarget { what: Some(pb::policy_target::What::Operations(of)) });
    put(&server, pb::Policy { name: "shared".into(), target, ..limiting("", vec![shared]) }).await;
    let scopes = [pb::PolicyScope::Global, pb::PolicyScope::Operation, pb::PolicyScope::Caller];
    let limits = |amount| scopes.map(|scope| limit(scope, amount)).to_vec();
    put(&server, pb::Policy { name: "look".into(), ..limiting(USAGE, limits(1_000_000)) }).await;
    // Each caller has two, each RPC three, and all together four.
    let few = [(0, 4), (1, 3), (2, 2)].map(|(at, amount)| limit(scopes[at], amount)).to_vec();
    put(&server, limiting("", few)).await;
    let callers: Vec<Channel> = {
        let mut callers = Vec::new();
        for last in 2..10 {
            let from = Endpoint::from_shared(server.url()).unwrap();
            callers.push(from.local_address(Some([127, 0, 0, last].into())).connect().await.unwrap());
        }
        callers
    };
    refused(&callers[0]).await;
    let flood: Vec<_> = callers
        .iter()
        .map(|caller| {
            let caller = caller.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    let refused = list(&caller).await.err().map(|status| reason(&status));
                    assert!(refused.is_none_or(|why| why == "RATE_LIMITED"));
                }
            })
        })
        .collect();
    let mut policies = PolicyServiceClient::new(server.channel().await);
    let instance = opened.instance.unwrap();
    let named = pb::InstanceRef {
        service: "orders".into(),
        instance_id: "i-1".into(),
        incarnation: instance.incarnation,
    };
    for sequence in 1..=100 {
        session.say(Say::Heartbeat(pb::SessionHeartbeat { sequence })).await;
        let Some(Hear::HeartbeatAck(ack)) = session.next().await.unwrap() else { panic!("acknowledged") };
        assert_eq!(ack.sequence, sequence);
        let want = pb::QuotaWant { policy: "shared".into(), ..pb::QuotaWant::default() };
        let asks = pb::AcquireQuotaRequest {
            instance: Some(named.clone()),
            session_token: opened.session_token.clone(),
            wants: vec![want],
        };
        let slices = policies.acquire_quota(asks).await.expect("it is exempt").into_inner().slices;
        assert!(slices[0].problem.is_empty() && slices[0].amount > 0.0, "{slices:?}");
    }
    // Others come, and are seen.
    let (_other, _) = Session::open(&server, anew("orders", "i-2")).await.unwrap();
    server.check("").await.unwrap();
    for flood in flood {
        flood.await.expect("refused for nothing else");
    }
    let usage = policies.get_usage(pb::GetUsageRequest::default()).await.unwrap().into_inner();
    let rows: Vec<_> = usage.limits.iter().filter(|row| row.policy == "test").collect();
    assert!(rows.iter().map(|row| row.refused).sum::<u64>() >= 8 * 500 - 4, "{rows:?}");
    for row in rows {
        assert!(row.allowed <= 4 && row.last_refused.len() <= 8, "{row:?}");
        // No more than there are callers, or RPCs.
        let most = if row.scope() == pb::PolicyScope::Operation { 100 } else { 8 };
        assert!(row.in_use <= most, "{row:?}");
    }
    server.stop().await;
}
