//! What connections are encrypted with, as one whole: a configuration of rustls for each side, and what client
//! certificates are verified by.
//!
//! TLS 1.2 and 1.3, by ring. Where certificates of clients are asked for, sessions are not resumed: a resumed session
//! would bring its certificate along without anybody looking whether it was revoked meanwhile. Where none are asked
//! for, a session proves nothing, and is resumed from memory.

use std::{fmt, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, InconsistentKeys, OtherError, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};

use super::{
    expiry::{Expiry, Kind, Left, first_of_each},
    material::{ClientMaterial, Material},
    peer::PeerCertificate,
};
use crate::{
    config::ClientAuth,
    error::{Error, Result},
    time::Clock,
};

/// What the gRPC side speaks within TLS (RFC 7301).
const GRPC_ALPN: &[u8] = b"h2";
/// What the HTTP side speaks within TLS.
const HTTP_ALPN: &[u8] = b"http/1.1";

/// What connections are encrypted with. Published as a whole, so that nobody sees a certificate of before with
/// authorities of after.
pub struct Credentials {
    /// For the gRPC side: HTTP/2, and certificates of clients as the configuration wants them.
    pub grpc: Arc<ServerConfig>,
    /// For the HTTP side: HTTP/1.1, and certificates of clients only as an offer, so that health can be asked for.
    pub http: Arc<ServerConfig>,
    /// What expires first, of each kind.
    pub expiries: Vec<Expiry>,
    /// None: no certificate of a client is asked for.
    pub(super) clients: Option<Arc<Clients>>,
}

/// What client certificates are verified by.
pub(super) struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    digest: blake3::Hash,
}

impl Clients {
    /// Whether a certificate counts at a time.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), rustls::Error> {
        let (own, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(own, intermediates, unix_time(now)).map(drop)
    }
}

impl Credentials {
    /// Makes them. What verifies clients is that of `before` where nothing has changed about it, so that nobody is
    /// verified again for nothing.
    ///
    /// # Errors
    /// `TlsUnusable`: the key does not belong to the certificate, or one of them is of a kind that is not known.
    pub(super) fn of(
        material: Material,
        client_auth: ClientAuth,
        clock: Clock,
        before: Option<&Credentials>,
    ) -> Result<Self> {
        let Material { chain, key, clients, expiries, doubts: _, not_now: _, files } = material;
        let provider = Arc::new(ring::default_provider());
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|cause| match cause {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => files.key().unusable(&format!(
                "the private key in it does not belong to the first certificate in {} (tls.cert_file); the server's \
                 own certificate comes first there, then those of intermediate authorities",
                files.cert().path.display()
            )),
            cause => files
                .key()
                .unusable("it has a private key of a kind that is not known; ECDSA, Ed25519 and RSA are")
                .because(cause),
        })?;
        let certified = Arc::new(certified);
        let same = |new: &ClientMaterial| {
            let before = before.and_then(|before| before.clients.as_ref());
            before.filter(|before| before.digest == new.digest).cloned()
        };
        let clients = match clients {
            None => None,
            Some(new) => Some(match same(&new) {
                Some(before) => before,
                None => Arc::new(verifier(new, &provider).map_err(|cause| {
                    let named = files.crl().or_else(|| files.client_ca()).unwrap_or_else(|| files.cert());
                    named.unusable("client certificates cannot be verified by it").because(cause)
                })?),
            }),
        };
        let side = |alpn: &[u8], client_auth| {
            let clients = clients.as_ref().map(|clients| Verifier {
                inner: Arc::clone(&clients.verifier),
                is_mandatory: client_auth == ClientAuth::Required,
            });
            side(&provider, clock, clients, &certified, alpn).map(Arc::new)
        };
        Ok(Self {
            grpc: side(GRPC_ALPN, client_auth)?,
            http: side(HTTP_ALPN, ClientAuth::Optional)?,
            expiries: first_of_each(&expiries),
            clients,
        })
    }
}

impl Credentials {
    /// Whether the server's certificate counts at a time.
    pub(super) fn counts_at(&self, now: SystemTime) -> bool {
        let own = self.expiries.iter().find(|one| one.kind == Kind::Server);
        own.is_some_and(|own| matches!(own.left(now), Left::Enough | Left::Little))
    }
}

fn verifier(
    material: ClientMaterial,
    provider: &Arc<CryptoProvider>,
) -> Result<Clients, rustls::server::VerifierBuilderError> {
    let ClientMaterial { roots, lists, digest } = material;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(lists)
        .build()?;
    Ok(Clients { verifier, digest })
}

fn side(
    provider: &Arc<CryptoProvider>,
    clock: Clock,
    clients: Option<Verifier>,
    certified: &Arc<CertifiedKey>,
    alpn: &[u8],
) -> Result<ServerConfig> {
    let builder = ServerConfig::builder_with_details(Arc::clone(provider), Arc::new(Time(clock)))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?;
    let asks_for_certificates = clients.is_some();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    config.alpn_protocols = vec![alpn.to_vec()];
    if asks_for_certificates {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}

/// The clock, as rustls asks for the time.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now().wall))
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Verifies as webpki does, and refuses what has names that prove nobody, in the handshake.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    is_mandatory: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        PeerCertificate::read(end_entity)
            .map_err(|wrong| CertificateError::Other(OtherError(Arc::new(wrong))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
