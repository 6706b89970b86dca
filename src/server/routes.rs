//! The way to each service of the gRPC side, by name and without a router's table.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{Status, body::Body, codec::CompressionEncoding};
use tower::{Service, util::BoxCloneSyncService};

use crate::{
    api::{
        backup::BackupApi,
        fleet::FleetApi,
        health::HealthApi,
        operation::OperationApi,
        policy::PolicyApi,
        probe_health::ProbeHealth,
        proto::{
            DESCRIPTORS,
            health::health_server::HealthServer,
            server::{
                backup_service_server::BackupServiceServer, fleet_service_server::FleetServiceServer,
                health_service_server::HealthServiceServer, operation_service_server::OperationServiceServer,
                policy_service_server::PolicyServiceServer, restore_service_server::RestoreServiceServer,
                system_service_server::SystemServiceServer,
            },
        },
        restore::RestoreApi,
        standard_health::StandardHealth,
        system::SystemApi,
    },
    error::{Error, Result},
    guard::{bounds::UPLOAD_MESSAGE, closing::Ending, drain::Gate, questions::Coming},
};

/// Bytes of a question to the reflection service: names of files, symbols and extensions.
const REFLECTION_REQUEST: usize = 16 * 1024;

pub(super) type BoxFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type BoxService = BoxCloneSyncService<Request<Inbound>, Response<Body>, Infallible>;
/// A request as the guard hands it on.
pub(super) type Inbound = Ending<Coming<Incoming>>;

/// The way to each service.
#[derive(Debug)]
pub(super) struct Routes {
    standard_health: HealthServer<StandardHealth>,
    reflection: BoxService,
    reflection_alpha: BoxService,
    /// What needs the fleet. Until then the gate lets nobody through to it.
    loaded: OnceLock<Loaded>,
    gate: Gate,
    largest: usize,
}

/// The way to the services that need the fleet.
#[derive(Debug)]
struct Loaded {
    backup: BackupServiceServer<BackupApi>,
    restore: RestoreServiceServer<RestoreApi>,
    fleet: FleetServiceServer<FleetApi>,
    health: HealthServiceServer<HealthApi>,
    operation: OperationServiceServer<OperationApi>,
    policy: PolicyServiceServer<PolicyApi>,
    system: SystemServiceServer<SystemApi>,
}

impl Routes {
    /// Serves what needs no fleet. `largest`: bytes of the largest message that is taken.
    ///
    /// What is asked may be packed, and what is answered is not: tonic holds an answer unpacked beside what it packed
    /// for as long as that waits to be read, where nobody counts it.
    ///
    /// # Errors
    /// The descriptors that were compiled in are damaged.
    pub(super) fn new(largest: usize, standard_health: StandardHealth, gate: Gate) -> Result<Self> {
        use CompressionEncoding::Gzip;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                // So that a client without stubs can read the details of an error.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                // Each version of reflection would list itself only.
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
                .include_reflection_service(false)
        };
        Ok(Self {
            standard_health: HealthServer::new(standard_health)
                .max_decoding_message_size(largest)
                .accept_compressed(Gzip),
            reflection: BoxCloneSyncService::new(
                reflection()
                    .build_v1()
                    .map_err(Error::internal)?
                    .max_decoding_message_size(REFLECTION_REQUEST),
            ),
            reflection_alpha: BoxCloneSyncService::new(
                reflection()
                    .build_v1alpha()
                    .map_err(Error::internal)?
                    .max_decoding_message_size(REFLECTION_REQUEST),
            ),
            loaded: OnceLock::new(),
            gate,
            largest,
        })
    }

    /// Serves what needs the fleet as well, from now on.
    #[allow(clippy::too_many_arguments)] // one for each service
    pub(super) fn open(
        &self,
        backup: BackupApi,
        restore: RestoreApi,
        fleet: FleetApi,
        health: HealthApi,
        operation: OperationApi,
        policy: PolicyApi,
        system: SystemApi,
    ) {
        use CompressionEncoding::Gzip;
        self.loaded.get_or_init(|| Loaded {
            backup: BackupServiceServer::new(backup)
                .max_decoding_message_size(UPLOAD_MESSAGE)
                .accept_compressed(Gzip),
            restore: RestoreServiceServer::new(restore)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            fleet: FleetServiceServer::new(fleet)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            health: HealthServiceServer::new(health)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            operation: OperationServiceServer::new(operation)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            policy: PolicyServiceServer::new(policy)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
            system: SystemServiceServer::new(system)
                .max_decoding_message_size(self.largest)
                .accept_compressed(Gzip),
        });
        self.gate.open();
    }

    fn call(&self, request: Request<Inbound>) -> BoxFuture {
        let service = request.uri().path().rsplit_once('/').map(|(service, _)| service);
        match (service, self.loaded.get()) {
            (Some("/grpc.health.v1.Health"), _) => self.standard_health.clone().call(request),
            (Some("/seaworthy.v1.BackupService"), Some(loaded)) => loaded.backup.clone().call(request),
            (Some("/seaworthy.v1.RestoreService"), Some(loaded)) => loaded.restore.clone().call(request),
            (Some("/seaworthy.v1.FleetService"), Some(loaded)) => loaded.fleet.clone().call(request),
            (Some("/seaworthy.v1.HealthService"), Some(loaded)) => loaded.health.clone().call(request),
            (Some("/seaworthy.v1.OperationService"), Some(loaded)) => loaded.operation.clone().call(request),
            (Some("/seaworthy.v1.PolicyService"), Some(loaded)) => loaded.policy.clone().call(request),
            (Some("/seaworthy.v1.SystemService"), Some(loaded)) => loaded.system.clone().call(request),
            (Some("/grpc.reflection.v1.ServerReflection"), _) => self.reflection.clone().call(request),
            (Some("/grpc.reflection.v1alpha.ServerReflection"), _) => {
                self.reflection_alpha.clone().call(request)
            }
            _ => unimplemented(&request, "see the reflection service"),
        }
    }
}

/// What the guard stands in front of. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Router(pub(super) Arc<Routes>);

impl Service<Request<Inbound>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> BoxFuture {
        self.0.call(request)
    }
}

/// The way to the control plane's own health, on the port that has nothing else. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ProbeRouter(HealthServer<ProbeHealth>);

impl ProbeRouter {
    /// `largest`: bytes of the largest message that is taken.
    pub(super) fn new(health: StandardHealth, largest: usize) -> Self {
        Self(
            HealthServer::new(ProbeHealth(health))
                .max_decoding_message_size(largest)
                .accept_compressed(CompressionEncoding::Gzip),
        )
    }
}

impl Service<Request<Inbound>> for ProbeRouter {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> BoxFuture {
        match request.uri().path().rsplit_once('/') {
            Some(("/grpc.health.v1.Health", _)) => self.0.clone().call(request),
            _ => unimplemented(&request, "this port tells the control plane's own health and nothing else"),
        }
    }
}

fn unimplemented(request: &Request<Inbound>, hint: &str) -> BoxFuture {
    let refusal = Status::unimplemented(format!("{} is not served here; {hint}", request.uri().path()));
    Box::pin(async move { Ok(refusal.into_http()) })
}
