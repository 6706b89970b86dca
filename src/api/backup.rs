//! `seaworthy.v1.BackupService`.

mod upload;

use std::{pin::Pin, sync::Arc};

use futures_core::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    audited::{self, Audited, AuditedCall},
    caller::caller,
    convert::{backup as convert, operation as convert_operation},
    page,
    parse::{self, Fields, backup as read},
    proto::{server::backup_service_server::BackupService, v1 as pb},
    reach,
    status::answer,
};
use crate::{
    backup::{Create, Handle, Verify, Which},
    error::{Error, Result},
    guard::{status::status, transfers::Transfers},
    identity::Identity,
    operation::Operation,
    system::key_kept::KeyKept,
    time::Clock,
};

/// The adapter.
#[derive(Clone, Debug)]
pub struct BackupApi {
    backups: Handle,
    key_kept: KeyKept,
    transfers: Transfers,
    audited: Audited,
    clock: Clock,
}

impl BackupApi {
    /// Serves backups, and writes down who takes, verifies and deletes them.
    pub fn new(
        backups: Handle,
        key_kept: KeyKept,
        transfers: Transfers,
        audited: Audited,
        clock: Clock,
    ) -> Self {
        Self { backups, key_kept, transfers, audited, clock }
    }

    async fn create(
        &self,
        call: &AuditedCall,
        wire: pb::CreateBackupRequest,
    ) -> Result<pb::CreateBackupResponse> {
        let pb::CreateBackupRequest { service, components, instance_ids, request_id, max_quiesce } = wire;
        let mut fields = Fields::default();
        let subject = read::subject(&mut fields, "service", &service);
        let wish = read::wish(&mut fields, &components, &instance_ids);
        let request_id = read::request_id(&mut fields, request_id);
        let max_quiesce = read::max_quiesce(&mut fields, max_quiesce);
        let subject = fields.finish(subject)?;
        let object = audited::backups(&subject);
        call.permitted(&object, reach::changes_backups(call.identity(), &subject))?;
        let by = call.identity().principal.to_string();
        let backups = self.backups.clone();
        let change =
            async move { backups.create(Create { subject, wish, max_quiesce, by, request_id }).await };
        let begun = call.change(object, change, |begun| format!("begun as {}", begun.id)).await?;
        Ok(pb::CreateBackupResponse { operation: Some(convert_operation::operation(&begun)) })
    }

    async fn get(&self, identity: &Identity, wire: pb::GetBackupRequest) -> Result<pb::GetBackupResponse> {
        let pb::GetBackupRequest { service, id } = wire;
        let mut fields = Fields::default();
        let subject = read::subject(&mut fields, "service", &service);
        let which = read::which(&mut fields, "id", &id);
        let (subject, which) = fields.finish(subject.zip(which))?;
        reach::sees_backups(identity, &subject)?;
        let listed = self.backups.one(&subject, which).await?;
        Ok(pb::GetBackupResponse { backup: Some(convert::backup(&listed)) })
    }

    async fn list(
        &self,
        identity: &Identity,
        wire: pb::ListBackupsRequest,
    ) -> Result<pb::ListBackupsResponse> {
        let pb::ListBackupsRequest { service, show_deleted, page_size, page_token } = wire;
        let mut fields = Fields::default();
        let subject =
            (!service.is_empty()).then(|| read::subject(&mut fields, "service", &service)).flatten();
        let size = page::size(&mut fields, page_size);
        let before = page::after(&mut fields, &page_token);
        let before = before.and_then(|place| parse::place(&mut fields, &place));
        fields.check()?;
        subject.as_ref().map_or(Ok(()), |subject| reach::sees_backups(identity, subject))?;
        let scope = reach::seen(identity)?;
        let is_seen = |service: &str| reach::has_backups(scope, service);
        let (found, more) =
            self.backups.backups(subject.as_ref(), is_seen, show_deleted, before, size).await?;
        let (backups, cut) = page::fill(size, found.iter().map(convert::found));
        let last = backups.last().filter(|_| more || cut).map(|last| page::token(&last.id));
        Ok(pb::ListBackupsResponse { backups, next_page_token: last.unwrap_or_default() })
    }

    async fn verify(
        &self,
        call: &AuditedCall,
        wire: pb::VerifyBackupRequest,
    ) -> Result<pb::VerifyBackupResponse> {
        let pb::VerifyBackupRequest { service, id, depth, request_id } = wire;
        let mut fields = Fields::default();
        let subject = read::subject(&mut fields, "service", &service);
        let which = read::which(&mut fields, "id", &id);
        let depth = read::depth(&mut fields, depth);
        let request_id = read::request_id(&mut fields, request_id);
        let (subject, which) = fields.finish(subject.zip(which))?;
        let object = match which {
            Which::Id(id) => audited::backup(id),
            Which::Latest => audited::backups(&subject),
        };
        call.permitted(&object, reach::changes_backups(call.identity(), &subject))?;
        let by = call.identity().principal.to_string();
        let backups = self.backups.clone();
        let change = async move { backups.verify(Verify { subject, which, depth, by, request_id }).await };
        let done = |begun: &Arc<Operation>| format!("begun as {}{}", begun.id, of_backup(begun));
        let begun = call.change(object, change, done).await?;
        Ok(pb::VerifyBackupResponse { operation: Some(convert_operation::operation(&begun)) })
    }

    async fn delete(
        &self,
        call: &AuditedCall,
        wire: pb::DeleteBackupRequest,
    ) -> Result<pb::DeleteBackupResponse> {
        let pb::DeleteBackupRequest { service, id, confirm_id, message } = wire;
        let mut fields = Fields::default();
        let subject = read::subject(&mut fields, "service", &service);
        let backup = read::id(&mut fields, "id", &id);
        if confirm_id != id {
            fields.wrong(
                "confirm_id",
                "is not the id; give it twice, since what is deleted goes for good after its grace",
            );
        }
        let message = parse::message(&mut fields, "message", &message);
        let (subject, backup) = fields.finish(subject.zip(backup))?;
        let object = audited::backup(backup);
        call.permitted(&object, reach::changes_backups(call.identity(), &subject))?;
        let by = call.identity().principal.to_string();
        let backups = self.backups.clone();
        let change = async move { backups.delete(&subject, backup, &by, &message).await };
        let listed = call
            .change(object, change, |_| "deleted; until the grace is over it can come back".to_owned())
            .await?;
        Ok(pb::DeleteBackupResponse { backup: Some(convert::backup(&listed)) })
    }

    async fn undelete(
        &self,
        call: &AuditedCall,
        wire: pb::UndeleteBackupRequest,
    ) -> Result<pb::UndeleteBackupResponse> {
        let pb::UndeleteBackupRequest { service, id } = wire;
        let mut fields = Fields::default();
        let subject = read::subject(&mut fields, "service", &service);
        let backup = read::id(&mut fields, "id", &id);
        let (subject, backup) = fields.finish(subject.zip(backup))?;
        let object = audited::backup(backup);
        call.permitted(&object, reach::changes_backups(call.identity(), &subject))?;
        let by = call.identity().principal.to_string();
        let backups = self.backups.clone();
        let change = async move { backups.undelete(&subject, backup, &by).await };
        let listed = call.change(object, change, |_| "came back".to_owned()).await?;
        Ok(pb::UndeleteBackupResponse { backup: Some(convert::backup(&listed)) })
    }

    async fn confirm(
        &self,
        call: &AuditedCall,
        wire: pb::ConfirmKeyRequest,
    ) -> Result<pb::ConfirmKeyResponse> {
        let pb::ConfirmKeyRequest { key_id } = wire;
        let ours = self.backups.vault().key_id();
        if key_id != ours {
            let what = format!(
                "is {key_id:?}, and the key of the vault has the id {ours}: the copy that was looked at is another key"
            );
            return Err(Error::field("key_id", what));
        }
        let (kept, by, now) =
            (self.key_kept.clone(), call.identity().principal.to_string(), self.clock.now().wall);
        let change = async move { kept.confirm(&key_id, &by, now).await.map(|()| key_id) };
        let key_id = call
            .change(audited::KEY.to_owned(), change, |id| format!("key {id} is kept elsewhere too"))
            .await?;
        Ok(pb::ConfirmKeyResponse { key_id })
    }
}

/// `, of backup <id>`.
fn of_backup(begun: &Operation) -> String {
    begun.backup_id.map(|id| format!(", of backup {id}")).unwrap_or_default()
}

#[tonic::async_trait]
impl BackupService for BackupApi {
    type UploadStream = Pin<Box<dyn Stream<Item = Result<pb::UploadResponse, Status>> + Send>>;

    async fn create_backup(
        &self,
        request: Request<pb::CreateBackupRequest>,
    ) -> Result<Response<pb::CreateBackupResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.create(&call, wire).await)
    }

    async fn upload(
        &self,
        request: Request<Streaming<pb::UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (_, extensions, inbound) = request.into_parts();
        let caller = caller(&extensions).map_err(|error| status(&error))?;
        let stream = upload::open(&self.backups, &self.transfers, caller, inbound).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_backup(
        &self,
        request: Request<pb::GetBackupRequest>,
    ) -> Result<Response<pb::GetBackupResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let got = async { self.get(&caller(&extensions)?.identity, wire).await };
        answer(got.await)
    }

    async fn list_backups(
        &self,
        request: Request<pb::ListBackupsRequest>,
    ) -> Result<Response<pb::ListBackupsResponse>, Status> {
        let (_, extensions, wire) = request.into_parts();
        let listed = async { self.list(&caller(&extensions)?.identity, wire).await };
        answer(listed.await)
    }

    async fn verify_backup(
        &self,
        request: Request<pb::VerifyBackupRequest>,
    ) -> Result<Response<pb::VerifyBackupResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.verify(&call, wire).await)
    }

    async fn delete_backup(
        &self,
        request: Request<pb::DeleteBackupRequest>,
    ) -> Result<Response<pb::DeleteBackupResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.delete(&call, wire).await)
    }

    async fn undelete_backup(
        &self,
        request: Request<pb::UndeleteBackupRequest>,
    ) -> Result<Response<pb::UndeleteBackupResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.undelete(&call, wire).await)
    }

    async fn confirm_key(
        &self,
        request: Request<pb::ConfirmKeyRequest>,
    ) -> Result<Response<pb::ConfirmKeyResponse>, Status> {
        let (metadata, extensions, wire) = request.into_parts();
        let call = self.audited.call(&metadata, &extensions)?;
        call.answer(self.confirm(&call, wire).await)
    }
}
