//! Flags over the API.

use seaworthy_client::proto::seaworthy::v1 as pb;
use tonic::{Code, Status};

use super::{Client, client, wrong_fields};
use crate::harness::{TestServer, reason};

const PERMITS: &str = "control-plane.permits";

fn variant(name: &str, kind: pb::flag_value::Kind) -> pb::FlagVariant {
    pb::FlagVariant { name: name.to_owned(), value: Some(pb::FlagValue { kind: Some(kind) }) }
}

/// A flag that is off for most.
pub(super) fn switch(name: &str) -> pb::Flag {
    use pb::flag_value::Kind::BoolValue;
    pb::Flag {
        name: name.to_owned(),
        variants: vec![variant("on", BoolValue(true)), variant("off", BoolValue(false))],
        default_variant: "off".to_owned(),
        rules: vec![pb::FlagRule { percentage: 10.0, variant: "on".to_owned(), ..pb::FlagRule::default() }],
        ..pb::Flag::default()
    }
}

pub(super) async fn put(
    client: &mut Client,
    flag: pb::Flag,
    if_revision: Option<u64>,
) -> Result<pb::Flag, Status> {
    let request = pb::PutFlagRequest { flag: Some(flag), if_revision };
    Ok(client.put_flag(request).await?.into_inner().flag.expect("as it counts"))
}

pub(super) async fn get(client: &mut Client, name: &str) -> Result<pb::Flag, Status> {
    let request = pb::GetFlagRequest { name: name.to_owned() };
    Ok(client.get_flag(request).await?.into_inner().flag.expect("a flag"))
}

async fn delete(
    client: &mut Client,
    name: &str,
    if_revision: Option<u64>,
    allow_missing: bool,
) -> Result<Option<pb::Flag>, Status> {
    let request = pb::DeleteFlagRequest { name: name.to_owned(), if_revision, allow_missing };
    Ok(client.delete_flag(request).await?.into_inner().flag)
}

#[tokio::test]
async fn a_flag_is_put_read_listed_and_deleted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let first = put(&mut client, switch("new-checkout"), Some(0)).await.unwrap();
    assert!(first.revision > 0 && first.update_time.is_some() && first.updater == "local", "{first:?}");
    assert_eq!(get(&mut client, "new-checkout").await.unwrap(), first);
    let refused = put(&mut client, switch("new-checkout"), Some(0)).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "REVISION_MISMATCH"));
    let off = pb::Flag { disabled: true, ..switch("new-checkout") };
    let second = put(&mut client, off, Some(first.revision)).await.unwrap();
    assert!(second.disabled && second.revision > first.revision);

    put(&mut client, switch("a"), None).await.unwrap();
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListFlagsRequest { page_size: 2, page_token };
        let page = client.list_flags(request).await.unwrap().into_inner();
        names.extend(page.flags.into_iter().map(|flag| flag.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((names[0].as_str(), names.last().unwrap().as_str()), ("a", "new-checkout"));
    assert!(names.contains(&PERMITS.to_owned()) && names.is_sorted(), "{names:?}");

    let refused = delete(&mut client, "new-checkout", Some(first.revision), false).await.unwrap_err();
    assert_eq!(reason(&refused), "REVISION_MISMATCH");
    assert_eq!(delete(&mut client, "new-checkout", Some(second.revision), false).await.unwrap(), None);
    for refused in [
        get(&mut client, "new-checkout").await.unwrap_err(),
        delete(&mut client, "new-checkout", None, false).await.unwrap_err(),
    ] {
        assert_eq!((refused.code(), &*reason(&refused)), (Code::NotFound, "FLAG_NOT_FOUND"));
    }
    assert_eq!(delete(&mut client, "new-checkout", None, true).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_flag_of_the_control_planes_own_is_a_switch_and_comes_back() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let at_first = get(&mut client, PERMITS).await.unwrap();
    assert_eq!((at_first.default_variant.as_str(), at_first.revision), ("on", 0));
    let text = variant("on", pb::flag_value::Kind::StringValue("yes".into()));
    let own = |name: &str| pb::Flag { rules: vec![], ..switch(name) };
    for (wrong, field) in [
        (own("control-plane.everything"), "flag.name"),
        (pb::Flag { variants: vec![text], default_variant: "on".into(), ..own(PERMITS) }, "flag.variants"),
        (switch(PERMITS), "flag.rules"),
    ] {
        assert_eq!(wrong_fields(&put(&mut client, wrong, None).await.unwrap_err()), [field]);
    }
    assert_eq!(get(&mut client, PERMITS).await.unwrap(), at_first);

    let off = put(&mut client, own(PERMITS), None).await.unwrap();
    assert_eq!(get(&mut client, PERMITS).await.unwrap(), off);
    assert_eq!(delete(&mut client, PERMITS, None, false).await.unwrap().as_ref(), Some(&at_first));
    let refused = delete(&mut client, PERMITS, None, false).await.unwrap_err();
    assert_eq!(reason(&refused), "FLAG_NOT_FOUND");
    assert_eq!(delete(&mut client, PERMITS, None, true).await.unwrap().as_ref(), Some(&at_first));
    server.stop().await;
}

#[tokio::test]
async fn all_wrong_fields_of_a_flag_are_named_at_once() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let wrong = pb::Flag {
        name: "New Checkout".into(),
        default_variant: "maybe".into(),
        rules: vec![pb::FlagRule { percentage: 101.0, variant: "on".into(), ..pb::FlagRule::default() }],
        ..switch("x")
    };
    let mut fields = wrong_fields(&put(&mut client, wrong, None).await.unwrap_err());
    fields.sort();
    assert_eq!(fields, ["flag.default_variant", "flag.name", "flag.rules[0].percentage"]);
    let missing = client.put_flag(pb::PutFlagRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&missing), ["flag"]);
    assert_eq!(wrong_fields(&get(&mut client, "a b").await.unwrap_err()), ["name"]);
    assert_eq!(wrong_fields(&delete(&mut client, "", None, true).await.unwrap_err()), ["name"]);
    server.stop().await;
}
