//! `grpc.health.v1.Health`, as probes, Kubernetes and gRPC clients speak it.
//!
//! Written from the protocol (grpc/doc/health-checking.md, gRFC A90) rather than taken from
//! tonic-health, which ends `Watch` of an unknown name and has no `List`.

use std::{collections::HashMap, pin::Pin};

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch::Receiver;
use tonic::{Request, Response, Status};

use super::{
    caller::caller,
    names::{HealthName, Probe, Target},
    proto::{
        grpc::health::v1::{
            HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
            health_check_response::ServingStatus,
        },
        health::health_server::Health,
    },
    reach,
    reach::services_in,
    status::answer,
    watch::{self, Watchers, Watching},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{Handle, loading::Progress, query::Standing},
    guard::{caller::Connection, goodbye::Goodbye, status::status, subscriptions::Subscription},
    health::State,
    identity::Identity,
    system::{Phase, Vitals},
};

/// Names that `List` answers at the most (gRFC A90).
const LISTED: usize = 100;

/// The adapter.
#[derive(Clone, Debug)]
pub struct StandardHealth {
    fleet: Receiver<Option<Handle>>,
    progress: Progress,
    vitals: Vitals,
    watchers: Watchers,
}

impl StandardHealth {
    /// Serves the health of the control plane, and of the fleet from when there is one; `progress` says
    /// how far it is.
    pub fn new(
        fleet: Receiver<Option<Handle>>,
        progress: Progress,
        vitals: Vitals,
        watchers: Watchers,
    ) -> Self {
        Self { fleet, progress, vitals, watchers }
    }

    /// How a name stands; SERVICE_UNKNOWN if nobody is called so.
    ///
    /// # Errors
    /// The fleet is being loaded: who is called so is not known yet.
    fn status_of(&self, name: &HealthName) -> Result<ServingStatus> {
        let fleet = self.fleet.borrow();
        match (&name.target, fleet.as_ref()) {
            (Target::ControlPlane, fleet) => {
                Ok(control_plane(self.vitals.phase(), fleet.is_some(), name.probe))
            }
            (_, None) => Err(self.progress.refusal()),
            (_, Some(fleet)) => Ok(name
                .standing(fleet)
                .map_or(ServingStatus::ServiceUnknown, |standing| serving(standing, name.probe))),
        }
    }

    fn check_one(&self, service: &str) -> Result<HealthCheckResponse> {
        match self.status_of(&parse(service)?)? {
            ServingStatus::ServiceUnknown => Err(unknown(service)),
            status => Ok(HealthCheckResponse { status: status.into() }),
        }
    }

    async fn list_all(&self, identity: &Identity) -> Result<HealthListResponse> {
        let own = HealthName { target: Target::ControlPlane, probe: Probe::Health };
        let mut statuses = HashMap::from([(String::new(), self.status_of(&own)?)]);
        let fleet = self.fleet.borrow().clone().ok_or_else(|| self.progress.refusal())?;
        // Whoever sees nothing of the fleet hears of the control plane alone.
        let (services, more) = match reach::scope(identity) {
            Some(scope) => services_in(&fleet, scope, None, LISTED).await,
            None => (Vec::new(), false),
        };
        for service in services {
            let name = service.name.to_string();
            let target = Target::Service(service.name);
            let status = self.status_of(&HealthName { target, probe: Probe::Health })?;
            // It may have gone between the two looks; that answer belongs to `Watch` alone.
            if status != ServingStatus::ServiceUnknown {
                statuses.insert(name, status);
            }
        }
        if more || statuses.len() > LISTED {
            return Err(Error::new(
                Kind::ResourceExhausted,
                Reason::TooManyNames,
                format!(
                    "more than {LISTED} names; use seaworthy.v1.FleetService/ListServices, which has pages"
                ),
            ));
        }
        let answer = |status: ServingStatus| HealthCheckResponse { status: status.into() };
        Ok(HealthListResponse {
            statuses: statuses.into_iter().map(|(name, status)| (name, answer(status))).collect(),
        })
    }
}

fn parse(service: &str) -> Result<HealthName> {
    HealthName::parse(service).map_err(|invalid| Error::field("service", invalid.0))
}

fn unknown(service: &str) -> Error {
    Error::new(Kind::NotFound, Reason::ServiceNotFound, format!("nobody is registered as {service}"))
        .with("service", service)
}

/// The control plane speaks of itself alone: a sick fleet must not make a platform kill it. Nor must a
/// start that takes its time: it is not ready until the fleet is loaded, but it is alive and has started.
fn control_plane(phase: Phase, is_loaded: bool, probe: Probe) -> ServingStatus {
    match (probe, phase) {
        (Probe::Liveness | Probe::Startup, _) => ServingStatus::Serving,
        (_, Phase::Running) if is_loaded => ServingStatus::Serving,
        _ => ServingStatus::NotServing,
    }
}

fn serving(standing: Standing, probe: Probe) -> ServingStatus {
    let yes = |yes: bool| if yes { ServingStatus::Serving } else { ServingStatus::NotServing };
    match (probe, standing.health) {
        (Probe::Liveness, _) => yes(standing.alive),
        (Probe::Startup, _) => yes(standing.started),
        (Probe::Health | Probe::Readiness, State::Unknown) => ServingStatus::Unknown,
        (Probe::Readiness, _) => yes(standing.ready),
        (Probe::Health, health) => yes(health.serves()),
    }
}

#[tonic::async_trait]
impl Health for StandardHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        answer(self.check_one(&request.get_ref().service))
    }

    async fn list(
        &self,
        request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let caller = caller(request.extensions()).map_err(|error| status(&error))?;
        answer(self.list_all(&caller.identity).await)
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = parse(&request.get_ref().service).map_err(|error| status(&error))?;
        let caller = caller(request.extensions()).map_err(|error| status(&error))?;
        let connection = caller.connection.clone();
        let watch = NameWatch {
            fleet: self.fleet.clone(),
            changed: None,
            phase: self.vitals.watch_phase(),
            closing: Goodbye::of(connection.closing.clone()),
            connection,
            said: None,
            health: self.clone(),
            name,
            _watching: self.watchers.enter(),
        };
        let stream = unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            let next = watch.next().await;
            let rest = next.is_ok().then_some(watch);
            Some((next, rest))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

struct NameWatch {
    connection: Connection,
    health: StandardHealth,
    name: HealthName,
    fleet: Receiver<Option<Handle>>,
    changed: Option<Subscription>,
    phase: Receiver<Phase>,
    closing: Goodbye,
    said: Option<ServingStatus>,
    _watching: Watching,
}

impl NameWatch {
    async fn next(&mut self) -> Result<HealthCheckResponse, Status> {
        loop {
            self.phase.mark_unchanged();
            self.fleet.mark_unchanged();
            if self.changed.is_none()
                && let (Some(service), Some(fleet)) = (self.name.service(), self.fleet.borrow().as_ref())
            {
                self.changed = Some(watch::subscribe(&self.connection, fleet, Some(service)));
            }
            if let Some(changed) = &mut self.changed {
                changed.newest();
            }
            // While the fleet is being loaded nothing is said of it: the first word comes when it is there.
            if let Ok(now) = self.health.status_of(&self.name)
                && self.said != Some(now)
            {
                self.said = Some(now);
                return Ok(HealthCheckResponse { status: now.into() });
            }
            tokio::select! {
                biased;
                changed = self.phase.changed() => if changed.is_err() { return Err(watch::leaving()) },
                changed = self.fleet.changed() => if changed.is_err() { return Err(watch::leaving()) },
                changed = next_change(&mut self.changed) => if !changed { return Err(watch::leaving()) },
                _ = self.closing.heard() => return Err(watch::leaving()),
            }
        }
    }
}

/// Whether there was a change; false when the fleet is gone. Never ready for the control plane.
async fn next_change(changed: &mut Option<Subscription>) -> bool {
    match changed {
        Some(changed) => changed.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_as_a_table() {
        use ServingStatus::{NotServing as No, Serving as Yes, Unknown as Maybe};
        let standing = |health, alive, started, ready| Standing { health, alive, started, ready };
        for (standing, health, liveness, readiness, startup) in [
            (standing(State::Healthy, true, true, true), Yes, Yes, Yes, Yes),
            (standing(State::Degraded, true, true, true), Yes, Yes, Yes, Yes),
            (standing(State::Unhealthy, true, true, false), No, Yes, No, Yes),
            (standing(State::Unknown, true, true, false), Maybe, Yes, Maybe, Yes),
            (standing(State::Unhealthy, false, false, false), No, No, No, No),
            // Leaving: works still, but wants no new work.
            (standing(State::Healthy, true, true, false), Yes, Yes, No, Yes),
            (standing(State::Healthy, true, false, false), Yes, Yes, No, No),
        ] {
            for (probe, expected) in [
                (Probe::Health, health),
                (Probe::Liveness, liveness),
                (Probe::Readiness, readiness),
                (Probe::Startup, startup),
            ] {
                assert_eq!(serving(standing, probe), expected, "{standing:?} {probe:?}");
            }
        }
    }

    #[test]
    fn a_draining_control_plane_is_alive_but_not_ready() {
        for phase in [Phase::InitiateShutdown, Phase::FinishActiveRequests] {
            assert_eq!(control_plane(phase, true, Probe::Health), ServingStatus::NotServing);
            assert_eq!(control_plane(phase, true, Probe::Readiness), ServingStatus::NotServing);
            assert_eq!(control_plane(phase, true, Probe::Liveness), ServingStatus::Serving);
        }
        assert_eq!(control_plane(Phase::Running, true, Probe::Health), ServingStatus::Serving);
    }

    #[test]
    fn a_control_plane_that_loads_its_fleet_is_alive_but_not_ready() {
        for (probe, expected) in [
            (Probe::Health, ServingStatus::NotServing),
            (Probe::Readiness, ServingStatus::NotServing),
            (Probe::Liveness, ServingStatus::Serving),
            (Probe::Startup, ServingStatus::Serving),
        ] {
            assert_eq!(control_plane(Phase::Running, false, probe), expected, "{probe:?}");
        }
    }
}
