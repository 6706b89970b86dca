//! `seaworthy.v1.HealthService`.

use std::pin::Pin;

use futures_core::Stream;
use tonic::{Request, Response, Status};

use super::{
    codec::Encoded,
    convert::instance,
    page,
    parse::{self, Fields},
    proto::{server::health_service_server::HealthService, v1 as pb},
    status::answer,
    target::{Target, of},
    watch::{self, Watchers},
};
use crate::{
    error::Result,
    fleet::{Handle, names::InstanceId},
    guard::caller::Caller,
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct HealthApi {
    fleet: Handle,
    watchers: Watchers,
}

impl HealthApi {
    /// Serves the health of this fleet.
    pub fn new(fleet: Handle, watchers: Watchers) -> Self {
        Self { fleet, watchers }
    }

    fn report(&self, request: Request<pb::ReportHealthRequest>) -> Result<pb::ReportHealthResponse> {
        let caller = request.extensions().get::<Caller>().cloned();
        let pb::ReportHealthRequest { instance: named, session_token, reports, lifecycle } =
            request.into_inner();
        let mut fields = Fields::default();
        let named = parse::incarnation(&mut fields, "instance", named);
        let token = parse::session_token(&mut fields, "session_token", &session_token, caller.as_ref());
        let lifecycle = parse::report::lifecycle(&mut fields, "lifecycle", lifecycle);
        let ((key, incarnation), token) = fields.finish(named.zip(token))?;
        let parse = |registration: &_| parse::report::reports("", registration, reports);
        let after = self.fleet.report(&key, incarnation, &token, parse, lifecycle)?;
        Ok(pb::ReportHealthResponse { instance: Some(instance::instance(&after)) })
    }

    fn get(&self, wire: pb::GetHealthRequest) -> Result<pb::GetHealthResponse> {
        let pb::GetHealthRequest { service, instance_id, component } = wire;
        let target = Target::parse(&service, &instance_id, &component)?;
        Ok(pb::GetHealthResponse { health: Some(of(&self.fleet, &target)?) })
    }

    fn list(&self, wire: pb::ListTransitionsRequest) -> Result<pb::ListTransitionsResponse> {
        let pb::ListTransitionsRequest { service, instance_id, page_size, page_token } = wire;
        let mut fields = Fields::default();
        let name =
            (!service.is_empty()).then(|| parse::service_name(&mut fields, "service", &service)).flatten();
        let id = (!instance_id.is_empty())
            .then(|| fields.take("instance_id", InstanceId::parse(&instance_id)))
            .flatten();
        if id.is_some() && service.is_empty() {
            fields.wrong("service", "is missing; an instance belongs to a service");
        }
        let size = page::size(&mut fields, page_size);
        let before = page::after(&mut fields, &page_token).map(|place| place.parse::<u64>());
        let before = match before {
            Some(Err(_)) => {
                fields.wrong("page_token", "is not a token of this list");
                None
            }
            Some(Ok(before)) => Some(before),
            None => None,
        };
        fields.check()?;
        let (found, more) = self.fleet.transitions(name.as_ref(), id.as_ref(), before, size);
        let (transitions, cut) = page::fill(size, found.iter().map(|found| instance::transition(found)));
        let last = transitions.last().filter(|_| more || cut);
        let last = last.map(|last| page::token(&last.sequence.to_string()));
        Ok(pb::ListTransitionsResponse { transitions, next_page_token: last.unwrap_or_default() })
    }
}

#[tonic::async_trait]
impl HealthService for HealthApi {
    type WatchHealthStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

    async fn report_health(
        &self,
        request: Request<pb::ReportHealthRequest>,
    ) -> Result<Response<pb::ReportHealthResponse>, Status> {
        answer(self.report(request))
    }

    async fn get_health(
        &self,
        request: Request<pb::GetHealthRequest>,
    ) -> Result<Response<pb::GetHealthResponse>, Status> {
        answer(self.get(request.into_inner()))
    }

    async fn watch_health(
        &self,
        request: Request<pb::WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let pb::WatchHealthRequest { service, instance_id, component } = request.into_inner();
        let target = Target::parse(&service, &instance_id, &component);
        let stream = target
            .map(|target| watch::target_health(self.fleet.clone(), self.watchers.enter(), caller, target));
        answer(stream.map(|stream| Box::pin(stream) as Self::WatchHealthStream))
    }

    async fn list_transitions(
        &self,
        request: Request<pb::ListTransitionsRequest>,
    ) -> Result<Response<pb::ListTransitionsResponse>, Status> {
        answer(self.list(request.into_inner()))
    }
}
