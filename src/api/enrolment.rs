//! Registering an instance for a caller: by `Register`, and by the first message of a session.

use std::sync::Arc;

use super::{
    audited::{self, AuditedCall, enrol, may_enrol},
    convert::{self, instance},
    parse::{
        self,
        registration::{Defaults, Origin},
    },
    proto::v1 as pb,
    reach,
};
use crate::{
    checks,
    error::Result,
    fleet::{Handle, snapshot::Instance},
    guard::caller::Caller,
    id::SessionToken,
    policy,
};

/// Registers instances. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Enrolment {
    fleet: Handle,
    checks: checks::Handle,
    policies: policy::Handle,
    defaults: Defaults,
}

impl Enrolment {
    /// Registers in this fleet, and has what is registered checked by these checks.
    pub fn new(fleet: Handle, checks: checks::Handle, policies: policy::Handle, defaults: Defaults) -> Self {
        Self { fleet, checks, policies, defaults }
    }

    /// What is ruled for those who are attached.
    pub fn policies(&self) -> &policy::Handle {
        &self.policies
    }

    /// The fleet that it registers in.
    pub fn fleet(&self) -> &Handle {
        &self.fleet
    }

    /// Registers an instance. `path`: where the request stands in the caller's message; `call`: where enrolments are
    /// written down, the one that this is.
    ///
    /// # Errors
    /// A field is wrong, or the fleet refuses.
    pub async fn register(
        &self,
        path: &str,
        wire: pb::RegisterRequest,
        caller: &Caller,
        call: Option<&AuditedCall>,
    ) -> Result<pb::RegisterResponse> {
        let peer = caller.connection.peer;
        let origin = Origin { peer: Some(peer.ip()), rules: self.checks.rules() };
        let (registration, claim) = parse::registration::request(&self.defaults, &origin, path, wire)?;
        let acts = reach::acts_for(&caller.identity, registration.key.service.as_str());
        may_enrol(call, &registration.key, acts)?;
        let (fleet, key) = (self.fleet.clone(), registration.key.clone());
        let change = async move { fleet.register(registration, claim, &peer.to_string()).await };
        let done = |(registered, _): &(Arc<Instance>, SessionToken)| {
            format!("registered, incarnation {}", registered.incarnation)
        };
        let (registered, token) = enrol(call, || audited::instance(&key), change, done).await?;
        Ok(pb::RegisterResponse {
            instance: Some(instance::instance(&registered)),
            session_token: token.reveal().to_owned(),
            lease_ttl: Some(convert::duration(registered.registration.lease_ttl)),
            heartbeat_interval: Some(convert::duration(registered.registration.heartbeat_interval())),
        })
    }
}
