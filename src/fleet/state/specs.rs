//! Specifications that operators put: which may be, and which count.

use std::sync::Arc;

use super::{State, protected};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        group::{Group, Needs, OperatorSpec},
        names::ServiceName,
        snapshot::Service,
    },
    time::Now,
};

/// Metadata of a refusal: the service whose dependency closes the circle.
pub const NEEDED: &str = "needed";

impl State {
    /// Whether an operator's specification may be put, but for circles; answers whether that makes a new
    /// service. `pending_services` others are about to come.
    ///
    /// # Errors
    /// The revision is not the expected one, or the fleet is full.
    pub(in crate::fleet) fn check_put(
        &self,
        name: &ServiceName,
        if_revision: Option<u64>,
        pending_services: usize,
    ) -> Result<bool> {
        self.check_revision(name, if_revision)?;
        let new_service = !self.groups.contains_key(name);
        if new_service {
            self.check_room(pending_services)?;
        }
        Ok(new_service)
    }

    /// Whether an operator's specification may be deleted. False: there is none.
    ///
    /// # Errors
    /// The revision is not the expected one, or the service is protected.
    pub(in crate::fleet) fn check_delete(
        &self,
        name: &ServiceName,
        if_revision: Option<u64>,
    ) -> Result<bool> {
        let Some(operator) = self.groups.get(name).and_then(|group| group.operator.as_ref()) else {
            return Ok(false);
        };
        self.check_revision(name, if_revision)?;
        if operator.spec.protected {
            return Err(protected(name));
        }
        Ok(true)
    }

    fn check_revision(&self, name: &ServiceName, wanted: Option<u64>) -> Result<()> {
        let current = self.spec_revision(name);
        match wanted {
            Some(wanted) if wanted != current => Err(Error::new(
                Kind::FailedPrecondition,
                Reason::RevisionMismatch,
                format!("the specification of {name} is at revision {current}, not {wanted}; read it again"),
            )
            .with("current_revision", current.to_string())),
            _ => Ok(()),
        }
    }

    /// Revision of an operator's specification; 0: there is none.
    pub(in crate::fleet) fn spec_revision(&self, name: &ServiceName) -> u64 {
        let operator = self.groups.get(name).and_then(|group| group.operator.as_ref());
        operator.map_or(0, |operator| operator.revision)
    }

    /// Takes an operator's specification, or its deletion, once that is durable.
    /// Answers the service that is there afterwards.
    pub(in crate::fleet) fn set_spec(
        &mut self,
        now: Now,
        name: &ServiceName,
        operator: Option<OperatorSpec>,
    ) -> Option<Service> {
        let group = self.groups.entry(name.clone()).or_insert_with(|| Group::new(name.clone(), now.wall));
        let before = Arc::clone(&group.circle);
        if group.set_operator(operator) == Needs::Changed {
            self.settle_circles(name, &before);
        }
        self.settle_group(now, name);
        self.groups.get(name).map(Group::snapshot)
    }
}

/// Bytes of a path that is told whole.
const WHOLE: usize = 256;
/// Services of a longer one that are named at its beginning.
const NAMED: usize = 3;

/// The way from a service back to itself, in words that fit a refusal.
fn path(circle: &[ServiceName]) -> String {
    let names: Vec<_> = circle.iter().map(ServiceName::as_str).collect();
    let whole = names.join(" → ");
    match names.as_slice() {
        [first @ .., last] if whole.len() > WHOLE && first.len() > NAMED => {
            let (named, others) = first.split_at(NAMED);
            format!("{} → … {} more … → {last}", named.join(" → "), others.len())
        }
        _ => whole,
    }
}

/// Why a specification may not be put whose hard dependencies would close this circle.
pub(in crate::fleet) fn closes(circle: &[ServiceName]) -> Error {
    let path = path(circle);
    let error = Error::new(
        Kind::FailedPrecondition,
        Reason::DependencyCycle,
        format!("hard dependencies would form a circle: {path}; make one of them soft"),
    );
    let needed = circle.get(1).map(ServiceName::as_str).unwrap_or_default();
    error.with(NEEDED, needed).with("circle", path)
}
