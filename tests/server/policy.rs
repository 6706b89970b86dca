//! Policies, flags and forced breakers over the API.

mod flags;
mod narrowed;
mod reports;
mod sessions;
mod watch;

use seaworthy::config::{Declared, Origin};
use seaworthy_client::proto::seaworthy::v1::{
    self as pb, PolicyOrigin, policy_service_client::PolicyServiceClient,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::harness::{TestServer, reason};

type Client = PolicyServiceClient<Channel>;

async fn client(server: &TestServer) -> Client {
    PolicyServiceClient::new(server.channel().await)
}

/// Operations of a service; empty: all.
fn operations(service: &str, operation: &str) -> Option<pb::PolicyTarget> {
    let (service, operation) = (service.to_owned(), operation.to_owned());
    let what = pb::policy_target::What::Operations(pb::OperationTarget { service, operation });
    Some(pb::PolicyTarget { what: Some(what) })
}

fn rpcs(method: &str) -> Option<pb::PolicyTarget> {
    let what = pb::policy_target::What::Rpcs(pb::RpcTarget { method: method.to_owned() });
    Some(pb::PolicyTarget { what: Some(what) })
}

/// A policy that lets so many calls of each operation through in a second.
fn limiting(name: &str, target: Option<pb::PolicyTarget>, amount: u32) -> pb::Policy {
    let limit =
        pb::RateLimit { scope: pb::PolicyScope::Operation.into(), amount, ..pb::RateLimit::default() };
    pb::Policy { name: name.to_owned(), target, limits: vec![limit], ..pb::Policy::default() }
}

/// Of `orders`.
fn charges(amount: u32) -> pb::Policy {
    limiting("charges", operations("orders", "charge-card"), amount)
}

async fn put(
    client: &mut Client,
    policy: pb::Policy,
    if_revision: Option<u64>,
) -> Result<pb::Policy, Status> {
    let request = pb::PutPolicyRequest { policy: Some(policy), if_revision };
    Ok(client.put_policy(request).await?.into_inner().policy.expect("as it counts"))
}

async fn get(client: &mut Client, name: &str) -> Result<pb::Policy, Status> {
    let request = pb::GetPolicyRequest { name: name.to_owned() };
    Ok(client.get_policy(request).await?.into_inner().policy.expect("a policy"))
}

async fn delete(
    client: &mut Client,
    name: &str,
    if_revision: Option<u64>,
    allow_missing: bool,
) -> Result<Option<pb::Policy>, Status> {
    let request = pb::DeletePolicyRequest { name: name.to_owned(), if_revision, allow_missing };
    Ok(client.delete_policy(request).await?.into_inner().policy)
}

/// All names, by pages of this size.
async fn names(client: &mut Client, page_size: i32) -> Vec<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListPoliciesRequest { page_size, page_token };
        let page = client.list_policies(request).await.expect("listed").into_inner();
        assert!(page.policies.len() <= usize::try_from(page_size).unwrap());
        names.extend(page.policies.into_iter().map(|policy| policy.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return names;
        }
    }
}

fn wrong_fields(refused: &Status) -> Vec<String> {
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let details = refused.get_error_details();
    let violations = details.bad_request().expect("fields").field_violations.clone();
    violations.into_iter().map(|violation| violation.field).collect()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_policy_is_put_read_changed_and_deleted_at_the_revision_that_was_read() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let first = put(&mut client, charges(100), Some(0)).await.unwrap();
    assert_eq!((first.origin(), first.updater.as_str()), (PolicyOrigin::Put, "local"));
    assert!(first.revision > 0 && first.update_time.is_some());
    assert_eq!(first.limits[0].burst, 100, "what was left out is filled in");
    assert_eq!(get(&mut client, "charges").await.unwrap(), first);

    for stale in [0, first.revision + 1] {
        let refused = put(&mut client, charges(1), Some(stale)).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "REVISION_MISMATCH"));
        let info = refused.get_error_details().error_info().unwrap().clone();
        assert_eq!(info.metadata["current_revision"], first.revision.to_string());
    }
    let second = put(&mut client, charges(50), Some(first.revision)).await.unwrap();
    assert!(second.revision > first.revision);
    // What the control plane sets is ignored: this is what was read, put again.
    let third = put(&mut client, second.clone(), None).await.unwrap();
    assert_eq!(third.limits, second.limits);

    let refused = delete(&mut client, "charges", Some(second.revision), true).await.unwrap_err();
    assert_eq!(reason(&refused), "REVISION_MISMATCH");
    assert_eq!(delete(&mut client, "charges", Some(third.revision), false).await.unwrap(), None);
    for refused in [
        get(&mut client, "charges").await.unwrap_err(),
        delete(&mut client, "charges", None, false).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "POLICY_NOT_FOUND"));
    }
    assert_eq!(delete(&mut client, "charges", None, true).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn policies_are_listed_by_name_and_page_by_page() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let built_in = names(&mut client, 100).await;
    assert!(built_in.contains(&"control-plane".to_owned()), "{built_in:?}");
    assert!(built_in.contains(&"operations".to_owned()), "{built_in:?}");
    for name in ["zebra", "aardvark", "control-plane"] {
        put(&mut client, limiting(name, operations("orders", ""), 1), None).await.unwrap();
    }
    let mut wanted = built_in.clone();
    wanted.extend(["zebra".to_owned(), "aardvark".to_owned()]);
    wanted.sort();
    for page_size in [1, 2, 100] {
        assert_eq!(names(&mut client, page_size).await, wanted, "{page_size}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_deletion_reveals_what_comes_with_the_control_plane() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let at_first = get(&mut client, "control-plane").await.unwrap();
    assert_eq!((at_first.origin(), at_first.revision), (PolicyOrigin::BuiltIn, 0));
    assert!(at_first.update_time.is_none() && at_first.updater.is_empty());
    let refused = delete(&mut client, "control-plane", None, true).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "POLICY_NOT_PUT"));

    put(&mut client, limiting("control-plane", rpcs(""), 1_000_000), None).await.unwrap();
    assert_eq!(get(&mut client, "control-plane").await.unwrap().origin(), PolicyOrigin::Put);
    let left = delete(&mut client, "control-plane", None, false).await.unwrap();
    assert_eq!(left.as_ref(), Some(&at_first));
    assert_eq!(get(&mut client, "control-plane").await.unwrap(), at_first);
    server.stop().await;
}

#[tokio::test]
async fn a_deletion_reveals_what_the_configuration_file_says() {
    let table = "name = \"charges\"\nlimits = [{ scope = \"POLICY_SCOPE_GLOBAL\", amount = 9 }]";
    let origin = Origin::File { path: "seaworthy.toml".into(), line: 1 };
    let declared = Declared { table: table.parse().unwrap(), origin };
    let server = TestServer::start_with(|config| config.policies = vec![declared]).await;
    let mut client = client(&server).await;
    let at_first = get(&mut client, "charges").await.unwrap();
    assert_eq!((at_first.origin(), at_first.limits[0].amount), (PolicyOrigin::File, 9));
    // None was put: 0 says so.
    put(&mut client, charges(1), Some(0)).await.unwrap();
    let server = server.restart().await;
    let mut client = self::client(&server).await;
    assert_eq!(get(&mut client, "charges").await.unwrap().origin(), PolicyOrigin::Put);
    assert_eq!(delete(&mut client, "charges", None, false).await.unwrap().as_ref(), Some(&at_first));
    let refused = delete(&mut client, "charges", None, false).await.unwrap_err();
    assert_eq!(reason(&refused), "POLICY_NOT_PUT");
    server.stop().await;
}

/// A time as it is kept.
fn in_millis(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.expect("it was put");
    (time.seconds, time.nanos / 1_000_000)
}

#[tokio::test]
async fn what_was_put_and_forced_survives_a_restart() {
    let server = TestServer::start().await;
    let mut now = client(&server).await;
    let policy = put(&mut now, charges(7), None).await.unwrap();
    put(&mut now, limiting("gone", None, 7), None).await.unwrap();
    delete(&mut now, "gone", None, false).await.unwrap();
    let flag = flags::put(&mut now, flags::switch("new-checkout"), None).await.unwrap();
    let forced = sessions::force("orders", "", "charge-card", pb::BreakerState::ForcedOpen, 3600);
    now.override_breaker(forced).await.unwrap();
    let server = server.restart().await;
    let mut now = client(&server).await;
    let back = get(&mut now, "charges").await.unwrap();
    assert_eq!(in_millis(back.update_time), in_millis(policy.update_time));
    assert_eq!(pb::Policy { update_time: policy.update_time, ..back }, policy);
    assert_eq!(get(&mut now, "gone").await.unwrap_err().code(), Code::NotFound);
    let back = flags::get(&mut now, "new-checkout").await.unwrap();
    assert_eq!(in_millis(back.update_time), in_millis(flag.update_time));
    assert_eq!(pb::Flag { update_time: flag.update_time, ..back }, flag);
    let state = watch::first(&mut now).await;
    assert_eq!(state.overrides.len(), 1, "{:?}", state.overrides);
    assert_eq!(state.overrides[0].operation, "charge-card");
    assert!(state.overrides[0].ttl.unwrap().seconds > 3000, "{:?}", state.overrides);
    // The next change is on top of what was read before.
    put(&mut now, charges(8), Some(policy.revision)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn all_wrong_fields_of_a_policy_are_named_at_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let limit = |amount, period| pb::RateLimit { amount, period, ..charges(1).limits[0] };
    let wrong = pb::Policy {
        name: "Charges".into(),
        target: rpcs("seaworthy.v1.FleetService/Register"),
        limits: vec![limit(0, None), limit(1, seconds(-1))],
        pools: vec![pb::PoolLimit { name: "db".into(), size: 0, wait: None }],
        description: "d".repeat(1025),
        ..pb::Policy::default()
    };
    let mut fields = wrong_fields(&put(&mut client, wrong, None).await.unwrap_err());
    fields.sort();
    assert_eq!(
        fields,
        [
            "policy.description",
            "policy.limits[0].amount",
            "policy.limits[1].period",
            "policy.name",
            "policy.pools[0].size",
        ]
    );
    let missing = pb::PutPolicyRequest::default();
    assert_eq!(wrong_fields(&client.put_policy(missing).await.unwrap_err()), ["policy"]);
    // What would never hold is refused, with what was meant.
    for (method, words) in [
        ("seaworthy.v1.FleetService/Registr", "did you mean seaworthy.v1.FleetService/Register?"),
        ("seaworthy.v1.FleetService/Heartbeat", "exempt"),
    ] {
        let refused = put(&mut client, limiting("p", rpcs(method), 1), None).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), ["policy.target.rpcs.method"]);
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    assert!(!names(&mut client, 100).await.contains(&"p".to_owned()));
    server.stop().await;
}

/// What decides of a call: part, policy, and what is hidden by it.
async fn explain(
    client: &mut Client,
    call: Option<pb::PolicyTarget>,
    caller: &str,
) -> Vec<(String, String, bool, Vec<String>)> {
    let request = pb::ExplainPolicyRequest { call, caller: caller.to_owned() };
    let answer = client.explain_policy(request).await.expect("explained").into_inner();
    assert_eq!(answer.exempt, "");
    assert!(answer.parts.iter().all(|part| !part.summary.is_empty()), "{:?}", answer.parts);
    answer.parts.into_iter().map(|it| (it.part, it.policy, it.shadow, it.hidden)).collect()
}

#[tokio::test]
async fn what_decides_of_a_call_is_explained() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let wide = limiting("wide", operations("orders", ""), 10);
    let of_shop = pb::Policy { caller: "shop".into(), ..limiting("of-shop", wide.target.clone(), 3) };
    let shadow = pb::Policy { shadow: true, ..limiting("shadow", None, 1) };
    for policy in [charges(100), wide, of_shop, shadow] {
        put(&mut client, policy, None).await.unwrap();
    }
    let found = explain(&mut client, operations("orders", "charge-card"), "").await;
    let row = |part: &str, policy: &str, shadow, hidden: &[&str]| {
        let hidden = hidden.iter().map(|name| (*name).to_owned()).collect();
        (part.to_owned(), policy.to_owned(), shadow, hidden)
    };
    assert!(found.contains(&row("limits OPERATION", "charges", false, &["wide"])), "{found:?}");
    assert!(found.contains(&row("limits OPERATION", "shadow", true, &[])), "{found:?}");
    assert!(found.contains(&row("breaker", "operations", false, &[])), "{found:?}");
    let found = explain(&mut client, operations("orders", "refund"), "shop").await;
    assert!(found.contains(&row("limits OPERATION", "of-shop", false, &["wide"])), "{found:?}");
    // A slash in front is fine.
    let found = explain(&mut client, rpcs("/seaworthy.v1.FleetService/ListInstances"), "").await;
    assert!(found.contains(&row("permits OPERATION", "control-plane-list", false, &[])), "{found:?}");
    assert!(found.contains(&row("limits CALLER", "control-plane", false, &[])), "{found:?}");

    let ask = |call| pb::ExplainPolicyRequest { call, caller: String::new() };
    let exempt = client.explain_policy(ask(rpcs("seaworthy.v1.FleetService/Heartbeat"))).await.unwrap();
    let exempt = exempt.into_inner();
    assert!(exempt.parts.is_empty() && exempt.exempt.contains("no policy holds"), "{exempt:?}");
    let unknown =
        client.explain_policy(ask(rpcs("seaworthy.v1.FleetService/ListInstance"))).await.unwrap_err();
    assert_eq!(wrong_fields(&unknown), ["call.rpcs.method"]);
    assert!(
        unknown.message().ends_with("did you mean seaworthy.v1.FleetService/ListInstances?"),
        "{unknown}"
    );
    for (call, fields) in [
        (None, vec!["call"]),
        (operations("", ""), vec!["call.operations.service", "call.operations.operation"]),
    ] {
        assert_eq!(wrong_fields(&client.explain_policy(ask(call)).await.unwrap_err()), fields);
    }
    server.stop().await;
}
