//! `seaworthy.v1.SystemService`.

use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    caller::caller,
    convert::system as convert,
    overview::Overview,
    proto::{server::system_service_server::SystemService, v1 as pb},
    status::answer,
    tokens::TokensApi,
};
use crate::error::Result;

/// The adapter.
#[derive(Clone, Debug)]
pub struct SystemApi {
    overview: Overview,
    tokens: TokensApi,
}

impl SystemApi {
    /// Tells how this control plane is, and who may do what.
    pub fn new(overview: Overview) -> Self {
        let tokens = TokensApi::new(overview.guard.authenticator.clone());
        Self { overview, tokens }
    }

    fn config(&self) -> pb::GetConfigResponse {
        let entry = |entry: crate::config::Entry| pb::ConfigEntry {
            key: entry.key.to_owned(),
            value: entry.value,
            origin: entry.origin.to_string(),
        };
        pb::GetConfigResponse { entries: self.overview.config().entries().into_iter().map(entry).collect() }
    }

    fn set_level(&self, wire: pb::SetLogLevelRequest) -> Result<pb::SetLogLevelResponse> {
        let pb::SetLogLevelRequest { log_level } = wire;
        let previous = self.overview.log.set_level(&log_level)?;
        info!(component = "system", operation = "log level", previous, log_level, "log level changed");
        Ok(pb::SetLogLevelResponse { previous_log_level: previous })
    }
}

#[tonic::async_trait]
impl SystemService for SystemApi {
    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let pb::GetStatusRequest {} = request.into_inner();
        Ok(Response::new(convert::status(self.overview.status(), self.overview.files())))
    }

    async fn get_readiness(
        &self,
        request: Request<pb::GetReadinessRequest>,
    ) -> Result<Response<pb::GetReadinessResponse>, Status> {
        let pb::GetReadinessRequest {} = request.into_inner();
        Ok(Response::new(convert::readiness(self.overview.readiness().await, self.overview.fleet.wall())))
    }

    async fn get_config(
        &self,
        request: Request<pb::GetConfigRequest>,
    ) -> Result<Response<pb::GetConfigResponse>, Status> {
        let pb::GetConfigRequest {} = request.into_inner();
        Ok(Response::new(self.config()))
    }

    async fn set_log_level(
        &self,
        request: Request<pb::SetLogLevelRequest>,
    ) -> Result<Response<pb::SetLogLevelResponse>, Status> {
        answer(self.set_level(request.into_inner()))
    }

    async fn get_identity(
        &self,
        request: Request<pb::GetIdentityRequest>,
    ) -> Result<Response<pb::GetIdentityResponse>, Status> {
        let (_, extensions, pb::GetIdentityRequest {}) = request.into_parts();
        answer(caller(&extensions).map(|caller| TokensApi::identity(&caller.identity)))
    }

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let made = async { self.tokens.create(&caller(&extensions)?.identity, wire).await };
        answer(made.await)
    }

    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        answer(self.tokens.list(request.into_inner()))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        answer(self.tokens.revoke(request.into_inner()).await)
    }

    async fn list_audit_entries(
        &self,
        _: Request<pb::ListAuditEntriesRequest>,
    ) -> Result<Response<pb::ListAuditEntriesResponse>, Status> {
        Err(Status::unimplemented("FOUNDATION"))
    }
}
