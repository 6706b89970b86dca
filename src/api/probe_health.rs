//! `grpc.health.v1.Health` where the control plane's own health is told and nothing else.

use tonic::{Request, Response, Status};

use super::{
    names::{HealthName, Target},
    proto::{
        grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse},
        health::health_server::Health,
    },
    standard_health::StandardHealth,
};

/// The adapter: it lets questions about the control plane through.
#[derive(Clone, Debug)]
pub struct ProbeHealth(pub StandardHealth);

/// Whether a name is the control plane's own.
fn own(service: &str) -> Result<(), Status> {
    match HealthName::parse(service) {
        Ok(HealthName { target: Target::ControlPlane, probe: _ }) => Ok(()),
        Ok(_) | Err(_) => Err(Status::not_found(
            "this port tells the control plane's own health alone: ask for the empty name, :liveness, :readiness \
             or :startup, or ask the gRPC port",
        )),
    }
}

#[tonic::async_trait]
impl Health for ProbeHealth {
    type WatchStream = <StandardHealth as Health>::WatchStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        own(&request.get_ref().service)?;
        self.0.check(request).await
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("this port lists nothing; ask the gRPC port"))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        own(&request.get_ref().service)?;
        self.0.watch(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_control_plane_alone_are_let_through() {
        for (name, through) in [
            ("", true),
            (":liveness", true),
            (":readiness", true),
            (":startup", true),
            (":other", false),
            ("orders", false),
            ("orders:liveness", false),
            ("orders/i-1", false),
        ] {
            assert_eq!(own(name).is_ok(), through, "{name:?}");
        }
    }
}
