//! Specifications that operators put: which may be, and which count.

use super::{State, protected};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        group::{Group, OperatorSpec},
        names::ServiceName,
        snapshot::Service,
        spec::{self, Need, Spec},
    },
    time::Now,
};

impl State {
    /// Whether an operator's specification may be put; answers whether that makes a new service.
    /// `pending_services` others are about to come.
    ///
    /// # Errors
    /// The revision is not the expected one, the fleet is full, or hard dependencies would form a circle.
    pub(in crate::fleet) fn check_put(
        &self,
        name: &ServiceName,
        spec: &Spec,
        if_revision: Option<u64>,
        pending_services: usize,
    ) -> Result<bool> {
        self.check_revision(name, if_revision)?;
        let new_service = !self.groups.contains_key(name);
        if new_service {
            self.check_room(pending_services)?;
        }
        let needs = |service: &ServiceName| -> Vec<&ServiceName> {
            if service == name {
                return hard(spec);
            }
            self.groups.get(service).map(|group| hard(group.spec())).unwrap_or_default()
        };
        match spec::cycle(name, needs) {
            None => Ok(new_service),
            Some(circle) => {
                let path = circle.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" → ");
                Err(Error::new(
                    Kind::FailedPrecondition,
                    Reason::DependencyCycle,
                    format!("hard dependencies would form a circle: {path}; make one of them soft"),
                )
                .with("circle", path))
            }
        }
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
        group.set_operator(operator);
        self.settle_group(now, name);
        self.groups.get(name).map(Group::snapshot)
    }
}

fn hard(spec: &Spec) -> Vec<&ServiceName> {
    spec.depends_on.iter().filter(|(_, need)| **need == Need::Hard).map(|(name, _)| name).collect()
}
