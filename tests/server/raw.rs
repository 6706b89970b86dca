//! An instance that says everything by itself, for tests of what no client of ours would say.

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, attach_request::Message as Say, attach_response::Message as Hear,
    backup_service_client::BackupServiceClient, restore_service_client::RestoreServiceClient,
    upload_request::Message as Up, upload_response::Message as Down,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    backups::restore,
    harness::{PATIENCE, Registered, TestServer, registration, report},
    session::{Session, message},
};

/// An instance that says everything by itself.
pub(crate) struct Raw {
    session: Session,
    pub(crate) instance: pb::InstanceRef,
    token: String,
}

impl Raw {
    pub(crate) async fn attach(server: &TestServer) -> Self {
        Self::attach_with(server, |_| {}).await
    }

    /// The same, with another registration.
    pub(crate) async fn attach_with(server: &TestServer, change: impl FnOnce(&mut pb::Registration)) -> Self {
        let mut registration = registration("orders", "i-1");
        change(&mut registration);
        let capabilities = [pb::Capability::Backup, pb::Capability::Restore];
        registration.components[0].capabilities = capabilities.map(Into::into).to_vec();
        let register = pb::RegisterRequest { registration: Some(registration), ..Default::default() };
        let how = Some(pb::open_session::How::Register(register));
        let (session, opened) = open(server, how).await;
        let token = opened.session_token;
        let opened = opened.instance.unwrap();
        let instance = pb::InstanceRef {
            service: "orders".to_owned(),
            instance_id: "i-1".to_owned(),
            incarnation: opened.incarnation,
        };
        Self { session, instance, token }
    }

    /// Attaches again, as the same incarnation.
    pub(crate) async fn attach_again(&mut self, server: &TestServer) {
        let resume =
            pb::ResumeSession { instance: Some(self.instance.clone()), session_token: self.token.clone() };
        let (session, _) = open(server, Some(pb::open_session::How::Resume(resume))).await;
        self.session = session;
    }

    /// Says that something has begun.
    pub(crate) async fn started(&self, id: &str) {
        let state = pb::DirectiveState::Started.into();
        self.report(pb::DirectiveReport { directive_id: id.to_owned(), state, ..Default::default() }).await;
    }

    /// Says that something is done.
    pub(crate) async fn done(&self, id: &str) {
        let state = pb::DirectiveState::Done.into();
        self.report(pb::DirectiveReport { directive_id: id.to_owned(), state, ..Default::default() }).await;
    }

    /// Says that something has failed.
    pub(crate) async fn failed(&self, id: &str, message: &str) {
        let (directive_id, message, state) =
            (id.to_owned(), message.to_owned(), pb::DirectiveState::Failed.into());
        self.report(pb::DirectiveReport { directive_id, state, message, ..Default::default() }).await;
    }

    /// Says that its database works.
    pub(crate) async fn works(&self, server: &TestServer) {
        let who = Registered { instance: self.instance.clone(), token: self.token.clone() };
        report(&mut server.health().await, &who, pb::HealthState::Healthy, "").await.unwrap();
    }

    /// Answers to what it is asked about what it holds: that is unknown.
    pub(crate) async fn inspected(&mut self) {
        self.inspected_as(Vec::new()).await;
    }

    /// The same, by saying this.
    pub(crate) async fn inspected_as(&mut self, inspections: Vec<pb::Inspection>) {
        let asked = self.asked().await;
        assert!(matches!(asked.ask, Some(pb::directive::Ask::Inspect(_))), "{asked:?}");
        let state = pb::DirectiveState::Done.into();
        let report = pb::DirectiveReport { directive_id: asked.id, state, inspections, ..Default::default() };
        self.report(report).await;
    }

    /// Begins a restore, which asks it what it holds, twice.
    pub(crate) async fn restoring(
        &mut self,
        restores: &RestoreServiceClient<Channel>,
    ) -> Option<pb::Operation> {
        let mut starting = restores.clone();
        let started = tokio::spawn(async move { starting.start_restore(restore("orders", "", "")).await });
        self.inspected().await;
        let begun = started.await.unwrap().unwrap().into_inner().operation;
        // It is asked once more, right before it is overwritten.
        self.inspected().await;
        begun
    }

    /// Sends what its component has, and says that it is done.
    pub(crate) async fn captured(
        &self,
        backups: &mut BackupServiceClient<Channel>,
        asked: &pb::Directive,
        bytes: &[u8],
    ) {
        self.captured_as(backups, asked, bytes.to_vec(), &[]).await;
    }

    /// The same, with what the component says of itself.
    pub(crate) async fn captured_as(
        &self,
        backups: &mut BackupServiceClient<Channel>,
        asked: &pb::Directive,
        bytes: Vec<u8>,
        evidence: &[(&str, &str)],
    ) {
        let Some(pb::directive::Ask::Capture(pb::CaptureDirective { ticket, .. })) = &asked.ask else {
            panic!("{asked:?}")
        };
        let (say, mut hear, offset) = self.upload(backups, ticket).await;
        assert_eq!(offset, 0);
        let mut end = pb::UploadFinish {
            length: bytes.len() as u64,
            digest: blake3::hash(&bytes).as_bytes().to_vec().into(),
            evidence: Default::default(),
        };
        end.evidence.extend(evidence.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        say.send(piece(0, bytes)).await.unwrap();
        say.send(pb::UploadRequest { message: Some(Up::Finish(end)) }).await.unwrap();
        loop {
            match down(&mut hear).await {
                Ok(Some(Down::Progress(_))) => {}
                Ok(Some(Down::Done(_))) => break,
                other => panic!("it is done, and not {other:?}"),
            }
        }
        self.done(&asked.id).await;
    }

    /// Begins to take what a restore gives it.
    pub(crate) async fn download(
        &self,
        restores: &mut RestoreServiceClient<Channel>,
        asked: &pb::Directive,
        offset: u64,
    ) -> Result<Streaming<pb::DownloadResponse>, Status> {
        let Some(pb::directive::Ask::Restore(pb::RestoreDirective { ticket, .. })) = &asked.ask else {
            panic!("{asked:?}")
        };
        let request = pb::DownloadRequest {
            ticket: ticket.clone(),
            instance: Some(self.instance.clone()),
            offset,
            ..pb::DownloadRequest::default()
        };
        restores.download(request).await.map(tonic::Response::into_inner)
    }

    /// The next directive.
    pub(crate) async fn asked(&mut self) -> pb::Directive {
        loop {
            if let Some(Hear::Directive(directive)) = self.session.next().await.unwrap() {
                return directive;
            }
        }
    }

    pub(crate) async fn report(&self, report: pb::DirectiveReport) {
        self.session.say(Say::Directive(report)).await;
    }

    pub(crate) async fn upload(
        &self,
        backups: &mut BackupServiceClient<Channel>,
        ticket: &str,
    ) -> (mpsc::Sender<pb::UploadRequest>, Streaming<pb::UploadResponse>, u64) {
        let open = pb::UploadOpen {
            ticket: ticket.to_owned(),
            instance: Some(self.instance.clone()),
            ..pb::UploadOpen::default()
        };
        let (say, said) = mpsc::channel(8);
        say.send(pb::UploadRequest { message: Some(Up::Open(open)) }).await.unwrap();
        let mut hear = backups.upload(ReceiverStream::new(said)).await.unwrap().into_inner();
        let Ok(Some(Down::Opened(opened))) = down(&mut hear).await else { panic!("it is opened") };
        (say, hear, opened.offset)
    }
}

pub(crate) async fn down(hear: &mut Streaming<pb::UploadResponse>) -> Result<Option<Down>, Status> {
    let next = timeout(PATIENCE, hear.message()).await.unwrap()?;
    Ok(next.map(|response| response.message.unwrap()))
}

pub(crate) fn piece(offset: u64, data: impl AsRef<[u8]>) -> pb::UploadRequest {
    let data = bytes::Bytes::copy_from_slice(data.as_ref());
    pb::UploadRequest { message: Some(Up::Data(pb::UploadData { offset, data })) }
}

pub(crate) fn finish(bytes: &[u8]) -> pb::UploadRequest {
    let finish = pb::UploadFinish {
        length: bytes.len() as u64,
        digest: blake3::hash(bytes).as_bytes().to_vec().into(),
        evidence: Default::default(),
    };
    pb::UploadRequest { message: Some(Up::Finish(finish)) }
}

async fn open(server: &TestServer, how: Option<pb::open_session::How>) -> (Session, pb::SessionOpened) {
    let open = pb::OpenSession { how, takes_policies: false, takes_directives: true };
    let (say, said) = mpsc::channel(64);
    say.send(message(Say::Open(open))).await.unwrap();
    let hear = server.fleet().await.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
    Session { say, hear }.opened().await.unwrap()
}
