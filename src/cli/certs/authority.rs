//! The authority: made, kept in a folder, opened again, and what it signs (RFC 5280; SPIFFE X.509-SVID).

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{cannot, facts::Facts};
use crate::{
    cli::{failure::Failure, private::exposed, render::when},
    id::Entropy,
};

/// Its certificate and its key, in its folder.
pub(super) const CERTIFICATE: &str = "ca.pem";
pub(super) const KEY: &str = "ca.key";

/// Certificates count from a little earlier on, for clocks that are behind.
const EARLIER: Duration = Duration::from_secs(5 * 60);

/// Who can issue certificates.
pub(super) struct Authority {
    pub(super) facts: Facts,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Its certificate in DER.
    pub(super) der: Vec<u8>,
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Who a certificate is for.
pub(super) struct Subject {
    /// Its common name, for people.
    pub(super) name: String,
    /// What it proves.
    pub(super) proves: Vec<SanType>,
    pub(super) purpose: Purpose,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// To be a server.
    Server,
    /// To call one.
    Client,
}

/// Makes an authority.
pub(super) fn make(trust_domain: &str, lifetime: Duration, now: SystemTime) -> Result<Pair, Failure> {
    let failed = |cause| cannot("make an authority", cause);
    let mut params = params(&format!("Seaworthy CA {trust_domain}"), lifetime, now)?;
    // It issues certificates, and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

impl Authority {
    /// Opens the authority in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|cause| {
                Failure::Usage(format!(
                    "there is no authority in {}: cannot read {}: {cause}; `seaworthy certs init` makes one",
                    folder.display(),
                    path.display()
                ))
            })
        };
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        let wrong = |path: &Path, why: &str| Failure::Usage(format!("{} {why}", path.display()));
        let pem = read(&certificate)?;
        let secret = read(&key)?;
        if let Some(mode) = fs::metadata(&key).ok().as_ref().and_then(exposed) {
            let why = format!(
                "has mode {mode:04o}: others could issue certificates; run: chmod 600 '{}'",
                key.display()
            );
            return Err(wrong(&key, &why));
        }
        let der = first(&pem).ok_or_else(|| wrong(&certificate, "has no certificate in PEM"))?;
        let facts = Facts::of(&der).map_err(|why| wrong(&certificate, &why))?;
        if !facts.is_authority {
            return Err(wrong(&certificate, "is no authority"));
        }
        // What is wrong with a key is not told by what stands there.
        let key_pair =
            KeyPair::from_pem(&secret).map_err(|_| wrong(&key, "has no private key that can be used"))?;
        if key_pair.subject_public_key_info() != facts.public_key {
            return Err(wrong(&key, &format!("does not belong to {}", certificate.display())));
        }
        let issuer = Issuer::from_ca_cert_pem(&pem, key_pair)
            .map_err(|cause| wrong(&certificate, &format!("cannot be used: {cause}")))?;
        Ok(Self { facts, issuer, der })
    }

    /// Its trust domain, which SPIFFE ids that it issues are of.
    pub(super) fn trust_domain(&self) -> Result<&str, Failure> {
        let domain = self.facts.names.iter().find_map(|name| name.strip_prefix("spiffe://"));
        domain.filter(|domain| !domain.contains('/')).ok_or_else(|| {
            Failure::Usage(
                "the authority has no trust domain: it was not made by `seaworthy certs init`".to_owned(),
            )
        })
    }

    /// Issues a certificate with a new key.
    pub(super) fn issue(
        &self,
        subject: Subject,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Pair, Failure> {
        let failed = |cause| cannot("issue a certificate", cause);
        if now + lifetime > self.facts.not_after {
            return Err(Failure::Usage(format!(
                "the authority itself ends {}, which is sooner; give a shorter --lifetime, or make a new authority",
                when::stamp(Some(&self.facts.not_after.into()))
            )));
        }
        let Subject { name, proves, purpose } = subject;
        let mut params = params(&name, lifetime, now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = proves;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, lifetime: Duration, now: SystemTime) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Counted from here, for rcgen's dates have no name of their own.
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(since.saturating_sub(EARLIER));
    params.not_after = epoch + seconds(since + lifetime);
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// 127 random bits: it has to be positive, and nobody may foresee it (RFC 5280 4.1.2.2).
fn serial() -> Result<SerialNumber, Failure> {
    let mut bytes = Entropy::system().bytes::<16>().map_err(|cause| cannot("draw a serial number", cause))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Certificates know whole seconds.
pub(super) fn seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

/// A name in the form of a URI.
pub(super) fn uri(text: &str) -> Result<SanType, Failure> {
    let name = text.try_into().map_err(|cause| cannot(&format!("name {text} in a certificate"), cause))?;
    Ok(SanType::URI(name))
}

/// The first certificate of a PEM, in DER.
pub(super) fn first(pem: &str) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|certificate| certificate.to_vec())
}
