//! How the process ends that runs the server: by what, with which code, and what it says of it.

#![cfg(unix)]
#![allow(missing_docs, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use tempfile::TempDir;

use process::{PATIENCE, Serving, until};

fn serve(dir: &TempDir, words: &[&str]) -> Child {
    serve_with_log(dir, words, fs::File::create(dir.path().join("log")).expect("a log").into())
}

fn serve_with_log(dir: &TempDir, words: &[&str], log: Stdio) -> Child {
    Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .args(["--log-format", "json", "--ready-file"])
        .arg(dir.path().join("ready"))
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .args(words)
        .env_clear()
        .env("SEAWORTHY_SHUTDOWN_LAME_DUCK", "30s")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts")
}

impl Serving {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let child = serve(&dir, &[]);
        Self::ready(dir, child)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The line of the log with this message.
    fn logged(&self, message: &str) -> Option<Value> {
        let text = fs::read_to_string(self.log_file()).ok()?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["message"] == message)
    }

    fn code(&mut self) -> i32 {
        let status = until("its end", || self.child.try_wait().expect("our own child"));
        status.code().expect("it ends by itself")
    }
}

#[test]
fn a_second_signal_ends_it_with_a_report_and_a_code_that_says_so() {
    let mut serving = Serving::start();
    // Whoever is connected is given the lame-duck time.
    let _held = TcpStream::connect(&serving.grpc).expect("a connection");
    serving.signal(Signal::TERM);
    until("it stops", || serving.logged("stopping"));
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), 130);
    let report = serving.logged("stopped").expect("the report");
    assert_eq!(report["aborted"], true, "{report}");
    assert_eq!(report["state_saved"], true, "{report}");
    assert_eq!(report["cause"], "SIGTERM", "{report}");
}

/// Runs it to its end, which comes before it serves: the code, and what it said.
fn fails(change: impl FnOnce(&TempDir, &mut Command)) -> (i32, String) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]).env_clear();
    command.arg("--data-dir").arg(dir.path().join("data"));
    change(&dir, &mut command);
    let ended = command.output().expect("it ends");
    (ended.status.code().expect("by itself"), String::from_utf8(ended.stderr).expect("text"))
}

fn is_a_file(dir: &TempDir) {
    fs::write(dir.path().join("data"), "a file").expect("written");
}

#[test]
fn a_start_that_fails_is_one_line_of_json_where_the_log_is_json() {
    let wrong_value = |_: &TempDir, command: &mut Command| {
        command.args(["--log-format", "json", "--log-level", "loud"]).env("SEAWORTHY_HTTP_LISTEN", "nowhere");
    };
    let in_the_file = |dir: &TempDir, command: &mut Command| {
        let file = dir.path().join("c.toml");
        fs::write(&file, "log_format = \"json\"\nlog_levle = \"info\"\n").expect("written");
        command.arg("--config").arg(file);
    };
    let no_folder = |dir: &TempDir, command: &mut Command| {
        is_a_file(dir);
        // A failure to start is told whatever the level.
        command.args(["--log-format", "json", "--log-level", "off"]);
    };
    for (said, code, reason, names) in [
        (fails(wrong_value), 64, "CONFIG_INVALID", "--log-level"),
        (fails(in_the_file), 64, "CONFIG_INVALID", "log_levle"),
        (fails(no_folder), 1, "DATA_DIR_UNUSABLE", "data"),
    ] {
        let (ended, text) = said;
        assert_eq!((ended, text.lines().count()), (code, 1), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap_or_else(|wrong| panic!("{wrong}: {text}"));
        assert_eq!(
            (line["level"].as_str(), line["reason"].as_str()),
            (Some("ERROR"), Some(reason)),
            "{text}"
        );
        assert_eq!(line["message"], "could not start", "{text}");
        assert!(line["error"].as_str().is_some_and(|error| error.contains(names)), "{text}");
    }
}

#[test]
fn a_start_that_fails_is_told_to_people_in_words() {
    let (code, text) = fails(|dir, command| {
        is_a_file(dir);
        command.args(["--log-format", "human"]);
    });
    assert_eq!(code, 1);
    assert!(text.starts_with("error: "), "{text}");
}

/// Starts that the operating system spoils, and what each has to name.
type Spoiled = fn(&TempDir, &mut Command);
const SPOILED: [(Spoiled, &str, &str); 4] = [
    (is_taken, "cannot listen on 127.0.0.1:", "Address already in use (os error "),
    (no_such_address, "cannot listen on 192.0.2.1:0", "assign requested address (os error "),
    (no_place_for_the_ready_file, "cannot write the ready file", "No such file or directory (os error "),
    (folder_is_a_file, "data", "(os error "),
];

fn is_taken(_: &TempDir, command: &mut Command) {
    // It stays taken for as long as the test runs.
    let taken = Box::leak(Box::new(TcpListener::bind("127.0.0.1:0").expect("a port")));
    command.arg("--metrics-listen").arg(taken.local_addr().expect("an address").to_string());
}

fn no_such_address(_: &TempDir, command: &mut Command) {
    command.args(["--metrics-listen", "192.0.2.1:0"]).env("SEAWORTHY_INSECURE", "true");
}

fn no_place_for_the_ready_file(dir: &TempDir, command: &mut Command) {
    command.arg("--ready-file").arg(dir.path().join("nowhere").join("ready"));
}

fn folder_is_a_file(dir: &TempDir, _: &mut Command) {
    is_a_file(dir);
}

#[test]
fn a_start_that_fails_names_the_reason_of_the_operating_system_once() {
    for (spoil, tried, cause) in SPOILED {
        for format in ["human", "json"] {
            let (code, text) = fails(|dir, command| {
                spoil(dir, command);
                command.args(["--log-format", format, "--log-level", "off"]);
            });
            assert_eq!(code, 1, "{text}");
            assert!(text.contains(tried), "{text}");
            assert_eq!(text.matches(cause).count(), 1, "{text}");
        }
    }
}

#[test]
fn systemd_is_asked_for_as_much_time_as_the_end_may_take() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let mut child = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .args(["--log-format", "json", "--data-dir"])
        .arg(dir.path().join("data"))
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .env("SEAWORTHY_SHUTDOWN_TOTAL", "100s")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let hear = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("it speaks");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    while hear() != "READY=1\n" {}
    kill_process(Pid::from_child(&child), Signal::TERM).expect("our own child");
    while hear() != "STOPPING=1\n" {}
    // Its total, and the margin after which it ends itself whatever happens.
    assert_eq!(hear(), "EXTEND_TIMEOUT_USEC=103000000\n");
    let status = until("its end", || child.try_wait().expect("our own child"));
    assert!(status.success(), "{status}");
}

/// A log that takes nothing: its other end, which nobody reads, is full.
fn full() -> (Stdio, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair");
    near.set_nonblocking(true).expect("set");
    while (&near).write(&[b'x'; 64 * 1024]).is_ok() {}
    while (&near).write(b"x").is_ok() {}
    near.set_nonblocking(false).expect("set");
    (OwnedFd::from(near).into(), far)
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (log, _unread) = full();
    let child = serve_with_log(&dir, &["--log-level", "debug"], log);
    let mut serving = Serving::ready(dir, child);
    let mut stream = TcpStream::connect(&serving.http).expect("a connection");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("seaworthy_log_lines_dropped_total 0"), "{answer}");
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(), 0);
}

/// Behind the store's last commit comes nothing, and so much of it that it takes for ever to look through.
#[test]
fn a_signal_ends_a_start_that_loads_the_fleet() {
    const NOTHING: u64 = 1 << 40;
    let mut starting = Serving::start();
    starting.signal(Signal::TERM);
    assert_eq!(starting.code(), 0);
    let log = fs::OpenOptions::new().write(true).open(starting.dir.path().join("data").join("store.log"));
    log.and_then(|log| log.set_len(NOTHING)).expect("a file with a hole");
    starting.child = serve(&starting.dir, &[]);
    let listening = until("it listens", || starting.logged("listening, loading the fleet"));
    for (path, code) in [("/health/live", "200"), ("/ready", "503")] {
        let http = listening["http"].as_str().expect("an address");
        let mut stream = TcpStream::connect(http).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {answer}");
        assert_eq!(answer.contains("retry-after: 1\r\n"), code == "503", "{path}: {answer}");
    }
    assert!(!starting.dir.path().join("ready").exists(), "it serves nobody yet");
    starting.signal(Signal::TERM);
    assert_eq!(starting.code(), 130);
    assert!(starting.logged("told to stop before it served").is_some());
}

/// The folder is in use by somebody whose name cannot be read: a start that takes for ever.
#[test]
fn a_signal_ends_a_start() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let lock = data.join("lock");
    mknodat(CWD, &lock, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    let held = fs::OpenOptions::new().read(true).write(true).open(&lock).expect("open");
    held.lock().expect("locked");
    let child = serve(&dir, &[]);
    let (grpc, http) = Default::default();
    let mut starting = Serving { child, dir, grpc, http };
    // It has the lock open before it reads, and its signals before that.
    let open = PathBuf::from(format!("/proc/{}/fd", starting.child.id()));
    until("it reads the lock", || {
        let mut files = fs::read_dir(&open).ok()?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        files.any(|file| file == lock).then_some(())
    });
    starting.signal(Signal::TERM);
    assert_eq!(starting.code(), 130);
    assert!(starting.logged("told to stop before it served").is_some());
}
