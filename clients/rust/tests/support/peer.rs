//! A scripted control plane: a real gRPC server on loopback whose every word is chosen by the test. It
//! plays what the real one should never be: one that dies in the middle of a session, stays silent, says
//! nonsense. Each session that a client opens is handed to the test, which then speaks for the server.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use seaworthy_client::proto::seaworthy::v1::{
    AttachRequest, AttachResponse, CloseReason, DeregisterRequest, DeregisterResponse, Directive,
    DirectiveReport, DirectiveState, DownloadData, DownloadFinish, DownloadRequest, DownloadResponse,
    Instance, OpenSession, SessionClosing, SessionHealth, SessionHeartbeatAck, SessionOpened, UploadDone,
    UploadFinish, UploadOpened, UploadProgress, UploadRequest, UploadResponse,
    attach_request::Message as Said, attach_response::Message as Say, directive::Ask, download_response,
    upload_request, upload_response,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming, body::Body, server::Grpc, transport::server::Connected};
use tonic_prost::ProstCodec;

/// Longest wait for anything: a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An address that stays ours while no control plane listens there: connections are refused, and nobody
/// else is given the port.
#[derive(Clone)]
pub(crate) struct Place {
    address: SocketAddr,
    // Bound and never listening; the listeners share the port with it.
    _held: Arc<TcpSocket>,
}

/// A running control plane. Dropping it is its sudden death: connections break.
pub(crate) struct Peer {
    pub(crate) place: Place,
    sessions: mpsc::Receiver<Session>,
    deregistered: mpsc::Receiver<(Option<String>, DeregisterRequest)>,
    uploads: mpsc::Receiver<Uploading>,
    downloads: mpsc::Receiver<Downloading>,
    busy: Arc<AtomicU32>,
    // A runtime of its own, so that its death takes every connection with it.
    runtime: Option<Runtime>,
}

/// One session of a client, from the side of the control plane.
pub(crate) struct Session {
    inbound: Streaming<AttachRequest>,
    outbound: mpsc::Sender<Result<AttachResponse, Status>>,
    /// What the client proved itself by.
    #[allow(dead_code)] // most tests ask nobody for a proof
    pub(crate) authorization: Option<String>,
}

/// One upload of a client, from the side of the control plane. Dropping it breaks the stream off.
pub(crate) struct Uploading {
    inbound: Streaming<UploadRequest>,
    outbound: mpsc::Sender<Result<UploadResponse, Status>>,
}

/// One download of a client, from the side of the control plane. Dropping it ends the stream.
pub(crate) struct Downloading {
    #[allow(dead_code)] // most tests back nothing up
    pub(crate) ask: DownloadRequest,
    outbound: mpsc::Sender<Result<DownloadResponse, Status>>,
}

impl Place {
    /// Takes a port.
    pub(crate) fn reserve() -> Self {
        let held = socket("127.0.0.1:0".parse().expect("an address"));
        Self { address: held.local_addr().expect("it is bound"), _held: Arc::new(held) }
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("the port can be shared");
    socket.bind(address).expect("the port is ours");
    socket
}

impl Peer {
    /// Starts in a place of its own.
    pub(crate) async fn start() -> Self {
        Self::start_at(&Place::reserve()).await
    }

    /// Starts here.
    pub(crate) async fn start_at(place: &Place) -> Self {
        Self::start_over(place, TcpListenerStream::new).await
    }

    /// Starts here, and talks over whatever is made of the connections to it.
    pub(crate) async fn start_over<I, S>(place: &Place, over: impl FnOnce(TcpListener) -> S) -> Self
    where
        S: Stream<Item = std::io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (session_sender, sessions) = mpsc::channel(16);
        let (deregister_sender, deregistered) = mpsc::channel(16);
        let busy = Arc::new(AtomicU32::new(0));
        let (upload_sender, uploads) = mpsc::channel(16);
        let (download_sender, downloads) = mpsc::channel(16);
        let fleet = Fleet {
            sessions: session_sender,
            deregistered: deregister_sender,
            uploads: upload_sender,
            downloads: download_sender,
            busy: Arc::clone(&busy),
        };
        let incoming = {
            let _within = runtime.enter();
            over(socket(place.address).listen(64).expect("it can listen"))
        };
        let (backup, restore) = (Backup(fleet.clone()), Restore(fleet.clone()));
        let server = tonic::transport::Server::builder().add_service(fleet).add_service(backup);
        runtime.spawn(server.add_service(restore).serve_with_incoming(incoming));
        let runtime = Some(runtime);
        Self { place: place.clone(), sessions, deregistered, uploads, downloads, busy, runtime }
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        self.place.url()
    }

    /// Waits for the next session.
    pub(crate) async fn session(&mut self) -> Session {
        timeout(PATIENCE, self.sessions.recv()).await.expect("a client comes").expect("open")
    }

    /// Waits for the next session, and takes its registration.
    pub(crate) async fn registered(&mut self, incarnation: u64, token: &str) -> (Session, OpenSession) {
        let mut session = self.session().await;
        let open = session.open().await;
        session.opened(incarnation, token).await;
        (session, open)
    }

    /// Waits for the next upload.
    #[allow(dead_code)] // most tests back nothing up
    pub(crate) async fn upload(&mut self) -> Uploading {
        timeout(PATIENCE, self.uploads.recv()).await.expect("a client uploads").expect("open")
    }

    /// Waits for the next download.
    #[allow(dead_code)] // most tests back nothing up
    pub(crate) async fn download(&mut self) -> Downloading {
        timeout(PATIENCE, self.downloads.recv()).await.expect("a client downloads").expect("open")
    }

    /// Answers so many calls of `Deregister` that it is busy, before it takes one.
    pub(crate) fn is_busy(&self, calls: u32) {
        self.busy.store(calls, Ordering::Relaxed);
    }

    /// Waits for the next `Deregister`.
    pub(crate) async fn deregistered(&mut self) -> DeregisterRequest {
        self.deregistered_by().await.1
    }

    /// The same, with what the client proved itself by.
    pub(crate) async fn deregistered_by(&mut self) -> (Option<String>, DeregisterRequest) {
        timeout(PATIENCE, self.deregistered.recv()).await.expect("a client leaves").expect("open")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A runtime may not wait for its end inside of another one, so a thread does.
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || drop(runtime)).join().expect("it ends");
        }
    }
}

impl Session {
    /// Takes the next message. `None`: the client is gone.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        let next = timeout(PATIENCE, self.inbound.message()).await.expect("a message in time");
        next.ok().flatten().map(|request| request.message.expect("a kind that is known"))
    }

    /// Takes the first message.
    pub(crate) async fn open(&mut self) -> OpenSession {
        match self.next().await {
            Some(Said::Open(open)) => open,
            other => panic!("the first message must be open, not {other:?}"),
        }
    }

    /// Takes the next health message; answers heartbeats meanwhile, and leaves out what is said of operations.
    pub(crate) async fn health(&mut self) -> SessionHealth {
        let health = async {
            loop {
                match self.next().await {
                    Some(Said::Health(health)) => return health,
                    Some(Said::Heartbeat(heartbeat)) => self.ack(heartbeat.sequence).await,
                    Some(Said::Operations(_)) => {}
                    other => panic!("health was expected, not {other:?}"),
                }
            }
        };
        timeout(PATIENCE, health).await.expect("health in time")
    }

    /// Asks for something, for half a minute.
    #[allow(dead_code)] // most tests ask for nothing
    pub(crate) async fn ask(&self, id: &str, ask: Ask) {
        let directive = Directive {
            id: id.to_owned(),
            operation_id: "op-1".to_owned(),
            generation: 1,
            valid_for: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
            ask: Some(ask),
        };
        self.say(Say::Directive(directive)).await;
    }

    /// Takes messages until this was said of a directive; answers heartbeats meanwhile.
    #[allow(dead_code)] // most tests ask for nothing
    pub(crate) async fn directive(&mut self, id: &str, state: DirectiveState) -> DirectiveReport {
        let said = async {
            loop {
                match self.next().await.expect("the session goes on") {
                    Said::Heartbeat(heartbeat) => self.ack(heartbeat.sequence).await,
                    Said::Directive(report) if report.directive_id == id => {
                        let is_over = matches!(
                            report.state(),
                            DirectiveState::Done | DirectiveState::Failed | DirectiveState::Refused
                        );
                        if report.state() == state {
                            return report;
                        }
                        assert!(!is_over, "{state:?} was expected, not {report:?}");
                    }
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, said).await.expect("in time")
    }

    /// Takes messages until the client leaves, and answers its words. `None`: it went without a word.
    pub(crate) async fn until_leave(&mut self) -> Option<String> {
        let leave = async {
            loop {
                if let Said::Leave(leave) = self.next().await? {
                    return Some(leave.message);
                }
            }
        };
        timeout(PATIENCE, leave).await.expect("it leaves in time")
    }

    /// Says anything. The client may be gone.
    pub(crate) async fn say(&self, message: Say) {
        self.outbound.send(Ok(AttachResponse { message: Some(message) })).await.ok();
    }

    /// Opens the session, with a lease of two seconds.
    pub(crate) async fn opened(&self, incarnation: u64, token: &str) {
        self.say(opened(incarnation, token, 2)).await;
    }

    /// Acknowledges heartbeats.
    pub(crate) async fn ack(&self, sequence: u64) {
        self.say(Say::HeartbeatAck(SessionHeartbeatAck { sequence })).await;
    }

    /// Ends the session for a reason.
    pub(crate) async fn close(self, reason: CloseReason, retry_after: Option<Duration>) {
        let retry_after = retry_after.map(|after| after.try_into().expect("a sane time"));
        let message = "as the script says".to_owned();
        self.say(Say::Closing(SessionClosing { reason: reason.into(), message, retry_after })).await;
    }

    /// Ends the session with an error.
    pub(crate) async fn refuse(self, status: Status) {
        self.outbound.send(Err(status)).await.ok();
    }

    /// Says anything at all, even nothing.
    pub(crate) async fn say_raw(&self, response: AttachResponse) {
        self.outbound.send(Ok(response)).await.ok();
    }
}

/// The answer to `open`. An empty token means that a registration was taken up.
pub(crate) fn opened(incarnation: u64, token: &str, ttl: i64) -> Say {
    Say::Opened(SessionOpened {
        instance: Some(Instance { incarnation, ..Instance::default() }),
        session_token: token.to_owned(),
        lease_ttl: Some(prost_types::Duration { seconds: ttl, nanos: 0 }),
        heartbeat_interval: None,
        boot_epoch: "scripted".to_owned(),
    })
}

#[allow(dead_code)] // most tests back nothing up
impl Uploading {
    /// Takes all of it, from its beginning to its end: the bytes, and what was said at the end.
    pub(crate) async fn whole(&mut self) -> (Vec<u8>, UploadFinish) {
        let Some(upload_request::Message::Open(_)) = self.next().await else { panic!("open is first") };
        self.say(upload_response::Message::Opened(UploadOpened { offset: 0 })).await;
        let mut whole = Vec::new();
        loop {
            match self.next().await.expect("it goes on") {
                upload_request::Message::Data(data) => {
                    whole.extend_from_slice(&data.data);
                    let received_offset = data.offset + u64::try_from(data.data.len()).expect("small");
                    let progress = UploadProgress { received_offset, durable_offset: 0 };
                    self.say(upload_response::Message::Progress(progress)).await;
                }
                upload_request::Message::Finish(finish) => {
                    let (length, new_bytes) = (finish.length, finish.length);
                    let done = UploadDone { length, new_bytes, stored_bytes: 0 };
                    self.say(upload_response::Message::Done(done)).await;
                    return (whole, finish);
                }
                other @ upload_request::Message::Open(_) => panic!("{other:?} was not expected"),
            }
        }
    }

    /// Takes the next message. `None`: the client is gone, or has nothing more to say.
    pub(crate) async fn next(&mut self) -> Option<upload_request::Message> {
        let next = timeout(PATIENCE, self.inbound.message()).await.expect("a message in time");
        next.ok().flatten().map(|request| request.message.expect("a kind that is known"))
    }

    /// Says anything. The client may be gone.
    pub(crate) async fn say(&self, message: upload_response::Message) {
        self.outbound.send(Ok(UploadResponse { message: Some(message) })).await.ok();
    }
}

#[allow(dead_code)] // most tests back nothing up
impl Downloading {
    /// Sends these bytes, which begin there, in pieces.
    pub(crate) async fn send(&self, mut offset: u64, bytes: &[u8]) {
        for piece in bytes.chunks(2 << 20) {
            let data = DownloadData { offset, data: piece.to_vec().into() };
            self.say(download_response::Message::Data(data)).await;
            offset += u64::try_from(piece.len()).expect("small");
        }
    }

    /// Ends it, with the digest of what it has sent.
    pub(crate) async fn finish(&self, length: u64, sent: &[u8]) {
        let digest =
            crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, sent).to_be_bytes().to_vec().into();
        self.say(download_response::Message::Finish(DownloadFinish { length, digest })).await;
    }

    /// Says anything. The client may be gone.
    pub(crate) async fn say(&self, message: download_response::Message) {
        self.outbound.send(Ok(DownloadResponse { message: Some(message) })).await.ok();
    }

    /// Ends it with an error.
    pub(crate) async fn refuse(self, status: Status) {
        self.outbound.send(Err(status)).await.ok();
    }
}

#[derive(Clone)]
struct Fleet {
    sessions: mpsc::Sender<Session>,
    deregistered: mpsc::Sender<(Option<String>, DeregisterRequest)>,
    uploads: mpsc::Sender<Uploading>,
    downloads: mpsc::Sender<Downloading>,
    busy: Arc<AtomicU32>,
}

impl tonic::server::NamedService for Fleet {
    const NAME: &'static str = "seaworthy.v1.FleetService";
}

impl tower_service::Service<http::Request<Body>> for Fleet {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fleet = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/seaworthy.v1.FleetService/Attach" => {
                    Grpc::new(ProstCodec::default()).streaming(Attach(fleet), request).await
                }
                "/seaworthy.v1.FleetService/Deregister" => {
                    Grpc::new(ProstCodec::default()).unary(Deregister(fleet), request).await
                }
                other => Status::unimplemented(other).into_http(),
            })
        })
    }
}

/// `BackupService`, of which instances use `Upload`.
#[derive(Clone)]
struct Backup(Fleet);

/// `RestoreService`, of which instances use `Download`.
#[derive(Clone)]
struct Restore(Fleet);

impl tonic::server::NamedService for Backup {
    const NAME: &'static str = "seaworthy.v1.BackupService";
}

impl tonic::server::NamedService for Restore {
    const NAME: &'static str = "seaworthy.v1.RestoreService";
}

impl tower_service::Service<http::Request<Body>> for Backup {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let upload = Upload(self.0.clone());
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).streaming(upload, request).await) })
    }
}

impl tower_service::Service<http::Request<Body>> for Restore {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let download = Download(self.0.clone());
        Box::pin(
            async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(download, request).await) },
        )
    }
}

struct Upload(Fleet);

impl tonic::server::StreamingService<UploadRequest> for Upload {
    type Response = UploadResponse;
    type ResponseStream = ReceiverStream<Result<UploadResponse, Status>>;
    type Future = Answer<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<UploadRequest>>) -> Self::Future {
        let uploads = self.0.uploads.clone();
        Box::pin(async move {
            let (outbound, answers) = mpsc::channel(16);
            let upload = Uploading { inbound: request.into_inner(), outbound };
            uploads.send(upload).await.map_err(|_| Status::unavailable("the test is over"))?;
            Ok(Response::new(ReceiverStream::new(answers)))
        })
    }
}

struct Download(Fleet);

impl tonic::server::ServerStreamingService<DownloadRequest> for Download {
    type Response = DownloadResponse;
    type ResponseStream = ReceiverStream<Result<DownloadResponse, Status>>;
    type Future = Answer<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<DownloadRequest>) -> Self::Future {
        let downloads = self.0.downloads.clone();
        Box::pin(async move {
            let (outbound, answers) = mpsc::channel(16);
            let download = Downloading { ask: request.into_inner(), outbound };
            downloads.send(download).await.map_err(|_| Status::unavailable("the test is over"))?;
            Ok(Response::new(ReceiverStream::new(answers)))
        })
    }
}

fn authorization<T>(request: &Request<T>) -> Option<String> {
    Some(request.metadata().get("authorization")?.to_str().ok()?.to_owned())
}

struct Attach(Fleet);

impl tonic::server::StreamingService<AttachRequest> for Attach {
    type Response = AttachResponse;
    type ResponseStream = ReceiverStream<Result<AttachResponse, Status>>;
    type Future = Answer<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<AttachRequest>>) -> Self::Future {
        let sessions = self.0.sessions.clone();
        Box::pin(async move {
            let (outbound, answers) = mpsc::channel(16);
            let authorization = authorization(&request);
            let session = Session { inbound: request.into_inner(), outbound, authorization };
            sessions.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
            Ok(Response::new(ReceiverStream::new(answers)))
        })
    }
}

struct Deregister(Fleet);

impl tonic::server::UnaryService<DeregisterRequest> for Deregister {
    type Response = DeregisterResponse;
    type Future = Answer<Result<Response<DeregisterResponse>, Status>>;

    fn call(&mut self, request: Request<DeregisterRequest>) -> Self::Future {
        let Fleet { deregistered, busy, .. } = self.0.clone();
        Box::pin(async move {
            let one_less = |left: u32| left.checked_sub(1);
            if busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                return Err(Status::unavailable("busy, as the script says"));
            }
            let sent = deregistered.send((authorization(&request), request.into_inner())).await;
            sent.map_err(|_| Status::unavailable("the test is over"))?;
            Ok(Response::new(DeregisterResponse::default()))
        })
    }
}
