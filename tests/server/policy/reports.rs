//! What instances report of their operations, breakers and pools, and what the control plane says of its own.

use seaworthy_client::proto::seaworthy::v1::{self as pb, attach_request::Message as Say};

use super::{Client, client, sessions, wrong_fields};
use crate::{
    harness::{PATIENCE, TestServer},
    session::Session,
};

fn breaker(operation: &str, state: pb::BreakerState) -> pb::Breaker {
    let operation = operation.to_owned();
    pb::Breaker { operation, state: state.into(), opened: 3, ..pb::Breaker::default() }
}

/// What an instance reports that charges and refunds.
pub(super) fn report() -> pb::OperationReport {
    let stats = |operation: &str, calls| pb::OperationStats {
        operation: operation.to_owned(),
        calls,
        ..pb::OperationStats::default()
    };
    pb::OperationReport {
        limits: Vec::new(),
        operations: vec![stats("charge-card", 10), stats("refund", 1)],
        breakers: vec![
            breaker("refund", pb::BreakerState::Closed),
            breaker("charge-card", pb::BreakerState::Open),
            breaker("a/b", pb::BreakerState::HalfOpen),
        ],
        pools: vec![pb::PoolUsage {
            name: "database".into(),
            size: 8,
            in_use: 5,
            ..pb::PoolUsage::default()
        }],
    }
}

/// An attached instance that has reported.
async fn reporting(server: &TestServer, service: &str, id: &str) -> Session {
    let (mut session, _) = sessions::attached(server, service, id).await;
    session.say(Say::Operations(report())).await;
    sessions::heard(&mut session).await;
    session
}

/// All that is answered, by pages of this size: service, instance and operation of each.
async fn breakers(client: &mut Client, ask: pb::GetBreakersRequest, page_size: i32) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::GetBreakersRequest { page_size, page_token, ..ask.clone() };
        let page = client.get_breakers(request).await.expect("answered").into_inner();
        assert!(page.breakers.len() <= usize::try_from(page_size).unwrap());
        found.extend(
            page.breakers.iter().map(|it| format!("{}/{}/{}", it.service, it.instance_id, it.operation)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn breakers_are_seen_as_instances_reported_them_last() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let own = breakers(&mut client, pb::GetBreakersRequest::default(), 100).await;
    assert_eq!(own, ["//store", "//vault"]);
    let first = reporting(&server, "orders", "i-1").await;
    let _second = reporting(&server, "orders", "i-2").await;
    let _third = reporting(&server, "payments", "i-1").await;
    let of = |key: &str| ["a/b", "charge-card", "refund"].map(|operation| format!("{key}/{operation}"));
    let all = [own.clone(), of("orders/i-1").into(), of("orders/i-2").into(), of("payments/i-1").into()];
    let all = all.concat();
    for page_size in [1, 2, 3, 7, 1000] {
        let found = breakers(&mut client, pb::GetBreakersRequest::default(), page_size).await;
        assert_eq!(found, all, "pages of {page_size}");
    }
    let ask = |service: &str, instance_id: &str, operation: &str| pb::GetBreakersRequest {
        service: service.to_owned(),
        instance_id: instance_id.to_owned(),
        operation: operation.to_owned(),
        ..pb::GetBreakersRequest::default()
    };
    for (wanted, found) in [
        (ask("orders", "", ""), &all[2..8]),
        (ask("orders", "i-2", ""), &all[5..8]),
        (ask("payments", "i-2", ""), &[]),
        (ask("nobody", "", ""), &[]),
        (ask("", "", "store"), &all[..1]),
        (ask("", "", "vault"), &all[1..2]),
        (ask("payments", "", "refund"), &all[10..]),
    ] {
        for page_size in [1, 1000] {
            assert_eq!(breakers(&mut client, wanted.clone(), page_size).await, found, "{wanted:?}");
        }
    }
    let one = client.get_breakers(ask("orders", "i-1", "charge-card")).await.unwrap().into_inner().breakers;
    assert_eq!((one[0].state(), one[0].opened), (pb::BreakerState::Open, 3));

    // They go with the session that reported them.
    drop(first);
    let gone = async { while breakers(&mut client, ask("orders", "i-1", ""), 10).await != [""; 0] {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("in time");
    for (wrong, field) in [
        (ask("Orders", "", ""), "service"),
        (ask("", "i-1", ""), "service"),
        (ask("orders", "a/b", ""), "instance_id"),
        (ask("", "", "a b"), "operation"),
        (pb::GetBreakersRequest { page_token: "x".into(), ..Default::default() }, "page_token"),
    ] {
        assert_eq!(wrong_fields(&client.get_breakers(wrong).await.unwrap_err()), [field]);
    }
    server.stop().await;
}

#[tokio::test]
async fn usage_is_the_control_planes_own_and_what_instances_reported() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let _first = reporting(&server, "orders", "i-1").await;
    let _second = reporting(&server, "payments", "i-1").await;
    for _ in 0..3 {
        client.get_breakers(pb::GetBreakersRequest::default()).await.unwrap();
    }
    let usage = client.get_usage(pb::GetUsageRequest::default()).await.unwrap().into_inner();
    let row = |policy: &str, scope| {
        let found = usage.limits.iter().find(|it| it.policy == policy && it.scope() == scope);
        found.unwrap_or_else(|| panic!("{policy} {scope:?} in {:?}", usage.limits))
    };
    let calls = row("control-plane", pb::PolicyScope::Caller);
    assert!(calls.allowed >= 3 && calls.refused == 0 && !calls.shadow, "{calls:?}");
    assert!(calls.summary.contains("in 1s"), "{}", calls.summary);
    let under_way = row("control-plane", pb::PolicyScope::Global);
    assert!(under_way.summary.contains("under way") && under_way.peak >= 1, "{under_way:?}");
    row("control-plane-list", pb::PolicyScope::Operation);

    let [orders, payments] = &usage.instances[..] else { panic!("{:?}", usage.instances) };
    assert_eq!((orders.service.as_str(), payments.service.as_str()), ("orders", "payments"));
    let calls: Vec<_> = orders.operations.iter().map(|it| (it.operation.as_str(), it.calls)).collect();
    assert_eq!(calls, [("charge-card", 10), ("refund", 1)]);
    assert_eq!((orders.pools[0].name.as_str(), orders.pools[0].in_use), ("database", 5));
    assert!(orders.policy_revision > 0, "the first directive was taken");

    // Page by page it is the same.
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::GetUsageRequest { page_size: 1, page_token, ..Default::default() };
        let page = client.get_usage(request).await.unwrap().into_inner();
        assert_eq!(page.limits.len() + page.instances.len(), 1, "{page:?}");
        rows.extend(page.limits.iter().map(|it| format!("{} {} {}", it.policy, it.scope, it.summary)));
        rows.extend(page.instances.iter().map(|it| it.service.clone()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let limits = usage.limits.iter().map(|it| format!("{} {} {}", it.policy, it.scope, it.summary));
    let wanted: Vec<_> = limits.chain(["orders".to_owned(), "payments".to_owned()]).collect();
    assert_eq!(rows, wanted);

    let one = pb::GetUsageRequest { service: "payments".into(), ..Default::default() };
    let one = client.get_usage(one).await.unwrap().into_inner();
    assert!(one.limits.is_empty(), "of the service alone");
    assert_eq!((one.instances.len(), one.instances[0].service.as_str()), (1, "payments"));
    server.stop().await;
}
