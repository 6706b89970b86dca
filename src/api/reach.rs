//! Whether what a call is about is within its caller's reach. Whether it may call at all was `guard::permission`'s.
//!
//! A service outside of it is refused by its name alone. An instance that is left out for its zone or its labels is
//! answered as one that does not exist: whoever may not see it is not told that it does.

use std::sync::Arc;

use seaworthy_client::protect::policy::Policy;
use tokio::task::yield_now;

use crate::{
    backup::Subject,
    error::{Error, Kind, Reason, Result},
    fleet::{
        Handle,
        names::{InstanceKey, ServiceName},
        refusal::Refusal,
        snapshot::{Instance, Service},
    },
    identity::{Identity, Scope},
    operation::{Operation, not_found},
    vault::OWN_STATE,
};

/// Services that are looked at at a time, where not all are seen.
const PIECE: usize = 256;

/// Whether somebody acts for a service as its instances do.
///
/// # Errors
/// It does not.
pub fn acts_for(identity: &Identity, service: &str) -> Result<()> {
    if identity.grant.acts_for(service) {
        return Ok(());
    }
    Err(denied(identity, service, "act for"))
}

/// Whether somebody sees a service of this name.
///
/// # Errors
/// It does not.
pub fn sees_service(identity: &Identity, service: &ServiceName) -> Result<()> {
    if scope(identity).is_some_and(|scope| scope.sees_service(service.as_str())) {
        return Ok(());
    }
    Err(denied(identity, service.as_str(), "see"))
}

/// Whether somebody may change a service as a whole.
///
/// # Errors
/// It may not.
pub fn changes_service(identity: &Identity, service: &ServiceName) -> Result<()> {
    if scope(identity).is_some_and(|scope| scope.has_all_of(service.as_str())) {
        return Ok(());
    }
    Err(denied(identity, service.as_str(), "change"))
}

/// Whether somebody sees all there is of a service, its instances one by one.
///
/// # Errors
/// It sees only a part, or nothing.
pub fn follows_service(identity: &Identity, service: &ServiceName) -> Result<()> {
    sees_service(identity, service)?;
    if scope(identity).is_some_and(|scope| scope.has_all_of(service.as_str())) {
        return Ok(());
    }
    Err(denied(identity, service.as_str(), "follow all of"))
}

/// What somebody sees who follows the fleet as it changes, or one service of it. None: all of it.
///
/// # Errors
/// It sees only some instances of a service: of one that is gone it cannot be told whether it was among them.
pub fn follows(identity: &Identity, only: Option<&ServiceName>) -> Result<Option<Scope>> {
    if let Some(service) = only {
        return follows_service(identity, service).map(|()| None);
    }
    match scope(identity) {
        Some(scope) if scope.is_everything() => Ok(None),
        Some(scope) if scope.is_of_whole_services() => Ok(Some(scope.clone())),
        Some(_) | None => sees_all(identity).map(|()| None),
    }
}

/// Whether somebody sees the whole fleet.
///
/// # Errors
/// It is narrowed.
pub fn sees_all(identity: &Identity) -> Result<()> {
    if scope(identity).is_some_and(Scope::is_everything) {
        return Ok(());
    }
    Err(not_all(identity))
}

fn not_all(identity: &Identity) -> Error {
    let principal = identity.principal.to_string();
    let message = format!("{principal} may not see the whole fleet; name a service that it may see");
    Error::new(Kind::PermissionDenied, Reason::PermissionDenied, message).with("principal", principal)
}

/// Whether somebody may change an instance. Of whoever sees all of its service, the fleet says whether it is there; who sees only
/// a part may change the incarnation that is answered.
///
/// # Errors
/// Its service is out of reach; or the caller sees only a part of it, and this is not in that.
pub fn changes_instance(identity: &Identity, fleet: &Handle, key: &InstanceKey) -> Result<Option<u64>> {
    sees_service(identity, &key.service)?;
    if scope(identity).is_some_and(|scope| scope.has_all_of(key.service.as_str())) {
        return Ok(None);
    }
    instance(identity, fleet, key).map(|found| Some(found.incarnation))
}

/// An instance that somebody sees.
///
/// # Errors
/// Its service is out of reach; it is not registered, or is out of reach itself.
pub fn instance(identity: &Identity, fleet: &Handle, key: &InstanceKey) -> Result<Arc<Instance>> {
    sees_service(identity, &key.service)?;
    let unseen = || Refusal::NotFound.about(key.service.as_str(), key.id.as_str());
    let scope = scope(identity).ok_or_else(unseen)?;
    match fleet.instance(key) {
        Ok(found) if scope.sees_instance(&found.registration) => Ok(found),
        Ok(_) => Err(unseen()),
        // Where it was, and so whether it could be seen, is not known any more.
        Err(_) if !scope.has_all_of(key.service.as_str()) => Err(unseen()),
        Err(error) => Err(error),
    }
}

/// Whether somebody sees the backups of a service: who sees all of it, since they have something of each of its instances. Those
/// of the control plane's own state have something of everything.
///
/// # Errors
/// It does not.
pub fn sees_backups(identity: &Identity, subject: &Subject) -> Result<()> {
    match subject {
        Subject::Service(service) => follows_service(identity, service),
        Subject::OwnState => sees_all(identity),
    }
}

/// Whether somebody may change the backups of a service, or what they are restored into, as a whole.
///
/// # Errors
/// It may not.
pub fn changes_backups(identity: &Identity, subject: &Subject) -> Result<()> {
    match subject {
        Subject::Service(service) => changes_service(identity, service),
        Subject::OwnState => sees_all(identity),
    }
}

/// Whether the backups of a service of this name are in a scope, as a whole.
pub fn has_backups(scope: &Scope, service: &str) -> bool {
    // Its own state is of no service, whatever pattern its name fits.
    scope.is_everything() || service != OWN_STATE && scope.has_all_of(service)
}

/// Whether a policy is in a scope: it names a service that is, as a whole.
pub fn has_policy(scope: &Scope, policy: &Policy) -> bool {
    scope.is_everything() || policy.service().is_some_and(|service| scope.has_all_of(service))
}

/// Whether somebody sees a policy.
///
/// # Errors
/// It does not.
pub fn sees_policy(identity: &Identity, policy: &Policy) -> Result<()> {
    about_policy(identity, policy, "see")
}

/// Whether somebody may change a policy: put it, or what counts under its name until then.
///
/// # Errors
/// It may not.
pub fn changes_policy(identity: &Identity, policy: &Policy) -> Result<()> {
    about_policy(identity, policy, "change")
}

fn about_policy(identity: &Identity, policy: &Policy, verb: &str) -> Result<()> {
    if scope(identity).is_some_and(|scope| has_policy(scope, policy)) {
        return Ok(());
    }
    let (principal, name) = (identity.principal.to_string(), &policy.name);
    let message = format!(
        "{principal} may not {verb} policy {name}, but only those that name a service of which it has all"
    );
    let error = Error::new(Kind::PermissionDenied, Reason::PermissionDenied, message);
    Err(error.with("principal", principal).with("policy", name))
}

/// Whether an operation about this service is in a scope: its steps name any of its instances. One about none, or about the
/// control plane's own state, is for whoever sees everything.
pub fn has_operation(scope: &Scope, service: &str) -> bool {
    !service.is_empty() && has_backups(scope, service) || scope.is_everything()
}

/// Whether somebody sees an operation, and so may change it, where its role may.
///
/// # Errors
/// It does not: then there is none, as far as it is told.
pub fn sees_operation(identity: &Identity, operation: &Operation) -> Result<()> {
    match scope(identity).is_some_and(|scope| has_operation(scope, &operation.service)) {
        true => Ok(()),
        false => Err(not_found(operation.id)),
    }
}

/// Whether an instance is in a scope, by how it is registered now.
pub fn has_instance(scope: &Scope, fleet: &Handle, key: &InstanceKey) -> bool {
    let registered = || fleet.instance(key).is_ok_and(|found| scope.sees_instance(&found.registration));
    scope.sees_service(key.service.as_str()) && (scope.is_of_whole_services() || registered())
}

/// What somebody sees of the fleet who sees anything of it.
///
/// # Errors
/// It sees nothing.
pub fn seen(identity: &Identity) -> Result<&Scope> {
    match scope(identity) {
        Some(scope) => Ok(scope),
        None => Err(not_all(identity)),
    }
}

/// What somebody sees of the fleet; None: nothing.
pub fn scope(identity: &Identity) -> Option<&Scope> {
    identity.grant.sees()
}

/// Up to `limit` services of a scope after a name, and whether there are more. Lets others run in between.
pub async fn services_in(
    fleet: &Handle,
    scope: &Scope,
    mut after: Option<String>,
    limit: usize,
) -> (Vec<Service>, bool) {
    if scope.is_everything() {
        return fleet.services(after.as_deref(), limit);
    }
    let mut found: Vec<Service> = Vec::new();
    loop {
        let (some, more) = fleet.services(after.as_deref(), PIECE);
        after = some.last().map(|last| last.name.to_string());
        for service in some.into_iter().filter(|service| scope.sees_service(service.name.as_str())) {
            if found.len() == limit {
                return (found, true);
            }
            found.push(service);
        }
        if !more {
            return (found, false);
        }
        yield_now().await;
    }
}

fn denied(identity: &Identity, service: &str, verb: &str) -> Error {
    let principal = identity.principal.to_string();
    let message = format!("{principal} may not {verb} service {service}");
    Error::new(Kind::PermissionDenied, Reason::PermissionDenied, message)
        .with("principal", principal)
        .with("service", service)
}
