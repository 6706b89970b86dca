//! The service's own `grpc.health.v1`, so that probes and gRPC clients ask the service and not the
//! control plane. The name `""` is the process: SERVING while work may be sent to it. Each component
//! has its name.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status};

use crate::{
    HealthState,
    health::{Health, Presence, board::Board},
    proto::grpc::health::v1::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
        health_server::{self, Health as HealthRpc},
    },
};

/// The health service of one process, to be added to a tonic server.
pub type HealthServer = health_server::HealthServer<HealthService>;

/// Answers `grpc.health.v1` from the health of this process.
#[derive(Clone, Debug)]
pub struct HealthService {
    board: Board,
}

pub(crate) fn server(board: Board) -> HealthServer {
    HealthServer::new(HealthService { board })
}

#[tonic::async_trait]
impl HealthRpc for HealthService {
    type WatchStream = Watching;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        match serving(&self.board.now(), &service) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found(format!("no component `{service}` here"))),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        // At most 64 components: below the 100 names that one answer may have.
        let health = self.board.now();
        let names = health.components().iter().map(|one| one.name()).chain([""]);
        let status = |name: &str| serving(&health, name).map(|status| (name.to_owned(), answer(status)));
        let statuses: HashMap<_, _> = names.filter_map(status).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watching>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        let changes = WatchStream::new(self.board.watch());
        Ok(Response::new(Watching { changes, name: service, last: None, over: false }))
    }
}

/// The status of one name, now and at every change of it. Ends once the agent has left, so that an open
/// watch does not hold up the shutdown of the server that carries it.
#[derive(Debug)]
pub struct Watching {
    changes: WatchStream<Health>,
    name: String,
    last: Option<ServingStatus>,
    over: bool,
}

impl Stream for Watching {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.over {
            let Some(health) = ready!(Pin::new(&mut self.changes).poll_next(cx)) else { break };
            self.over = health.presence() == Presence::Left;
            let status = serving(&health, &self.name).unwrap_or(ServingStatus::ServiceUnknown);
            if self.last != Some(status) {
                self.last = Some(status);
                return Poll::Ready(Some(Ok(answer(status))));
            }
        }
        Poll::Ready(None)
    }
}

/// `None`: no such name.
fn serving(health: &Health, name: &str) -> Option<ServingStatus> {
    let of_state = |state| match state {
        HealthState::Healthy | HealthState::Degraded => ServingStatus::Serving,
        HealthState::Unhealthy => ServingStatus::NotServing,
        HealthState::Unknown => ServingStatus::Unknown,
    };
    match name {
        "" if health.is_ready() => Some(ServingStatus::Serving),
        "" => Some(ServingStatus::NotServing),
        name => health.component(name).map(|one| of_state(one.state())),
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
