//! `seaworthy.v1.HealthService`.

use std::pin::Pin;

use futures_core::Stream;
use tonic::{Request, Response, Status};

use super::{
    caller::caller,
    codec::Encoded,
    convert::{explain, instance},
    page,
    parse::{self, Fields},
    proto::{server::health_service_server::HealthService, v1 as pb},
    reach,
    status::answer,
    target::{Target, of},
    watch::{self, Watchers},
};
use crate::{
    checks,
    error::Result,
    fleet::{Handle, names::ComponentName, refusal::Refusal},
    guard::caller::Caller,
    identity::Identity,
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct HealthApi {
    fleet: Handle,
    checks: checks::Handle,
    watchers: Watchers,
}

impl HealthApi {
    /// Serves the health of this fleet.
    pub fn new(fleet: Handle, checks: checks::Handle, watchers: Watchers) -> Self {
        Self { fleet, checks, watchers }
    }

    fn report(&self, request: Request<pb::ReportHealthRequest>) -> Result<pb::ReportHealthResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::ReportHealthRequest { instance: named, session_token, reports, lifecycle } = wire;
        let mut fields = Fields::default();
        let named = parse::incarnation(&mut fields, "instance", named);
        let token = parse::session_token(&mut fields, "session_token", &session_token, caller(&extensions)?);
        let lifecycle = parse::report::lifecycle(&mut fields, "lifecycle", lifecycle);
        let ((key, incarnation), token) = fields.finish(named.zip(token))?;
        reach::acts_for(&caller(&extensions)?.identity, key.service.as_str())?;
        let parse = |registration: &_| parse::report::reports("", registration, reports);
        let after = self.fleet.report(&key, incarnation, &token, parse, lifecycle)?;
        Ok(pb::ReportHealthResponse { instance: Some(instance::instance(&after)) })
    }

    fn watch(
        &self,
        request: Request<pb::WatchHealthRequest>,
    ) -> Result<impl Stream<Item = Result<Encoded, Status>> + Send + use<>> {
        let (_, extensions, wire) = request.into_parts();
        let pb::WatchHealthRequest { service, instance_id, component } = wire;
        let target = Target::parse(&service, &instance_id, &component)?;
        let Caller { connection, identity, .. } = caller(&extensions)?;
        // What an instance is that comes later under that name is not known now.
        reach::follows_service(identity, target.service())?;
        Ok(watch::target_health(self.fleet.clone(), self.watchers.enter(), connection, target))
    }

    fn get(&self, request: Request<pb::GetHealthRequest>) -> Result<pb::GetHealthResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::GetHealthRequest { service, instance_id, component } = wire;
        let target = Target::parse(&service, &instance_id, &component)?;
        self.sees(&caller(&extensions)?.identity, &target)?;
        Ok(pb::GetHealthResponse { health: Some(of(&self.fleet, &target)?) })
    }

    /// Whether somebody sees what is asked for.
    fn sees(&self, identity: &Identity, target: &Target) -> Result<()> {
        match target {
            // How a service is, is how all of its instances are.
            Target::Service(name) => reach::follows_service(identity, name),
            Target::Instance(key) | Target::Component(key, _) => {
                reach::instance(identity, &self.fleet, key).map(|_| ())
            }
        }
    }

    async fn check_now(&self, request: Request<pb::CheckNowRequest>) -> Result<pb::CheckNowResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::CheckNowRequest { service, instance_id, component } = wire;
        let mut fields = Fields::default();
        let key = parse::instance_key(&mut fields, "", &service, &instance_id);
        let part = (!component.is_empty())
            .then(|| fields.take("component", ComponentName::parse(&component)))
            .flatten();
        let key = fields.finish(key)?;
        let before = reach::instance(&caller(&extensions)?.identity, &self.fleet, &key)?;
        let name = part.as_ref().map(ComponentName::as_str);
        let checked = self.checks.run_now(&before, name).await?;
        let after = self.fleet.instance(&key)?;
        if after.incarnation != before.incarnation {
            let stale = Refusal::Stale { current: after.incarnation };
            return Err(stale.about(key.service.as_str(), key.id.as_str()));
        }
        let declared = after.declared_components().enumerate();
        let components = declared
            .filter(|(at, _)| checked.contains(at))
            .map(|(_, (declared, health))| instance::component_health(&after.registration, declared, health));
        Ok(pb::CheckNowResponse { components: components.collect() })
    }

    async fn explain_it(&self, request: Request<pb::ExplainRequest>) -> Result<pb::ExplainResponse> {
        let (_, extensions, wire) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        let pb::ExplainRequest { service, instance_id, component } = wire;
        let named = [&service, &instance_id, &component].iter().any(|name| !name.is_empty());
        let found = if named {
            let target = Target::parse(&service, &instance_id, &component)?;
            self.sees(identity, &target)?;
            match target {
                Target::Service(name) => self.fleet.explain_service(&name).await?,
                Target::Instance(key) => self.fleet.explain_instance(&key).await?,
                Target::Component(key, name) => self.fleet.explain_component(&key, name.as_str()).await?,
            }
        } else {
            reach::sees_all(identity)?;
            self.fleet.explain_fleet().await
        };
        Ok(explain::explanation(found))
    }

    async fn list(
        &self,
        request: Request<pb::ListTransitionsRequest>,
    ) -> Result<pb::ListTransitionsResponse> {
        let (_, extensions, wire) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        let mut fields = Fields::default();
        let wanted = parse::past::past(&mut fields, &wire);
        let size = page::size(&mut fields, wire.page_size);
        let before = page::after(&mut fields, &wire.page_token).map(|place| place.parse::<u64>());
        let before = match before {
            Some(Err(_)) => {
                fields.wrong("page_token", "is not a token of this list");
                None
            }
            Some(Ok(before)) => Some(before),
            None => None,
        };
        fields.check()?;
        // What is past has lost its zone and its labels, and a page of nothing but gaps helps nobody.
        match &wanted.service {
            Some(service) => reach::follows_service(identity, service)?,
            None => reach::sees_all(identity)?,
        }
        let (found, next) = self.fleet.transitions(&wanted, before, size).await;
        let (transitions, cut) = page::fill(size, found.iter().map(|found| instance::transition(found)));
        let next = if cut { transitions.last().map(|last| last.sequence) } else { next };
        let next_page_token = next.map(|next| page::token(&next.to_string())).unwrap_or_default();
        Ok(pb::ListTransitionsResponse { transitions, next_page_token })
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
        answer(self.get(request))
    }

    async fn watch_health(
        &self,
        request: Request<pb::WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        answer(self.watch(request).map(|stream| Box::pin(stream) as Self::WatchHealthStream))
    }

    async fn list_transitions(
        &self,
        request: Request<pb::ListTransitionsRequest>,
    ) -> Result<Response<pb::ListTransitionsResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        answer(self.explain_it(request).await)
    }

    async fn check_now(
        &self,
        request: Request<pb::CheckNowRequest>,
    ) -> Result<Response<pb::CheckNowResponse>, Status> {
        answer(self.check_now(request).await)
    }
}
