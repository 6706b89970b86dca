//! The server as a process of its own: what it holds, and how much memory it has needed.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::good::Good;

/// No wait of a test is longer than this.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Makes the kernel forget the peak of a process's memory (`proc_pid_clear_refs`).
const FORGET_PEAK: &str = "5";

pub const MIB: usize = 1024 * 1024;

pub async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("in time")
}

/// A server that is hurt, or is not.
#[derive(Debug)]
pub struct Victim {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub good: Good,
    child: Child,
    before: usize,
    _dir: TempDir,
}

impl Victim {
    /// With its defaults.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With settings, as TOML, and a client that is served.
    pub async fn with(settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("settings.toml"), settings).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
        command.args(["serve", "--log-level", "error", "--grpc-listen", "127.0.0.1:0", "--http-listen"]);
        command.arg("127.0.0.1:0").arg("--data-dir").arg(at("data"));
        command.arg("--ready-file").arg(at("ready")).arg("--config").arg(at("settings.toml"));
        command.env("TOKIO_WORKER_THREADS", "2").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(at("log")).expect("a file"));
        let mut child = command.spawn().expect("the binary starts");
        let ready = async {
            loop {
                if let Ok(ready) = fs::read(at("ready")) {
                    return serde_json::from_slice::<serde_json::Value>(&ready).expect("JSON");
                }
                if let Some(status) = child.try_wait().expect("asked") {
                    panic!("{status}: {}", fs::read_to_string(at("log")).unwrap_or_default());
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let ready = in_time(ready).await;
        let address = |which: &str| ready[which].as_str().expect("an address").parse().expect("an address");
        let (grpc, http) = (address("grpc"), address("http"));
        let good = Good::start(grpc).await;
        good.is_served().await;
        let mut victim = Self { grpc, http, good, child, before: 0, _dir: dir };
        victim.forget();
        victim
    }

    /// Counts memory from here on.
    pub fn forget(&mut self) {
        fs::write(self.proc("clear_refs"), FORGET_PEAK).expect("the peak is forgotten");
        self.before = self.bytes("VmRSS:");
    }

    /// Bytes by which its memory has grown at the most.
    pub fn grown(&self) -> usize {
        self.bytes("VmHWM:").saturating_sub(self.before)
    }

    /// It lives, serves others, and has never needed more memory than that.
    pub async fn unharmed(mut self, most: usize) {
        self.good.is_served().await;
        assert!(self.child.try_wait().expect("asked").is_none(), "it ended");
        let grown = self.grown();
        assert!(grown <= most, "it grew by {} KiB, and {} are the most", grown / 1024, most / 1024);
    }

    /// A figure of its metrics: the whole line but the value.
    pub async fn figure(&self, line: &str) -> u64 {
        let page = self.get("/metrics").await;
        let found = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line} is not shown")).parse().expect("a whole number")
    }

    /// A page, head included.
    pub async fn get(&self, path: &str) -> String {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        http(self.http, ask.as_bytes()).await
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    fn bytes(&self, field: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).expect("it lives");
        let value = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        1024 * value.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends this to an HTTP port, and reads to the end.
pub async fn http(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.expect("the port is open");
    // Whoever is refused may be cut off while it still speaks.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}
