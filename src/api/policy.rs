//! `seaworthy.v1.PolicyService`.

mod breakers;
mod explain;
mod flags;
mod place;
mod policies;
mod quota;
mod reports;
mod usage;
mod watch;

pub(super) use self::watch::changes;

use std::pin::Pin;

use futures_core::Stream;
use seaworthy_client::protect::Rules;
use tonic::{Request, Response, Status};

use super::{
    audited::Audited,
    caller::caller,
    proto::{server::policy_service_server::PolicyService, v1 as pb},
    status::answer,
    watch::Watchers,
};
use crate::{fleet, policy::Handle};

/// The adapter.
#[derive(Clone, Debug)]
pub struct PolicyApi {
    policies: Handle,
    rules: Rules,
    fleet: fleet::Handle,
    audited: Audited,
    watchers: Watchers,
}

impl PolicyApi {
    /// Serves what is ruled, and writes down who changes it. `rules`: what protects the control plane itself; `fleet`: who
    /// the instances are that report and ask for slices.
    pub fn new(
        policies: Handle,
        rules: Rules,
        fleet: fleet::Handle,
        audited: Audited,
        watchers: Watchers,
    ) -> Self {
        Self { policies, rules, fleet, audited, watchers }
    }
}

#[tonic::async_trait]
impl PolicyService for PolicyApi {
    type WatchPoliciesStream = Pin<Box<dyn Stream<Item = Result<pb::WatchPoliciesResponse, Status>> + Send>>;

    async fn put_policy(
        &self,
        request: Request<pb::PutPolicyRequest>,
    ) -> Result<Response<pb::PutPolicyResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.put(&call, wire).await)
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(caller(&extensions).and_then(|caller| self.get(&caller.identity, wire)))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(caller(&extensions).and_then(|caller| self.list(&caller.identity, wire)))
    }

    async fn delete_policy(
        &self,
        request: Request<pb::DeletePolicyRequest>,
    ) -> Result<Response<pb::DeletePolicyResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.delete(&call, wire).await)
    }

    async fn watch_policies(
        &self,
        request: Request<pb::WatchPoliciesRequest>,
    ) -> Result<Response<Self::WatchPoliciesStream>, Status> {
        let (_, extensions, pb::WatchPoliciesRequest {}) = request.into_parts();
        let watch = caller(&extensions)
            .map(|caller| watch::follow(self.policies.clone(), self.watchers.enter(), &caller.connection));
        answer(watch.map(|stream| Box::pin(stream) as Self::WatchPoliciesStream))
    }

    async fn explain_policy(
        &self,
        request: Request<pb::ExplainPolicyRequest>,
    ) -> Result<Response<pb::ExplainPolicyResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(caller(&extensions).and_then(|caller| self.explain(&caller.identity, wire)))
    }

    async fn get_breakers(
        &self,
        request: Request<pb::GetBreakersRequest>,
    ) -> Result<Response<pb::GetBreakersResponse>, Status> {
        answer(self.breakers(request).await)
    }

    async fn override_breaker(
        &self,
        request: Request<pb::OverrideBreakerRequest>,
    ) -> Result<Response<pb::OverrideBreakerResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.override_breakers(&call, wire).await)
    }

    async fn acquire_quota(
        &self,
        request: Request<pb::AcquireQuotaRequest>,
    ) -> Result<Response<pb::AcquireQuotaResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(caller(&extensions).and_then(|caller| self.acquire(caller, wire)))
    }

    async fn get_usage(
        &self,
        request: Request<pb::GetUsageRequest>,
    ) -> Result<Response<pb::GetUsageResponse>, Status> {
        answer(self.usage(request).await)
    }

    async fn put_flag(
        &self,
        request: Request<pb::PutFlagRequest>,
    ) -> Result<Response<pb::PutFlagResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.put_one_flag(&call, wire).await)
    }

    async fn get_flag(
        &self,
        request: Request<pb::GetFlagRequest>,
    ) -> Result<Response<pb::GetFlagResponse>, Status> {
        answer(self.get_one_flag(request.into_inner()))
    }

    async fn list_flags(
        &self,
        request: Request<pb::ListFlagsRequest>,
    ) -> Result<Response<pb::ListFlagsResponse>, Status> {
        answer(self.list_all_flags(request.into_inner()))
    }

    async fn delete_flag(
        &self,
        request: Request<pb::DeleteFlagRequest>,
    ) -> Result<Response<pb::DeleteFlagResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.delete_one_flag(&call, wire).await)
    }
}
