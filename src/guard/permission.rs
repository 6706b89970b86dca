//! Refuses who may not call: the table of RPCs against what the caller may do.
//!
//! What a call is about is not known here. Whether that is within a caller's reach is asked by the adapters, of
//! `api::reach`.

use http::Request;
use tonic::Status;

use super::{
    caller::Caller,
    check::Check,
    drain::Gate,
    rpc::{OTHER, RpcId},
    status::status,
};
use crate::{
    error::{Error, Kind, Reason},
    identity::{Identity, Permission, Principal, authenticator::Authenticator, failures::Told},
};

/// Lets whoever may call pass. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permit {
    authenticator: Authenticator,
    gate: Gate,
}

impl Permit {
    /// Judges by what the authenticator found; while the gate says that all is being loaded, nobody can be judged.
    pub fn new(authenticator: Authenticator, gate: Gate) -> Self {
        Self { authenticator, gate }
    }
}

impl Check for Permit {
    fn check<A>(&self, request: &mut Request<A>) -> Result<(), Box<Status>> {
        if !self.authenticator.is_required() {
            return Ok(());
        }
        let needed = request.extensions().get::<RpcId>().map_or(&OTHER, |id| id.rpc()).needs;
        if needed == Permission::Open {
            return Ok(());
        }
        // Which tokens count is not known yet: neither yes nor no would be true.
        if let Some(loading) = self.gate.is_loading() {
            return Err(Box::new(status(&loading)));
        }
        match request.extensions().get::<Caller>() {
            Some(caller) => permit(&caller.identity, caller.failed, needed),
            None => Err(Error::internal("a request that nobody identified")),
        }
        .map_err(|error| Box::new(status(&error)))
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
        Permission::Operate => "the role operator",
        Permission::Run => "the role operator, not narrowed",
        Permission::Administer => "the role admin, not narrowed",
    }
}
