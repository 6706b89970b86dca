//! Encryption: who is let in by which certificate, files that change while the server runs, and ports that are spoken to
//! as others are.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use seaworthy::config::{ClientAuth, Config};
use seaworthy_client::proto::{
    grpc::health::v1::{
        HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus,
        health_client::HealthClient,
    },
    seaworthy::v1::{self as pb, fleet_service_client::FleetServiceClient},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{PATIENCE, TestServer, get},
    pki::{self, Authority, Files, Issued, Leaf},
};

/// A server that encrypts, the authority that it and its clients are of, and its files.
pub(crate) struct Encrypted {
    pub(crate) authority: Authority,
    _folder: TempDir,
    pub(crate) files: Files,
    pub(crate) server: TestServer,
}

impl Encrypted {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
        let files = Files::new(folder.path(), &authority);
        let server = TestServer::start_with(|config| {
            config.tls.cert_file = Some(files.cert.clone());
            config.tls.key_file = Some(files.key.clone());
            config.tls.client_ca_file = Some(files.client_ca.clone());
            config.tls.crl_file = Some(files.crl.clone());
            change(config);
        })
        .await;
        Self { authority, _folder: folder, files, server }
    }

    pub(crate) fn client(&self, issued: Option<&Issued>) -> Client {
        Client::new(&self.authority, issued)
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.server.addresses.grpc
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.server.addresses.http
    }

    pub(crate) async fn page(&self, path: &str) -> String {
        let mut stream = self.client(None).speaking(&["http/1.1"]).connect(self.http()).await.unwrap();
        ask(&mut stream, path).await
    }

    /// Waits until the metrics say so.
    pub(crate) async fn until(&self, line: &str) {
        let reached = async {
            while !self.page("/metrics").await.contains(line) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("never: {line}"));
    }
}

/// Asks by HTTP/1 on a connection of its own: the whole answer.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
    answer
}

/// Calls by TLS, and shows a certificate if it has one.
#[derive(Clone)]
pub(crate) struct Client(ClientConfig);

impl Client {
    pub(crate) fn new(trusts: &Authority, issued: Option<&Issued>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusts.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match issued {
            None => builder.with_no_client_auth(),
            Some(issued) => builder
                .with_client_auth_cert(
                    CertificateDer::pem_slice_iter(issued.cert.as_bytes()).map(Result::unwrap).collect(),
                    PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(config)
    }

    pub(crate) fn speaking(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn connect(&self, at: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(at).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let handshake = TlsConnector::from(Arc::new(self.0.clone())).connect(name, tcp);
        timeout(PATIENCE, handshake).await.expect("in time")
    }

    pub(crate) async fn channel(&self, at: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let client = self.clone();
        let connect = tower::service_fn(move |_| {
            let client = client.clone();
            async move { client.connect(at).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await
    }

    /// What `Health/Check` is answered on a new connection, or why there is none.
    pub(crate) async fn check(&self, at: SocketAddr) -> Result<ServingStatus, String> {
        let chain = |error: &dyn std::error::Error| {
            let (mut words, mut cause) = (error.to_string(), error.source());
            while let Some(source) = cause {
                words = format!("{words}: {source}");
                cause = source.source();
            }
            words
        };
        let channel = self.channel(at).await.map_err(|error| chain(&error))?;
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(channel).check(request).await.map_err(|status| chain(&status))?;
        Ok(answer.into_inner().status())
    }
}

#[tokio::test]
async fn who_is_let_in_as_a_table() {
    for client_auth in [ClientAuth::Optional, ClientAuth::Required] {
        let encrypted = Encrypted::start_with(|config| config.tls.client_auth = client_auth).await;
        let authority = &encrypted.authority;
        let (other, orders) = (Authority::new("theirs"), "uri=spiffe://seaworthy.local/service/orders");
        let good = authority.issue(&Leaf::of(&[orders]));
        let revoked = authority.issue(&Leaf::of(&[orders]));
        pki::put(&encrypted.files.crl, &authority.revokes(&[&revoked], 3600));
        encrypted.until("seaworthy_tls_reloads_total{outcome=\"taken\"} 1\n").await;
        let expired = authority.issue(&Leaf::of(&[orders]).between(-7200, -3600));
        let early = authority.issue(&Leaf::of(&[orders]).between(3600, 7200));
        let of_another = other.issue(&Leaf::of(&[orders]));
        let two = authority.issue(&Leaf::of(&[orders, "uri=spiffe://seaworthy.local/role/admin/eve"]));
        let nameless = authority.issue(&Leaf::of(&[]));
        let nobody = if client_auth == ClientAuth::Required { Some("CertificateRequired") } else { None };
        for (what, shown, refused) in [
            ("none", None, nobody),
            ("good", Some(&good), None),
            ("nameless", Some(&nameless), None),
            ("revoked", Some(&revoked), Some("CertificateRevoked")),
            ("expired", Some(&expired), Some("CertificateExpired")),
            ("early", Some(&early), Some("CertificateExpired")),
            ("another authority", Some(&of_another), Some("UnknownCA")),
            ("two SPIFFE ids", Some(&two), Some("CertificateUnknown")),
        ] {
            let answer = encrypted.client(shown).check(encrypted.grpc()).await;
            match refused {
                None => assert_eq!(answer, Ok(ServingStatus::Serving), "{client_auth:?} {what}"),
                Some(alert) => {
                    let told = answer.expect_err(what);
                    assert!(told.contains(alert), "{client_auth:?} {what}: {told}");
                }
            }
            // On the HTTP side nobody has to show one; who shows one that is no good is refused there too.
            let page = encrypted.client(shown).speaking(&["http/1.1"]);
            let refused = refused.filter(|_| what != "none");
            let answered = match page.connect(encrypted.http()).await {
                Ok(mut stream) => {
                    let head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
                    let mut answer = String::new();
                    stream.write_all(head).await.is_ok()
                        && stream.read_to_string(&mut answer).await.is_ok()
                        && answer.starts_with("HTTP/1.1 200")
                }
                Err(_) => false,
            };
            assert_eq!(answered, refused.is_none(), "{client_auth:?} {what}");
        }
        // And the server is known by its authority.
        let told = Client::new(&other, None).check(encrypted.grpc()).await.unwrap_err();
        assert!(told.contains("UnknownIssuer"), "{told}");
        encrypted.server.stop().await;
    }
}

#[tokio::test]
async fn certificates_of_an_intermediate_authority_are_shown_with_it() {
    let encrypted = Encrypted::start_with(|config| config.tls.crl_file = None).await;
    let between = encrypted.authority.intermediate("between");
    let with = |issued: Issued| Issued { cert: issued.cert.clone() + &between.pem(), ..issued };
    encrypted.files.renew(&with(between.issue(&Leaf::server())));
    encrypted.until("seaworthy_tls_reloads_total{outcome=\"taken\"} 1\n").await;
    let client = between.issue(&Leaf::of(&["ci.example.org"]));
    let alone = encrypted.client(Some(&client)).check(encrypted.grpc()).await.unwrap_err();
    assert!(alone.contains("UnknownCA"), "{alone}");
    let client = with(client);
    assert_eq!(encrypted.client(Some(&client)).check(encrypted.grpc()).await, Ok(ServingStatus::Serving));
    encrypted.server.stop().await;

    // Where there are revocation lists, nobody is taken of whom it is not known whether they are revoked.
    let (root, folder) = (encrypted.authority, tempfile::tempdir().unwrap());
    let files = Files::new(folder.path(), &root);
    let server = TestServer::start_with(|config| {
        config.tls.cert_file = Some(files.cert.clone());
        config.tls.key_file = Some(files.key.clone());
        config.tls.client_ca_file = Some(files.client_ca.clone());
        config.tls.crl_file = Some(files.crl.clone());
    })
    .await;
    let check = async || Client::new(&root, Some(&client)).check(server.addresses.grpc).await;
    let unknown = check().await.unwrap_err();
    assert!(unknown.contains("UnknownCA"), "{unknown}");
    pki::put(&files.client_ca, &(root.pem() + &between.pem()));
    pki::put(&files.crl, &(root.revokes(&[], 3600) + &between.revokes(&[], 3600)));
    let known = async {
        while check().await != Ok(ServingStatus::Serving) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, known).await.expect("taken");
    pki::put(&files.crl, &(root.revokes(&[], 3600) + &between.revokes(&[&client], 3600)));
    let revoked = async { while check().await.is_ok() {} };
    timeout(PATIENCE, revoked).await.expect("revoked");
    server.stop().await;
}

#[tokio::test]
async fn versions_and_protocols() {
    let encrypted = Encrypted::start().await;
    for (version, named) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(encrypted.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client(config).speaking(&["h2", "http/1.1"]);
        for (at, spoken) in [(encrypted.grpc(), &b"h2"[..]), (encrypted.http(), b"http/1.1")] {
            // Again on the same client, which would resume a session if it could.
            for _ in 0..2 {
                let mut stream = client.connect(at).await.unwrap();
                // Tickets of TLS 1.3 come after the handshake, to who reads.
                drop(timeout(Duration::from_millis(100), stream.read_u8()).await);
                let connection = stream.get_ref().1;
                assert_eq!(connection.protocol_version(), Some(named));
                assert_eq!(connection.alpn_protocol(), Some(spoken));
                assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
            }
        }
    }
    for (at, wrong) in [(encrypted.grpc(), "http/1.1"), (encrypted.http(), "h2")] {
        let told = encrypted.client(None).speaking(&[wrong]).connect(at).await.unwrap_err();
        assert!(told.to_string().contains("NoApplicationProtocol"), "{told}");
    }
    // Who names no protocol is listened to all the same.
    assert_eq!(
        encrypted.client(None).speaking(&[]).check(encrypted.grpc()).await,
        Ok(ServingStatus::Serving)
    );
    let answer = encrypted.page("/health").await;
    assert!(
        answer.to_lowercase().contains("\r\nstrict-transport-security: max-age=31536000\r\n"),
        "{answer}"
    );
    encrypted.server.stop().await;
}

/// A renewal every few looks, new connections and calls all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_loses_no_request() {
    let encrypted = Arc::new(Encrypted::start().await);
    let client = encrypted.authority.issue(&Leaf::of(&["ci.example.org"]));
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = JoinSet::new();
    for worker in 0..8 {
        let (client, at) = (encrypted.client(Some(&client)), encrypted.grpc());
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        load.spawn(async move {
            let mut kept = HealthClient::new(client.channel(at).await.unwrap());
            while !done.load(Ordering::Relaxed) {
                if worker % 2 == 0 {
                    let request = HealthCheckRequest { service: String::new() };
                    kept.check(request).await.expect("the old connection goes on");
                } else {
                    client.check(at).await.expect("a new connection is taken");
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut shown = Vec::new();
    for round in 1..=3 {
        encrypted.files.renew(&encrypted.authority.issue(&Leaf::server()));
        encrypted.until(&format!("seaworthy_tls_reloads_total{{outcome=\"taken\"}} {round}\n")).await;
        let stream = encrypted.client(None).connect(encrypted.grpc()).await.unwrap();
        shown.push(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec());
        // Old connections and new ones are used with each.
        let before = answered.load(Ordering::Relaxed);
        timeout(PATIENCE, async {
            while answered.load(Ordering::Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("calls are answered");
    }
    done.store(true, Ordering::Relaxed);
    while let Some(worker) = load.join_next().await {
        worker.expect("nothing was lost");
    }
    shown.dedup();
    assert_eq!(shown.len(), 3, "new connections get what is new");
    let metrics = encrypted.page("/metrics").await;
    for line in [
        "seaworthy_tls_reloads_total{outcome=\"refused\"} 0\n",
        "seaworthy_connections_ended_total{why=\"lapsed\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test]
async fn broken_files_keep_the_last_good_ones_and_show() {
    let encrypted = Encrypted::start().await;
    let report = encrypted.page("/production-readiness").await;
    assert!(report.contains("gRPC and HTTP are encrypted"), "{report}");
    pki::put(&encrypted.files.key, &encrypted.authority.issue(&Leaf::server()).key);
    encrypted.until("seaworthy_tls_last_reload_failed 1\n").await;
    assert_eq!(encrypted.client(None).check(encrypted.grpc()).await, Ok(ServingStatus::Serving));
    let report = encrypted.page("/production-readiness").await;
    assert!(report.starts_with("HTTP/1.1 503"), "{report}");
    assert!(report.contains("does not belong to the first certificate"), "{report}");
    assert!(encrypted.page("/health").await.starts_with("HTTP/1.1 200"), "that is nobody's illness");
    let metrics = encrypted.page("/metrics").await;
    assert!(metrics.contains("seaworthy_tls_reloads_total{outcome=\"refused\"} 1\n"), "{metrics}");
    for kind in ["server", "client_ca", "crl_next_update"] {
        let line = format!("seaworthy_tls_certificate_not_after_seconds{{kind=\"{kind}\"}} ");
        assert!(metrics.contains(&line), "{line}");
    }
    // Soon over, but good: taken, and doubtful.
    encrypted.files.renew(&encrypted.authority.issue(&Leaf::server().between(-24 * 3600, 3600)));
    encrypted.until("seaworthy_tls_last_reload_failed 0\n").await;
    let report = encrypted.page("/production-readiness").await;
    let (_, report) = report.split_once("\r\n\r\n").unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let outcome = |id: &str| &checks.iter().find(|check| check["id"] == id).unwrap()["outcome"];
    assert_eq!((outcome("tls.files"), outcome("tls.expiry")), (&"pass".into(), &"warn".into()), "{report}");
    encrypted.server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_revoked_ends_its_connections() {
    let encrypted = Encrypted::start().await;
    let names = &["uri=spiffe://seaworthy.local/role/viewer/ops"];
    let (good, bad) =
        (encrypted.authority.issue(&Leaf::of(names)), encrypted.authority.issue(&Leaf::of(names)));
    let watch = async |issued| {
        let channel = encrypted.client(Some(issued)).channel(encrypted.grpc()).await.unwrap();
        let mut fleet = FleetServiceClient::new(channel);
        fleet.watch_fleet(pb::WatchFleetRequest::default()).await.unwrap().into_inner()
    };
    let (mut stays, mut ends) = (watch(&good).await, watch(&bad).await);
    let mut page =
        encrypted.client(Some(&bad)).speaking(&["http/1.1"]).connect(encrypted.http()).await.unwrap();
    page.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    page.read_u8().await.unwrap();

    pki::put(&encrypted.files.crl, &encrypted.authority.revokes(&[&bad], 3600));
    let began = Instant::now();
    let ended = async {
        loop {
            match ends.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    };
    let told = timeout(PATIENCE, ended).await.expect("in time").unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert!(told.message().contains("ends this connection"), "its goodbye: {told:?}");
    let mut rest = Vec::new();
    drop(timeout(PATIENCE, page.read_to_end(&mut rest)).await.expect("the page's connection ends too"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(encrypted.client(Some(&bad)).check(encrypted.grpc()).await.is_err());
    encrypted.until("seaworthy_connections_ended_total{why=\"lapsed\"} 1\n").await;
    // Whoever is not revoked goes on.
    let still =
        timeout(Duration::from_millis(300), async { while stays.message().await.unwrap().is_some() {} });
    assert!(still.await.is_err());
    encrypted.server.stop().await;
}

#[tokio::test]
async fn who_does_not_go_is_cut_and_an_authority_that_is_gone_takes_its_clients_along() {
    let encrypted = Encrypted::start_with(|config| config.tls.crl_file = None).await;
    let client = encrypted.authority.issue(&Leaf::of(&["ci.example.org"]));
    // Reads nothing, and so hears no goodbye.
    let deaf = encrypted.client(Some(&client)).connect(encrypted.grpc()).await.unwrap();
    let (mut send, mut connection) = h2::client::handshake(deaf).await.unwrap();
    let request = http::Request::post("http://localhost/seaworthy.v1.FleetService/WatchFleet")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut asks) = send.send_request(request.body(()).unwrap(), false).unwrap();
    asks.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    // What follows the head is not taken any more, and the goodbye with it.
    let answer = tokio::select! {
        _ = &mut connection => panic!("it goes on"),
        head = timeout(PATIENCE, answer) => head.expect("in time").unwrap(),
    };
    assert_eq!(answer.status(), 200);
    pki::put(&encrypted.files.client_ca, &Authority::new("theirs").pem());
    encrypted.until("seaworthy_connections_ended_total{why=\"lapsed\"} 1\n").await;
    encrypted.until("seaworthy_connections 0\n").await;
    drop(answer);
    encrypted.server.stop().await;
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let encrypted = Encrypted::start().await;
    let client = encrypted.authority.issue(&Leaf::of(&["ci.example.org"]).between(-60, 5));
    let channel = encrypted.client(Some(&client)).channel(encrypted.grpc()).await.unwrap();
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .unwrap()
        .into_inner();
    let ended = async { while let Ok(Some(_)) = watch.message().await {} };
    timeout(PATIENCE, ended).await.expect("in time");
    encrypted.until("seaworthy_connections_ended_total{why=\"lapsed\"} 1\n").await;
    encrypted.server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_slow_is_not_waited_for() {
    let soon = Duration::from_millis(300);
    let encrypted = Encrypted::start_with(|config| {
        config.grpc.handshake_timeout = soon;
        config.http.idle_timeout = soon;
    })
    .await;
    for at in [encrypted.grpc(), encrypted.http()] {
        for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
            let mut slow = TcpStream::connect(at).await.unwrap();
            slow.write_all(said).await.unwrap();
            let mut rest = Vec::new();
            drop(timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("it is let go"));
        }
        // The same where TLS is spoken and nothing within it.
        let mut silent = encrypted.client(None).speaking(&[]).connect(at).await.unwrap();
        let mut rest = Vec::new();
        drop(timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it is let go"));
    }
    for by in ["grpc", "http"] {
        encrypted
            .until(&format!("seaworthy_connections_refused_total{{why=\"handshake\",listener=\"{by}\"}} 4\n"))
            .await;
    }
    encrypted.server.stop().await;
}

#[tokio::test]
async fn plaintext_on_a_port_with_tls_is_told_so() {
    let encrypted = Encrypted::start().await;
    for (at, port) in [(encrypted.grpc(), "the gRPC port"), (encrypted.http(), "the HTTP port")] {
        let told = format!("{port} speaks TLS; call https:// instead of http://");
        let (code, text) = get(at, "/health", "*/*").await;
        assert_eq!((code, text), (400, format!("{told}\n")));
        let tcp = TcpStream::connect(at).await.unwrap();
        let (_send, connection) = h2::client::handshake(tcp).await.unwrap();
        let ended = timeout(PATIENCE, connection).await.expect("in time").unwrap_err();
        assert!(ended.is_go_away() && ended.is_remote(), "{ended:?}");
        assert_eq!(ended.reason(), Some(h2::Reason::INADEQUATE_SECURITY));
        assert!(ended.to_string().contains(&told), "{ended}");
    }
    encrypted.server.stop().await;
}

#[tokio::test]
async fn tls_on_a_port_without_it_gets_an_alert() {
    let (server, authority) = (
        TestServer::start_with(|config| config.probe_listen = Some("127.0.0.1:0".parse().unwrap())).await,
        Authority::new("ours"),
    );
    let addresses = server.addresses;
    for at in [addresses.grpc, addresses.http, addresses.probe.unwrap()] {
        let told = Client::new(&authority, None).connect(at).await.unwrap_err();
        assert!(told.to_string().contains("ProtocolVersion"), "{told}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_probe_port_tells_the_own_health_by_both_and_nothing_else() {
    let encrypted = Encrypted::start_with(|config| {
        config.probe_listen = Some("127.0.0.1:0".parse().unwrap());
        config.tls.client_auth = ClientAuth::Required;
    })
    .await;
    let probe = encrypted.server.addresses.probe.unwrap();
    for (path, code) in [
        ("/health", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/ready", 200),
        ("/", 404),
        ("/metrics", 404),
        ("/status", 404),
        ("/health/details", 404),
        ("/health/services/orders", 404),
    ] {
        let (answered, body) = get(probe, path, "*/*").await;
        assert_eq!(answered, code, "{path}: {body}");
        assert!(code == 200 || body.contains("this port has /health"), "{body}");
    }
    let channel = Endpoint::from_shared(format!("http://{probe}")).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let check = |name: &str| HealthCheckRequest { service: name.to_owned() };
    for name in ["", ":liveness", ":readiness", ":startup"] {
        assert_eq!(health.check(check(name)).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    let refused = health.check(check("orders")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("own health alone"), "{refused:?}");
    assert_eq!(health.watch(check("orders")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(health.list(HealthListRequest {}).await.unwrap_err().code(), Code::Unimplemented);
    let others = FleetServiceClient::new(channel).list_services(pb::ListServicesRequest::default()).await;
    let refused = others.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("nothing else"), "{refused:?}");

    // It ends with all others, and who watches there holds up nothing.
    let mut watch = health.watch(check("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stops = encrypted.server.stop();
    let (report, _) = tokio::join!(stops, async {
        let not_serving = watch.message().await;
        assert!(
            not_serving.is_ok_and(|next| next.is_some_and(|next| next.status() == ServingStatus::NotServing))
        );
        while let Ok(Some(_)) = watch.message().await {}
    });
    assert_eq!(report.connections_cut, 0, "{report:?}");
    assert!(report.phases.iter().all(|phase| !phase.timed_out), "{report:?}");
}

#[tokio::test]
async fn unusable_files_end_the_start_before_anything_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let files = Files::new(folder.path(), &authority);
    pki::put(&files.cert, "nothing");
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["serve", "--log-format", "json", "--http-listen", "127.0.0.1:0"])
        // It is in use, which is not what is told.
        .args(["--grpc-listen", &taken.local_addr().unwrap().to_string()])
        .args([Path::new("--data-dir"), &data])
        .args([Path::new("--tls-cert"), &files.cert])
        .args([Path::new("--tls-key"), &files.key])
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(1), "{told}");
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(last["reason"], "TLS_UNUSABLE", "{told}");
    assert!(last["error"].as_str().unwrap().contains("(tls.cert_file): there is no certificate"), "{told}");
    assert!(!data.exists(), "nothing is left of it");

    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["config", "check"])
        .args([Path::new("--tls-cert"), &files.cert])
        .args([Path::new("--tls-key"), &files.key])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(64));
    assert!(String::from_utf8(checked.stderr).unwrap().contains("(tls.cert_file): there is no certificate"));
}
