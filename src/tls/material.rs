//! What the files hold, taken apart and checked: whether it belongs together, whose it is, and until when.

use std::{fmt, time::SystemTime};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use x509_parser::{
    certificate::X509Certificate, parse_x509_certificate, parse_x509_crl,
    revocation_list::CertificateRevocationList,
};

use super::{
    expiry::{Expiry, Kind, Left, shown, time},
    files::{Contents, Files, Named},
};
use crate::error::Result;

/// What the files hold.
pub(super) struct Material {
    /// The server's certificate, then those of intermediate authorities.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// None: no certificate of a client is asked for.
    pub(super) clients: Option<ClientMaterial>,
    pub(super) expiries: Vec<Expiry>,
    /// What works, and is probably not meant so.
    pub(super) doubts: Vec<String>,
    /// Why the server's certificate does not count now.
    pub(super) not_now: Option<String>,
    /// Where it is from.
    pub(super) files: Files,
}

/// What client certificates are verified by.
pub(super) struct ClientMaterial {
    pub(super) roots: RootCertStore,
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// Tells whether it is what it was.
    pub(super) digest: blake3::Hash,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}

impl Material {
    /// Takes the contents of the files apart.
    ///
    /// # Errors
    /// `TlsUnusable`: something is not in them, or does not belong together.
    pub(super) fn of(files: &Files, contents: &Contents, now: SystemTime) -> Result<Self> {
        let (mut expiries, mut doubts) = (Vec::new(), Vec::new());
        let chain = certificates(files.cert(), &contents.cert, Kind::Server, &mut expiries)?;
        let own = expiries.first().copied();
        let not_now = own.and_then(|own| not_now(files.cert(), &own, now));
        doubts.extend(not_now.clone());
        let key = key(files.key(), &contents.key)?;
        if contents.key_is_open {
            doubts.push(format!(
                "{} (tls.key_file) can be read by everybody on this machine; chmod 600 it",
                files.key().path.display()
            ));
        }
        let clients = match (files.client_ca(), &contents.client_ca) {
            (Some(named), Some(bytes)) => {
                let authorities = certificates(named, bytes, Kind::ClientCa, &mut expiries)?;
                let lists = match (files.crl(), &contents.crl) {
                    (Some(crl), Some(bytes)) => lists(crl, bytes, &authorities, &mut expiries)?,
                    _ => Vec::new(),
                };
                let mut roots = RootCertStore::empty();
                for authority in &authorities {
                    roots.add(authority.clone()).map_err(|cause| {
                        named.unusable("it has a certificate that cannot be an authority's").because(cause)
                    })?;
                }
                let mut hasher = blake3::Hasher::new();
                for der in
                    authorities.iter().map(AsRef::as_ref).chain(lists.iter().map(AsRef::<[u8]>::as_ref))
                {
                    hasher.update(der);
                }
                Some(ClientMaterial { roots, lists, digest: hasher.finalize() })
            }
            _ => None,
        };
        let others = expiries.iter().filter(|one| one.kind != Kind::Server);
        doubts.extend(others.filter_map(|one| doubtful(one, now)));
        Ok(Self { chain, key, clients, expiries, doubts, not_now, files: files.clone() })
    }
}

/// Why a certificate does not count now.
fn not_now(named: Named<'_>, own: &Expiry, now: SystemTime) -> Option<String> {
    let file = format!("the certificate in {} ({})", named.path.display(), named.setting);
    match own.left(now) {
        Left::None => Some(format!("{file} expired at {}; renew it", shown(own.not_after))),
        Left::NotYet => Some(format!(
            "{file} is valid from {} on, which is not yet; see the clock",
            shown(own.not_before)
        )),
        Left::Enough | Left::Little => None,
    }
}

/// What is doubtful about an authority or a list.
fn doubtful(one: &Expiry, now: SystemTime) -> Option<String> {
    match (one.left(now), one.kind) {
        (Left::None, Kind::CrlNextUpdate) => Some(format!(
            "a revocation list (tls.crl_file) should have had a successor by {}; it counts until there is one",
            shown(one.not_after)
        )),
        (Left::None, _) => Some(format!("{} expired at {}", one.kind.words(), shown(one.not_after))),
        (Left::NotYet, _) => {
            Some(format!("{} is valid from {} on, which is not yet", one.kind.words(), shown(one.not_before)))
        }
        (Left::Enough | Left::Little, _) => None,
    }
}

/// Every certificate of a file, in order.
fn certificates(
    named: Named<'_>,
    bytes: &[u8],
    kind: Kind,
    expiries: &mut Vec<Expiry>,
) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<CertificateDer<'static>> = sections(named, bytes, "certificate")?;
    for certificate in &found {
        let parsed = parsed(named, certificate)?;
        let validity = parsed.validity();
        let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
        expiries.push(Expiry { kind, not_before, not_after });
    }
    Ok(found)
}

fn parsed<'a>(named: Named<'_>, certificate: &'a CertificateDer<'static>) -> Result<X509Certificate<'a>> {
    match parse_x509_certificate(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(_) => Err(named.unusable("it has a certificate that is none of X.509")),
    }
}

/// Everything of one kind in a file. There must be something.
fn sections<T: PemObject>(named: Named<'_>, bytes: &[u8], what: &str) -> Result<Vec<T>> {
    let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(bytes).collect();
    let found = found.map_err(|cause| {
        named.unusable("it is not whole, or no PEM (text between -----BEGIN and -----END)").because(cause)
    })?;
    if found.is_empty() {
        return Err(named.unusable(&format!("there is no {what} in it; PEM is wanted")));
    }
    Ok(found)
}

fn key(named: Named<'_>, bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|cause| {
        let locked = bytes.windows(LOCKED.len()).any(|part| part == LOCKED);
        let wrong = match cause {
            pem::Error::NoItemsFound if locked => {
                "the private key in it is locked by a passphrase; unlock it"
            }
            pem::Error::NoItemsFound => "there is no private key in it; PEM is wanted",
            _ => "it is not whole, or no PEM (text between -----BEGIN and -----END)",
        };
        // What is in the file is not told, not even to the log.
        named.unusable(wrong)
    })
}

/// Begins a key that is of no use without a passphrase.
const LOCKED: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";

/// Every revocation list of a file. Each must be of one of the authorities, and each of those must have one: of an
/// authority without a list nobody knows whom it has revoked, and none of its certificates would be taken.
fn lists(
    named: Named<'_>,
    bytes: &[u8],
    authorities: &[CertificateDer<'static>],
    expiries: &mut Vec<Expiry>,
) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let found: Vec<CertificateRevocationListDer<'static>> = sections(named, bytes, "revocation list")?;
    let authorities: Vec<_> =
        authorities.iter().map(|authority| parsed(named, authority)).collect::<Result<_>>()?;
    let mut listed = vec![false; authorities.len()];
    for list in &found {
        let Ok((_, list)) = parse_x509_crl(list) else {
            return Err(named.unusable("it has a revocation list that is none of X.509"));
        };
        let of = authorities.iter().position(|authority| is_of(&list, authority));
        let Some(of) = of else {
            return Err(named.unusable(&format!(
                "it has a revocation list of {:?}, which none of the authorities in tls.client_ca_file has signed",
                list.issuer().to_string()
            )));
        };
        listed[of] = true;
        if let Some(next) = list.next_update() {
            let (not_before, not_after) = (time(list.last_update()), time(next));
            expiries.push(Expiry { kind: Kind::CrlNextUpdate, not_before, not_after });
        }
    }
    match listed.iter().position(|listed| !listed) {
        None => Ok(found),
        Some(without) => Err(named.unusable(&format!(
            "it has no revocation list of {:?}, an authority in tls.client_ca_file; add one, which may be empty",
            authorities[without].subject().to_string()
        ))),
    }
}

/// Whether an authority has signed a list.
fn is_of(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> bool {
    list.issuer().as_raw() == authority.subject().as_raw()
        && list.verify_signature(authority.public_key()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        config::{ClientAuth, Tls},
        error::Reason,
        time::Clock,
        tls::{
            check,
            pki::{self, Authority, Leaf},
        },
    };

    struct Folder {
        dir: tempfile::TempDir,
        config: Tls,
    }

    impl Folder {
        fn new(authority: &Authority) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = pki::Files::new(dir.path(), authority);
            let config = Tls {
                cert_file: Some(files.cert),
                key_file: Some(files.key),
                client_ca_file: Some(files.client_ca),
                crl_file: Some(files.crl),
                client_auth: ClientAuth::Optional,
            };
            Self { dir, config }
        }

        fn put(&self, name: &str, content: &str) {
            pki::put(&self.dir.path().join(name), content);
        }

        fn check(&self) -> Result<Vec<String>, String> {
            check(&self.config, Clock::start()).map_err(|error| {
                assert_eq!(error.reason(), Reason::TlsUnusable);
                error.message().replace(&*self.dir.path().to_string_lossy(), "DIR")
            })
        }
    }

    /// What is done to good files, and what is said then.
    type Row<'a> = (&'a dyn Fn(&Folder), &'a str);

    #[test]
    fn what_is_wrong_with_files_as_a_table() {
        let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
        let leaf = authority.issue(&Leaf::server());
        let rows: &[Row<'_>] = &[
            (
                &|folder| fs::remove_file(folder.dir.path().join("cert.pem")).unwrap(),
                "cannot use DIR/cert.pem (tls.cert_file): No such file or directory (os error 2)",
            ),
            (
                &|folder| {
                    fs::remove_file(folder.dir.path().join("key.pem")).unwrap();
                    fs::create_dir(folder.dir.path().join("key.pem")).unwrap();
                },
                "cannot use DIR/key.pem (tls.key_file): it is not a file",
            ),
            (
                &|folder| folder.put("cert.pem", "nothing"),
                "cannot use DIR/cert.pem (tls.cert_file): there is no certificate in it; PEM is wanted",
            ),
            (
                &|folder| folder.put("cert.pem", &leaf.cert[..leaf.cert.len() / 2]),
                "cannot use DIR/cert.pem (tls.cert_file): it is not whole, or no PEM (text between -----BEGIN and \
                 -----END)",
            ),
            (
                &|folder| {
                    folder.put("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
                },
                "cannot use DIR/cert.pem (tls.cert_file): it has a certificate that is none of X.509",
            ),
            (
                &|folder| folder.put("key.pem", &leaf.cert),
                "cannot use DIR/key.pem (tls.key_file): there is no private key in it; PEM is wanted",
            ),
            (
                &|folder| {
                    folder.put(
                        "key.pem",
                        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                    );
                },
                "cannot use DIR/key.pem (tls.key_file): the private key in it is locked by a passphrase; unlock it",
            ),
            (
                &|folder| folder.put("key.pem", &leaf.key),
                "cannot use DIR/key.pem (tls.key_file): the private key in it does not belong to the first certificate \
                 in DIR/cert.pem (tls.cert_file); the server's own certificate comes first there, then those of \
                 intermediate authorities",
            ),
            (
                &|folder| folder.put("client-ca.pem", ""),
                "cannot use DIR/client-ca.pem (tls.client_ca_file): there is no certificate in it; PEM is wanted",
            ),
            (
                &|folder| folder.put("crl.pem", &other.revokes(&[], 3600)),
                "cannot use DIR/crl.pem (tls.crl_file): it has a revocation list of \"CN=theirs\", which \
                 none of the authorities in tls.client_ca_file has signed",
            ),
            (
                &|folder| folder.put("client-ca.pem", &(authority.pem() + &other.pem())),
                "cannot use DIR/crl.pem (tls.crl_file): it has no revocation list of \"CN=theirs\", an \
                 authority in tls.client_ca_file; add one, which may be empty",
            ),
        ];
        for (spoil, said) in rows {
            let folder = Folder::new(&authority);
            assert_eq!(folder.check(), Ok(Vec::new()));
            spoil(&folder);
            assert_eq!(folder.check().err().as_deref(), Some(*said));
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_is_doubtful_is_told_and_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let authority = Authority::new("ours");
        let folder = Folder::new(&authority);
        let key = folder.dir.path().join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let doubts = folder.check().unwrap();
        assert!(doubts.len() == 1 && doubts[0].ends_with("chmod 600 it"), "{doubts:?}");

        for (begins, ends, said) in [(-7200, -3600, "expired at"), (3600, 7200, "valid from")] {
            let folder = Folder::new(&authority);
            let issued = authority.issue(&Leaf::server().between(begins, ends));
            folder.put("cert.pem", &issued.cert);
            folder.put("key.pem", &issued.key);
            let doubts = folder.check().unwrap();
            assert!(doubts.len() == 1 && doubts[0].contains(said), "{doubts:?}");
        }

        let folder = Folder::new(&authority);
        folder.put("crl.pem", &authority.revokes(&[], -3600));
        let doubts = folder.check().unwrap();
        assert!(doubts.len() == 1 && doubts[0].contains("should have had a successor"), "{doubts:?}");
    }

    #[test]
    fn the_first_certificate_is_the_servers_own() {
        let authority = Authority::new("ours");
        let folder = Folder::new(&authority);
        let issued = authority.issue(&Leaf::server());
        folder.put("key.pem", &issued.key);
        folder.put("cert.pem", &(issued.cert.clone() + &authority.pem()));
        assert_eq!(folder.check(), Ok(Vec::new()));
        folder.put("cert.pem", &(authority.pem() + &issued.cert));
        assert!(folder.check().unwrap_err().contains("comes first there"));
    }
}
