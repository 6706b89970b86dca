//! `seaworthy.v1.OperationService`.
//!
//! An operation that its caller may not see is answered as one that does not exist.

mod watch;

use std::{pin::Pin, sync::Arc};

use futures_core::Stream;
use tonic::{Request, Response, Status};

use super::{
    audited::{self, Audited, AuditedCall},
    caller::caller,
    convert::operation as convert,
    page,
    parse::{self, Fields},
    proto::{server::operation_service_server::OperationService, v1 as pb},
    reach,
    status::answer,
    watch::Watchers,
};
use crate::{
    error::Result,
    guard::caller::Caller,
    identity::Identity,
    operation::{Filter, Handle, Operation},
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct OperationApi {
    operations: Handle,
    audited: Audited,
    watchers: Watchers,
}

impl OperationApi {
    /// Serves operations, and writes down who cancels them.
    pub fn new(operations: Handle, audited: Audited, watchers: Watchers) -> Self {
        Self { operations, audited, watchers }
    }

    async fn get(
        &self,
        identity: &Identity,
        wire: pb::GetOperationRequest,
    ) -> Result<pb::GetOperationResponse> {
        let pb::GetOperationRequest { id } = wire;
        let mut fields = Fields::default();
        let id = parse::operation::id(&mut fields, &id);
        let found = self.operations.get(fields.finish(id)?).await?;
        reach::sees_operation(identity, &found)?;
        Ok(pb::GetOperationResponse { operation: Some(convert::operation(&found)) })
    }

    async fn list(
        &self,
        identity: &Identity,
        wire: pb::ListOperationsRequest,
    ) -> Result<pb::ListOperationsResponse> {
        let pb::ListOperationsRequest { service, kind, state, page_size, page_token } = wire;
        let mut fields = Fields::default();
        let service =
            (!service.is_empty()).then(|| parse::backup::subject(&mut fields, "service", &service)).flatten();
        let kind = parse::operation::kind(&mut fields, kind);
        let state = parse::operation::state(&mut fields, state);
        let size = page::size(&mut fields, page_size);
        let before = page::after(&mut fields, &page_token);
        let before = before.and_then(|place| parse::place(&mut fields, &place));
        fields.check()?;
        service.as_ref().map_or(Ok(()), |service| reach::sees_backups(identity, service))?;
        let scope = reach::seen(identity)?;
        let filter = Filter { service: service.map(|subject| subject.as_str().to_owned()), kind, state };
        let is_seen = |service: &str| reach::has_operation(scope, service);
        let (found, more) = self.operations.list(&filter, is_seen, before, size).await;
        let (operations, cut) = page::fill(size, found.iter().map(|it| convert::operation(it)));
        let last = operations.last().filter(|_| more || cut).map(|last| page::token(&last.id));
        Ok(pb::ListOperationsResponse { operations, next_page_token: last.unwrap_or_default() })
    }

    async fn follow(
        &self,
        caller: &Caller,
        wire: pb::WatchOperationRequest,
    ) -> Result<impl Stream<Item = Result<pb::WatchOperationResponse, Status>> + Send + use<>> {
        let pb::WatchOperationRequest { id } = wire;
        let mut fields = Fields::default();
        let id = parse::operation::id(&mut fields, &id);
        let newest = self.operations.watch(fields.finish(id)?).await?;
        let found = Arc::clone(&newest.borrow());
        reach::sees_operation(&caller.identity, &found)?;
        Ok(watch::follow(newest, self.watchers.enter(), &caller.connection))
    }

    async fn cancel(
        &self,
        call: &AuditedCall,
        wire: pb::CancelOperationRequest,
    ) -> Result<pb::CancelOperationResponse> {
        let pb::CancelOperationRequest { id, message } = wire;
        let mut fields = Fields::default();
        let id = parse::operation::id(&mut fields, &id);
        let message = parse::message(&mut fields, "message", &message);
        let id = fields.finish(id)?;
        let found = self.operations.get(id).await?;
        let object = audited::operation(id);
        call.permitted(&object, reach::sees_operation(call.identity(), &found))?;
        let (operations, by) = (self.operations.clone(), call.identity().principal.to_string());
        let change = async move { operations.cancel(id, &by, &message).await };
        let done = |left: &Arc<Operation>| format!("operation is {}", left.state.as_str());
        let left = call.change(object, change, done).await?;
        Ok(pb::CancelOperationResponse { operation: Some(convert::operation(&left)) })
    }
}

#[tonic::async_trait]
impl OperationService for OperationApi {
    type WatchOperationStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchOperationResponse, Status>> + Send>>;

    async fn get_operation(
        &self,
        request: Request<pb::GetOperationRequest>,
    ) -> Result<Response<pb::GetOperationResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(async { self.get(&caller(&extensions)?.identity, wire).await }.await)
    }

    async fn list_operations(
        &self,
        request: Request<pb::ListOperationsRequest>,
    ) -> Result<Response<pb::ListOperationsResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        answer(async { self.list(&caller(&extensions)?.identity, wire).await }.await)
    }

    async fn watch_operation(
        &self,
        request: Request<pb::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let stream = async { self.follow(caller(&extensions)?, wire).await }.await;
        answer(stream.map(|stream| Box::pin(stream) as Self::WatchOperationStream))
    }

    async fn cancel_operation(
        &self,
        request: Request<pb::CancelOperationRequest>,
    ) -> Result<Response<pb::CancelOperationResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.cancel(&call, wire).await)
    }
}
