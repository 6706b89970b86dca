//! Walks what instances reported last, by service and id, as far as a caller sees them.

use tokio::task::yield_now;

use super::PolicyApi;
use crate::{
    api::{
        parse::{self, Fields},
        reach,
    },
    fleet::names::{InstanceId, InstanceKey, ServiceName},
    identity::Scope,
    policy::observed::Seen,
};

/// Reports that are looked at at a time.
const PIECE: usize = 256;

/// Which instances are asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// All.
    All,
    /// Those of a service.
    Service(ServiceName),
    /// One.
    Instance(InstanceKey),
}

impl Asked {
    /// Reads who is asked for.
    pub(super) fn parse(fields: &mut Fields, service: &str, instance_id: &str) -> Self {
        let id = parse::policy::optional_instance(fields, instance_id);
        if service.is_empty() {
            if !instance_id.is_empty() {
                fields.wrong("service", "is missing; an instance belongs to a service");
            }
            return Asked::All;
        }
        match parse::service_name(fields, "service", service) {
            Some(service) => Asked::of(service, id),
            None => Asked::All,
        }
    }

    /// A service, or one instance of it.
    pub(super) fn of(service: ServiceName, id: Option<InstanceId>) -> Self {
        match id {
            Some(id) => Asked::Instance(InstanceKey { service, id }),
            None => Asked::Service(service),
        }
    }

    /// The service that is asked for, if it is one.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        match self {
            Asked::All => None,
            Asked::Service(service) => Some(service),
            Asked::Instance(key) => Some(&key.service),
        }
    }

    fn takes(&self, key: &InstanceKey) -> bool {
        match self {
            Asked::All => true,
            Asked::Service(service) => key.service == *service,
            Asked::Instance(one) => key == one,
        }
    }
}

impl PolicyApi {
    /// Gives what instances reported to `take`, from one of them on, itself included, until it says that it takes no more.
    /// True: there is no more. Lets others run in between; cancel safe.
    pub(super) async fn each_report(
        &self,
        scope: &Scope,
        asked: &Asked,
        from: Option<&InstanceKey>,
        mut take: impl FnMut(&InstanceKey, &Seen) -> bool,
    ) -> bool {
        let observed = self.policies.observed();
        let mut look = |key: &InstanceKey, seen: &Seen| {
            !asked.takes(key) || !reach::has_instance(scope, &self.fleet, key) || take(key, seen)
        };
        if let Asked::Instance(key) = asked {
            return observed.of(key).is_none_or(|seen| look(key, &seen));
        }
        if let Some((key, seen)) = from.and_then(|key| observed.of(key).map(|seen| (key, seen)))
            && !look(key, &seen)
        {
            return false;
        }
        let mut after = from.cloned();
        loop {
            let (some, more) = observed.after(after.as_ref(), asked.service(), PIECE);
            for (key, seen) in &some {
                if !look(key, seen) {
                    return false;
                }
            }
            if !more {
                return true;
            }
            after = some.last().map(|(key, _)| key.clone());
            yield_now().await;
        }
    }
}
