//! Both sides of a comparison under mutual TLS: the same files, the same configuration of rustls, the same client.

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    process::Command,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use seaworthy::{
    api::proto::server::health_service_server::HealthServiceServer,
    config::{ClientAuth, Tls},
    time::Clock,
    tls,
};
use seaworthy_client::proto::seaworthy::v1::{CreateTokenRequest, CreateTokenResponse, Role};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::transport::{Channel, Endpoint, Server as Tonic, server::Connected};

use super::{
    Result, fleet,
    pki::{self, Authority, Files, Issued, Leaf},
    process::{Server, data_folder, free_address},
    reporting::Reporting,
    wire::{Connections, framed},
};

/// The argument that makes a bench the server.
const ARGUMENT: &str = "serve-bare-encrypted";
/// When the successor of a revocation list is due, in seconds.
const A_DAY: i64 = 86_400;
/// Handshakes of the bare server that wait for tonic to take them.
const WAITING: usize = 1024;

/// An authority with its files, and a client that it vouches for.
pub(crate) struct Pki {
    authority: Authority,
    issued: Issued,
    files: Files,
    client: TlsConnector,
    _folder: TempDir,
}

/// A client's connection.
pub(crate) type Encrypted = client::TlsStream<TcpStream>;

impl Pki {
    /// Makes them anew: ECDSA on P-256, and the client is a viewer.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn new() -> Result<Self> {
        let (authority, folder) = (Authority::new("bench"), data_folder()?);
        let files = Files::new(folder.path(), &authority);
        let issued = authority.issue(&Leaf::of(&["uri=spiffe://seaworthy.local/role/viewer/bench"]));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(issued.cert.as_bytes())?],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        let client = TlsConnector::from(Arc::new(config));
        Ok(Self { authority, issued, files, client, _folder: folder })
    }

    /// Revokes the client's certificate: from now on the server's list has it.
    pub(crate) fn revoke(&self) {
        pki::put(&self.files.crl, &self.authority.revokes(&[&self.issued], A_DAY));
    }

    /// A new connection, after a full handshake.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Result<Encrypted> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(self.client.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    /// Connections for thin calls.
    ///
    /// # Errors
    /// One is refused.
    pub(crate) async fn connections(&self, server: &Server, count: usize) -> Result<Connections> {
        let address = server.address();
        Connections::open_over(address, count, async || self.connect(address).await).await
    }

    /// A connection of the first admin.
    ///
    /// # Errors
    /// There is no first token.
    pub(crate) async fn admin(&self, server: &Server) -> Result<Connections> {
        let first = server.data().path().join("seaworthy/bootstrap-token");
        self.connections(server, 1).await?.proved_by(std::fs::read_to_string(first)?.trim())
    }

    /// Connections to a server that wants proof of who calls, by a token of this role.
    ///
    /// # Errors
    /// The token cannot be made.
    pub(crate) async fn proved(
        &self,
        server: &Server,
        count: usize,
        role: Role,
        service: &str,
    ) -> Result<Connections> {
        let admin = self.admin(server).await?;
        let wanted = CreateTokenRequest {
            name: "bench".to_owned(),
            role: role.into(),
            service: service.to_owned(),
            ..CreateTokenRequest::default()
        };
        let path = "/seaworthy.v1.SystemService/CreateToken";
        let made: CreateTokenResponse = admin.nth(0).unary(path, framed(&wanted)?).await?;
        self.connections(server, count).await?.proved_by(&made.secret)
    }

    /// Starts Seaworthy, which wants proof of who calls, and waits until it serves.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(&self, threads: usize) -> Result<Server> {
        let (address, data) = (free_address()?, data_folder()?);
        let mut command = fleet::command(threads, address, &data);
        command.arg("--auth").arg("--tls-cert").arg(&self.files.cert).arg("--tls-key").arg(&self.files.key);
        command.arg("--tls-client-ca").arg(&self.files.client_ca);
        command.env("SEAWORTHY_TLS_CRL_FILE", &self.files.crl);
        self.serving("seaworthy", command, address, data).await
    }

    /// Starts tonic with tonic-health and nothing else, with the same files, and waits until it serves.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start_bare(&self, threads: usize) -> Result<Server> {
        let (address, data) = (free_address()?, data_folder()?);
        let mut command = Command::new(env::current_exe()?);
        command.env("TOKIO_WORKER_THREADS", threads.to_string());
        command.args([ARGUMENT, &address.port().to_string()]);
        command.args([&self.files.cert, &self.files.key, &self.files.client_ca, &self.files.crl]);
        self.serving("bare tonic", command, address, data).await
    }

    async fn serving(
        &self,
        name: &'static str,
        command: Command,
        address: SocketAddr,
        data: TempDir,
    ) -> Result<Server> {
        let mut server = Server::spawn(name, command, address, data)?;
        server.serving_to(async || self.channel(address).await).await?;
        Ok(server)
    }

    async fn channel(&self, address: SocketAddr) -> Result<Channel> {
        let client = self.client.clone();
        let connect = tower::service_fn(move |_| {
            let client = client.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                client.connect(name, stream).await.map(TokioIo::new)
            }
        });
        Ok(Endpoint::from_static("http://localhost").connect_with_connector(connect).await?)
    }
}

/// Serves until killed, when this process was started to do that; otherwise answers false at once.
///
/// # Errors
/// It cannot listen.
pub(crate) fn serve_if_asked() -> Result<bool> {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return Ok(false);
    }
    let port: u16 = arguments.next().ok_or("which port?")?.parse()?;
    let mut file = || arguments.next().map(PathBuf::from);
    let config = Tls {
        cert_file: file(),
        key_file: file(),
        client_ca_file: file(),
        crl_file: file(),
        client_auth: ClientAuth::Optional,
    };
    let (handle, _) = tls::open(tls::Options { config, clock: Clock::start() })?.ok_or("no certificate")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(port, Arc::clone(&handle.credentials().grpc)))?;
    Ok(true)
}

/// As tonic does it where it is given a certificate: handshakes beside each other, and what comes of them to its server.
async fn serve(port: u16, config: Arc<ServerConfig>) -> Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let acceptor = TlsAcceptor::from(config);
    let (taken, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, taken) = (acceptor.clone(), taken.clone());
            tokio::spawn(async move {
                stream.set_nodelay(true).ok();
                if let Ok(stream) = acceptor.accept(stream).await {
                    taken.send(Taken(stream)).await.ok();
                }
            });
        }
    });
    let incoming = ReceiverStream::new(waiting).map(Ok::<_, io::Error>);
    let reporting = HealthServiceServer::new(Reporting::new());
    Ok(Tonic::builder().add_service(health).add_service(reporting).serve_with_incoming(incoming).await?)
}

/// A connection as tonic wants it.
struct Taken(server::TlsStream<TcpStream>);

impl Connected for Taken {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
