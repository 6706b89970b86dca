//! A real server on free ports and a folder of its own, for tests that drive its public API.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use seaworthy::{
    config::{Config, Secretive},
    error::Result,
    operation,
    server::{
        Addresses, Listening, Server,
        shutdown::Report,
        signals::{Stop, Stopper},
    },
    telemetry::log::{self, LogHandle, Shape},
    vault::{Kek, Secret},
};
use seaworthy_client::proto::{
    grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    seaworthy::v1::{
        self as pb, fleet_service_client::FleetServiceClient, health_service_client::HealthServiceClient,
        system_service_client::SystemServiceClient,
    },
};
use tempfile::TempDir;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tonic::transport::{Channel, Endpoint};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// No wait of a test is longer than this.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port that stays ours while nobody listens there: connections are refused, and nobody who asks for a free
/// port is given it. Who knows the address may listen there all the same, as often as they like.
#[derive(Debug)]
pub struct Held {
    pub address: SocketAddr,
    /// Bound, and never listening.
    _socket: TcpSocket,
}

impl Held {
    pub fn port() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // As listeners have it: they may share a port with one that does not listen.
        socket.set_reuseaddr(true).expect("the port can be shared");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Self { address: socket.local_addr().expect("it is bound"), _socket: socket }
    }
}

/// What a server has beyond its end: a folder, and the ports where it listened.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    ports: [Held; 2],
}

/// A server that runs in this process.
#[derive(Debug)]
pub struct TestServer {
    pub addresses: Addresses,
    pub config: Config,
    /// For what the API begins by no RPC of its own.
    pub operations: operation::Handle,
    stopper: Stopper,
    running: JoinHandle<Result<Report>>,
    home: Arc<Home>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts with a configuration of the test's own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Arc::new(Home { folder, ports: [Held::port(), Held::port()] });
        let mut config = Config::default();
        config.data_dir = home.folder.path().join("data");
        // Held, so that a restart finds them free: other tests take ports all the while.
        [config.grpc.listen, config.http.listen] = home.ports.each_ref().map(|held| held.address);
        config.shutdown.lame_duck = Duration::ZERO;
        // One that is kept by whoever wrote this.
        let key = Kek::new(Secret::new([7; 32])).to_text().to_string();
        config.vault.key = Some(Secretive(key));
        change(&mut config);
        Self::run(config, home).await
    }

    async fn run(config: Config, home: Arc<Home>) -> Self {
        let listening = Server::listen(Arc::new(config.clone()), log()).await.expect("the server listens");
        Starting { addresses: listening.addresses(), listening, config, home }.load().await
    }

    /// Stops in order, and starts again on the same folder and the same ports.
    pub async fn restart(self) -> Self {
        self.stop_and_listen().await.load().await
    }

    /// The same, without loading the fleet yet.
    pub async fn stop_and_listen(self) -> Starting {
        let Self { addresses, mut config, operations: _, stopper, running, home } = self;
        stopper.ask("restart");
        running.await.expect("no panic").expect("a report");
        config.grpc.listen = addresses.grpc;
        config.http.listen = addresses.http;
        let listening = Server::listen(Arc::new(config.clone()), log()).await.expect("it listens");
        Starting { addresses, listening, config, home }
    }

    /// Keeps the data folder and the ports beyond the server's end.
    pub fn keep(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits for the end and answers how it went.
    pub async fn ended(self) -> Report {
        self.running.await.expect("no panic").expect("a report")
    }

    pub async fn stop(self) -> Report {
        self.stopper.ask("test");
        self.ended().await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.grpc)
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url())
            .expect("a url")
            .connect()
            .await
            .expect("the server takes connections")
    }

    pub async fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel().await)
    }

    pub async fn health(&self) -> HealthServiceClient<Channel> {
        HealthServiceClient::new(self.channel().await)
    }

    pub async fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel().await)
    }

    pub async fn standard_health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel().await)
    }

    /// What `grpc.health.v1.Health/Check` says of a name.
    pub async fn check(&self, name: &str) -> Result<ServingStatus, tonic::Status> {
        let request = HealthCheckRequest { service: name.to_owned() };
        Ok(self.standard_health().await.check(request).await?.into_inner().status())
    }

    /// Waits until a name is answered so.
    pub async fn until(&self, name: &str, wanted: ServingStatus) {
        let mut watch = self
            .standard_health()
            .await
            .watch(HealthCheckRequest { service: name.to_owned() })
            .await
            .expect("watch begins")
            .into_inner();
        let reached = async {
            loop {
                match watch.message().await {
                    Ok(Some(answer)) if answer.status() == wanted => return,
                    Ok(Some(_)) => {}
                    ended => panic!("watch of {name:?} ended: {ended:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{name:?} never became {wanted:?}"));
    }

    /// Waits until so many calls are being answered, this question aside.
    pub async fn until_active(&self, calls: u64) {
        let mut system = self.system().await;
        let reached = async {
            loop {
                let status = system.get_status(pb::GetStatusRequest {}).await.expect("answered").into_inner();
                if status.active_requests > calls {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("in time");
    }

    /// A plain GET: the code and the body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.addresses.http, path, "*/*").await
    }
}

/// A server that listens in this process, and does not know its fleet yet.
#[derive(Debug)]
pub struct Starting {
    pub addresses: Addresses,
    pub listening: Listening,
    pub config: Config,
    pub home: Arc<Home>,
}

impl Starting {
    pub async fn load(self) -> TestServer {
        let Self { addresses, listening, config, home } = self;
        let server = listening.load().await.expect("the fleet is loaded");
        let operations = server.operations();
        let (stopper, stop) = Stop::by_hand();
        // It has let everybody in before it first waits for anything.
        let mut running = Box::pin(server.run(stop));
        let ended = std::future::poll_fn(|cx| std::task::Poll::Ready(running.as_mut().poll(cx))).await;
        assert!(ended.is_pending(), "{ended:?}");
        TestServer { addresses, config, operations, stopper, running: tokio::spawn(running), home }
    }

    pub async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.addresses.grpc);
        Endpoint::from_shared(url).expect("a url").connect().await.expect("it takes connections")
    }
}

/// A connection of HTTP/2 with a task of its own, for what no client library would send.
pub async fn http2(
    at: SocketAddr,
    how: &h2::client::Builder,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let tcp = TcpStream::connect(at).await.expect("the port is open");
    let (send, connection) = how.handshake(tcp).await.expect("HTTP/2");
    (send, tokio::spawn(connection))
}

/// Whether a text has a session token or a bearer token in it.
pub fn has_secret(text: &[u8]) -> bool {
    let is_secret = |at: &[u8]| {
        let formed = at.starts_with(b"sws_") || at.starts_with(b"swt_");
        let random = at.get(4..56).is_some_and(|random| random.iter().all(u8::is_ascii_alphanumeric));
        formed && random
    };
    text.windows(4).enumerate().any(|(at, _)| is_secret(&text[at..]))
}

/// Reads what is logged for secrets, and keeps nothing of it.
struct Searched;

impl std::io::Write for Searched {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // No test goes on as if nothing had happened, whoever logged it.
        if has_secret(bytes) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            drop(writeln!(std::io::stderr(), "a secret was logged by {name}"));
            std::process::abort();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn secrets_are_found() {
    let token = seaworthy::id::Entropy::system().session_token().expect("a token");
    let line = format!("{{\"message\":\"x\",\"token\":\"{}\"}}", token.reveal());
    assert!(has_secret(line.as_bytes()) && has_secret(token.reveal().as_bytes()));
    assert!(!has_secret(b"sws_... and swt_") && !has_secret(&token.reveal().as_bytes()[..55]));
}

/// A log that nobody reads but for secrets, whose level can be changed all the same.
pub fn log() -> LogHandle {
    let (dispatch, handle) =
        log::build("info,seaworthy=debug", Shape::Json, BoxMakeWriter::new(|| Searched)).expect("a level");
    // The first one hears what all servers of this process say; the others live on for their handles.
    drop(tracing::dispatcher::set_global_default(dispatch.clone()));
    std::mem::forget(dispatch);
    handle
}

/// A plain GET: the code and the body.
pub async fn get(at: SocketAddr, path: &str, accept: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(at).await.expect("http port");
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("read");
    assert!(!has_secret(answer.as_bytes()), "{path} tells a secret");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    (code, if chunked { joined(body) } else { body.to_owned() })
}

/// A body that came in chunks, as one; it must have come to its end.
fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size in hex");
        if size == 0 {
            return whole;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
}

/// A registration with one essential component, `database`, that fails at the first bad report.
pub fn registration(service: &str, id: &str) -> pb::Registration {
    pb::Registration {
        service: service.to_owned(),
        instance_id: id.to_owned(),
        version: "1.0.0".to_owned(),
        address: "127.0.0.1:7001".to_owned(),
        components: vec![pb::Component {
            name: "database".to_owned(),
            kind: "sqlite".to_owned(),
            essential: true,
            fail_threshold: 1,
            ..pb::Component::default()
        }],
        ..pb::Registration::default()
    }
}

/// An instance that has registered.
#[derive(Clone, Debug)]
pub struct Registered {
    pub instance: pb::InstanceRef,
    pub token: String,
}

/// Registers, and keeps what proves it.
pub async fn register(
    client: &mut FleetServiceClient<Channel>,
    registration: pb::Registration,
) -> Registered {
    let request = pb::RegisterRequest { registration: Some(registration), ..pb::RegisterRequest::default() };
    let answer = client.register(request).await.expect("registered").into_inner();
    let instance = answer.instance.expect("an instance");
    let named = instance.registration.expect("a registration");
    Registered {
        instance: pb::InstanceRef {
            service: named.service,
            instance_id: named.instance_id,
            incarnation: instance.incarnation,
        },
        token: answer.session_token,
    }
}

/// Reports the state of `database`.
pub async fn report(
    client: &mut HealthServiceClient<Channel>,
    who: &Registered,
    state: pb::HealthState,
    message: &str,
) -> Result<pb::Instance, tonic::Status> {
    let request = pb::ReportHealthRequest {
        instance: Some(who.instance.clone()),
        session_token: who.token.clone(),
        reports: vec![pb::ComponentReport {
            component: "database".to_owned(),
            state: state.into(),
            message: message.to_owned(),
            response_time: Some(prost_types::Duration { seconds: 0, nanos: 2_000_000 }),
            ..pb::ComponentReport::default()
        }],
        lifecycle: 0,
    };
    Ok(client.report_health(request).await?.into_inner().instance.expect("an instance"))
}

/// One heartbeat, and what became of it.
pub async fn heartbeat(client: &mut FleetServiceClient<Channel>, who: &Registered) -> pb::HeartbeatResult {
    let beat =
        pb::InstanceHeartbeat { instance: Some(who.instance.clone()), session_token: who.token.clone() };
    let answer = client.heartbeat(pb::HeartbeatRequest { heartbeats: vec![beat] }).await.expect("answered");
    answer.into_inner().results.remove(0)
}

/// The stable reason of an error.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
