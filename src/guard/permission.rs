//! Refuses who may not call: the table of RPCs against what the caller may do.
//!
//! What a call is about is not known here. Whether that is within a caller's reach is asked by the adapters, of
//! `api::reach`.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Request};
use tonic::Status;

use super::{
    access::request_id,
    caller::Caller,
    check::Check,
    drain::Gate,
    rpc::{Audited, OTHER, Rpc, RpcId},
    status::status,
};
use crate::{
    audit::{self, Call, Who},
    error::{Error, Kind, Reason},
    identity::{Identity, Permission, Principal, authenticator::Authenticator, failures::Told},
};

/// Lets whoever may call pass. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permit {
    authenticator: Authenticator,
    gate: Gate,
    audit: Arc<OnceLock<audit::Handle>>,
}

impl Permit {
    /// Judges by what the authenticator found; while the gate says that all is being loaded, nobody can be judged. Who may
    /// not make a change is written down.
    pub fn new(authenticator: Authenticator, gate: Gate, audit: Arc<OnceLock<audit::Handle>>) -> Self {
        Self { authenticator, gate, audit }
    }

    fn write_down(&self, rpc: &Rpc, headers: &HeaderMap, caller: &Caller, refusal: &Error) {
        // Whoever proves nothing is counted alone: anybody could fill the audit so.
        if caller.identity.principal == Principal::Nobody {
            return;
        }
        let wanted = |audit: &audit::Handle| match rpc.audited {
            Audited::Always => true,
            Audited::AsEnrolment => audit.has_enrolments(),
            Audited::Never => false,
        };
        if let Some(audit) = self.audit.get().filter(|audit| wanted(audit)) {
            let who = Who::new(&caller.identity.principal, caller.connection.peer);
            let request_id = request_id(headers).unwrap_or_default().to_owned();
            // What it is about is in a message that is not even read.
            let (operation, object) = (rpc.path.to_owned(), String::new());
            audit.try_denied(Call { who, operation, object, request_id }, refusal);
        }
    }
}

impl Check for Permit {
    fn check<A>(&self, request: &mut Request<A>) -> Result<(), Box<Status>> {
        if !self.authenticator.is_required() {
            return Ok(());
        }
        let rpc = request.extensions().get::<RpcId>().map_or(&OTHER, |id| id.rpc());
        if rpc.needs == Permission::Open {
            return Ok(());
        }
        // Which tokens count is not known yet: neither yes nor no would be true.
        if let Some(loading) = self.gate.is_loading() {
            return Err(Box::new(status(&loading)));
        }
        let Some(caller) = request.extensions().get::<Caller>() else {
            return Err(Box::new(status(&Error::internal("a request that nobody identified"))));
        };
        permit(&caller.identity, caller.failed, rpc.needs).map_err(|refusal| {
            self.write_down(rpc, request.headers(), caller, &refusal);
            Box::new(status(&refusal))
        })
    }
}

/// Whether somebody may do what needs this.
///
/// # Errors
/// It may not: that it has to prove who it is, or what it would take.
pub fn permit(identity: &Identity, failed: Option<Told>, needed: Permission) -> Result<(), Error> {
    if identity.grant.allows(needed) {
        return Ok(());
    }
    Err(match (&identity.principal, failed) {
        (Principal::Nobody, Some(Told::ComeBack(pause))) => Error::new(
            Kind::ResourceExhausted,
            Reason::AuthenticationLimited,
            "too many proofs from your address did not count; correct what sends them, and come back later",
        )
        .retry_after(pause),
        (Principal::Nobody, _) => Error::new(
            Kind::Unauthenticated,
            Reason::Unauthenticated,
            "prove who you are: by a client certificate, or by a token that counts (`seaworthy login`, or \
             `authorization: Bearer TOKEN`)",
        ),
        (principal, _) => {
            let role = role_for(needed);
            Error::new(
                Kind::PermissionDenied,
                Reason::PermissionDenied,
                format!("{principal} may not do that; it takes {role}"),
            )
            .with("principal", principal.to_string())
            .with("needs", role)
        }
    })
}

/// The least role that may do what needs this.
fn role_for(needed: Permission) -> &'static str {
    match needed {
        Permission::Open => "nothing",
        Permission::Known => "any role",
        Permission::Enrol => "the role service, bound to that service",
        Permission::View => "the role viewer",
        Permission::Oversee => "the role viewer, not narrowed",
        Permission::Operate => "the role operator",
        Permission::Destroy => "the role admin",
        Permission::Run => "the role operator, not narrowed",
        Permission::Administer => "the role admin, not narrowed",
    }
}
