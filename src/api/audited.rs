//! Calls that are written down in the audit: who makes them, and under which id both their entries are found.
//!
//! What a request says is parsed first: what is refused for its form changes nothing and has no entry. What is about to
//! be done then runs to its end without its caller, `audit::change`.

use std::{future::Future, sync::Arc};

use tonic::{Extensions, Response, Status, metadata::MetadataMap};

use super::caller::caller;
use crate::{
    audit::{Call, Handle, Who},
    backup::Subject,
    error::{Error, Result},
    fleet::names::{InstanceKey, ServiceName},
    guard::{
        access::{REQUEST_ID, request_id},
        rpc::RpcId,
        status::status,
    },
    id::{Entropy, Ordered},
    identity::Identity,
    policy::book::OverrideKey,
};

/// The object of the level of the log.
pub(super) const LOG_LEVEL: &str = "log-level";

/// The object of a service: `service/orders`.
pub fn service(name: &ServiceName) -> String {
    format!("service/{name}")
}

/// The object of an instance: `instance/orders/i-1`.
pub fn instance(key: &InstanceKey) -> String {
    format!("instance/{key}")
}

/// The object of the key of the vault.
pub(super) const KEY: &str = "vault/key";

/// The object of the backups of a service: `backups/orders`.
pub fn backups(subject: &Subject) -> String {
    format!("backups/{}", subject.as_str())
}

/// The object of a backup: `backup/01kc2x7m9q4t8v0000000000ab`.
pub fn backup(id: Ordered) -> String {
    format!("backup/{id}")
}

/// The object of a token: `token/alice`.
pub fn token(name: &str) -> String {
    format!("token/{name}")
}

/// The object of a policy: `policy/charges`.
pub fn policy(name: &str) -> String {
    format!("policy/{name}")
}

/// The object of a flag: `flag/new-checkout`.
pub fn flag(name: &str) -> String {
    format!("flag/{name}")
}

/// The object of an operation: `operation/01kc2x7m9q4t8v0000000000ab`.
pub fn operation(id: Ordered) -> String {
    format!("operation/{id}")
}

/// The object of the breakers of an operation: `breaker/orders/charge-card`, or `breaker/orders/i-1/charge-card` of one
/// instance alone.
pub fn breaker(key: &OverrideKey) -> String {
    let OverrideKey { service, operation, instance } = key;
    match instance {
        Some(id) => format!("breaker/{service}/{id}/{operation}"),
        None => format!("breaker/{service}/{operation}"),
    }
}

/// Writes calls down. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audited {
    audit: Handle,
    entropy: Entropy,
}

/// One call that is written down.
#[derive(Clone, Debug)]
pub struct AuditedCall {
    audit: Handle,
    identity: Arc<Identity>,
    who: Who,
    operation: &'static str,
    request_id: String,
}

impl Audited {
    /// Writes to this audit, and makes ids of requests that bring none.
    pub fn new(audit: Handle, entropy: Entropy) -> Self {
        Self { audit, entropy }
    }

    /// A call that is always written down.
    ///
    /// # Errors
    /// The request did not come through the guard, or there is no randomness.
    pub fn call(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<AuditedCall, Status> {
        self.open(metadata, extensions).map_err(|error| status(&error))
    }

    fn open(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<AuditedCall> {
        let caller = caller(extensions)?;
        let rpc = extensions.get::<RpcId>();
        let rpc = rpc.ok_or_else(|| Error::internal("a request that did not come through the guard"))?;
        let request_id = match request_id(metadata.as_ref()) {
            Some(given) => given.to_owned(),
            None => self.entropy.name("req")?,
        };
        Ok(AuditedCall {
            audit: self.audit.clone(),
            identity: Arc::clone(&caller.identity),
            who: Who::new(&caller.identity.principal, caller.connection.peer),
            operation: rpc.rpc().path,
            request_id,
        })
    }

    /// A call that is written down where enrolments are; None where they are not.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn enrolment(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Option<AuditedCall>, Status> {
        self.audit.has_enrolments().then(|| self.call(metadata, extensions)).transpose()
    }
}

impl AuditedCall {
    /// Who makes it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Hands on whether what the call is about is within its caller's reach, and writes down where it is not.
    ///
    /// # Errors
    /// What was judged.
    pub fn permitted<T>(&self, object: &str, judged: Result<T>) -> Result<T> {
        judged.inspect_err(|error| self.audit.try_denied(self.about(object.to_owned()), error))
    }

    /// Makes a change to an object, with its entries around it. `done` says in a few words what was done.
    ///
    /// # Errors
    /// As [`Handle::change`].
    pub async fn change<T, F>(
        &self,
        object: String,
        change: F,
        done: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.audit.change(self.about(object), change, done).await
    }

    fn about(&self, object: String) -> Call {
        Call {
            who: self.who.clone(),
            operation: self.operation.to_owned(),
            object,
            request_id: self.request_id.clone(),
        }
    }

    /// An answer that says under which id the call is found.
    ///
    /// # Errors
    /// The one that is to be answered.
    pub fn answer<T>(&self, result: Result<T>) -> Result<Response<T>, Status> {
        let id = self.request_id.parse().ok();
        match result {
            Ok(message) => {
                let mut response = Response::new(message);
                id.and_then(|id| response.metadata_mut().insert(REQUEST_ID, id));
                Ok(response)
            }
            Err(error) => {
                let mut status = status(&error);
                id.and_then(|id| status.metadata_mut().insert(REQUEST_ID, id));
                Err(status)
            }
        }
    }
}

/// Hands on whether somebody may enrol, and writes down where it may not and enrolments are written down.
///
/// # Errors
/// What was judged.
pub(super) fn may_enrol(call: Option<&AuditedCall>, key: &InstanceKey, judged: Result<()>) -> Result<()> {
    match call {
        Some(call) => call.permitted(&instance(key), judged),
        None => judged,
    }
}

/// Makes a change in place, or with its entries where enrolments are written down.
///
/// # Errors
/// As [`Handle::change`].
pub(super) async fn enrol<T, F>(
    call: Option<&AuditedCall>,
    object: impl FnOnce() -> String,
    change: F,
    done: impl FnOnce(&T) -> String + Send + 'static,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    match call {
        Some(call) => call.change(object(), change, done).await,
        None => change.await,
    }
}

/// An answer, with the id of the call where it is written down.
///
/// # Errors
/// The one that is to be answered.
pub(super) fn answer_enrolment<T>(
    call: Option<&AuditedCall>,
    result: Result<T>,
) -> Result<Response<T>, Status> {
    match call {
        Some(call) => call.answer(result),
        None => super::status::answer(result),
    }
}
