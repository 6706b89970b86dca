//! `seaworthy.v1.RestoreService`.

use std::{pin::Pin, sync::Arc};

use futures_core::Stream;
use futures_util::stream::unfold;
use tonic::{Request, Response, Status};

use super::{
    audited::{self, Audited, AuditedCall},
    caller::caller,
    convert::{backup as convert, operation as convert_operation},
    parse::{Fields, backup as read},
    proto::{server::restore_service_server::RestoreService, v1 as pb},
    reach,
    status::answer,
    watch::leaving,
};
use crate::{
    backup::Subject,
    error::{Error, Result},
    fleet::names::InstanceKey,
    guard::{
        bounds::DATA,
        caller::Caller,
        goodbye::Goodbye,
        status::status,
        transfers::{Budget, InWork, Transfers},
    },
    identity::Identity,
    operation::Operation,
    restore::{Download, Handle, Start, Wish},
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct RestoreApi {
    restores: Handle,
    transfers: Transfers,
    audited: Audited,
}

impl RestoreApi {
    /// Serves restores, and writes down who starts them, with the guards that were forced.
    pub fn new(restores: Handle, transfers: Transfers, audited: Audited) -> Self {
        Self { restores, transfers, audited }
    }

    async fn plan(
        &self,
        identity: &Identity,
        wire: pb::PlanRestoreRequest,
    ) -> Result<pb::PlanRestoreResponse> {
        let pb::PlanRestoreRequest { service, backup_id, components, target_service, target_instance_id } =
            wire;
        let mut fields = Fields::default();
        let wish = read::restore(
            &mut fields,
            &service,
            &backup_id,
            components,
            &target_service,
            &target_instance_id,
        );
        let wish = fields.finish(wish)?;
        restores(identity, &wish)?;
        Ok(convert::plan(&self.restores.plan(&wish).await?))
    }

    async fn start(
        &self,
        call: &AuditedCall,
        wire: pb::StartRestoreRequest,
    ) -> Result<pb::StartRestoreResponse> {
        let pb::StartRestoreRequest {
            service,
            backup_id,
            components,
            target_service,
            target_instance_id,
            force,
            verify,
            safety_backup,
            request_id,
        } = wire;
        let mut fields = Fields::default();
        let wish = read::restore(
            &mut fields,
            &service,
            &backup_id,
            components,
            &target_service,
            &target_instance_id,
        );
        let force = read::force(&mut fields, &force);
        let request_id = read::request_id(&mut fields, request_id);
        let wish = fields.finish(wish)?;
        let object = target(&wish);
        call.permitted(&object, restores(call.identity(), &wish))?;
        let by = call.identity().principal.to_string();
        let forced = force.iter().map(|guard| guard.as_str()).collect::<Vec<_>>().join(", ");
        let source = wish.subject.as_str().to_owned();
        let start = Start { wish, force, verify, safety_backup, by, request_id };
        let restores = self.restores.clone();
        let change = async move { restores.start(start).await };
        let done = move |begun: &Arc<Operation>| {
            let backup = begun.backup_id.map(|id| id.to_string()).unwrap_or_default();
            let forced = if forced.is_empty() { forced } else { format!(", forced: {forced}") };
            format!("begun as {}, of backup {backup} of {source}{forced}", begun.id)
        };
        let begun = call.change(object, change, done).await?;
        Ok(pb::StartRestoreResponse { operation: Some(convert_operation::operation(&begun)) })
    }

    fn open(
        &self,
        caller: &Caller,
        wire: pb::DownloadRequest,
    ) -> Result<impl Stream<Item = Result<pb::DownloadResponse, Status>> + Send + use<>> {
        let pb::DownloadRequest { ticket, instance, offset, digest_algorithm } = wire;
        let mut fields = Fields::default();
        let by = read::transfer(&mut fields, "instance", instance);
        let digest = read::digest(&mut fields, "digest_algorithm", digest_algorithm);
        let by = fields.finish(by)?;
        reach::acts_for(&caller.identity, by.key.service.as_str())?;
        let download = self.restores.download(&ticket, &by, offset, digest)?;
        let closing = Goodbye::of(caller.connection.closing.clone());
        let open = Open { download, budget: self.transfers.of(caller), closing, in_work: None };
        Ok(unfold(Some(open), |open| async { Some(open?.next().await) }))
    }
}

/// A download that is open.
struct Open {
    download: Download,
    budget: Budget,
    closing: Goodbye,
    /// The piece before: in work until the next one is asked for.
    in_work: Option<InWork>,
}

impl Open {
    /// The next piece, and what comes after it.
    async fn next(mut self) -> (Result<pb::DownloadResponse, Status>, Option<Self>) {
        use pb::download_response::Message;
        // It has been taken.
        drop(self.in_work.take());
        let piece = async {
            let in_work = self.budget.take(DATA).await?;
            Ok::<_, Error>((self.download.next().await?, in_work))
        };
        let piece = tokio::select! {
            biased;
            _ = self.closing.heard() => return (Err(leaving()), None),
            piece = piece => piece,
        };
        let response = |message| Ok(pb::DownloadResponse { message: Some(message) });
        match piece {
            Ok((Some((offset, data)), in_work)) => {
                let open = Self { in_work: Some(in_work), ..self };
                (response(Message::Data(pb::DownloadData { offset, data })), Some(open))
            }
            Ok((None, _)) => {
                let (length, digest) = self.download.finish();
                (response(Message::Finish(pb::DownloadFinish { length, digest })), None)
            }
            Err(error) => (Err(status(&error)), None),
        }
    }
}

/// What is overwritten, as far as the request names it.
fn target(wish: &Wish) -> String {
    let service = match (&wish.target_service, &wish.subject) {
        (Some(service), _) | (None, Subject::Service(service)) => service.clone(),
        (None, Subject::OwnState) => return audited::backups(&wish.subject),
    };
    match wish.target_instance.clone() {
        Some(id) => audited::instance(&InstanceKey { service, id }),
        None => audited::service(&service),
    }
}

/// Whether somebody may restore: of the backup's service, and into the target's.
fn restores(identity: &Identity, wish: &Wish) -> Result<()> {
    reach::changes_backups(identity, &wish.subject)?;
    match &wish.target_service {
        Some(target) => reach::changes_backups(identity, &Subject::Service(target.clone())),
        None => Ok(()),
    }
}

#[tonic::async_trait]
impl RestoreService for RestoreApi {
    type DownloadStream = Pin<Box<dyn Stream<Item = Result<pb::DownloadResponse, Status>> + Send>>;

    async fn plan_restore(
        &self,
        request: Request<pb::PlanRestoreRequest>,
    ) -> Result<Response<pb::PlanRestoreResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let planned = async { self.plan(&caller(&extensions)?.identity, wire).await };
        answer(planned.await)
    }

    async fn start_restore(
        &self,
        request: Request<pb::StartRestoreRequest>,
    ) -> Result<Response<pb::StartRestoreResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.start(&call, wire).await)
    }

    async fn download(
        &self,
        request: Request<pb::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let opened = caller(&extensions).and_then(|caller| self.open(caller, wire));
        answer(opened.map(|stream| Box::pin(stream) as Self::DownloadStream))
    }
}
