//! `seaworthy.v1.FleetService`.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_core::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    audited::{self, Audited, AuditedCall, answer_enrolment, enrol, may_enrol},
    caller::caller,
    codec::Encoded,
    convert::{instance, service},
    enrolment::Enrolment,
    page::{self, Room},
    parse::{self, Fields},
    proto::{server::fleet_service_server::FleetService, v1 as pb},
    reach, session,
    status::answer,
    watch::{self, Watchers},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::{
        self, Deleted, Handle,
        names::InstanceKey,
        refusal::Refusal,
        scan::{Filter, Place},
        snapshot::{Instance, Service, Tombstone},
    },
    guard::{caller::Caller, status::status},
    id::{SessionToken, TokenHash},
    identity::{Identity, Scope},
    time::Clock,
};

/// Most heartbeats in one call.
const MAX_HEARTBEATS: usize = 1000;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The adapter.
#[derive(Clone, Debug)]
pub struct FleetApi {
    fleet: Handle,
    enrolment: Enrolment,
    audited: Audited,
    watchers: Watchers,
    clock: Clock,
    open_timeout: Duration,
}

impl FleetApi {
    /// Serves the fleet that is registered in, and writes down who changes it. `open_timeout`: how long a session may take to say what it is.
    pub fn new(
        enrolment: Enrolment,
        audited: Audited,
        watchers: Watchers,
        clock: Clock,
        open_timeout: Duration,
    ) -> Self {
        let fleet = enrolment.fleet().clone();
        Self { fleet, enrolment, audited, watchers, clock, open_timeout }
    }

    fn heartbeat_all(&self, request: Request<pb::HeartbeatRequest>) -> Result<pb::HeartbeatResponse> {
        let (_, extensions, pb::HeartbeatRequest { heartbeats }) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        if heartbeats.is_empty() || heartbeats.len() > MAX_HEARTBEATS {
            let found = heartbeats.len();
            return Err(Error::field(
                "heartbeats",
                format!("has {found} entries; send 1 to {MAX_HEARTBEATS}"),
            ));
        }
        let hashes: Vec<TokenHash> =
            heartbeats.iter().map(|beat| SessionToken::from_wire(&*beat.session_token).hash()).collect();
        let mut results = Vec::with_capacity(heartbeats.len());
        let beats = heartbeats.iter().zip(&hashes).map(|(beat, hash)| match &beat.instance {
            // Whoever does not act for the service has no token there that could count.
            Some(named) if identity.grant.acts_for(&named.service) => {
                (named.service.as_str(), named.instance_id.as_str(), named.incarnation, hash)
            }
            Some(_) | None => ("", "", 0, hash),
        });
        self.fleet.heartbeats(beats, |outcome| results.push(outcome));
        let results = results
            .into_iter()
            .zip(&heartbeats)
            .map(|(outcome, beat)| heartbeat_result(outcome, beat, identity));
        Ok(pb::HeartbeatResponse { results: results.collect() })
    }

    fn watch(
        &self,
        request: Request<pb::WatchFleetRequest>,
    ) -> Result<impl Stream<Item = Result<Encoded, Status>> + Send + use<>> {
        let (_, extensions, wire) = request.into_parts();
        watch::fleet(self.fleet.clone(), self.watchers.enter(), caller(&extensions)?, wire)
    }

    async fn deregister_one(
        &self,
        wire: pb::DeregisterRequest,
        caller: &Caller,
        call: Option<&AuditedCall>,
    ) -> Result<pb::DeregisterResponse> {
        let pb::DeregisterRequest { instance: named, session_token, message } = wire;
        let mut fields = Fields::default();
        let named = parse::incarnation(&mut fields, "instance", named);
        let token = parse::session_token(&mut fields, "session_token", &session_token, caller);
        let message = parse::message(&mut fields, "message", &message);
        let ((key, incarnation), token) = fields.finish(named.zip(token))?;
        may_enrol(call, &key, reach::acts_for(&caller.identity, key.service.as_str()))?;
        let (fleet, object) = (self.fleet.clone(), key.clone());
        let change = async move { fleet.deregister(key, incarnation, token, message).await };
        let done = move |_: &Arc<Tombstone>| format!("deregistered, incarnation {incarnation}");
        let tombstone = enrol(call, || audited::instance(&object), change, done).await?;
        Ok(pb::DeregisterResponse { tombstone: Some(instance::tombstone(&tombstone)) })
    }

    async fn remove_one(
        &self,
        call: &AuditedCall,
        wire: pb::RemoveInstanceRequest,
    ) -> Result<pb::RemoveInstanceResponse> {
        let pb::RemoveInstanceRequest { service, instance_id, incarnation, message, allow_missing } = wire;
        let mut fields = Fields::default();
        let key = parse::instance_key(&mut fields, "", &service, &instance_id);
        let message = parse::message(&mut fields, "message", &message);
        let key = fields.finish(key)?;
        let incarnation = (incarnation != 0).then_some(incarnation);
        let (fleet, object) = (self.fleet.clone(), audited::instance(&key));
        let reached = call.permitted(&object, reach::changes_instance(call.identity(), &self.fleet, &key));
        let judged = match reached {
            Err(error) if allow_missing && error.kind() == Kind::NotFound => {
                return Ok(pb::RemoveInstanceResponse { tombstone: None });
            }
            reached => reached?,
        };
        // Whoever sees only a part has been judged by this incarnation, and another may be elsewhere.
        let incarnation = incarnation.or(judged);
        let change = async move { fleet.remove(key, incarnation, message).await };
        let done = |gone: &Arc<Tombstone>| format!("removed, incarnation {}", gone.incarnation);
        match call.change(object, change, done).await {
            Ok(tombstone) => {
                Ok(pb::RemoveInstanceResponse { tombstone: Some(instance::tombstone(&tombstone)) })
            }
            Err(error) if allow_missing && error.kind() == Kind::NotFound => {
                Ok(pb::RemoveInstanceResponse { tombstone: None })
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&self, request: Request<pb::ListInstancesRequest>) -> Result<pb::ListInstancesResponse> {
        let (_, extensions, wire) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        let pb::ListInstancesRequest {
            service,
            lifecycle,
            health,
            labels,
            page_size,
            page_token,
            show_removed,
        } = wire;
        let mut fields = Fields::default();
        let filter = Filter {
            service: (!service.is_empty())
                .then(|| parse::service_name(&mut fields, "service", &service))
                .flatten(),
            lifecycle: parse::filter_lifecycle(&mut fields, "lifecycle", lifecycle),
            health: parse::filter_health(&mut fields, "health", health),
            labels: labels.into_iter().collect(),
        };
        let size = page::size(&mut fields, page_size);
        let after = page::after(&mut fields, &page_token);
        let after = after.and_then(|place| {
            let (service, id) = place.split_once('/').unwrap_or((&place, ""));
            parse::instance_key(&mut fields, "page_token", service, id)
        });
        fields.check()?;
        if let Some(service) = &filter.service {
            reach::sees_service(identity, service)?;
        }
        let scope = reach::seen(identity)?;
        let mut room = Room::new(size);
        let (mut instances, mut last) = (Vec::new(), None);
        let take = |found: Instance| {
            if !scope.sees_instance(&found.registration) {
                return true;
            }
            if room.is_full() {
                return false;
            }
            let wire = instance::instance(&found);
            room.take(&wire);
            instances.push(wire);
            last = Some(page::token(&found.registration.key.to_string()));
            true
        };
        let all = self.fleet.each_instance(&filter, after.map(Place::from), size + 1, take).await;
        let mut removed = Vec::new();
        if show_removed && page_token.is_empty() {
            let mut room = Room::new(usize::MAX);
            for tombstone in self.fleet.tombstones(filter.service.as_ref()).await {
                // Where it was is not known any more.
                if !scope.has_all_of(tombstone.key.service.as_str()) {
                    continue;
                }
                let wire = instance::tombstone(&tombstone);
                room.take(&wire);
                removed.push(wire);
                if room.is_full() {
                    break;
                }
            }
        }
        let next_page_token = if all { String::new() } else { last.unwrap_or_default() };
        Ok(pb::ListInstancesResponse { instances, next_page_token, removed })
    }

    fn get(&self, request: Request<pb::GetInstanceRequest>) -> Result<pb::GetInstanceResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::GetInstanceRequest { service, instance_id } = wire;
        let mut fields = Fields::default();
        let key = parse::instance_key(&mut fields, "", &service, &instance_id);
        let key: InstanceKey = fields.finish(key)?;
        let found = reach::instance(&caller(&extensions)?.identity, &self.fleet, &key)?;
        Ok(pb::GetInstanceResponse { instance: Some(instance::instance(&found)) })
    }

    async fn put(&self, call: &AuditedCall, wire: pb::PutServiceRequest) -> Result<pb::PutServiceResponse> {
        let pb::PutServiceRequest { name, spec, if_revision } = wire;
        let mut fields = Fields::default();
        let name = parse::service_name(&mut fields, "name", &name);
        let depends_on = spec.as_ref().map(|spec| spec.depends_on.clone()).unwrap_or_default();
        let spec = match spec {
            Some(spec) => Some(parse::spec::spec(&mut fields, "spec", name.as_ref(), spec)),
            None => {
                fields.wrong("spec", "is missing");
                None
            }
        };
        let (name, spec) = fields.finish(name.zip(spec))?;
        let (fleet, object) = (self.fleet.clone(), audited::service(&name));
        call.permitted(&object, reach::changes_service(call.identity(), &name))?;
        let change = async move { fleet.put_service(name, spec, if_revision).await };
        let put = call.change(object, change, |_| "specification put".to_owned()).await;
        let put = put.map_err(|error| at_dependency(error, &depends_on))?;
        Ok(pb::PutServiceResponse { service: Some(service::service(&put)) })
    }

    fn get_one_service(&self, request: Request<pb::GetServiceRequest>) -> Result<pb::GetServiceResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::GetServiceRequest { name } = wire;
        let mut fields = Fields::default();
        let name = parse::service_name(&mut fields, "name", &name);
        let name = fields.finish(name)?;
        let identity = &caller(&extensions)?.identity;
        reach::sees_service(identity, &name)?;
        let found = self.fleet.service(&name)?;
        Ok(pb::GetServiceResponse { service: Some(seen(reach::seen(identity)?, &found)) })
    }

    async fn list_all_services(
        &self,
        request: Request<pb::ListServicesRequest>,
    ) -> Result<pb::ListServicesResponse> {
        let (_, extensions, wire) = request.into_parts();
        let pb::ListServicesRequest { page_size, page_token } = wire;
        let mut fields = Fields::default();
        let size = page::size(&mut fields, page_size);
        let after = page::after(&mut fields, &page_token);
        fields.check()?;
        let scope = reach::seen(&caller(&extensions)?.identity)?;
        let (found, more) = reach::services_in(&self.fleet, scope, after, size).await;
        let (services, cut) = page::fill(size, found.iter().map(|found| seen(scope, found)));
        let last = services.last().filter(|_| more || cut).map(|last| page::token(&last.name));
        Ok(pb::ListServicesResponse { services, next_page_token: last.unwrap_or_default() })
    }

    async fn delete(
        &self,
        call: &AuditedCall,
        wire: pb::DeleteServiceRequest,
    ) -> Result<pb::DeleteServiceResponse> {
        let pb::DeleteServiceRequest { name, confirm_name, if_revision, allow_missing } = wire;
        let mut fields = Fields::default();
        if confirm_name != name {
            fields.wrong("confirm_name", "differs from name; give the name of the service again");
        }
        let name = parse::service_name(&mut fields, "name", &name);
        let name = fields.finish(name)?;
        let (fleet, named, object) = (self.fleet.clone(), name.clone(), audited::service(&name));
        call.permitted(&object, reach::changes_service(call.identity(), &name))?;
        let change = async move { fleet.delete_service(named, if_revision).await };
        let done = |deleted: &Deleted| match deleted {
            Deleted::Gone(_) => "specification deleted".to_owned(),
            Deleted::Missing => "there was none".to_owned(),
        };
        match call.change(object, change, done).await? {
            Deleted::Gone(left) => {
                Ok(pb::DeleteServiceResponse { service: left.as_deref().map(service::service) })
            }
            Deleted::Missing if allow_missing => Ok(pb::DeleteServiceResponse { service: None }),
            Deleted::Missing => Err(fleet::query::no_spec(&name)),
        }
    }
}

/// A service as far as it is seen: of whoever sees only some of its instances, how all of them are is left out.
fn seen(scope: &Scope, found: &Service) -> pb::Service {
    let wire = service::service(found);
    if scope.has_all_of(found.name.as_str()) {
        return wire;
    }
    pb::Service {
        health: pb::HealthState::Unspecified.into(),
        cause: String::new(),
        counts: None,
        health_change_time: None,
        protection: None,
        ..wire
    }
}

/// Names the dependency that closes a circle, where the caller wrote it.
fn at_dependency(error: Error, depends_on: &[pb::Dependency]) -> Error {
    let needed = error.metadata().iter().find(|(key, _)| *key == fleet::NEEDED);
    let place = needed.and_then(|(_, needed)| depends_on.iter().position(|other| other.service == *needed));
    match place {
        Some(place) if error.reason() == Reason::DependencyCycle => {
            let description = error.message().to_owned();
            error.at(format!("spec.depends_on[{place}]"), description)
        }
        _ => error,
    }
}

fn heartbeat_result(
    outcome: Result<(), Refusal>,
    beat: &pb::InstanceHeartbeat,
    identity: &Identity,
) -> pb::HeartbeatResult {
    let Err(refusal) = outcome else {
        return pb::HeartbeatResult { outcome: pb::HeartbeatOutcome::Renewed.into(), message: String::new() };
    };
    let mut fields = Fields::default();
    parse::incarnation(&mut fields, "instance", beat.instance.clone());
    if let Err(error) = fields.check() {
        return pb::HeartbeatResult {
            outcome: pb::HeartbeatOutcome::Invalid.into(),
            message: error.message().to_owned(),
        };
    }
    let (service, id) =
        beat.instance.as_ref().map_or(("", ""), |named| (named.service.as_str(), named.instance_id.as_str()));
    if let Err(denied) = reach::acts_for(identity, service) {
        let outcome = pb::HeartbeatOutcome::Unauthenticated.into();
        return pb::HeartbeatResult { outcome, message: denied.message().to_owned() };
    }
    let outcome = match &refusal {
        Refusal::NotFound => pb::HeartbeatOutcome::NotFound,
        Refusal::Removed(_) => pb::HeartbeatOutcome::Removed,
        Refusal::Stale { .. } => pb::HeartbeatOutcome::StaleIncarnation,
        Refusal::BadToken => pb::HeartbeatOutcome::Unauthenticated,
    };
    pb::HeartbeatResult { outcome: outcome.into(), message: refusal.about(service, id).message().to_owned() }
}

#[tonic::async_trait]
impl FleetService for FleetApi {
    type AttachStream = Answers<pb::AttachResponse>;
    type WatchFleetStream = Answers<Encoded>;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.enrolment(&metadata, &extensions)?;
        let caller = caller(&extensions).map_err(|error| status(&error))?;
        answer_enrolment(call.as_ref(), self.enrolment.register("", wire, caller, call.as_ref()).await)
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        answer(self.heartbeat_all(request))
    }

    async fn deregister(
        &self,
        request: Request<pb::DeregisterRequest>,
    ) -> Result<Response<pb::DeregisterResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.enrolment(&metadata, &extensions)?;
        let caller = caller(&extensions).map_err(|error| status(&error))?;
        answer_enrolment(call.as_ref(), self.deregister_one(wire, caller, call.as_ref()).await)
    }

    async fn attach(
        &self,
        request: Request<Streaming<pb::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (metadata, extensions, inbound) = request.into_parts();
        let call = self.audited.enrolment(&metadata, &extensions)?.map(Arc::new);
        let caller = caller(&extensions).map_err(|error| status(&error))?;
        let opened =
            session::open(&self.enrolment, inbound, caller, call, self.clock, self.open_timeout).await;
        opened.map(|stream| Response::new(Box::pin(stream) as Self::AttachStream))
    }

    async fn get_instance(
        &self,
        request: Request<pb::GetInstanceRequest>,
    ) -> Result<Response<pb::GetInstanceResponse>, Status> {
        answer(self.get(request))
    }

    async fn list_instances(
        &self,
        request: Request<pb::ListInstancesRequest>,
    ) -> Result<Response<pb::ListInstancesResponse>, Status> {
        answer(self.list(request).await)
    }

    async fn remove_instance(
        &self,
        request: Request<pb::RemoveInstanceRequest>,
    ) -> Result<Response<pb::RemoveInstanceResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.remove_one(&call, wire).await)
    }

    async fn watch_fleet(
        &self,
        request: Request<pb::WatchFleetRequest>,
    ) -> Result<Response<Self::WatchFleetStream>, Status> {
        answer(self.watch(request).map(|stream| Box::pin(stream) as Self::WatchFleetStream))
    }

    async fn put_service(
        &self,
        request: Request<pb::PutServiceRequest>,
    ) -> Result<Response<pb::PutServiceResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.put(&call, wire).await)
    }

    async fn get_service(
        &self,
        request: Request<pb::GetServiceRequest>,
    ) -> Result<Response<pb::GetServiceResponse>, Status> {
        answer(self.get_one_service(request))
    }

    async fn list_services(
        &self,
        request: Request<pb::ListServicesRequest>,
    ) -> Result<Response<pb::ListServicesResponse>, Status> {
        answer(self.list_all_services(request).await)
    }

    async fn delete_service(
        &self,
        request: Request<pb::DeleteServiceRequest>,
    ) -> Result<Response<pb::DeleteServiceResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.delete(&call, wire).await)
    }
}
