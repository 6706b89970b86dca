//! What requests say of policies, flags and forced breakers.

use std::time::Duration;

use seaworthy_client::{
    flags::{self, Flag},
    protect::{
        policy::{self, Policy, Target},
        wire::{self, Wrong},
    },
};

use super::{Fields, bounded_duration, message, service_name};
use crate::{
    api::proto::v1 as pb,
    config::suggestion,
    fleet::names::{InstanceId, ServiceName},
    guard::rpc::{Protected, RPCS, Rpc},
    policy::book::{Force, OverrideKey},
};

/// How long a breaker is forced of which nothing is said.
const FORCED_FOR: Duration = Duration::from_secs(5 * 60);
/// Shortest and longest that may be asked for.
const FORCED_FORS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// Most slices that are asked for at once.
const MAX_WANTS: usize = 64;

/// A call that is to be explained.
#[derive(Clone, Debug)]
pub enum Called {
    /// An RPC of the control plane.
    Rpc(&'static Rpc),
    /// An operation of a service.
    Operation(ServiceName, String),
}

/// What becomes of breakers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Overriding {
    /// They are forced.
    Force {
        /// How.
        force: Force,
        /// For how long.
        ttl: Duration,
        /// Why, for people.
        message: String,
    },
    /// They are forced no longer.
    Release,
}

/// A policy that is to be put.
pub fn policy(fields: &mut Fields, wire: Option<pb::Policy>) -> Option<Policy> {
    let Some(wire) = wire else {
        fields.wrong("policy", "is missing");
        return None;
    };
    read(fields, read_policy("policy", wire))
}

/// A policy whose fields stand under `path`.
///
/// # Errors
/// Every field that is wrong; an RPC that there is not, or that no policy holds of, is one.
pub fn read_policy(path: &str, wire: pb::Policy) -> Result<Policy, Vec<Wrong>> {
    let read = wire::policy(path, wire)?;
    let Target::Rpcs { method: Some(method) } = &read.target else { return Ok(read) };
    let field = format!("{path}.target.rpcs.method");
    match known_rpc(method) {
        Ok(rpc) if rpc.protected == Protected::ByPolicies => Ok(read),
        Ok(_) => Err(vec![(
            field,
            format!("{method} is exempt from all policies: in an overload it must be heard"),
        )]),
        Err(unknown) => Err(vec![(field, unknown)]),
    }
}

/// The name of a policy.
pub fn policy_name(fields: &mut Fields, field: &str, text: &str) -> Option<String> {
    // The same rule as for a service: both become part of what people type.
    service_name(fields, field, text).map(|name| name.to_string())
}

/// A flag that is to be put.
pub fn flag(fields: &mut Fields, wire: Option<pb::Flag>) -> Option<Flag> {
    match wire {
        Some(wire) => read(fields, flags::wire::from_wire("flag", wire)),
        None => {
            fields.wrong("flag", "is missing");
            None
        }
    }
}

/// The name of a flag.
pub fn flag_name(fields: &mut Fields, field: &str, text: String) -> Option<String> {
    fields.take(field, flags::names::flag(&text)).map(|()| text)
}

/// A call that is to be explained: all of its name.
pub fn call(fields: &mut Fields, wire: Option<pb::PolicyTarget>) -> Option<Called> {
    use pb::policy_target::What;
    match wire.and_then(|pb::PolicyTarget { what }| what) {
        Some(What::Rpcs(pb::RpcTarget { method })) => {
            let method = method.strip_prefix('/').unwrap_or(&method);
            rpc(fields, "call.rpcs.method", method).map(Called::Rpc)
        }
        Some(What::Operations(pb::OperationTarget { service, operation: named })) => {
            let service = service_name(fields, "call.operations.service", &service);
            let operation = operation(fields, "call.operations.operation", named);
            service.zip(operation).map(|(service, operation)| Called::Operation(service, operation))
        }
        None => {
            fields.wrong("call", "is missing; name an RPC, or a service and its operation");
            None
        }
    }
}

/// The name of an operation.
pub fn operation(fields: &mut Fields, field: &str, text: String) -> Option<String> {
    fields.take(field, policy::operation(&text)).map(|()| text)
}

/// Which breakers to force, and how.
pub fn overriding(
    fields: &mut Fields,
    wire: pb::OverrideBreakerRequest,
) -> Option<(OverrideKey, Overriding)> {
    let pb::OverrideBreakerRequest { service, instance_id, operation: named, state, ttl, message: words } =
        wire;
    let service = service_name(fields, "service", &service);
    let instance = optional_instance(fields, &instance_id);
    let operation = operation(fields, "operation", named);
    let ttl = bounded_duration(fields, "ttl", ttl, FORCED_FOR, FORCED_FORS);
    let message = message(fields, "message", &words);
    let overriding = match pb::BreakerState::try_from(state) {
        Ok(pb::BreakerState::ForcedOpen) => Overriding::Force { force: Force::Open, ttl, message },
        Ok(pb::BreakerState::ForcedClosed) => Overriding::Force { force: Force::Closed, ttl, message },
        Ok(pb::BreakerState::Closed) => Overriding::Release,
        Ok(
            pb::BreakerState::Unspecified
            | pb::BreakerState::Open
            | pb::BreakerState::HalfOpen
            | pb::BreakerState::MetricsOnly,
        )
        | Err(_) => {
            let wrong =
                "cannot be asked for; use FORCED_OPEN, FORCED_CLOSED, or CLOSED to take an override back";
            fields.wrong("state", wrong);
            return None;
        }
    };
    let (service, operation) = service.zip(operation)?;
    Some((OverrideKey { service, operation, instance }, overriding))
}

/// Slices that are asked for.
pub fn wants(fields: &mut Fields, wire: &[pb::QuotaWant]) {
    if wire.is_empty() || wire.len() > MAX_WANTS {
        fields.wrong("wants", format!("has {} entries; send 1 to {MAX_WANTS}", wire.len()));
        return;
    }
    for (n, pb::QuotaWant { policy: named, limit: _, operation, demand: _ }) in wire.iter().enumerate() {
        service_name(fields, &format!("wants[{n}].policy"), named);
        if !operation.is_empty() {
            fields.take(format!("wants[{n}].operation"), policy::operation(operation));
        }
    }
}

/// An instance where one is named.
pub fn optional_instance(fields: &mut Fields, text: &str) -> Option<InstanceId> {
    if text.is_empty() { None } else { fields.take("instance_id", InstanceId::parse(text)) }
}

/// An RPC that there is.
fn rpc(fields: &mut Fields, field: &str, method: &str) -> Option<&'static Rpc> {
    fields.take(field, known_rpc(method))
}

fn known_rpc(method: &str) -> Result<&'static Rpc, String> {
    let found = RPCS.iter().find(|rpc| rpc.method() == method);
    found.ok_or_else(|| format!("is no RPC of this control plane{}", meant(method)))
}

/// What was probably meant: the name is misspelt, or its beginning left out.
fn meant(method: &str) -> String {
    let near = suggestion(method, RPCS.iter().map(Rpc::method));
    let last = method.rsplit('/').next().unwrap_or(method);
    let ends_so = || RPCS.iter().map(Rpc::method).find(|known| known.rsplit('/').next() == Some(last));
    match (near.is_empty(), ends_so()) {
        (true, Some(known)) => format!("; did you mean {known}?"),
        _ => near,
    }
}

/// What both ends read alike, with every field that was wrong.
fn read<T>(fields: &mut Fields, read: Result<T, Vec<Wrong>>) -> Option<T> {
    let say = |wrong: Vec<Wrong>| wrong.into_iter().for_each(|(field, what)| fields.wrong(field, what));
    read.map_err(say).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_fields(fields: Fields) -> Vec<String> {
        let error = fields.check().err();
        error.map(|error| error.violations().iter().map(|it| it.field.clone()).collect()).unwrap_or_default()
    }

    #[test]
    fn an_rpc_is_one_that_there_is_and_the_one_that_was_meant_is_named() {
        for (method, meant) in [
            ("seaworthy.v1.FleetService/ListInstances", None),
            ("/seaworthy.v1.FleetService/ListInstances", None),
            ("grpc.health.v1.Health/Check", None),
            ("seaworthy.v1.FleetService/ListInstance", Some("seaworthy.v1.FleetService/ListInstances")),
            ("FleetService/ListInstances", Some("seaworthy.v1.FleetService/ListInstances")),
            ("ListInstances", Some("seaworthy.v1.FleetService/ListInstances")),
            ("anything", Some("")),
            ("", Some("")),
        ] {
            let what = pb::policy_target::What::Rpcs(pb::RpcTarget { method: method.into() });
            let mut fields = Fields::default();
            let found = call(&mut fields, Some(pb::PolicyTarget { what: Some(what) }));
            let said = fields.check().err().map(|error| error.violations()[0].description.clone());
            assert_eq!(found.is_some(), meant.is_none(), "{method}");
            assert_eq!(said.is_some(), meant.is_some(), "{method}");
            let named = said.unwrap_or_default();
            match meant {
                Some("") => assert!(!named.contains("did you mean"), "{named}"),
                Some(meant) => assert!(named.ends_with(&format!("did you mean {meant}?")), "{named}"),
                None => {}
            }
        }
    }

    #[test]
    fn a_policy_of_an_rpc_that_is_exempt_is_refused() {
        let of = |method: &str| {
            let what = pb::policy_target::What::Rpcs(pb::RpcTarget { method: method.into() });
            let target = Some(pb::PolicyTarget { what: Some(what) });
            let mut fields = Fields::default();
            policy(&mut fields, Some(pb::Policy { name: "p".into(), target, ..pb::Policy::default() }));
            wrong_fields(fields)
        };
        assert_eq!(of("seaworthy.v1.FleetService/Register"), [""; 0]);
        assert_eq!(of(""), [""; 0], "all that are not exempt");
        assert_eq!(of("seaworthy.v1.FleetService/Heartbeat"), ["policy.target.rpcs.method"]);
        assert_eq!(of("seaworthy.v1.FleetService/Explode"), ["policy.target.rpcs.method"]);
    }

    #[test]
    fn breakers_are_forced_open_and_closed_and_released_and_nothing_else() {
        use pb::BreakerState as State;
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let ask = |state: i32, ttl| pb::OverrideBreakerRequest {
            service: "orders".into(),
            operation: "charge-card".into(),
            state,
            ttl,
            message: "why".into(),
            ..pb::OverrideBreakerRequest::default()
        };
        let read = |wire| {
            let mut fields = Fields::default();
            let found = overriding(&mut fields, wire).map(|(_, overriding)| overriding);
            (found, wrong_fields(fields))
        };
        let force = |force, seconds| {
            let (ttl, message) = (Duration::from_secs(seconds), "why".to_owned());
            (Some(Overriding::Force { force, ttl, message }), vec![])
        };
        assert_eq!(read(ask(State::ForcedOpen.into(), None)), force(Force::Open, 300));
        assert_eq!(read(ask(State::ForcedClosed.into(), seconds(1))), force(Force::Closed, 1));
        assert_eq!(read(ask(State::ForcedClosed.into(), seconds(86_400))), force(Force::Closed, 86_400));
        assert_eq!(read(ask(State::Closed.into(), None)), (Some(Overriding::Release), vec![]));
        for other in [State::Unspecified, State::Open, State::HalfOpen, State::MetricsOnly] {
            assert_eq!(read(ask(other.into(), None)), (None, vec!["state".to_owned()]));
        }
        assert_eq!(read(ask(99, None)).1, ["state"]);
        for wrong in [0, -1, 86_401] {
            assert_eq!(read(ask(State::ForcedOpen.into(), seconds(wrong))).1, ["ttl"], "{wrong}");
        }
        let bad = pb::OverrideBreakerRequest {
            instance_id: "a/b".into(),
            message: "m".repeat(1025),
            ..pb::OverrideBreakerRequest::default()
        };
        assert_eq!(read(bad).1, ["service", "instance_id", "operation", "message", "state"]);
    }

    #[test]
    fn slices_are_asked_for_by_name() {
        let want = |policy: &str, operation: &str| pb::QuotaWant {
            policy: policy.into(),
            operation: operation.into(),
            ..pb::QuotaWant::default()
        };
        for (wire, expected) in [
            (vec![want("charges", ""), want("charges", "charge-card")], &[][..]),
            (vec![want("charges", ""); 64], &[]),
            (vec![], &["wants"]),
            (vec![want("charges", ""); 65], &["wants"]),
            (vec![want("charges", ""), want("", "a b")], &["wants[1].policy", "wants[1].operation"]),
        ] {
            let mut fields = Fields::default();
            wants(&mut fields, &wire);
            assert_eq!(wrong_fields(fields), expected);
        }
    }
}
