//! Object stores that are processes of their own, from `target/tools`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The account that azurite has, and its key: both are public.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A store that runs until it is dropped.
pub(crate) struct Program {
    pub(crate) url: String,
    child: Child,
    _folder: TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn tool(name: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let path = target.join("tools").join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{} is missing: tests/interop/install stores", path.display());
    #[allow(clippy::disallowed_methods)] // whether it must run is said by who runs it
    let required = std::env::var("TEST_STORES").as_deref() == Ok("required");
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
    None
}

/// Whoever speaks HTTP here speaks it in the clear, and has to have a provider of cryptography all the same.
pub(crate) fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn started(mut command: Command, port: u16, folder: TempDir) -> Program {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let program = Program { url: format!("http://127.0.0.1:{port}"), child, _folder: folder };
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return program;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{command:?} does not listen");
}

/// S3 by moto, with a bucket.
pub(crate) async fn moto(bucket: &str) -> Option<Program> {
    let program = tool("moto/bin/moto_server")?;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let moto = started(command, port, folder).await;
    let made = client().put(format!("{}/{bucket}", moto.url)).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    Some(moto)
}

/// Azure by azurite, with a container.
pub(crate) async fn azurite(container: &str) -> Option<Program> {
    let program = tool("azurite/node_modules/.bin/azurite-blob")?;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(program);
    command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost", "127.0.0.1"]);
    command.arg("--blobPort").arg(port.to_string()).arg("--location").arg(folder.path());
    let azurite = started(command, port, folder).await;
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2021-08-06";
    // What is signed: the verb, eleven headers that there are not, then those of Azure, then what it is about.
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    );
    let signature = BASE64.encode(hmac(&BASE64.decode(ACCOUNT_KEY).unwrap(), signed.as_bytes()));
    let url = format!("{}/{ACCOUNT}/{container}?restype=container", azurite.url);
    let request = client().put(url).header("content-length", 0);
    let request = request.header("x-ms-date", date).header("x-ms-version", version);
    let request = request.header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
    let made = request.send().await.unwrap();
    assert!(made.status().is_success(), "{}: {}", made.status(), made.text().await.unwrap());
    Some(azurite)
}

/// HMAC-SHA256 (RFC 2104), of a key that is as long as a block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| -> Vec<u8> { key.iter().map(|one| one ^ byte).collect() };
    assert_eq!(key.len(), 64);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
