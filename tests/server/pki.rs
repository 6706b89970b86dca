//! An authority, and certificates of servers and clients, for tests and measurements.

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
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Serial numbers are given once in a process.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// Signs certificates and revocation lists.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
    pub serial: u64,
}

/// What is in a certificate, and when it counts, as seconds from now on.
#[derive(Clone, Debug)]
pub struct Leaf {
    names: Vec<String>,
    begins: i64,
    ends: i64,
}

impl Leaf {
    /// For these names, for a day: `uri=` before those that are URIs.
    pub fn of(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names, begins: -3600, ends: 24 * 3600 }
    }

    /// For the server of tests.
    pub fn server() -> Self {
        Self::of(&["localhost", "127.0.0.1"])
    }

    /// Counts between these seconds from now on.
    pub fn between(self, begins: i64, ends: i64) -> Self {
        Self { begins, ends, ..self }
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// Another authority that this one vouches for.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(Self::params(name), key, &self.0).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, leaf: &Leaf) -> Issued {
        self.issue_for(leaf, &KeyPair::generate().unwrap())
    }

    pub fn issue_for(&self, leaf: &Leaf, key: &KeyPair) -> Issued {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("leaf {serial}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = leaf.names.iter().map(|name| san(name)).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(1970, 1, 1) + from_now(leaf.begins);
        params.not_after = date_time_ymd(1970, 1, 1) + from_now(leaf.ends);
        let cert = params.signed_by(key, &self.0).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem(), serial }
    }

    /// A list of those that are revoked, whose successor is due so many seconds from now on.
    pub fn revokes(&self, revoked: &[&Issued], due: i64) -> String {
        let at = |seconds| date_time_ymd(1970, 1, 1) + from_now(seconds);
        let one = |issued: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: at(-60),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at(due - 7 * 24 * 3600),
            next_update: at(due),
            crl_number: SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// Time since 1970, so many seconds from now on.
fn from_now(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_secs(now.as_secs().checked_add_signed(seconds).unwrap())
}

fn san(name: &str) -> SanType {
    match (name.strip_prefix("uri="), name.parse()) {
        (Some(uri), _) => SanType::URI(uri.try_into().unwrap()),
        (None, Ok(ip)) => SanType::IpAddress(ip),
        (None, Err(_)) => SanType::DnsName(name.try_into().unwrap()),
    }
}

/// Puts a file in its place at once, as whoever renews certificates should.
pub fn put(file: &Path, content: &str) {
    let mut part = file.as_os_str().to_owned();
    part.push(".new");
    fs::write(&part, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(&part, file).unwrap();
}

/// The files of a server.
#[derive(Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    pub crl: PathBuf,
}

impl Files {
    /// In a folder, with a certificate for the server and `authority` for clients, which revokes nobody.
    pub fn new(folder: &Path, authority: &Authority) -> Self {
        let named = |name| folder.join(name);
        let files = Self {
            cert: named("cert.pem"),
            key: named("key.pem"),
            client_ca: named("client-ca.pem"),
            crl: named("crl.pem"),
        };
        files.renew(&authority.issue(&Leaf::server()));
        put(&files.client_ca, &authority.pem());
        put(&files.crl, &authority.revokes(&[], 7 * 24 * 3600));
        files
    }

    /// Another certificate with its key.
    pub fn renew(&self, issued: &Issued) {
        put(&self.key, &issued.key);
        put(&self.cert, &issued.cert);
    }
}
