//! The least that can take reports: each is decoded, and answered by the same instance, which is like those that
//! Seaworthy answers.

use std::pin::Pin;

use seaworthy::api::{codec::Encoded, proto::server::health_service_server::HealthService};
use seaworthy_client::proto::seaworthy::v1::{
    CheckNowRequest, CheckNowResponse, ComponentHealth, ExplainRequest, ExplainResponse, GetHealthRequest,
    GetHealthResponse, HealthState, Instance, ListTransitionsRequest, ListTransitionsResponse,
    ReportHealthRequest, ReportHealthResponse, WatchHealthRequest,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::fleet;

/// Takes reports and remembers nothing.
#[derive(Clone, Debug)]
pub(crate) struct Reporting(Instance);

impl Reporting {
    pub(crate) fn new() -> Self {
        let registration = fleet::ordinary(0).registration;
        let component = |report: seaworthy_client::proto::seaworthy::v1::ComponentReport| ComponentHealth {
            component: registration.as_ref().and_then(|it| {
                it.components.iter().find(|component| component.name == report.component).cloned()
            }),
            state: HealthState::Healthy.into(),
            details: report.details,
            average_response_time: report.response_time,
            ..ComponentHealth::default()
        };
        let components = fleet::reports(HealthState::Healthy).into_iter().map(component).collect();
        Self(Instance {
            registration: registration.clone(),
            incarnation: 1,
            health: HealthState::Healthy.into(),
            components,
            peer: "127.0.0.1:40000".to_owned(),
            ..Instance::default()
        })
    }
}

#[tonic::async_trait]
impl HealthService for Reporting {
    type WatchHealthStream = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

    async fn report_health(
        &self,
        request: Request<ReportHealthRequest>,
    ) -> Result<Response<ReportHealthResponse>, Status> {
        match request.into_inner().reports.is_empty() {
            true => Err(Status::invalid_argument("there are no reports")),
            false => Ok(Response::new(ReportHealthResponse { instance: Some(self.0.clone()) })),
        }
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<GetHealthResponse>, Status> {
        Err(Status::unimplemented("it takes reports alone"))
    }

    async fn watch_health(
        &self,
        _: Request<WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        Err(Status::unimplemented("it takes reports alone"))
    }

    async fn list_transitions(
        &self,
        _: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        Err(Status::unimplemented("it takes reports alone"))
    }

    async fn check_now(&self, _: Request<CheckNowRequest>) -> Result<Response<CheckNowResponse>, Status> {
        Err(Status::unimplemented("it takes reports alone"))
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("it takes reports alone"))
    }
}
