//! SIGHUP reads the configuration and the files of TLS again; what is wrong changes nothing.

#![cfg(unix)]
#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "server/pki.rs"]
mod pki;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// The real binary, ended when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn seaworthy(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.args(words).env_clear();
    command
}

/// Waits for a condition, looking again every few milliseconds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value and origin of a key in the configuration of the running server.
fn running(server: &str, key: &str) -> Option<(String, String)> {
    let output =
        seaworthy(&["config", "show", "--running", "-o", "json", "--server", server]).output().ok()?;
    let shown: Value = serde_json::from_slice(&output.stdout).ok()?;
    let entry = shown["entries"].as_array()?.iter().find(|entry| entry["key"] == key)?.clone();
    Some((entry["value"].as_str()?.to_owned(), entry["origin"].as_str()?.to_owned()))
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("written");
}

/// A server with this configuration file; where it listens, and its log.
fn serve(dir: &Path, config: &Path) -> (Serving, String, PathBuf) {
    let (ready, log) = (dir.join("r.json"), dir.join("log"));
    let child =
        seaworthy(&["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--ready-file")
            .arg(&ready)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stderr(fs::File::create(&log).expect("a log"))
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
    let serving = Serving(child);
    let server = until("ready", || {
        let ready: Value = serde_json::from_slice(&fs::read(&ready).ok()?).ok()?;
        Some(format!("http://{}", ready["grpc"].as_str()?))
    });
    (serving, server, log)
}

fn hang_up(serving: &Serving) {
    kill_process(Pid::from_child(&serving.0), Signal::HUP).expect("our own child");
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("c.toml");
    write(&config, "[fleet]\nmax_instances = 100\n");
    let (serving, server, log) = serve(dir.path(), &config);
    assert_eq!(running(&server, "fleet.max_instances").expect("shown").0, "100");

    write(&config, "log_level = \"debug\"\n[fleet]\nmax_instances = 200\nlease_ttl = \"30s\"\n");
    hang_up(&serving);
    until("the new limit counts", || {
        let (value, origin) = running(&server, "fleet.max_instances")?;
        (value == "200" && origin.contains("c.toml")).then_some(())
    });
    assert_eq!(running(&server, "log_level").expect("shown").0, "debug");
    let (ttl, _) = running(&server, "fleet.lease_ttl").expect("shown");
    assert_eq!(ttl, "15s", "it counts only after a restart");
    let logged = |words: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(words));
    until("the log names what needs a restart", || logged("fleet.lease_ttl").then_some(()));

    write(&config, "[fleet]\nmax_instances = 0\nmax_instants = 7\n");
    hang_up(&serving);
    until("the log says what is wrong", || logged("the last good one stays in force").then_some(()));
    assert!(logged("max_instants"), "the mistake is named");
    assert_eq!(running(&server, "fleet.max_instances").expect("shown").0, "200");
}

/// The policy that counts of a name, and where it comes from.
fn policy(server: &str, name: &str) -> Option<(u64, String)> {
    let output = seaworthy(&["policy", "get", name, "-o", "json", "--server", server]).output().ok()?;
    let shown: Value = serde_json::from_slice(&output.stdout).ok()?;
    let amount = shown["limits"][0]["amount"].as_u64()?;
    Some((amount, shown["origin"].as_str()?.to_owned()))
}

#[test]
fn a_hangup_takes_up_the_policies_of_the_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("c.toml");
    let says = |name: &str, amount: u32| {
        write(
            &config,
            &format!(
                "[[policies]]\nname = \"{name}\"\nlimits = [{{ scope = \"POLICY_SCOPE_CALLER\", amount = {amount} }}]\n"
            ),
        );
    };
    says("callers", 7000);
    let (serving, server, log) = serve(dir.path(), &config);
    assert_eq!(policy(&server, "callers"), Some((7000, "POLICY_ORIGIN_FILE".to_owned())));
    says("callers", 8000);
    hang_up(&serving);
    until("it says something else", || (policy(&server, "callers")?.0 == 8000).then_some(()));
    // One that is wrong changes nothing.
    says("callers", 0);
    hang_up(&serving);
    let logged = |words: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(words));
    until("the log says what is wrong", || logged("amount").then_some(()));
    assert_eq!(policy(&server, "callers").expect("it stays").0, 8000);
    says("others", 9000);
    hang_up(&serving);
    until("another one takes its place", || (policy(&server, "others")?.0 == 9000).then_some(()));
    assert_eq!(policy(&server, "callers"), None);
}

/// The level is what was said last: by hand, or by a configuration that says something else than before.
#[test]
fn a_level_set_by_hand_stays_until_the_configuration_names_another() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = dir.path().join("c.toml");
    write(&config, "log_level = \"info\"\n");
    let (serving, server, _) = serve(dir.path(), &config);
    let set = |level: &str| {
        let output = seaworthy(&["log-level", level, "--server", &server]).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    // Once a key is shown as it was written, all of the file counts.
    let reload = |text: &str, key: &str, value: &str| {
        write(&config, text);
        hang_up(&serving);
        until("the file counts", || (running(&server, key)?.0 == value).then_some(()));
    };
    assert_eq!(set("debug"), "debug (was info)\n");
    reload("log_level = \"info\"\n[fleet]\nmax_instances = 200\n", "fleet.max_instances", "200");
    assert_eq!(set("trace"), "trace (was debug)\n", "the file says what it said before");
    reload("log_level = \"warn\"\n", "log_level", "warn");
    assert_eq!(set("error"), "error (was warn)\n", "the file says something else");
}

/// What is wrong is told once; whoever asks again is told again.
#[test]
fn a_hangup_reads_the_files_of_tls_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let authority = pki::Authority::new("ours");
    let files = pki::Files::new(dir.path(), &authority);
    let config = dir.path().join("c.toml");
    write(&config, &format!("[tls]\ncert_file = {:?}\nkey_file = {:?}\n", files.cert, files.key));
    let (serving, _, log) = serve(dir.path(), &config);
    let told = |times: usize| {
        let text = fs::read_to_string(&log).ok()?;
        (text.matches("the files of TLS are not usable").count() >= times).then_some(())
    };
    pki::put(&files.key, "nothing");
    until("the log says what is wrong", || told(1));
    hang_up(&serving);
    until("it says so again", || told(2));
}
