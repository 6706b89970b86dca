//! `seaworthy.v1.SystemService`.

use tonic::{Request, Response, Status};
use tracing::info;

use super::{
    audit,
    audited::{Audited, AuditedCall, LOG_LEVEL},
    caller::caller,
    convert::system as convert,
    overview::Overview,
    proto::{server::system_service_server::SystemService, v1 as pb},
    status::answer,
    tokens::TokensApi,
};
use crate::{
    config,
    error::{Error, Result},
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct SystemApi {
    overview: Overview,
    tokens: TokensApi,
    audited: Audited,
}

impl SystemApi {
    /// Tells how this control plane is, and who may do what, and writes down who changes that.
    pub fn new(overview: Overview, audited: Audited) -> Self {
        let tokens = TokensApi::new(overview.guard.authenticator.clone());
        Self { overview, tokens, audited }
    }

    fn config(&self) -> pb::GetConfigResponse {
        let entry = |entry: config::Entry| pb::ConfigEntry {
            key: entry.key.to_owned(),
            value: entry.value,
            origin: entry.origin.to_string(),
        };
        pb::GetConfigResponse { entries: self.overview.config().entries().into_iter().map(entry).collect() }
    }

    async fn set_level(
        &self,
        call: &AuditedCall,
        wire: pb::SetLogLevelRequest,
    ) -> Result<pb::SetLogLevelResponse> {
        let pb::SetLogLevelRequest { log_level } = wire;
        config::parse_filter(&log_level).map_err(|wrong| Error::field("log_level", wrong))?;
        let (log, level) = (self.overview.log.clone(), log_level.clone());
        let change = async move {
            let previous = log.set_level(&log_level)?;
            info!(component = "system", operation = "log level", previous, log_level, "log level changed");
            Ok(previous)
        };
        let done = move |previous: &String| format!("{level} (was {previous})");
        let previous = call.change(LOG_LEVEL.to_owned(), change, done).await?;
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
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.set_level(&call, wire).await)
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
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.tokens.create(&call, wire).await)
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
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.tokens.revoke(&call, wire).await)
    }

    async fn list_audit_entries(
        &self,
        request: Request<pb::ListAuditEntriesRequest>,
    ) -> Result<Response<pb::ListAuditEntriesResponse>, Status> {
        answer(audit::list(&self.overview.audit, request.into_inner()).await)
    }
}
