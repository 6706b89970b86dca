//! A scripted peer: it speaks the contract, and does what a test needs a server to do at that moment:
//! end a stream, refuse, come back. It is no model of the real server.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::ServerConfig;
use seaworthy::api::{
    codec::Encoded,
    proto::server::{
        fleet_service_server::{FleetService, FleetServiceServer},
        health_service_server::{HealthService, HealthServiceServer},
        system_service_server::{SystemService, SystemServiceServer},
    },
};
use seaworthy_client::proto::seaworthy::v1::*;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{encrypted, harness::Held};

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What one `WatchFleet` stream sends before it ends; with `hold`, it stays open instead. With an error and nothing
/// else it is refused.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) messages: Vec<Result<WatchFleetResponse, Status>>,
    pub(crate) hold: bool,
}

/// What the peer knows and was asked.
#[derive(Debug, Default)]
struct State {
    instances: Vec<Instance>,
    watches: Vec<Watch>,
    cursors: Vec<Option<WatchCursor>>,
    removed: Vec<String>,
    transitions: Vec<HealthTransition>,
    asked: Vec<String>,
    explained: Option<ExplainResponse>,
    status: Option<GetStatusResponse>,
    services: Option<Vec<Service>>,
    /// There is always one more page of services, of this token.
    endless: String,
    /// Who calls with which token. Where there is none nobody is asked for one.
    callers: Vec<(&'static str, Identity)>,
    tokens: Vec<Token>,
    /// What was asked about tokens.
    token_calls: Vec<String>,
    /// A folder that goes away as soon as a token is made.
    lost: Option<PathBuf>,
}

/// A running peer. Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) url: String,
    /// Its port, which is there for the one after it.
    held: Arc<Held>,
    state: Arc<Mutex<State>>,
    /// One of its own, so that its connections die with it. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Peer {
    /// Serves these instances.
    pub(crate) async fn with(instances: Vec<Instance>) -> Self {
        Self::start(State { instances, ..State::default() }).await
    }

    /// Remembers these changes of health, newest first.
    pub(crate) async fn remembering(transitions: Vec<HealthTransition>) -> Self {
        Self::start(State { transitions, ..State::default() }).await
    }

    /// Explains whatever it is asked by this.
    pub(crate) async fn explaining(explained: ExplainResponse) -> Self {
        Self::start(State { explained: Some(explained), ..State::default() }).await
    }

    /// Says this of itself and of its fleet.
    pub(crate) async fn telling(
        status: GetStatusResponse,
        services: Vec<Service>,
        instances: Vec<Instance>,
    ) -> Self {
        let (status, services) = (Some(status), Some(services));
        Self::start(State { status, services, instances, ..State::default() }).await
    }

    /// Its list of services never ends.
    pub(crate) async fn without_end() -> Self {
        let (status, endless) = (Some(GetStatusResponse::default()), "once more".to_owned());
        Self::start(State { status, endless, ..State::default() }).await
    }

    /// Knows who calls by these tokens, and nobody else. It says this of itself to them.
    pub(crate) async fn knowing(callers: Vec<(&'static str, Identity)>, tokens: Vec<Token>) -> Self {
        Self::start(Self::known(callers, tokens)).await
    }

    /// The same over TLS, as it is configured.
    pub(crate) async fn knowing_over(
        configuration: Arc<ServerConfig>,
        callers: Vec<(&'static str, Identity)>,
    ) -> Self {
        let state = Self::known(callers, Vec::new());
        Self::start_over(Arc::new(Held::port()), state, Some(configuration)).await
    }

    fn known(callers: Vec<(&'static str, Identity)>, tokens: Vec<Token>) -> State {
        let status = Some(GetStatusResponse::default());
        State { callers, tokens, status, services: Some(Vec::new()), ..State::default() }
    }

    /// Takes this folder away as soon as a token is made.
    pub(crate) fn takes_away(&self, folder: &Path) {
        self.state.lock().lost = Some(folder.to_owned());
    }

    /// What was asked about tokens.
    pub(crate) fn token_calls(&self) -> Vec<String> {
        self.state.lock().token_calls.clone()
    }

    /// Whose changes of health, or explanations, were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }

    /// Answers each `WatchFleet` by the next of these scripts.
    pub(crate) async fn watched(watches: Vec<Watch>) -> Self {
        Self::start(State { watches, ..State::default() }).await
    }

    /// Another one at the same address, after this one died with all its connections.
    pub(crate) async fn reborn(self, watches: Vec<Watch>) -> Self {
        let held = Arc::clone(&self.held);
        drop(self);
        Self::start_at(held, State { watches, ..State::default() }).await
    }

    /// Where each `WatchFleet` asked to go on from.
    pub(crate) fn cursors(&self) -> Vec<Option<WatchCursor>> {
        self.state.lock().cursors.clone()
    }

    /// What was removed, and why.
    pub(crate) fn removed(&self) -> Vec<String> {
        self.state.lock().removed.clone()
    }

    async fn start(state: State) -> Self {
        Self::start_at(Arc::new(Held::port()), state).await
    }

    async fn start_at(held: Arc<Held>, state: State) -> Self {
        Self::start_over(held, state, None).await
    }

    async fn start_over(held: Arc<Held>, state: State, tls: Option<Arc<ServerConfig>>) -> Self {
        // A peer that died closes its sockets a little later.
        let listener = loop {
            match std::net::TcpListener::bind(held.address) {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        listener.set_nonblocking(true).unwrap();
        let url = format!("{}://{}", if tls.is_some() { "https" } else { "http" }, held.address);
        let state = Arc::new(Mutex::new(state));
        let fleet = FleetServiceServer::new(Script(Arc::clone(&state)));
        let health = HealthServiceServer::new(Script(Arc::clone(&state)));
        let system = SystemServiceServer::new(Script(Arc::clone(&state)));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let server = Server::builder().add_service(fleet).add_service(health).add_service(system);
            match tls {
                None => server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap(),
                Some(configuration) => {
                    let (_held, newest) = watch::channel(configuration);
                    server.serve_with_incoming(encrypted::over(newest)(listener)).await.unwrap();
                }
            }
        });
        Self { url, held, state, runtime: Some(runtime) }
    }
}

struct Script(Arc<Mutex<State>>);

fn refuse<T>(code: Code, reason: &str, message: &str, field: Option<&str>) -> Answer<T> {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "seaworthy.dev", std::collections::HashMap::new());
    if let Some(field) = field {
        details.add_bad_request_violation(field, message.trim_start_matches(field).trim_start_matches(": "));
    }
    Err(Status::with_error_details(code, message, details))
}

/// Who a request proves itself by.
fn bearer<T>(request: &Request<T>) -> Option<String> {
    let shown = request.metadata().get("authorization")?.to_str().ok()?;
    Some(shown.strip_prefix("Bearer ").unwrap_or(shown).to_owned())
}

impl State {
    fn caller<T>(&self, request: &Request<T>) -> Result<Identity, Status> {
        let local = || Identity { name: "local".to_owned(), ..Identity::default() };
        let shown = bearer(request);
        let known = self.callers.iter().find(|(token, _)| Some(*token) == shown.as_deref());
        match known {
            Some((_, identity)) => Ok(identity.clone()),
            None if self.callers.is_empty() => Ok(local()),
            None => Err(refusal(
                Code::Unauthenticated,
                "UNAUTHENTICATED",
                "a client certificate or a token that counts is needed",
                &[],
            )),
        }
    }

    /// Whether the caller may do what admins do.
    fn admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match self.caller(request)?.role() {
            Role::Admin | Role::Unspecified => Ok(()),
            _ => Err(refusal(
                Code::PermissionDenied,
                "PERMISSION_DENIED",
                "that is for admins",
                &[("needs", "admin")],
            )),
        }
    }
}

fn refusal(code: Code, reason: &str, message: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata: std::collections::HashMap<_, _> = metadata.collect();
    let details = ErrorDetails::with_error_info(reason, "seaworthy.dev", metadata);
    Status::with_error_details(code, message, details)
}

fn unscripted<T>() -> Answer<T> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl FleetService for Script {
    type AttachStream = Messages<AttachResponse>;
    type WatchFleetStream = Messages<Encoded>;

    async fn get_instance(&self, request: Request<GetInstanceRequest>) -> Answer<GetInstanceResponse> {
        let GetInstanceRequest { service, instance_id } = request.into_inner();
        let state = self.0.lock();
        let found = state
            .instances
            .iter()
            .find(|it| it.registration.as_ref().is_some_and(|it| it.instance_id == instance_id));
        match found {
            Some(found) => Ok(Response::new(GetInstanceResponse { instance: Some(found.clone()) })),
            None => {
                let message = format!("nothing is registered as {service}/{instance_id}");
                refuse(Code::NotFound, "INSTANCE_NOT_FOUND", &message, None)
            }
        }
    }

    async fn list_instances(&self, request: Request<ListInstancesRequest>) -> Answer<ListInstancesResponse> {
        let ListInstancesRequest { page_size, page_token, .. } = request.into_inner();
        let (size, from) = (usize::try_from(page_size).unwrap(), page_token.parse().unwrap_or(0));
        let state = self.0.lock();
        let instances: Vec<_> = state.instances.iter().skip(from).take(size).cloned().collect();
        let next = from + instances.len();
        let next_page_token = if next < state.instances.len() { next.to_string() } else { String::new() };
        Ok(Response::new(ListInstancesResponse { instances, next_page_token, removed: Vec::new() }))
    }

    async fn remove_instance(
        &self,
        request: Request<RemoveInstanceRequest>,
    ) -> Answer<RemoveInstanceResponse> {
        let RemoveInstanceRequest { service, instance_id, incarnation, message, .. } = request.into_inner();
        let removed = format!("{service}/{instance_id} incarnation {incarnation}: {message}");
        self.0.lock().removed.push(removed);
        Ok(Response::new(RemoveInstanceResponse::default()))
    }

    async fn watch_fleet(&self, request: Request<WatchFleetRequest>) -> Answer<Self::WatchFleetStream> {
        let mut state = self.0.lock();
        state.cursors.push(request.into_inner().resume_after);
        if state.watches.is_empty() {
            return Err(Status::unavailable("no further script"));
        }
        let Watch { mut messages, hold } = state.watches.remove(0);
        if let ([Err(_)], false) = (messages.as_slice(), hold) {
            return Err(messages.remove(0).unwrap_err());
        }
        let encoded =
            |answer: Result<WatchFleetResponse, Status>| answer.map(|message| Encoded::of(&message));
        let messages = tokio_stream::iter(messages).map(encoded);
        Ok(Response::new(if hold {
            Box::pin(messages.chain(tokio_stream::pending()))
        } else {
            Box::pin(messages)
        }))
    }

    async fn get_service(&self, _: Request<GetServiceRequest>) -> Answer<GetServiceResponse> {
        refuse(Code::NotFound, "SERVICE_NOT_FOUND", "there is no such service", None)
    }

    async fn put_service(&self, _: Request<PutServiceRequest>) -> Answer<PutServiceResponse> {
        let field = "spec.depends_on[0]";
        let message = format!("{field}: is the service itself");
        refuse(Code::InvalidArgument, "INVALID_FIELD", &message, Some(field))
    }

    async fn register(&self, _: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        unscripted()
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        unscripted()
    }

    async fn deregister(&self, _: Request<DeregisterRequest>) -> Answer<DeregisterResponse> {
        unscripted()
    }

    async fn attach(&self, _: Request<Streaming<AttachRequest>>) -> Answer<Self::AttachStream> {
        unscripted()
    }

    async fn list_services(&self, _: Request<ListServicesRequest>) -> Answer<ListServicesResponse> {
        let sick = Service {
            name: "orders".to_owned(),
            health: HealthState::Unhealthy.into(),
            ..Service::default()
        };
        let state = self.0.lock();
        let services = state.services.clone().unwrap_or_else(|| vec![sick]);
        Ok(Response::new(ListServicesResponse { services, next_page_token: state.endless.clone() }))
    }

    async fn delete_service(&self, _: Request<DeleteServiceRequest>) -> Answer<DeleteServiceResponse> {
        unscripted()
    }
}

#[tonic::async_trait]
impl HealthService for Script {
    type WatchHealthStream = Messages<Encoded>;

    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Answer<ListTransitionsResponse> {
        let ListTransitionsRequest {
            service,
            instance_id,
            page_size,
            page_token,
            component,
            start_time,
            end_time: _,
        } = request.into_inner();
        let (size, from) = (usize::try_from(page_size).unwrap(), page_token.parse().unwrap_or(0));
        let mut state = self.0.lock();
        let ago = start_time.and_then(|start| SystemTime::now().duration_since(start.try_into().ok()?).ok());
        let since = ago.map(|ago| format!(" since {}h", ago.as_secs() / 3600)).unwrap_or_default();
        state.asked.push(format!("{service}/{instance_id}/{component}{since}"));
        let transitions: Vec<_> = state.transitions.iter().skip(from).take(size).cloned().collect();
        let next = from + transitions.len();
        let next_page_token = if next < state.transitions.len() { next.to_string() } else { String::new() };
        Ok(Response::new(ListTransitionsResponse { transitions, next_page_token }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<ExplainResponse> {
        let mut state = self.0.lock();
        let ExplainRequest { service, instance_id, component } = request.into_inner();
        state.asked.push(format!("{service}/{instance_id}/{component}"));
        match state.explained.clone() {
            Some(explained) => Ok(Response::new(explained)),
            None => refuse(Code::NotFound, "SERVICE_NOT_FOUND", "service orders is not known", None),
        }
    }

    async fn report_health(&self, _: Request<ReportHealthRequest>) -> Answer<ReportHealthResponse> {
        unscripted()
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Answer<GetHealthResponse> {
        let health = Health { state: HealthState::Unhealthy.into(), ..Health::default() };
        Ok(Response::new(GetHealthResponse { health: Some(health) }))
    }

    async fn check_now(&self, request: Request<CheckNowRequest>) -> Answer<CheckNowResponse> {
        let CheckNowRequest { service, instance_id, component } = request.into_inner();
        let mut state = self.0.lock();
        state.asked.push(format!("{service}/{instance_id}/{component}"));
        let found = state.instances.iter().find(|it| {
            it.registration.as_ref().is_some_and(|it| it.service == service && it.instance_id == instance_id)
        });
        match found {
            Some(found) => Ok(Response::new(CheckNowResponse { components: found.components.clone() })),
            None => refuse(Code::FailedPrecondition, "NO_ACTIVE_CHECK", "it has no active check", None),
        }
    }

    async fn watch_health(&self, _: Request<WatchHealthRequest>) -> Answer<Self::WatchHealthStream> {
        unscripted()
    }
}

#[tonic::async_trait]
impl SystemService for Script {
    async fn get_readiness(&self, _: Request<GetReadinessRequest>) -> Answer<GetReadinessResponse> {
        let report =
            GetReadinessResponse { outcome: CheckOutcome::Fail.into(), ..GetReadinessResponse::default() };
        Ok(Response::new(report))
    }

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        self.0.lock().caller(&request)?;
        self.0.lock().status.clone().map_or_else(unscripted, |status| Ok(Response::new(status)))
    }

    async fn get_config(&self, _: Request<GetConfigRequest>) -> Answer<GetConfigResponse> {
        unscripted()
    }

    async fn set_log_level(&self, _: Request<SetLogLevelRequest>) -> Answer<SetLogLevelResponse> {
        unscripted()
    }

    async fn get_identity(&self, request: Request<GetIdentityRequest>) -> Answer<GetIdentityResponse> {
        let identity = self.0.lock().caller(&request)?;
        Ok(Response::new(GetIdentityResponse { identity: Some(identity) }))
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        let mut state = self.0.lock();
        state.admin(&request)?;
        let CreateTokenRequest { name, role, service, lifetime } = request.into_inner();
        let days = lifetime.map_or(90, |lifetime| lifetime.seconds / 86_400);
        state.token_calls.push(format!("create {name} {role} {service} {days}d"));
        let expire_time = Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 });
        let token_id = "tok-0123456789abcdef".to_owned();
        let token = Token { token_id, name, role, service, expire_time, ..Token::default() };
        if let Some(folder) = &state.lost {
            std::fs::remove_dir_all(folder).unwrap();
            state.tokens.push(token.clone());
        }
        Ok(Response::new(CreateTokenResponse { token: Some(token), secret: "swt_made-just-now".to_owned() }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        let state = self.0.lock();
        state.admin(&request)?;
        let ended = request.get_ref().show_ended;
        let tokens = state.tokens.iter().filter(|token| ended || token.revoke_time.is_none()).cloned();
        // Pages of one, so that following them is seen.
        let from: usize = request.get_ref().page_token.parse().unwrap_or(0);
        let all: Vec<Token> = tokens.collect();
        let next_page_token = if from + 1 < all.len() { (from + 1).to_string() } else { String::new() };
        let tokens = all.into_iter().skip(from).take(1).collect();
        Ok(Response::new(ListTokensResponse { tokens, next_page_token }))
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        let mut state = self.0.lock();
        state.admin(&request)?;
        let RevokeTokenRequest { token_id, allow_missing: _ } = request.into_inner();
        state.token_calls.push(format!("revoke {token_id}"));
        match state.tokens.iter().find(|token| token.token_id == token_id) {
            Some(token) => Ok(Response::new(RevokeTokenResponse { token: Some(token.clone()) })),
            None => refuse(Code::NotFound, "TOKEN_NOT_FOUND", &format!("no token is {token_id}"), None),
        }
    }

    async fn list_audit_entries(
        &self,
        _: Request<ListAuditEntriesRequest>,
    ) -> Answer<ListAuditEntriesResponse> {
        unscripted()
    }
}
