//! Whoever is narrowed sees and changes what is of its own services, and as little else of policies as of the fleet.

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, attach_request::Message as Say, policy_service_client::PolicyServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{charges, limiting, operations, reports::report, rpcs, sessions};
use crate::{
    credentials::{Bearer, Guarded, Proved},
    harness::registration,
    session::{Session, message},
};

type Client = PolicyServiceClient<Proved>;

const RULES: &str = "
    [[narrow]]
    who = \"token:of-orders\"
    services = [\"orders\"]
    [[narrow]]
    who = \"token:of-eu\"
    zones = [\"eu-*\"]
";

async fn client(guarded: &Guarded, secret: &str) -> Client {
    PolicyServiceClient::with_interceptor(guarded.server.channel().await, Bearer::of(secret))
}

async fn put(client: &mut Client, policy: pb::Policy) -> Result<(), Status> {
    client.put_policy(pb::PutPolicyRequest { policy: Some(policy), if_revision: None }).await.map(drop)
}

async fn delete(client: &mut Client, name: &str) -> Result<(), Status> {
    let request = pb::DeletePolicyRequest { name: name.to_owned(), ..Default::default() };
    client.delete_policy(request).await.map(drop)
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
}

/// A server, an admin of it, an operator of `orders`, and one who sees what is in Europe.
async fn guarded() -> (Guarded, Client, Client, Client) {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, RULES).unwrap();
    let guarded = Guarded::start_with(|config| config.auth.rules_file = Some(rules)).await;
    let of_orders = guarded.token("of-orders", pb::Role::Operator, "").await;
    let of_eu = guarded.token("of-eu", pb::Role::Operator, "").await;
    let admin = client(&guarded, &guarded.admin).await;
    let (of_orders, of_eu) = (client(&guarded, &of_orders).await, client(&guarded, &of_eu).await);
    (guarded, admin, of_orders, of_eu)
}

async fn names(client: &mut Client) -> Vec<String> {
    let page = client.list_policies(pb::ListPoliciesRequest { page_size: 1, ..Default::default() }).await;
    let mut page = page.unwrap().into_inner();
    let mut names: Vec<_> = page.policies.into_iter().map(|policy| policy.name).collect();
    while !page.next_page_token.is_empty() {
        let request = pb::ListPoliciesRequest { page_size: 1, page_token: page.next_page_token };
        page = client.list_policies(request).await.unwrap().into_inner();
        names.extend(page.policies.into_iter().map(|policy| policy.name));
    }
    names
}

#[tokio::test]
async fn policies_of_ones_own_services_are_seen_and_changed_and_no_others() {
    let (_guarded, mut admin, mut of_orders, mut of_eu) = Box::pin(guarded()).await;
    let of = |name: &str, service: &str| limiting(name, operations(service, ""), 1);
    for policy in [
        of("a", "orders"),
        of("b", "payments"),
        of("c", ""),
        limiting("d", rpcs(""), 1_000_000),
        of("e", "orders"),
    ] {
        put(&mut admin, policy).await.unwrap();
    }
    assert_eq!(names(&mut of_orders).await, ["a", "e"]);
    assert_eq!(names(&mut of_eu).await, [""; 0], "it has all of no service");
    assert!(names(&mut admin).await.len() > 5);
    let get = |name: &str| pb::GetPolicyRequest { name: name.to_owned() };
    of_orders.get_policy(get("a")).await.unwrap();
    denied(of_orders.get_policy(get("b")).await);
    denied(of_orders.get_policy(get("control-plane")).await);
    denied(of_eu.get_policy(get("a")).await);

    put(&mut of_orders, charges(1)).await.unwrap();
    put(&mut of_orders, charges(2)).await.unwrap();
    denied(put(&mut of_orders, of("new", "payments")).await);
    denied(put(&mut of_orders, of("new", "")).await);
    denied(put(&mut of_orders, limiting("new", None, 1)).await);
    denied(put(&mut of_orders, limiting("new", rpcs(""), 1)).await);
    denied(put(&mut of_eu, of("new", "orders")).await);
    // Under a name of somebody else's it would hide what is not its own.
    for name in ["b", "c", "d", "operations", "control-plane"] {
        denied(put(&mut of_orders, of(name, "orders")).await);
        denied(delete(&mut of_orders, name).await);
    }
    delete(&mut of_orders, "a").await.unwrap();
    delete(&mut of_orders, "charges").await.unwrap();
    assert_eq!(names(&mut of_orders).await, ["e"]);
    assert_eq!(delete(&mut of_orders, "charges").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn calls_of_ones_own_services_are_explained_and_flags_and_watches_are_for_who_is_not_narrowed() {
    let (_guarded, mut admin, mut of_orders, mut of_eu) = Box::pin(guarded()).await;
    let ask = |call| pb::ExplainPolicyRequest { call, caller: String::new() };
    of_orders.explain_policy(ask(operations("orders", "charge-card"))).await.unwrap();
    denied(of_orders.explain_policy(ask(operations("payments", "charge-card"))).await);
    denied(of_orders.explain_policy(ask(rpcs("seaworthy.v1.FleetService/Register"))).await);
    denied(of_orders.explain_policy(ask(rpcs("seaworthy.v1.FleetService/Heartbeat"))).await);
    denied(of_eu.explain_policy(ask(operations("orders", "charge-card"))).await);
    denied(of_orders.list_flags(pb::ListFlagsRequest::default()).await);
    denied(of_orders.watch_policies(pb::WatchPoliciesRequest {}).await);
    admin.watch_policies(pb::WatchPoliciesRequest {}).await.unwrap();
}

/// Attaches an instance of a zone, and reports.
async fn reporting(guarded: &Guarded, service: &str, id: &str, zone: &str) -> Session {
    let secret = guarded.token(&format!("{service}-{id}"), pb::Role::Service, service).await;
    let registration = pb::Registration { zone: zone.to_owned(), ..registration(service, id) };
    let register = pb::RegisterRequest { registration: Some(registration), ..Default::default() };
    let how = Some(pb::open_session::How::Register(register));
    let (say, said) = mpsc::channel(64);
    for what in [
        Say::Open(pb::OpenSession { how, takes_policies: true, takes_directives: false }),
        Say::Operations(report()),
    ] {
        say.send(message(what)).await.unwrap();
    }
    let hear = guarded.fleet(&secret).await.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
    let (mut session, _) = Session { say, hear }.opened().await.unwrap();
    session.next().await.unwrap().expect("a directive");
    sessions::heard(&mut session).await;
    session
}

#[tokio::test]
async fn of_reports_everybody_is_shown_those_of_instances_that_it_sees() {
    let (guarded, mut admin, mut of_orders, mut of_eu) = Box::pin(guarded()).await;
    let _one = reporting(&guarded, "orders", "i-1", "eu-1").await;
    let _two = reporting(&guarded, "orders", "i-2", "us-1").await;
    let _three = reporting(&guarded, "payments", "i-3", "eu-1").await;
    for (who, client, own, seen) in [
        ("admin", &mut admin, true, vec!["i-1", "i-2", "i-3"]),
        ("of-orders", &mut of_orders, false, vec!["i-1", "i-2"]),
        ("of-eu", &mut of_eu, false, vec!["i-1", "i-3"]),
    ] {
        let usage = client.get_usage(pb::GetUsageRequest::default()).await.unwrap().into_inner();
        let found: Vec<_> = usage.instances.iter().map(|it| it.instance_id.as_str()).collect();
        assert_eq!((found, !usage.limits.is_empty()), (seen.clone(), own), "{who}");
        let answer = client.get_breakers(pb::GetBreakersRequest::default()).await.unwrap().into_inner();
        let mut found: Vec<_> = answer.breakers.iter().map(|it| it.instance_id.as_str()).collect();
        found.dedup();
        let seen: Vec<_> = own.then_some("").into_iter().chain(seen).collect();
        assert_eq!(found, seen, "{who}");
    }
    let of_payments = pb::GetUsageRequest { service: "payments".into(), ..Default::default() };
    denied(of_orders.get_usage(of_payments).await);
    let of_payments = pb::GetBreakersRequest { service: "payments".into(), ..Default::default() };
    denied(of_orders.get_breakers(of_payments).await);

    let force = |service| sessions::force(service, "", "refund", pb::BreakerState::ForcedOpen, 60);
    assert_eq!(of_orders.override_breaker(force("orders")).await.unwrap().into_inner().instances, 2);
    denied(of_orders.override_breaker(force("payments")).await);
    denied(of_eu.override_breaker(force("orders")).await);
}
