//! A server under measurement: a child process with a data folder, ended by its own id on drop.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Result, wire::Connections};

/// Kernel ticks per second in `/proc/PID/stat`: 100 on every Linux architecture that Rust knows.
const TICKS_PER_SECOND: f64 = 100.0;
const QUIET_DEADLINE: Duration = Duration::from_secs(120);
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A child process that serves gRPC on loopback.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    data: Arc<TempDir>,
    started: Instant,
    answered_after: Duration,
    served_after: Duration,
}

impl Server {
    /// Starts `command`, whose output goes to a file in its data folder.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn spawn(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        data: impl Into<Arc<TempDir>>,
    ) -> Result<Self> {
        let data = data.into();
        let output = fs::File::create(log_file(&data))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| format!("start {name}: {error}"))?;
        let (answered_after, served_after) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { name, child, address, data, started, answered_after, served_after })
    }

    /// Waits until `Health/Check` answers SERVING.
    ///
    /// # Errors
    /// The server ended, or does not serve within 30 s.
    pub(crate) async fn serving(&mut self) -> Result<()> {
        let endpoint = self.endpoint()?;
        self.serving_to(async || Ok(endpoint.connect().await?)).await
    }

    /// The same, asked over what `connect` gives.
    ///
    /// # Errors
    /// The server ended, or does not serve within 30 s.
    pub(crate) async fn serving_to(&mut self, connect: impl AsyncFn() -> Result<Channel>) -> Result<()> {
        // A blocking loop on purpose: nothing else runs yet, and timers have a grain of 1 ms.
        while TcpStream::connect(self.address).is_err() {
            self.check_running()?;
            thread::sleep(Duration::from_micros(100));
        }
        let mut health = HealthClient::new(connect().await?);
        loop {
            let request = HealthCheckRequest { service: String::new() };
            let answer = health.check(request).await;
            if answer.is_ok() && self.answered_after.is_zero() {
                self.answered_after = self.started.elapsed();
            }
            match answer {
                Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => {
                    self.served_after = self.started.elapsed();
                    return Ok(());
                }
                Ok(_) | Err(_) => self.check_running()?,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long after its start it first answered, whatever it said.
    pub(crate) fn answered_after(&self) -> Duration {
        self.answered_after
    }

    /// How long after its start it served.
    pub(crate) fn served_after(&self) -> Duration {
        self.served_after
    }

    /// How long ago it was started.
    pub(crate) fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its data folder, which may outlive it.
    pub(crate) fn data(&self) -> Arc<TempDir> {
        Arc::clone(&self.data)
    }

    /// Opens connections for tonic's client.
    ///
    /// # Errors
    /// A connection is refused.
    pub(crate) async fn connect(&self, connections: usize) -> Result<Vec<Channel>> {
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(self.endpoint()?.connect().await?);
        }
        Ok(channels)
    }

    /// Opens connections for thin calls.
    ///
    /// # Errors
    /// A connection is refused.
    pub(crate) async fn connect_thin(&self, connections: usize) -> Result<Connections> {
        Connections::open(self.address, connections).await
    }

    /// CPU time of all its threads so far, user and kernel, in seconds, to 10 ms.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        // The second field is the program's name, which may hold blanks: count from its bracket.
        let after_name = stat.rsplit_once(") ").ok_or("no program name in /proc/PID/stat")?.1;
        let ticks = |n: usize| -> Result<f64> {
            Ok(after_name.split(' ').nth(n).ok_or("too few fields in /proc/PID/stat")?.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Waits until it does next to nothing: what came before is written down and tidied up.
    ///
    /// # Errors
    /// The process is gone, or is never quiet.
    pub(crate) async fn quiet(&self) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < QUIET_DEADLINE {
            let before = self.cpu_seconds()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            // To the grain of the clock.
            if self.cpu_seconds()? - before < 0.03 {
                return Ok(());
            }
        }
        Err(format!("{} was not quiet within {QUIET_DEADLINE:?}", self.name).into())
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS in status")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    fn endpoint(&self) -> Result<Endpoint> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?)
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    fn check_running(&mut self) -> Result<()> {
        let state = match self.child.try_wait()? {
            Some(status) => format!("ended ({status})"),
            None if self.started.elapsed() > START_DEADLINE => "does not serve within 30 s".to_owned(),
            None => return Ok(()),
        };
        let log = fs::read_to_string(log_file(&self.data)).unwrap_or_default();
        Err(format!("{} {state}; its output was:\n{log}", self.name).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed, not drained: what it wrote is thrown away. Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The build's target folder: data and tools of the benches lie on its disk.
pub(crate) fn target() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).to_owned()
}

/// Makes an empty data folder below the target folder.
///
/// # Errors
/// The folder cannot be made.
pub(crate) fn data_folder() -> Result<TempDir> {
    let parent = target().join("bench-data");
    fs::create_dir_all(&parent)?;
    Ok(tempfile::tempdir_in(parent)?)
}

/// Finds a loopback port that is free now.
///
/// # Errors
/// There is none.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn log_file(data: &TempDir) -> PathBuf {
    data.path().join("output.log")
}
