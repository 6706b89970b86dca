//! `certs`: what it makes is judged by rustls, as servers and clients do.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Output, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, pem::PemObject as _,
    },
    server::WebPkiClientVerifier,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{code, run, stderr, stdout};

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("certs").join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    fn dir(&self) -> String {
        self.0.path().join("certs").to_str().unwrap().to_owned()
    }

    async fn run(&self, args: &[&str]) -> Output {
        run(&[&["certs"], args, &["--dir", &self.dir()]].concat()).await
    }

    async fn done(&self, args: &[&str]) -> String {
        let ended = self.run(args).await;
        assert_eq!(code(&ended), 0, "{args:?}: {}", stderr(&ended));
        stdout(&ended)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.file(name)).unwrap().permissions().mode() & 0o777
    }

    fn chain(&self, name: &str) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_file(self.file(name)).unwrap()]
    }

    fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.file(name)).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain("ca.pem").remove(0)).unwrap();
        Arc::new(roots)
    }

    /// Whether a client with this certificate and a server with `server.pem` trust each other, by that name and by the
    /// authority, its revocation list included.
    async fn handshake(&self, name: &str, client: &str) -> Result<(), String> {
        let provider = Arc::new(ring::default_provider());
        let list = CertificateRevocationListDer::from_pem_file(self.file("crl.pem")).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider))
            .with_crls([list])
            .enforce_revocation_expiration()
            .build()
            .unwrap();
        let server = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain("server.pem"), self.key("server.key"))
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(self.chain(&format!("{client}.pem")), self.key(&format!("{client}.key")))
            .unwrap();
        let (near, far) = duplex(64 << 10);
        let accepted = async {
            let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
            stream.write_all(b"!").await?;
            stream.flush().await?;
            Ok::<_, io::Error>(())
        };
        let connected = async {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
            stream.read_exact(&mut [0]).await.map(drop)
        };
        match tokio::join!(accepted, connected) {
            (Ok(()), Ok(())) => Ok(()),
            // Each end says its part.
            (accepted, connected) => Err(format!("{accepted:?} {connected:?}")),
        }
    }
}

#[tokio::test]
async fn what_is_made_is_trusted_where_it_should_be_and_nowhere_else() {
    let home = Home::new();
    home.done(&["init", "--trust-domain", "prod.example.org"]).await;
    assert_eq!((home.mode("."), home.mode("ca.key"), home.mode("ca.pem")), (0o700, 0o600, 0o644));
    home.done(&["issue", "server", "--name", "seaworthy.internal", "--name", "10.0.0.7"]).await;
    home.done(&["issue", "service", "orders"]).await;
    home.done(&["issue", "role", "operator", "alice"]).await;
    for name in ["server", "service-orders", "operator-alice"] {
        assert_eq!((home.mode(&format!("{name}.key")), home.mode(&format!("{name}.pem"))), (0o600, 0o644));
    }
    for name in ["seaworthy.internal", "10.0.0.7"] {
        for client in ["service-orders", "operator-alice"] {
            home.handshake(name, client).await.unwrap_or_else(|why| panic!("{name} {client}: {why}"));
        }
    }
    let wrong = home.handshake("payments.internal", "service-orders").await.unwrap_err();
    assert!(wrong.contains("NotValidForName"), "{wrong}");
    // Each is for its own end alone.
    let wrong = home.handshake("10.0.0.7", "server").await.unwrap_err();
    assert!(wrong.contains("InvalidPurpose"), "{wrong}");

    // Who is revoked is refused, and nobody else.
    let told = home.done(&["revoke", &home.path("service-orders.pem")]).await;
    assert!(told.starts_with("revoked "), "{told}");
    let refused = home.handshake("10.0.0.7", "service-orders").await.unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
    home.handshake("10.0.0.7", "operator-alice").await.unwrap();
    // Being so twice changes nothing, and the list can be signed anew.
    let told = home.done(&["revoke", &home.path("service-orders.pem")]).await;
    assert!(told.starts_with("was revoked before: "), "{told}");
    home.done(&["revoke"]).await;
    assert!(home.handshake("10.0.0.7", "service-orders").await.is_err());
}

#[tokio::test]
async fn names_say_who_it_is() {
    let home = Home::new();
    home.done(&["init"]).await;
    home.done(&["issue", "server"]).await;
    home.done(&["issue", "service", "orders"]).await;
    home.done(&["issue", "role", "admin", "Alice.B"]).await;
    let files =
        ["ca.pem", "server.pem", "service-orders.pem", "admin-Alice.B.pem"].map(|name| home.path(name));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let shown = run(&[&["certs", "show", "-o", "json"], &files[..]].concat()).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let part = |file: usize| shown[file]["parts"][0]["certificate"].clone();
    let ca = part(0);
    assert_eq!(ca["names"], serde_json::json!(["spiffe://seaworthy.local"]));
    assert_eq!((&ca["is_authority"], &ca["path_length"]), (&Value::Bool(true), &0.into()));
    assert_eq!(ca["key_usage"], serde_json::json!(["key cert sign", "crl sign"]));
    let server = part(1);
    let names: Vec<&str> =
        server["names"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(names[..3], ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(server["key_usage"], serde_json::json!(["digital signature", "server"]));
    assert_eq!(part(2)["names"], serde_json::json!(["spiffe://seaworthy.local/service/orders"]));
    assert_eq!(part(3)["names"], serde_json::json!(["spiffe://seaworthy.local/role/admin/Alice.B"]));
    assert_eq!(part(3)["key_usage"], serde_json::json!(["digital signature", "client"]));
    let days = |file: usize| {
        let at = |key: &str| part(file)[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        (at("not_after").as_second() - at("not_before").as_second()) / 86_400
    };
    assert_eq!([days(0), days(1), days(2), days(3)], [5 * 365, 90, 30, 30]);
    let serials: std::collections::BTreeSet<String> =
        (0..4).map(|file| part(file)["serial"].as_str().unwrap().to_owned()).collect();
    assert_eq!(serials.len(), 4);
    assert!(serials.iter().all(|serial| serial.len() == 32), "{serials:?}");
}

#[tokio::test]
async fn nothing_is_overwritten_unless_meant() {
    let home = Home::new();
    home.done(&["init"]).await;
    let authority = fs::read(home.file("ca.key")).unwrap();
    let again = home.run(&["init"]).await;
    assert_eq!(code(&again), 2);
    assert!(stderr(&again).contains("is not overwritten"), "{}", stderr(&again));
    assert_eq!(fs::read(home.file("ca.key")).unwrap(), authority);

    let issue = ["issue", "service", "orders"];
    home.done(&issue).await;
    let (certificate, key) = (home.file("service-orders.pem"), home.file("service-orders.key"));
    let before = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let again = home.run(&issue).await;
    assert_eq!(code(&again), 2);
    assert!(stderr(&again).contains("--force replaces it"), "{}", stderr(&again));
    assert_eq!((fs::read(&certificate).unwrap(), fs::read(&key).unwrap()), before);
    home.done(&[&issue[..], &["--force"]].concat()).await;
    let after = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    assert!(after.0 != before.0 && after.1 != before.1);
    assert_eq!(home.mode("service-orders.key"), 0o600);
    home.done(&["issue", "server"]).await;
    // They belong together again.
    home.handshake("localhost", "service-orders").await.unwrap();

    let elsewhere = home.0.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    home.done(&[&issue[..], &["--out", elsewhere.to_str().unwrap(), "--lifetime", "12h"]].concat()).await;
    assert!(elsewhere.join("service-orders.key").is_file());
}

#[tokio::test]
async fn what_cannot_be_is_told() {
    let home = Home::new();
    let early = home.run(&["issue", "server"]).await;
    assert!(stderr(&early).contains("`seaworthy certs init` makes one"), "{}", stderr(&early));
    home.done(&["init", "--lifetime", "10d"]).await;
    home.done(&["issue", "service", "orders", "--lifetime", "9d"]).await;
    let stranger = Home::new();
    stranger.done(&["init"]).await;
    for (args, expected) in [
        (&["issue", "server"][..], "the authority itself ends"),
        (&["issue", "server", "--lifetime", "3y"], "825d at the most"),
        (&["issue", "service", "Orders"], "DNS label"),
        (&["issue", "role", "operator", "a/b"], "1 to 63 letters"),
        (&["issue", "server", "--name", "h:443"], "without a port"),
        (&["init", "--trust-domain", "Prod"], "lower-case letters"),
        (&["revoke", &home.path("ca.key")], "has no certificate in PEM"),
        (&["revoke", &stranger.path("ca.pem")], "was not issued by the authority"),
        (&["issue", "service", "x", "--lifetime", "1d", "--out", "/nowhere"], "there is no folder"),
    ] {
        let refused = home.run(args).await;
        assert_eq!(code(&refused), 2, "{args:?}");
        assert!(stderr(&refused).contains(expected), "{args:?}: {}", stderr(&refused));
    }
    fs::set_permissions(home.file("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = home.run(&["issue", "service", "payments", "--lifetime", "1d"]).await;
    assert!(stderr(&exposed).contains("run: chmod 600 '"), "{}", stderr(&exposed));
    fs::copy(stranger.file("ca.key"), home.file("ca.key")).unwrap();
    fs::set_permissions(home.file("ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let other = home.run(&["issue", "service", "payments", "--lifetime", "1d"]).await;
    assert!(stderr(&other).contains("does not belong to"), "{}", stderr(&other));
}

#[tokio::test]
async fn keys_are_never_shown() {
    let home = Home::new();
    home.done(&["init"]).await;
    home.done(&["issue", "server"]).await;
    let both = home.file("both.pem");
    let key = fs::read_to_string(home.file("server.key")).unwrap();
    let text = [
        &fs::read_to_string(home.file("server.pem")).unwrap(),
        &key,
        &fs::read_to_string(home.file("crl.pem")).unwrap(),
    ];
    fs::write(&both, text.map(String::as_str).concat()).unwrap();
    for format in ["table", "json"] {
        let shown = run(&["certs", "show", "-o", format, both.to_str().unwrap()]).await;
        assert_eq!(code(&shown), 0, "{}", stderr(&shown));
        let text = stdout(&shown);
        assert!(text.contains("private key") && text.contains("localhost"), "{text}");
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!text.contains(line), "{text}");
        }
    }
    let table = stdout(&run(&["certs", "show", both.to_str().unwrap()]).await);
    assert!(table.contains("90d left") || table.contains("89d left"), "{table}");
    assert!(table.contains("revoked             nobody"), "{table}");
}
