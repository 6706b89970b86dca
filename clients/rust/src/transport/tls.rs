//! Whom a client trusts and what it shows of itself, and the handshake by that.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{read, words};
use crate::rt;

/// Largest file of certificates or keys: a bundle of all public authorities has a quarter of it.
const LARGEST: u64 = 1 << 20;

/// What to say where a certificate is to be believed and nobody has said whose.
pub(super) const NO_AUTHORITY: &str = "names no authority to trust: give the one that the control plane's certificate \
     is issued by, a file in PEM (those of the system are one as well, on Debian /etc/ssl/certs/ca-certificates.crt)";

/// Whom to trust at `https://` control planes, and the client's own certificate. Files are in PEM and read anew for
/// every connection; an agent notices within seconds that one of them has changed, and goes over to a new connection.
///
/// Nobody is trusted unless named: a fleet has an authority of its own, as a rule, and no other should be able to
/// speak for its control plane.
#[derive(Clone, Debug, Default)]
#[must_use = "it counts once it is given to a builder"]
pub struct Tls {
    authorities: Option<Authorities>,
    own: Option<Own>,
    server_name: Option<String>,
    unverified: bool,
}

#[derive(Clone)]
enum Authorities {
    File(PathBuf),
    Pem(Arc<[u8]>),
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authorities::File(path) => write!(f, "{}", path.display()),
            Authorities::Pem(pem) => write!(f, "{} bytes of PEM", pem.len()),
        }
    }
}

/// Files of a certificate with those that it is issued by, and of its key.
#[derive(Clone, Debug)]
struct Own {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Trusts nobody yet, and shows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this file, and no others.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(Authorities::File(path.into()));
        self
    }

    /// Trusts these authorities, in PEM, and no others.
    pub fn ca_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.authorities = Some(Authorities::Pem(pem.as_ref().into()));
        self
    }

    /// Shows this certificate to a control plane that asks for one: the file of the certificate and those that it is
    /// issued by, and the file of its private key (PKCS#8, PKCS#1 or SEC1, not encrypted).
    pub fn identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.own = Some(Own { certificate: certificate.into(), key: key.into() });
        self
    }

    /// The name, or address, that the control plane's certificate has to be for. Default: the host of its URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Takes any certificate for the control plane's: whoever is on the way can be it. To look at what is there.
    #[doc(hidden)]
    pub fn without_verification(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// What is wrong with it, as far as can be told without reading a file.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.authorities.is_none() && !self.unverified {
            found.push(NO_AUTHORITY.to_owned());
        }
        if let Some(Authorities::Pem(pem)) = &self.authorities
            && let Err(problem) = roots(pem, "what was given")
        {
            found.push(problem);
        }
        if let Some(name) = &self.server_name
            && let Err(problem) = name_of(name)
        {
            found.push(problem);
        }
        found
    }

    /// The files that it is read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let authorities = match &self.authorities {
            Some(Authorities::File(path)) => Some(path.as_path()),
            Some(Authorities::Pem(_)) | None => None,
        };
        let own = self.own.iter().flat_map(|own| [own.certificate.as_path(), own.key.as_path()]);
        authorities.into_iter().chain(own)
    }

    /// Reads the files, for a connection to this host.
    pub(super) async fn prepare(&self, host: &str, protocol: &'static str) -> Result<Prepared, String> {
        let (tls, host) = (self.clone(), host.to_owned());
        let prepared = rt::blocking(move || tls.read(&host, protocol)).await;
        prepared.map_err(|_| "the certificates could not be read".to_owned())?
    }

    fn read(&self, host: &str, protocol: &str) -> Result<Prepared, String> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let peer = name_of(name)?;
        let provider = Arc::new(ring::default_provider());
        let own = self.own.as_ref().map(|own| own.read(&provider)).transpose()?;
        let has_certificate = own.is_some();
        let shown = Arc::new(Shown { own, asked: AtomicBool::new(false) });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?;
        let trusting = match &self.authorities {
            _ if self.unverified => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
            Some(authorities) => builder.with_root_certificates(authorities.read()?),
            None => return Err(NO_AUTHORITY.to_owned()),
        };
        let resolver: Arc<dyn ResolvesClientCert> = Arc::clone(&shown) as _;
        let mut config = trusting.with_client_cert_resolver(resolver);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let about = words::About { peer: name.to_owned(), has_certificate };
        Ok(Prepared { config: Arc::new(config), name: peer, shown, about, protocol: protocol.to_owned() })
    }

    /// Reads the files and shakes hands over an open connection to this host. `protocol` is what will be spoken:
    /// `h2` or `http/1.1`. Bounded by the caller; dropping it closes the connection.
    ///
    /// # Errors
    /// A file cannot be used, or the two do not trust each other; the words say why.
    #[doc(hidden)]
    pub async fn handshake<S>(
        &self,
        stream: S,
        host: &str,
        protocol: &'static str,
    ) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.prepare(host, protocol).await?.handshake(stream).await
    }
}

/// All that a handshake needs, read from the files.
pub(super) struct Prepared {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    protocol: String,
    pub(super) shown: Arc<Shown>,
    pub(super) about: words::About,
}

impl Prepared {
    pub(super) async fn handshake<S>(&self, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let shaken = connector.connect(self.name.clone(), stream).await;
        let stream = shaken.map_err(|error| self.about.handshake(&error, self.shown.was_asked()))?;
        // Where the other end picks none it would be anybody's guess what it speaks.
        match stream.get_ref().1.alpn_protocol() {
            Some(agreed) if agreed == self.protocol.as_bytes() => Ok(stream),
            _ => Err(format!("{} does not agree to speak {} over TLS", self.about.peer, self.protocol)),
        }
    }
}

impl Authorities {
    fn read(&self) -> Result<RootCertStore, String> {
        match self {
            Authorities::Pem(pem) => roots(pem, "what was given"),
            Authorities::File(path) => {
                roots(&read(path, "the authorities", LARGEST)?, &path.display().to_string())
            }
        }
    }
}

fn roots(pem: &[u8], place: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, place)? {
        roots.add(certificate).map_err(|error| format!("{place} has a certificate that is none: {error}"))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{place} is no PEM: {error}"))?;
    if found.is_empty() {
        return Err(format!("{place} has no certificate in PEM"));
    }
    Ok(found)
}

impl Own {
    fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let pem = read(&self.certificate, "the client certificate", LARGEST)?;
        let chain = certificates(&pem, &certificate.to_string())?;
        let pem = read(&self.key, "the client key", LARGEST)?;
        // What the parser makes of a key is not repeated: it could show some of it.
        let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            format!(
                "{key} has no private key in PEM that can be read (PKCS#8, PKCS#1 or SEC1, not encrypted)"
            )
        })?;
        let pair = CertifiedKey::from_der(chain, secret, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("the key {key} does not belong to the certificate {certificate}")
            }
            _ => format!("{key} has no private key that can be used (RSA, ECDSA or Ed25519)"),
        })?;
        Ok(Arc::new(pair))
    }
}

fn name_of(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| format!("is for `{host}`, which is neither a DNS name nor an IP address"))
}

/// What the client shows of itself, and whether it was asked to.
#[derive(Debug)]
pub(super) struct Shown {
    own: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl Shown {
    /// Whether the other end has asked for a certificate.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.own.clone()
    }

    /// Always, so that it is told when one is asked for.
    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes anybody for the other end; only that it has the key of what it shows is checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
